"""The registry of mask strategies, and :func:`sample`, which samples masks by a strategy's name (table 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ijepa_viz.masks.masks import Grid, Masks, check_grid
from ijepa_viz.registry import Registry

Sampler = Callable[..., Masks]

STRATEGIES: Registry[Sampler] = Registry("mask strategy")
"""``f(batch, grid, generator, **options) -> Masks`` by name."""

register = STRATEGIES.register

FILM_STRATEGIES: Registry[Sampler] = Registry("mask strategy of films")
"""``f(batch, grid, generator, steps=S, **options) -> Masks`` by name, for films of S steps of time."""

register_film = FILM_STRATEGIES.register


def sample(
    strategy: str = "multiblock",
    *,
    batch: int,
    grid: Grid,
    generator: torch.Generator | None = None,
    steps: int = 1,
    **options: Any,
) -> Masks:
    """Sample masks for a batch of images.

    Args:
        strategy: a name in :data:`STRATEGIES`: multiblock, rasterized, block, random; of films a name in
            :data:`FILM_STRATEGIES`: tubes, future, mixed.
        batch: B, the number of images.
        grid: (rows, cols), at least 2x2.
        generator: a CPU generator; the same seed gives the same masks. None is torch's global generator.
        steps: of time; 1 is pictures, more are films.
        **options: of the strategy; see its function.

    Returns:
        Masks on the CPU, with context (B, K) and targets (B, M, T).

    Raises:
        ValueError: an unknown strategy, one of pictures for films or the reverse, an empty batch, or a grid below 2x2.

    >>> import torch
    >>> masks = sample(batch=2, grid=(8, 8), generator=torch.Generator().manual_seed(0))
    >>> len(masks), masks.targets.shape[1]  # B = 2 images, M = 4 target blocks
    (2, 4)
    >>> bool((masks.hidden & masks.visible).any())  # no patch is both context and target
    False
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    own, other = (STRATEGIES, FILM_STRATEGIES) if steps == 1 else (FILM_STRATEGIES, STRATEGIES)
    if strategy in other and strategy not in own:
        of, this = ("films", "pictures, of one step") if steps == 1 else ("pictures", f"films, of {steps} steps")
        raise ValueError(f"{strategy!r} samples masks of {of}, and these are {this}: take {', '.join(own)}.")
    sampler = own[strategy]
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}.")
    rows, cols = check_grid(grid)
    if min(rows, cols) < 2:
        raise ValueError(f"Masks need a grid of at least 2x2 patches, got {rows}x{cols}.")
    if steps > 1:
        options["steps"] = steps
    return sampler(batch, (rows, cols), generator, **options)
