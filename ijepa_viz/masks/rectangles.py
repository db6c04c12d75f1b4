"""Rectangular blocks on a patch grid: sizes, random positions and patch indices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ijepa_viz.masks.masks import Grid


def interpolate(bounds: tuple[float, float], draw: float) -> float:
    """Map a uniform number in [0, 1] to the range ``bounds``."""
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def block_size(area: float, aspect: float, limit: Grid) -> Grid:
    """(height, width) of a block of about ``area`` patches and height / width ``aspect``, at most ``limit``."""
    height = min(max(1, round(math.sqrt(area * aspect))), limit[0])
    width = min(max(1, round(math.sqrt(area / aspect))), limit[1])
    return max(1, height), max(1, width)


def block_offsets(size: Grid, cols: int) -> Tensor:
    """Patch indices of a block relative to its top left patch, (T,), on a grid with ``cols`` columns."""
    return (torch.arange(size[0])[:, None] * cols + torch.arange(size[1])).flatten()


def random_corners(count: int, grid: Grid, generator: torch.Generator | None, size: Grid, margin: int) -> Tensor:
    """Top left patches of ``count`` blocks of one size at random positions, (count,).

    Args:
        margin: rows and columns at the bottom and right that no block reaches.
    """
    down, right = grid[0] - size[0] + 1 - margin, grid[1] - size[1] + 1 - margin
    position = torch.randint(down * right, (count,), generator=generator)
    return position + position // right * (grid[1] - right)


def random_blocks(count: int, grid: Grid, generator: torch.Generator | None, size: Grid, margin: int) -> Tensor:
    """Blocks of one size at random positions as bool maps, (count, N)."""
    start = random_corners(count, grid, generator, size, margin)[:, None]
    top, left = start // grid[1], start % grid[1]
    row, col = torch.arange(grid[0]), torch.arange(grid[1])
    inside_rows = (row >= top) & (row < top + size[0])
    inside_cols = (col >= left) & (col < left + size[1])
    return (inside_rows[:, :, None] & inside_cols[:, None]).flatten(1)


def subsample(visible: Tensor, limit: int, generator: torch.Generator | None) -> Tensor:
    """Keep at most ``limit`` True entries of each row of (B, N), chosen at random.

    Raises:
        ValueError: a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"max_context must be at least 1, got {limit}.")
    if limit >= visible.shape[1]:
        return visible
    noise = torch.rand(visible.shape, generator=generator).masked_fill_(~visible, -1.0)
    chosen = noise.topk(limit, dim=1).indices
    return visible & torch.zeros_like(visible).scatter_(1, chosen, True)


def random_targets(
    batch: int, grid: Grid, generator: torch.Generator | None, targets: int, size: Grid, margin: int
) -> tuple[Tensor, Tensor]:
    """Patch indices (B, M, T) of M blocks of one size an image, at random positions, and their union (B, N) bool."""
    starts = random_corners(batch * targets, grid, generator, size, margin)
    index = (starts[:, None] + block_offsets(size, grid[1])).view(batch, targets, -1)
    hidden = torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool)
    return index, hidden.scatter_(1, index.flatten(1), True)
