"""Random patches as the target (table 6)."""

from __future__ import annotations

import torch

from ijepa_viz.masks.masks import Grid, Masks
from ijepa_viz.masks.strategies import register


@register("random")
def random(batch: int, grid: Grid, generator: torch.Generator | None = None, *, scale: float = 0.6) -> Masks:
    """Scattered target patches, one set of them; the rest is the context (table 6)."""
    total = grid[0] * grid[1]
    count = min(max(1, round(total * scale)), total - 1)
    order = torch.rand(batch, total, generator=generator).argsort(1)
    hidden = order[:, :count].sort(1).values
    return Masks(order[:, count:].sort(1).values, hidden[:, None], grid)
