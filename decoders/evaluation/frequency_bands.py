"""Spatial frequency bands of blocks, by the discrete cosine transform."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from scipy.fft import dctn
from torch import Tensor


def cosine_transform(images: Tensor) -> Tensor:
    """Orthonormal two-dimensional DCT-II of (..., h, w), on the CPU."""
    return torch.from_numpy(dctn(images.numpy(), axes=(-2, -1), norm="ortho"))


def band_edges(height: int, width: int) -> list[tuple[float, float]]:
    """Octaves of spatial frequency, in cycles a block: the mean alone, then below 1, 2, 4, ... to the finest."""
    edges = [0.25, 1.0]
    while edges[-1] < max(height, width) / math.sqrt(2):
        edges.append(2 * edges[-1])
    return [(0.0, edges[0]), *pairwise(edges)]


def frequency_bands(height: int, width: int) -> list[tuple[tuple[float, float], Tensor]]:
    """Non-empty bands of blocks of ``height`` x ``width`` pixels: edges, and mask (h, w) bool of the coefficients."""
    frequency = torch.hypot(torch.arange(height)[:, None] / 2, torch.arange(width)[None] / 2)
    bands = [((low, high), (frequency >= low) & (frequency < high)) for low, high in band_edges(height, width)]
    return [(edges, inside) for edges, inside in bands if inside.any()]


def band_name(low: float, high: float) -> str:
    """Label of a band in a figure."""
    return f"{low:g}-{high:g}" if low else "mean"
