"""The four mask strategies (I-JEPA, section 3 "Targets" and "Context", appendix A, table 6).

Each works on the whole batch with tensor operations; there is no Python loop over images.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.masks import Grid, Masks, register

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


@register("rasterized")
def rasterized(batch: int, grid: Grid, generator: torch.Generator | None = None) -> Masks:
    """One quadrant is the context, the three others are the targets (table 6).

    On an odd grid the context quadrant takes the middle row and column, targets stay equal.
    """
    rows, cols = grid
    half = (rows // 2, cols // 2)
    corner = torch.randint(4, (batch,), generator=generator)
    offsets = _offsets(half, cols)
    starts = torch.tensor([r * (rows - half[0]) * cols + c * (cols - half[1]) for r in (0, 1) for c in (0, 1)])
    others = torch.tensor([[c for c in range(4) if c != corner] for corner in range(4)])
    index = starts[others[corner]][..., None] + offsets
    full = (rows - half[0], cols - half[1])
    starts = torch.tensor([r * half[0] * cols + c * half[1] for r in (0, 1) for c in (0, 1)])
    context = starts[corner][:, None] + _offsets(full, cols)
    return Masks(context, index, grid)


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


@register("random")
def random(batch: int, grid: Grid, generator: torch.Generator | None = None, *, scale: float = 0.6) -> Masks:
    """Scattered target patches, one set of them; the rest is the context (table 6)."""
    total = grid[0] * grid[1]
    count = min(max(1, round(total * scale)), total - 1)
    order = torch.rand(batch, total, generator=generator).argsort(1)
    hidden = order[:, :count].sort(1).values
    return Masks(order[:, count:].sort(1).values, hidden[:, None], grid)


# --------------------------------------------------------------------------- pieces


def _between(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _block_size(area: float, aspect: float, limit: Grid) -> Grid:
    height = min(max(1, round(math.sqrt(area * aspect))), limit[0])
    width = min(max(1, round(math.sqrt(area / aspect))), limit[1])
    return max(1, height), max(1, width)


def _offsets(size: Grid, cols: int) -> Tensor:
    return (torch.arange(size[0])[:, None] * cols + torch.arange(size[1])).flatten()


def _starts(count: int, grid: Grid, generator: torch.Generator | None, size: Grid, margin: int) -> Tensor:
    """The top left patches of ``count`` blocks of one size at random places, (count,)."""
    down, right = grid[0] - size[0] + 1 - margin, grid[1] - size[1] + 1 - margin
    place = torch.randint(down * right, (count,), generator=generator)
    return place + place // right * (grid[1] - right)


def _place(count: int, grid: Grid, generator: torch.Generator | None, size: Grid, margin: int) -> Tensor:
    """``count`` blocks of one size at random places, as a (count, N) bool map."""
    start = _starts(count, grid, generator, size, margin)[:, None]
    top, left = start // grid[1], start % grid[1]
    row, col = torch.arange(grid[0]), torch.arange(grid[1])
    inside_rows = (row >= top) & (row < top + size[0])
    inside_cols = (col >= left) & (col < left + size[1])
    return (inside_rows[:, :, None] & inside_cols[:, None]).flatten(1)


def _place_targets(
    batch: int, grid: Grid, generator: torch.Generator | None, targets: int, size: Grid, margin: int
) -> tuple[Tensor, Tensor]:
    """Indices (B, M, T) of M blocks an image, and their union (B, N)."""
    starts = _starts(batch * targets, grid, generator, size, margin)
    index = (starts[:, None] + _offsets(size, grid[1])).view(batch, targets, -1)
    hidden = torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool)
    return index, hidden.scatter_(1, index.flatten(1), True)


def _thin(visible: Tensor, limit: int, generator: torch.Generator | None) -> Tensor:
    """Keep at most ``limit`` patches of each row of (B, N), at random."""
    if limit < 1:
        raise ValueError(f"max_context must be at least 1, got {limit}.")
    if limit >= visible.shape[1]:
        return visible
    noise = torch.rand(visible.shape, generator=generator).masked_fill_(~visible, -1.0)
    chosen = noise.topk(limit, dim=1).indices
    return visible & torch.zeros_like(visible).scatter_(1, chosen, True)


def _gather(visible: Tensor) -> tuple[Tensor, Tensor | None]:
    """(B, N) bool -> ascending indices (B, K), padded with a visible one, and which are real."""
    counts = visible.sum(1)
    longest = int(counts.max())
    context = visible.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    valid = torch.arange(longest) < counts[:, None]
    if bool(valid.all()):
        return context, None
    return torch.where(valid, context, context[:, :1]), valid
