"""Tensors in safetensors files, written completely or not at all, and read strictly."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ijepa_viz.runtime.file_kinds import mistaken_for
from ijepa_viz.runtime.files import not_a_model_folder, replacing

# Where weights are mapped from their file they should begin as allocated ones do: products round by it.
_ALIGNED = 64

# The number formats that models are kept in, by the names that safetensors gives them.
_FORMATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """Safetensors, as :func:`write_file` writes; ``dtype`` converts. Returns the file's sha256.

    One tensor after the other, so that a giant mapped from another file is never in memory as a whole: 2 GiB written as
    float16 peak at 2.6 GiB, where ``safetensors.torch.save_file`` takes 3.5 (and is not atomic, and gives no digest).

    Raises:
        OSError: the disk refuses; the file that was there before is intact.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in sorted(tensors.items()):
        kind = dtype or tensor.dtype
        start, end = end, end + tensor.numel() * kind.itemsize
        header[name] = {"dtype": _FORMATS[kind], "shape": list(tensor.shape), "data_offsets": [start, end]}
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-(len(words) + 8) % _ALIGNED)
    digest = hashlib.sha256()
    with replacing(path, "What was there before is intact.") as partial, partial.open("wb") as file:
        start_of_file: list[bytes | memoryview] = [len(words).to_bytes(8, "little"), words]
        for part in itertools.chain(start_of_file, _bytes(tensors, dtype)):
            file.write(part)
            digest.update(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _bytes(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Iterator[memoryview]:
    for _, tensor in sorted(tensors.items()):
        flat = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous().flatten()
        yield memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file, on the CPU.

    Raises:
        FileNotFoundError: no such file. ValueError: truncated or damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping: not iterable)


def tensor_names(path: Path) -> list[str]:
    """The names of a safetensors file; raises as :func:`read_tensors`."""
    with _opened(path) as file:
        return list(file.keys())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(not_a_model_folder(path))
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        what = mistaken_for(path)
        if isinstance(error, OSError) and not what:  # the disk's fault, not the file's
            raise
        raise ValueError(f"{path} {what or f'is truncated or damaged: {error}'}") from error


def read_into(module: nn.Module, path: Path, digest: str | None, mapped: bool = False) -> None:
    """Fill ``module`` from safetensors, in float32, every name and shape checked, and its sha256 where known.

    ``mapped``: float32 weights stay where the file is mapped and are read when they are used; ``module`` may be on the
    meta device. Changing them changes no file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not the file its config was written with, or of other names or shapes.
    """
    state = read_tensors(path)
    if digest is not None:
        check_digest(path, digest)
    try:
        full = {k: v.float() for k, v in state.items()}
        if mapped:
            full = {k: v.clone() if v.data_ptr() % _ALIGNED else v for k, v in full.items()}
        module.load_state_dict(full, strict=True, assign=mapped)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its config: {error}") from error


def check_digest(path: Path, digest: str) -> None:
    """Raise ValueError unless the file has this sha256."""
    if _sha256(path) != digest:
        raise ValueError(
            f"{path} is not the file that the JSON file beside it was written with (its sha256 differs): "
            "damaged or tampered with. Fetch it again."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(model: nn.Module) -> str:
    """The sha256 over all weights, by which a decoder recognises the model it was trained on.

    A model at another resolution (``model.at``) has the one of the resolution that it was trained at.
    """
    digest = hashlib.sha256()
    for name, value in sorted({**model.state_dict(), **getattr(model, "trained_positions", {})}.items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().flatten().numpy())
    return digest.hexdigest()
