"""Block masks: one large target block (table 6)."""

from __future__ import annotations

import torch

from ijepa_viz.masks.masks import Grid, Masks, padded_indices
from ijepa_viz.masks.rectangles import block_size, interpolate, random_targets
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
    """One large target block; its complement is the context (table 6).

    Args:
        scale: target block's share of the grid's area. aspect: range of its height / width.
    """
    rows, cols = grid
    draw = torch.rand(1, generator=generator).item()
    size = block_size(rows * cols * scale, interpolate(aspect, draw), grid)
    if size[0] * size[1] == rows * cols:
        size = (size[0], size[1] - 1)
    index, hidden = random_targets(batch, grid, generator, 1, size, 0)
    context, valid = padded_indices(~hidden)
    return Masks(context, index, grid, valid)
