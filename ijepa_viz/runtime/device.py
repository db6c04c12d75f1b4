"""The ``--device`` option of every command that computes, and the choice of a device by its name."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_NAMES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def device_name(text: str) -> str:
    """A name that :func:`choose_device` takes; ``type=`` of an argparse option.

    Raises:
        argparse.ArgumentTypeError: another name. Whether the device is there is not asked: that takes torch, and time.
    """
    name = text.strip().lower()
    if not _NAMES.fullmatch(name):
        hint = f" Did you mean cuda:{name}?" if name.isdigit() else " A GPU is cuda." if name == "gpu" else ""
        raise argparse.ArgumentTypeError(f"no device {text!r}; it is auto, cpu, cuda, cuda:NUMBER or mps.{hint}")
    return name


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, the name of a device for :func:`choose_device`."""
    parser.add_argument(
        "--device",
        type=device_name,
        default="auto",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, mps, or auto: a CUDA GPU where there is one, else the CPU (default: auto)",
    )


def choose_device(name: str = "auto") -> torch.device:
    """A device that is there.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or "auto": the first CUDA GPU, else the CPU. Apple's MPS is used on
            request only, because its results are not tested here.

    Raises:
        ValueError: a device that is unknown, or absent on this machine.
    """
    import torch

    try:
        name = device_name(name)
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from error
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if gpus else "cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("There is no device mps here: it takes an Apple GPU. Use --device cpu.")
    kind, _, number = name.partition(":")
    if kind == "cuda" and not gpus:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees no GPU (nvidia-smi?)"
        raise ValueError(f"There is no device {name} here: {why}. Use --device cpu.")
    if kind == "cuda" and int(number or 0) >= gpus:
        there = ", ".join(f"cuda:{i}" for i in range(gpus))
        raise ValueError(f"There is no device {name} here: there is {there}.")
    return torch.device("cuda:0" if name == "cuda" else name)


def check_compiler(device: torch.device) -> None:
    """See that torch.compile finds what it calls: on a CPU a C++ compiler, elsewhere none.

    Raises:
        FileNotFoundError: there is none.
    """
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual)  # as torch looks for it
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise FileNotFoundError(
            f"run.compile=true needs a C++ compiler, and there is no {compiler}: install it, name another in the "
            "environment variable CXX, or set run.compile=false."
        )
