"""Rectangles on a patch grid: their sizes, places and patch indices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ijepa_viz.masks.masks import Grid


def _between(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _block_size(area: float, aspect: float, limit: Grid) -> Grid:
    height = min(max(1, round(math.sqrt(area * aspect))), limit[0])
    width = min(max(1, round(math.sqrt(area / aspect))), limit[1])
    return max(1, height), max(1, width)


def _offsets(size: Grid, cols: int) -> Tensor:
    return (torch.arange(size[0])[:, None] * cols + torch.arange(size[1])).flatten()


def _starts(count: int, grid: Grid, generator: torch.Generator | None, size: Grid, margin: int) -> Tensor:
    """The top left patches of ``count`` blocks of one size at random places, (count,)."""
    down, right = grid[0] - size[0] + 1 - margin, grid[1] - size[1] + 1 - margin
    place = torch.randint(down * right, (count,), generator=generator)
    return place + place // right * (grid[1] - right)


def _place(count: int, grid: Grid, generator: torch.Generator | None, size: Grid, margin: int) -> Tensor:
    """``count`` blocks of one size at random places, as a (count, N) bool map."""
    start = _starts(count, grid, generator, size, margin)[:, None]
    top, left = start // grid[1], start % grid[1]
    row, col = torch.arange(grid[0]), torch.arange(grid[1])
    inside_rows = (row >= top) & (row < top + size[0])
    inside_cols = (col >= left) & (col < left + size[1])
    return (inside_rows[:, :, None] & inside_cols[:, None]).flatten(1)


def _thin(visible: Tensor, limit: int, generator: torch.Generator | None) -> Tensor:
    """Keep at most ``limit`` patches of each row of (B, N), at random."""
    if limit < 1:
        raise ValueError(f"max_context must be at least 1, got {limit}.")
    if limit >= visible.shape[1]:
        return visible
    noise = torch.rand(visible.shape, generator=generator).masked_fill_(~visible, -1.0)
    chosen = noise.topk(limit, dim=1).indices
    return visible & torch.zeros_like(visible).scatter_(1, chosen, True)


def _gather(visible: Tensor) -> tuple[Tensor, Tensor | None]:
    """(B, N) bool -> ascending indices (B, K), padded with a visible one, and which are real."""
    counts = visible.sum(1)
    longest = int(counts.max())
    context = visible.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    valid = torch.arange(longest) < counts[:, None]
    if bool(valid.all()):
        return context, None
    return torch.where(valid, context, context[:, :1]), valid
