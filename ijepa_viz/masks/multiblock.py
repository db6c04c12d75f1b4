"""Multi-block masks, unbiased or as in the reference code (section 3, appendix A.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.masks.masks import Grid, Masks, padded_indices
from ijepa_viz.masks.rectangles import (
    block_size,
    interpolate,
    random_blocks,
    random_targets,
    subsample,
)
from ijepa_viz.masks.strategies import register

# Rounds of rejection sampling for a context that is too small, before the fallback.
_ATTEMPTS = 20


@register("multiblock")
def multiblock(
    batch: int,
    grid: Grid,
    generator: torch.Generator | None = None,
    *,
    mode: str = "unbiased",
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
    min_keep: int = 10,
    max_context: int | None = None,
) -> Masks:
    """The paper's multi-block strategy: M target blocks, and one context block minus the targets (section 3).

    Block sizes are drawn once a batch, positions once an image. Targets may overlap each other.

    Args:
        mode: ``unbiased`` places blocks anywhere, allows blocks as long as the grid, keeps targets out of the context
            always, and pads contexts of different length. ``faithful`` reproduces the reference collator: one random
            number gives both area and aspect ratio of the targets, so that large targets are always tall; no block
            reaches the last row or column or spans the grid; contexts are truncated to the shortest of the batch in
            raster order, which removes patches at the bottom of the image; if too little context is left, target
            regions are returned to it.
        targets: M, number of target blocks.
        target_scale: range of a target's share of the grid's area; on grids with fewer rows or columns than such a
            block has, it is as high or wide as the grid, and its share is smaller.
        target_aspect: range of a target's height / width.
        context_scale: range of the context block's share of the area; it has the grid's proportions, and in mode
            ``faithful`` an aspect ratio of 1.
        min_keep: least number of context patches; ``faithful`` requires one more. On small grids it is lowered to a
            quarter of the patches.
        max_context: ``unbiased`` only: subsample longer contexts to this many patches, at random. Saves time; unlike
            truncation in raster order it is uniform over positions.

    Raises:
        ValueError: an unknown mode, no targets, or ``max_context`` in mode ``faithful``.
    """
    if mode not in ("unbiased", "faithful"):
        raise ValueError(f"mode must be 'unbiased' or 'faithful', got {mode!r}.")
    if targets < 1:
        raise ValueError(f"targets must be at least 1, got {targets}.")
    if mode == "faithful" and max_context is not None:
        raise ValueError("max_context belongs to mode 'unbiased'; 'faithful' truncates contexts itself.")
    faithful = mode == "faithful"
    rows, cols = grid
    margin = 1 if faithful else 0
    draws = torch.rand(3, generator=generator).tolist()
    if faithful:  # one number gives both the area, in whole patches, and the aspect ratio
        area: float = int(rows * cols * interpolate(target_scale, draws[1]))
        aspect = interpolate(target_aspect, draws[1])
        context_area: float = int(rows * cols * interpolate(context_scale, draws[2]))
    else:
        area = rows * cols * interpolate(target_scale, draws[0])
        aspect = math.exp(interpolate((math.log(target_aspect[0]), math.log(target_aspect[1])), draws[1]))
        context_area = rows * cols * interpolate(context_scale, draws[2])
    limit = (rows - margin, cols - margin)
    size = block_size(area, aspect, limit)
    if size[0] * size[1] == rows * cols:  # a target as large as the grid leaves no context
        size = (size[0], max(1, size[1] - 1))
    # Of the image's own proportions: a square block would cover less than its share of a wide one.
    context_size = block_size(context_area, 1.0 if faithful else rows / cols, limit)
    keep = max(1, min(min_keep, rows * cols // 4))
    if faithful:
        return _multiblock_faithful(batch, grid, generator, targets, size, context_size, keep)

    drawn: list[tuple[Tensor, Tensor]] = []
    missing = batch
    for _ in range(_ATTEMPTS):
        # Rejection sampling with a surplus, because a second round costs as much as the first.
        count = missing + missing // 4 + 4
        index, hidden = random_targets(count, grid, generator, targets, size, 0)
        visible = random_blocks(count, grid, generator, context_size, 0) & ~hidden
        good = (visible.sum(1) >= keep).nonzero().flatten()[:missing]
        drawn.append((index[good], visible[good]))
        missing -= len(good)
        if not missing:
            break
    else:
        # Many large targets on a small grid: all targets coincide, and the complement is the context.
        index, hidden = random_targets(missing, grid, generator, 1, size, 0)
        drawn.append((index.expand(-1, targets, -1), ~hidden))
    index, visible = drawn[0] if len(drawn) == 1 else map(torch.cat, zip(*drawn, strict=True))
    if max_context is not None:
        visible = subsample(visible, max_context, generator)
    context, valid = padded_indices(visible)
    return Masks(context, index, grid, valid)


def _multiblock_faithful(
    batch: int,
    grid: Grid,
    generator: torch.Generator | None,
    targets: int,
    size: Grid,
    context_size: Grid,
    keep: int,
) -> Masks:
    keep = min(keep, context_size[0] * context_size[1] - 1)
    positions = (grid[0] - context_size[0]) * (grid[1] - context_size[1])
    attempts = _ATTEMPTS if positions > 1 else 1  # the only position needs one attempt
    index, hidden = random_targets(batch, grid, generator, targets, size, 1)
    visible = random_blocks(batch, grid, generator, context_size, 1) & ~hidden
    short = (visible.sum(1) <= keep).nonzero().flatten()
    if len(short):
        # Further attempts, then with one target region after the other returned to the context (the reference code's
        # leak), for all short contexts at once: the first attempt with enough patches is taken.
        blocks = torch.zeros(len(short), targets, grid[0] * grid[1], dtype=torch.bool)
        blocks.scatter_(2, index[short], True)
        unions = F.pad(blocks.cumsum(1) > 0, (0, 0, 1, 0)).flip(1)  # all targets, all but the last, ..., none
        count = unions.shape[1] * attempts
        tried = random_blocks(len(short) * count, grid, generator, context_size, 1).view(len(short), count, -1)
        found = tried & ~unions.repeat_interleave(attempts, dim=1)
        first = (found.sum(2) > keep).to(torch.uint8).argmax(1)
        visible[short] = found[torch.arange(len(short)), first]
    shortest = int(visible.sum(1).min())
    # Truncated to the shortest context of the batch in raster order, which removes bottom rows.
    visible &= visible.cumsum(1) <= shortest
    context, _ = padded_indices(visible)
    return Masks(context, index, grid, None)
