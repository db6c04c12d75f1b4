"""The registry of mask strategies, and :func:`sample`, which draws from one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ijepa_viz.masks.masks import Grid, Masks, _check_grid
from ijepa_viz.registry import Registry

Sampler = Callable[..., Masks]

STRATEGIES: Registry[Sampler] = Registry("mask strategy")

"""``f(batch, grid, generator, **options) -> Masks`` by name."""

register = STRATEGIES.register


def sample(
    strategy: str = "multiblock",
    *,
    batch: int,
    grid: Grid,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Masks:
    """Sample masks for a batch of images.

    Args:
        strategy: a name in :data:`STRATEGIES`: multiblock, rasterized, block, random.
        batch: B, the number of images.
        grid: (rows, cols), at least 2x2.
        generator: a CPU generator; the same seed gives the same masks. None uses torch's own.
        **options: the strategy's own; see its function.

    Returns:
        Masks on the CPU.

    Raises:
        ValueError: an unknown strategy, an empty batch, or a grid below 2x2.
    """
    sampler = STRATEGIES[strategy]
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}.")
    rows, cols = _check_grid(grid)
    if min(rows, cols) < 2:
        raise ValueError(f"Masks need a grid of at least 2x2 patches, got {rows}x{cols}.")
    return sampler(batch, (rows, cols), generator, **options)
