"""Rasterized masks: quadrants of the image (table 6)."""

from __future__ import annotations

import torch

from ijepa_viz.masks.masks import Grid, Masks
from ijepa_viz.masks.rectangles import block_offsets
from ijepa_viz.masks.strategies import register


@register("rasterized")
def rasterized(batch: int, grid: Grid, generator: torch.Generator | None = None) -> Masks:
    """One quadrant is the context, the three others are the targets (table 6).

    On an odd grid the context quadrant includes the middle row and column; the targets have equal sizes.
    """
    rows, cols = grid
    half = (rows // 2, cols // 2)
    corner = torch.randint(4, (batch,), generator=generator)
    offsets = block_offsets(half, cols)
    starts = torch.tensor([r * (rows - half[0]) * cols + c * (cols - half[1]) for r in (0, 1) for c in (0, 1)])
    others = torch.tensor([[c for c in range(4) if c != corner] for corner in range(4)])
    index = starts[others[corner]][..., None] + offsets
    full = (rows - half[0], cols - half[1])
    starts = torch.tensor([r * half[0] * cols + c * half[1] for r in (0, 1) for c in (0, 1)])
    context = starts[corner][:, None] + block_offsets(full, cols)
    return Masks(context, index, grid)
