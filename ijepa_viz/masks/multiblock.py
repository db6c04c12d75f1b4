"""Multi-block masks, unbiased and as the reference code draws them (section 3 and appendix A.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.masks.masks import Grid, Masks
from ijepa_viz.masks.rectangles import _between, _block_size, _gather, _offsets, _place, _starts, _thin
from ijepa_viz.masks.strategies import register

# How often a context that came out too small is drawn again before the sampler falls back.
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
    """The paper's multi-block strategy: M target blocks and one context block without them.

    Block sizes are drawn once a batch, places once an image. Targets may overlap each other.

    Args:
        mode: ``unbiased`` places blocks anywhere, lets a block be as long as the grid, never lets
            a target into the context, and pads contexts of different length. ``faithful``
            behaves as the reference collator is known to: no block reaches the last row or column
            or spans the grid; contexts are cut to the shortest of the batch in raster order, which
            starves the bottom of the image; where too little context is left, target regions are
            put back into it.
        targets: M, number of target blocks.
        target_scale: range of a target's share of the grid's area.
        target_aspect: range of a target's height / width.
        context_scale: range of the context block's share of the area; its aspect ratio is 1.
        min_keep: ``faithful`` wants more than this many context patches, ``unbiased`` at least as
            many. On small grids it is lowered to a quarter of the patches.
        max_context: ``unbiased`` only: cut longer contexts to this many patches, chosen at
            random. Saves time; unlike the raster cut it favours no place.
    """
    if mode not in ("unbiased", "faithful"):
        raise ValueError(f"mode must be 'unbiased' or 'faithful', got {mode!r}.")
    if targets < 1:
        raise ValueError(f"targets must be at least 1, got {targets}.")
    if mode == "faithful" and max_context is not None:
        raise ValueError("max_context belongs to mode 'unbiased'; 'faithful' makes its own cut.")
    faithful = mode == "faithful"
    rows, cols = grid
    margin = 1 if faithful else 0
    draws = torch.rand(3, generator=generator).tolist()
    scale = _between(target_scale, draws[0])
    aspect = math.exp(_between((math.log(target_aspect[0]), math.log(target_aspect[1])), draws[1]))
    if faithful:
        aspect = _between(target_aspect, draws[1])
    limit = (rows - margin, cols - margin)
    size = _block_size(rows * cols * scale, aspect, limit)
    if size[0] * size[1] == rows * cols:  # a target as large as the image leaves no context
        size = (size[0], max(1, size[1] - 1))
    context_size = _block_size(rows * cols * _between(context_scale, draws[2]), 1.0, limit)
    keep = max(1, min(min_keep, rows * cols // 4))
    if faithful:
        return _multiblock_faithful(batch, grid, generator, targets, size, context_size, keep)

    drawn: list[tuple[Tensor, Tensor]] = []
    missing = batch
    for _ in range(_ATTEMPTS):
        # Rejection sampling, with spares drawn at once: a second round costs as much as the first.
        count = missing + missing // 4 + 4
        index, hidden = _place_targets(count, grid, generator, targets, size, 0)
        visible = _place(count, grid, generator, context_size, 0) & ~hidden
        good = (visible.sum(1) >= keep).nonzero().flatten()[:missing]
        drawn.append((index[good], visible[good]))
        missing -= len(good)
        if not missing:
            break
    else:
        # Many large targets on a small grid: let them coincide, and see all the rest.
        index, hidden = _place_targets(missing, grid, generator, 1, size, 0)
        drawn.append((index.expand(-1, targets, -1), ~hidden))
    index, visible = drawn[0] if len(drawn) == 1 else map(torch.cat, zip(*drawn, strict=True))
    if max_context is not None:
        visible = _thin(visible, max_context, generator)
    context, valid = _gather(visible)
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
    places = (grid[0] - context_size[0]) * (grid[1] - context_size[1])
    attempts = _ATTEMPTS if places > 1 else 1  # drawing the only place again changes nothing
    index, hidden = _place_targets(batch, grid, generator, targets, size, 1)
    visible = _place(batch, grid, generator, context_size, 1) & ~hidden
    short = (visible.sum(1) <= keep).nonzero().flatten()
    if len(short):
        # Further attempts, then one target region after the other given back to the context (the known leak), for
        # all that came out short at once: the first attempt that leaves enough is taken.
        blocks = torch.zeros(len(short), targets, grid[0] * grid[1], dtype=torch.bool)
        blocks.scatter_(2, index[short], True)
        unions = F.pad(blocks.cumsum(1) > 0, (0, 0, 1, 0)).flip(1)  # all targets, all but the last, ..., none
        count = unions.shape[1] * attempts
        places_tried = _place(len(short) * count, grid, generator, context_size, 1).view(len(short), count, -1)
        found = places_tried & ~unions.repeat_interleave(attempts, dim=1)
        first = (found.sum(2) > keep).to(torch.uint8).argmax(1)
        visible[short] = found[torch.arange(len(short)), first]
    shortest = int(visible.sum(1).min())
    # Cut to the shortest context of the batch in raster order: what starves the bottom rows.
    visible &= visible.cumsum(1) <= shortest
    context, _ = _gather(visible)
    return Masks(context, index, grid, None)


def _place_targets(
    batch: int, grid: Grid, generator: torch.Generator | None, targets: int, size: Grid, margin: int
) -> tuple[Tensor, Tensor]:
    """Indices (B, M, T) of M blocks an image, and their union (B, N)."""
    starts = _starts(batch * targets, grid, generator, size, margin)
    index = (starts[:, None] + _offsets(size, grid[1])).view(batch, targets, -1)
    hidden = torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool)
    return index, hidden.scatter_(1, index.flatten(1), True)
