"""Which number format pays on the machine at hand."""

from __future__ import annotations

import torch


def choose_precision(wish: str = "auto") -> str:
    """Choose "bf16" or "fp32".

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
    """What "bf16" and "fp32" are called in torch."""
    return torch.bfloat16 if precision == "bf16" else torch.float32
