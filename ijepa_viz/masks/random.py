"""Random masks: scattered target patches (table 6)."""

from __future__ import annotations

import torch

from ijepa_viz.masks.masks import Grid, Masks
from ijepa_viz.masks.strategies import register


@register("random")
def random(batch: int, grid: Grid, generator: torch.Generator | None = None, *, scale: float = 0.6) -> Masks:
    """One set of scattered target patches; its complement is the context (table 6).

    Args:
        scale: share of the patches that are targets.
    """
    total = grid[0] * grid[1]
    count = min(max(1, round(total * scale)), total - 1)
    order = torch.rand(batch, total, generator=generator).argsort(1)
    hidden = order[:, :count].sort(1).values
    return Masks(order[:, count:].sort(1).values, hidden[:, None], grid)
