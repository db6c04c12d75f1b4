"""Masks and the samplers that make them (I-JEPA, section 3 "Targets" and "Context", appendix A, table 6).

Positions are indices into the row-major patch grid: patch ``(row, col)`` is ``row * cols + col``.
Every sampler works on the whole batch with tensor operations; there is no Python loop over images.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Grid = tuple[int, int]

# How often a context that came out too small is drawn again before the sampler falls back.
_ATTEMPTS = 20


@dataclass(frozen=True)
class Masks:
    """What the context encoder sees and what the predictor must predict, for a batch of images.

    Attributes:
        context: (B, K) int64, visible patches of each image, ascending.
        targets: (B, M, T) int64, the patches of each of M target blocks.
        grid: (rows, cols) of the patch grid, N = rows * cols.
        context_valid: (B, K) bool or None. Rows with fewer than K visible patches are padded;
            False marks the padding, which no layer may attend to. None means no padding.

    Raises:
        ValueError: a shape, a dtype, or an index that does not fit the grid; an image with no
            context; a block without patches.
    """

    context: Tensor
    targets: Tensor
    grid: Grid
    context_valid: Tensor | None = None

    def __post_init__(self) -> None:
        rows, cols = _check_grid(self.grid)
        if self.context.ndim != 2 or self.targets.ndim != 3:
            raise ValueError(
                "Masks need context (B, K) and targets (B, M, T), got "
                f"{tuple(self.context.shape)} and {tuple(self.targets.shape)}."
            )
        if self.context.dtype != torch.int64 or self.targets.dtype != torch.int64:
            raise ValueError(f"Masks hold int64 indices, got {self.context.dtype} and {self.targets.dtype}.")
        if self.context.shape[0] != self.targets.shape[0]:
            raise ValueError(f"context is for {self.context.shape[0]} images, targets for {self.targets.shape[0]}.")
        if 0 in self.targets.shape:
            raise ValueError("The mask is empty: hide at least one patch.")
        if 0 in self.context.shape:
            raise ValueError("The mask hides everything: leave at least one patch visible.")
        if self.context_valid is not None and self.context_valid.shape != self.context.shape:
            raise ValueError(
                f"context_valid must have the context's shape {tuple(self.context.shape)}, "
                f"got {tuple(self.context_valid.shape)}."
            )
        for name, index in (("context", self.context), ("targets", self.targets)):
            low, high = (int(v) for v in index.aminmax())
            if low < 0 or high >= rows * cols:
                raise ValueError(
                    f"{name} names patch {low if low < 0 else high}, but a {rows}x{cols} grid has "
                    f"patches 0 to {rows * cols - 1}. Was this mask made for another grid?"
                )

    @property
    def num_patches(self) -> int:
        """N, the number of patches of the grid."""
        return self.grid[0] * self.grid[1]

    def __len__(self) -> int:
        return self.context.shape[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return (
            self.grid == other.grid
            and torch.equal(self.context, other.context)
            and torch.equal(self.targets, other.targets)
            and torch.equal(self.valid, other.valid)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def valid(self) -> Tensor:
        """(B, K) bool, ``context_valid`` or all True."""
        if self.context_valid is None:
            return torch.ones_like(self.context, dtype=torch.bool)
        return self.context_valid

    @property
    def hidden(self) -> Tensor:
        """(B, rows, cols) bool, True where a patch belongs to a target block."""
        flat = torch.zeros(len(self), self.num_patches, dtype=torch.bool, device=self.targets.device)
        flat.scatter_(1, self.targets.flatten(1), True)
        return flat.view(len(self), *self.grid)

    @property
    def visible(self) -> Tensor:
        """(B, rows, cols) bool, True where the context encoder sees the patch."""
        counts = torch.zeros(len(self), self.num_patches, device=self.context.device)
        counts.scatter_add_(1, self.context, self.valid.float())
        return (counts > 0).view(len(self), *self.grid)

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        valid = None if self.context_valid is None else self.context_valid.to(device)
        return Masks(self.context.to(device), self.targets.to(device), self.grid, valid)

    def __getitem__(self, rows: slice | Tensor) -> Masks:
        """The masks of some images of the batch."""
        valid = None if self.context_valid is None else self.context_valid[rows]
        return Masks(self.context[rows], self.targets[rows], self.grid, valid)

    def repeat(self, batch: int) -> Masks:
        """One image's masks for a batch of ``batch`` images."""
        if len(self) != 1:
            raise ValueError(f"Only the masks of one image can be repeated, these are for {len(self)}.")
        valid = None if self.context_valid is None else self.context_valid.expand(batch, -1)
        return Masks(self.context.expand(batch, -1), self.targets.expand(batch, -1, -1), self.grid, valid)

    @classmethod
    def from_block(cls, grid: Grid, row: int, col: int, height: int, width: int) -> Masks:
        """One rectangular target block, everything else visible; B = M = 1.

        Raises:
            ValueError: the block is empty, leaves the grid, or covers all of it.
        """
        rows, cols = _check_grid(grid)
        if height < 1 or width < 1:
            raise ValueError(f"The block is empty: height {height}, width {width}.")
        if row < 0 or col < 0 or row + height > rows or col + width > cols:
            raise ValueError(
                f"The block (row {row}, col {col}, height {height}, width {width}) leaves the "
                f"{rows}x{cols} grid. Rows run from 0 to {rows - 1}, columns from 0 to {cols - 1}."
            )
        hidden = torch.zeros(rows, cols, dtype=torch.bool)
        hidden[row : row + height, col : col + width] = True
        return cls.from_array(hidden)

    @classmethod
    def from_array(cls, hidden: Any) -> Masks:
        """A free-hand mask: ``hidden`` (rows, cols) bool, True = hidden; B = M = 1.

        Raises:
            ValueError: not a two-dimensional boolean array, nothing hidden, or everything hidden.
        """
        array = torch.as_tensor(hidden)
        if array.ndim != 2 or array.dtype != torch.bool:
            raise ValueError(f"A mask is a boolean array (rows, cols), got {array.dtype} {tuple(array.shape)}.")
        rows, cols = array.shape
        flat = array.flatten()
        targets = flat.nonzero().flatten()
        context = (~flat).nonzero().flatten()
        return cls(context[None], targets[None, None], (rows, cols))

    def to_json(self) -> str:
        """A JSON text that :meth:`from_json` reads back."""
        return json.dumps(
            {
                "grid": list(self.grid),
                "context": [
                    [i for i, ok in zip(row, keep, strict=True) if ok]
                    for row, keep in zip(self.context.tolist(), self.valid.tolist(), strict=True)
                ],
                "targets": self.targets.tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Masks:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: not JSON, a key missing, or a mask that is not valid.
        """
        try:
            data = json.loads(text)
            grid = (int(data["grid"][0]), int(data["grid"][1]))
            rows = [[int(i) for i in row] for row in data["context"]]
            targets = torch.tensor(data["targets"], dtype=torch.int64)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f'Not a mask. Expected {{"grid": [rows, cols], "context": [[...]], "targets": [[[...]]]}}: {error!r}'
            ) from error
        width = max((len(row) for row in rows), default=0)
        if any(not row for row in rows):
            raise ValueError("The mask hides everything: leave at least one patch visible.")
        context = torch.tensor([row + row[:1] * (width - len(row)) for row in rows], dtype=torch.int64)
        counts = torch.tensor([len(row) for row in rows])
        valid = torch.arange(width) < counts[:, None]
        return cls(context.view(len(rows), width), targets, grid, None if valid.all() else valid)


# --------------------------------------------------------------------------- registry

Sampler = Callable[..., Masks]
STRATEGIES: dict[str, Sampler] = {}


def register(name: str) -> Callable[[Sampler], Sampler]:
    """Register a strategy ``f(batch, grid, generator, **options) -> Masks`` under ``name``."""

    def add(function: Sampler) -> Sampler:
        STRATEGIES[name] = function
        return function

    return add


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
    if strategy not in STRATEGIES:
        near = difflib.get_close_matches(strategy, STRATEGIES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"No mask strategy {strategy!r}; there are {', '.join(STRATEGIES)}.{hint}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}.")
    rows, cols = _check_grid(grid)
    if min(rows, cols) < 2:
        raise ValueError(f"Masks need a grid of at least 2x2 patches, got {rows}x{cols}.")
    return STRATEGIES[strategy](batch, (rows, cols), generator, **options)


# --------------------------------------------------------------------------- strategies


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
        visible = _place(count, grid, generator, context_size, 0)[1] & ~hidden
        good = visible.sum(1) >= keep
        drawn.append((index[good][:missing], visible[good][:missing]))
        missing -= len(drawn[-1][0])
        if not missing:
            break
    else:
        # Many large targets on a small grid: let them coincide, and see all the rest.
        index, hidden = _place_targets(missing, grid, generator, 1, size, 0)
        drawn.append((index.expand(-1, targets, -1), ~hidden))
    index, visible = (torch.cat(parts) for parts in zip(*drawn, strict=True))
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
    index, _ = _place_targets(batch, grid, generator, targets, size, 1)
    visible = torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool)
    todo = torch.arange(batch)
    for released in range(targets + 1):
        # Each round gives one more target region back to the context: the known leak.
        hidden = torch.zeros_like(visible)
        hidden.scatter_(1, index[:, : targets - released].flatten(1), True)
        for _ in range(attempts):
            block = _place(len(todo), grid, generator, context_size, 1)[1]
            visible[todo] = block & ~hidden[todo]
            todo = todo[visible[todo].sum(1) <= keep]
            if not len(todo):
                break
        if not len(todo):
            break
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


def _check_grid(grid: Grid) -> Grid:
    if len(grid) != 2 or any(int(n) != n or n < 1 for n in grid):
        raise ValueError(f"A grid is (rows, cols), both at least 1, got {grid!r}.")
    return int(grid[0]), int(grid[1])


def _between(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _block_size(area: float, aspect: float, limit: Grid) -> Grid:
    height = min(max(1, round(math.sqrt(area * aspect))), limit[0])
    width = min(max(1, round(math.sqrt(area / aspect))), limit[1])
    return max(1, height), max(1, width)


def _offsets(size: Grid, cols: int) -> Tensor:
    return (torch.arange(size[0])[:, None] * cols + torch.arange(size[1])).flatten()


def _place(count: int, grid: Grid, generator: torch.Generator | None, size: Grid, margin: int) -> tuple[Tensor, Tensor]:
    """``count`` blocks of one size at random places: indices (count, T), and a (count, N) bool map."""
    rows, cols = grid
    down, right = rows - size[0] + 1 - margin, cols - size[1] + 1 - margin
    place = torch.randint(down * right, (count,), generator=generator)
    start = place // right * cols + place % right
    index = start[:, None] + _offsets(size, cols)
    inside = torch.zeros(count, rows * cols, dtype=torch.bool).scatter_(1, index, True)
    return index, inside


def _place_targets(
    batch: int, grid: Grid, generator: torch.Generator | None, targets: int, size: Grid, margin: int
) -> tuple[Tensor, Tensor]:
    """Indices (B, M, T) of M blocks an image, and their union (B, N)."""
    index, inside = _place(batch * targets, grid, generator, size, margin)
    return index.view(batch, targets, -1), inside.view(batch, targets, -1).any(1)


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
