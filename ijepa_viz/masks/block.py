"""One target block, the rest is context (table 6)."""

from __future__ import annotations

import torch

from ijepa_viz.masks.masks import Grid, Masks
from ijepa_viz.masks.multiblock import _place_targets
from ijepa_viz.masks.rectangles import _between, _block_size, _gather
from ijepa_viz.masks.strategies import register


@register("block")
def block(
    batch: int,
    grid: Grid,
    generator: torch.Generator | None = None,
    *,
    scale: float = 0.6,
    aspect: tuple[float, float] = (0.75, 1.5),
) -> Masks:
    """One large target block; its complement is the context (table 6)."""
    rows, cols = grid
    draw = torch.rand(1, generator=generator).item()
    size = _block_size(rows * cols * scale, _between(aspect, draw), grid)
    if size[0] * size[1] == rows * cols:
        size = (size[0], size[1] - 1)
    index, hidden = _place_targets(batch, grid, generator, 1, size, 0)
    context, valid = _gather(~hidden)
    return Masks(context, index, grid, valid)
