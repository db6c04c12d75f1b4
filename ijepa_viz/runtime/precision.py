"""Select bf16 or fp32 for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


def accelerator(precision: str) -> Accelerator:
    """An Accelerator for "bf16" or "fp32", also where this process had one of the other format before.

    Accelerate keeps one state a process and refuses a second format; a notebook that trains twice needs it.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    wish = "bf16" if precision == "bf16" else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != wish:
        AcceleratorState._reset_state()  # processes and devices, which PartialState holds, stay as they are
    return Accelerator(mixed_precision=wish)


def choose_precision(wish: str = "auto") -> str:
    """Select "bf16" or "fp32".

    Automatic on a CPU means bf16 only with instructions for it (AVX-512 BF16 or AMX): without
    them autocast was measured 6 to 7 times slower than fp32 (``make benchmark``).

    Raises:
        ValueError: ``wish`` is none of auto, bf16, fp32.
    """
    if wish not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision must be auto, bf16 or fp32, got {wish!r}.")
    if wish != "auto":
        return wish
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def number_format(precision: str) -> torch.dtype:
    """The torch dtype of "bf16" or "fp32"."""
    return torch.bfloat16 if precision == "bf16" else torch.float32
