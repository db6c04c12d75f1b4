"""Context and target patches of a batch of images (section 3, "Targets" and "Context").

Positions are indices into the row-major patch grid: patch ``(row, col)`` is ``row * cols + col``. Of films, time is
outermost: patch ``(step, row, col)`` is ``(step * rows + row) * cols + col``; pictures are films of one step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Grid = tuple[int, int]


@dataclass(frozen=True)
class Masks:
    """Context patches and target blocks of a batch of images.

    NumPy arrays, nested lists and integers of any width are accepted, and become int64 (or bool) tensors. Boolean
    grids are read by :meth:`from_array`.

    Attributes:
        context: (B, K) int64, visible patches of each image, ascending.
        targets: (B, M, T) int64, the patches of each of M target blocks.
        grid: (rows, cols) of the patch grid, N = steps * rows * cols.
        context_valid: (B, K) bool or None. Rows with fewer than K visible patches are padded; False marks the padding,
            which no layer attends to. None means no padding.
        steps: of time, of the tokens of films; 1 for pictures.

    Raises:
        ValueError: a shape, a dtype, or an index that does not fit the grid; an image with no
            context; a block without patches.
    """

    context: Tensor
    targets: Tensor
    grid: Grid
    context_valid: Tensor | None = None
    steps: int = 1

    def __post_init__(self) -> None:
        rows, cols = check_grid(self.grid)
        object.__setattr__(self, "grid", (rows, cols))
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}.")
        for name in ("context", "targets"):
            object.__setattr__(self, name, _patch_indices(name, getattr(self, name)))
        if self.context_valid is not None:
            object.__setattr__(self, "context_valid", _flags("context_valid", self.context_valid))
        if self.context.ndim != 2 or self.targets.ndim != 3:
            raise ValueError(
                "Masks need context (B, K) and targets (B, M, T), got "
                f"{tuple(self.context.shape)} and {tuple(self.targets.shape)}."
            )
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
            if index.is_meta:  # shapes without values, for planning
                continue
            low, high = (int(v) for v in index.aminmax())
            if low < 0 or high >= self.num_patches:
                size = f"{rows}x{cols} grid" if self.steps == 1 else f"{rows}x{cols} grid of {self.steps} steps"
                raise ValueError(
                    f"{name} names patch {low if low < 0 else high}, but a {size} has "
                    f"patches 0 to {self.num_patches - 1}. Was this mask made for another grid?"
                )

    @property
    def num_patches(self) -> int:
        """N, the number of patches of the grid, at all steps."""
        return self.steps * self.grid[0] * self.grid[1]

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.grid if self.steps == 1 else (self.steps, *self.grid)

    def __len__(self) -> int:
        return self.context.shape[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return (
            (self.grid, self.steps) == (other.grid, other.steps)
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
        """(B, rows, cols) bool, of films (B, steps, rows, cols), True where a patch belongs to a target block."""
        flat = torch.zeros(len(self), self.num_patches, dtype=torch.bool, device=self.targets.device)
        flat.scatter_(1, self.targets.flatten(1), True)
        return flat.view(len(self), *self._shape)

    def hidden_pixels(self, patch_size: int, tubelet: int = 1) -> Tensor:
        """:attr:`hidden` by pixel, (B, H, W) bool, for patches of ``patch_size`` pixels a side.

        Of films (B, T, H, W), for patches of ``tubelet`` frames.
        """
        pixels = self.hidden.repeat_interleave(patch_size, -1).repeat_interleave(patch_size, -2)
        return pixels if self.steps == 1 else pixels.repeat_interleave(tubelet, 1)

    @property
    def visible(self) -> Tensor:
        """(B, rows, cols) bool, of films (B, steps, rows, cols), True where the context encoder sees the patch."""
        counts = torch.zeros(len(self), self.num_patches, device=self.context.device)
        counts.scatter_add_(1, self.context, self.valid.float())
        return (counts > 0).view(len(self), *self._shape)

    def to(self, device: torch.device | str) -> Masks:
        """Copy the masks to a device."""
        valid = None if self.context_valid is None else self.context_valid.to(device)
        return Masks(self.context.to(device), self.targets.to(device), self.grid, valid, self.steps)

    def __getitem__(self, rows: slice | Tensor) -> Masks:
        """Select the masks of some images of the batch."""
        valid = None if self.context_valid is None else self.context_valid[rows]
        return Masks(self.context[rows], self.targets[rows], self.grid, valid, self.steps)

    def repeat(self, batch: int) -> Masks:
        """Repeat the masks of one image for a batch of ``batch`` images.

        Raises:
            ValueError: masks of several images.
        """
        if len(self) != 1:
            raise ValueError(f"Only the masks of one image can be repeated, these are for {len(self)}.")
        valid = None if self.context_valid is None else self.context_valid.expand(batch, -1)
        context, targets = self.context.expand(batch, -1), self.targets.expand(batch, -1, -1)
        return Masks(context, targets, self.grid, valid, self.steps)

    def within(self, inside: Tensor) -> Masks:
        """The same targets, and the context without the patches that are padding.

        Args:
            inside: (B, rows, cols) bool, False where an image is padding; of pictures only.

        Raises:
            ValueError: a target block that reaches into padding, no context left, or another number of images or grid.
        """
        if inside.shape != (len(self), *self.grid):
            raise ValueError(f"These masks need {(len(self), *self.grid)} flags, got {tuple(inside.shape)}.")
        if self.steps > 1:
            raise ValueError("Only pictures have padding: crop films to the model's proportions.")
        inside = inside.to(self.targets.device)
        outside = (self.hidden & ~inside).nonzero().tolist()
        if outside:
            image, row, col = outside[0]
            rows, cols = (inside[image].any(other).nonzero().flatten().tolist() for other in (1, 0))
            raise ValueError(
                f"The mask hides the patch in row {row}, column {col} of image {image}, which is padding: the picture "
                f"covers rows {rows[0]} to {rows[-1]} and columns {cols[0]} to {cols[-1]}."
            )
        visible = (self.visible & inside).flatten(1)
        if not bool(visible.any(1).all()):
            raise ValueError("The mask hides everything of the picture: leave at least one patch visible.")
        context, valid = padded_indices(visible)
        return Masks(context, self.targets, self.grid, valid)

    @classmethod
    def from_block(cls, grid: Grid, row: int, col: int, height: int, width: int) -> Masks:
        """One rectangular target block, its complement visible; B = M = 1.

        Args:
            grid: (rows, cols). row, col: top left patch of the block. height, width: of the block, in patches.

        Raises:
            ValueError: the block is empty, leaves the grid, or covers all of it.

        >>> masks = Masks.from_block((4, 4), row=1, col=1, height=2, width=2)
        >>> masks.targets
        tensor([[[ 5,  6,  9, 10]]])
        >>> masks.context.shape
        torch.Size([1, 12])
        """
        rows, cols = check_grid(grid)
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
    def future(cls, grid: Grid, steps: int, seen: int | Tensor, ahead: int | None = None) -> Masks:
        """Films of which the first steps are the context, and later ones are to be predicted; M = 1.

        Args:
            grid: (rows, cols). steps: of the films.
            seen: steps of the context; or (B,), one number a film.
            ahead: steps after them that are targets; None is all.

        Returns:
            Masks with targets (B, 1, ahead * rows * cols), step after step; B is 1 for one number.

        Raises:
            ValueError: nothing seen, a target after the last step, or ``ahead`` None for different numbers.
            TypeError: no whole number of steps.

        >>> masks = Masks.future((8, 8), steps=8, seen=3, ahead=2)
        >>> masks.context.shape, masks.targets.shape
        (torch.Size([1, 192]), torch.Size([1, 1, 128]))
        """
        rows, cols = check_grid(grid)
        given = _step_count("seen", seen)
        if ahead is not None:
            after = _step_count("ahead", ahead)
            if after.numel() != 1:
                raise TypeError(f"ahead is one number of steps for all films, got {ahead!r}.")
            ahead = int(after)
        counts = given.long().cpu().reshape(-1)
        if not len(counts):
            raise ValueError("seen has no numbers: give the steps of the context, one a film.")
        low, high = (int(v) for v in counts.aminmax())
        if ahead is None and low != high:
            raise ValueError(f"ahead is needed where films are seen for {low} to {high} steps: targets are as many.")
        ahead = steps - high if ahead is None else ahead
        if low < 1 or ahead < 1 or high + ahead > steps:
            raise ValueError(
                f"Of {steps} steps, {low if low < 1 else high} cannot be seen and {ahead} after them be predicted: at "
                f"least 1 of each, at most {steps} together."
            )
        area = rows * cols
        context, valid = padded_indices(torch.arange(steps * area) < counts[:, None] * area)
        targets = counts[:, None] * area + torch.arange(ahead * area)
        return cls(context, targets[:, None], (rows, cols), valid, steps)

    @classmethod
    def from_array(cls, hidden: Any) -> Masks:
        """A mask of any shape from a bool array (rows, cols), True = hidden; M = 1, B = 1.

        Args:
            hidden: NumPy array, tensor or nested list, (rows, cols); or (B, rows, cols), one mask an image, all with as
                many hidden patches. Of films (B, steps, rows, cols).

        Raises:
            ValueError: not a boolean array of two to four dimensions, nothing hidden, everything hidden, or masks of
                different sizes.
        """
        array = _flags("A mask", hidden)
        if array.ndim not in (2, 3, 4):
            raise ValueError(
                "A mask is a boolean array (rows, cols) or (B, rows, cols), of films (B, steps, rows, cols), got "
                f"{tuple(array.shape)}."
            )
        several = array[None] if array.ndim == 2 else array
        batch, (rows, cols) = len(several), several.shape[-2:]
        steps = several.shape[1] if array.ndim == 4 else 1
        flat = several.reshape(batch, steps * rows * cols)
        counts = flat.sum(1).unique().tolist() or [0]
        if len(counts) > 1:
            raise ValueError(f"The masks of a batch hide equally many patches, these hide {counts[0]} to {counts[-1]}.")
        targets = flat.nonzero()[:, 1].view(batch, 1, counts[0])
        context = (~flat).nonzero()[:, 1].view(batch, flat.shape[1] - counts[0])
        return cls(context, targets, (rows, cols), None, steps)

    def to_json(self) -> str:
        """Serialise to JSON; :meth:`from_json` is the inverse."""
        return json.dumps(
            {
                "grid": list(self.grid),
                **({} if self.steps == 1 else {"steps": self.steps}),
                "context": [
                    [i for i, ok in zip(row, keep, strict=True) if ok]
                    for row, keep in zip(self.context.tolist(), self.valid.tolist(), strict=True)
                ],
                "targets": self.targets.tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Masks:
        """Parse the JSON of :meth:`to_json`.

        Raises:
            ValueError: not JSON, a missing key, or invalid masks.
        """
        try:
            data = json.loads(text)
            grid = (int(data["grid"][0]), int(data["grid"][1]))
            steps = int(data.get("steps", 1))
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
        return cls(context.view(len(rows), width), targets, grid, None if valid.all() else valid, steps)


def padded_indices(visible: Tensor) -> tuple[Tensor, Tensor | None]:
    """Indices of the True entries of (B, N), ascending, padded to (B, K) with the first, and their validity or None."""
    counts = visible.sum(1)
    longest = int(counts.max())
    context = visible.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    valid = torch.arange(longest, device=counts.device) < counts[:, None]
    if bool(valid.all()):
        return context, None
    return torch.where(valid, context, context[:, :1]), valid


def central_block(grid: Grid) -> tuple[int, int, int, int]:
    """(row, col, height, width) of the block in the middle, of half the height and half the width.

    >>> central_block((8, 12)), central_block((3, 17))
    ((2, 3, 4, 6), (1, 4, 1, 8))
    """
    rows, cols = grid
    height, width = max(1, rows // 2), max(1, cols // 2)
    return (rows - height) // 2, (cols - width) // 2, height, width


def _as_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        array = np.array(value)  # a copy: read-only arrays and negative strides are no tensors
        return torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iu" else array)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from error


def _step_count(name: str, value: Any) -> Tensor:
    try:
        count = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):  # None, text, lists of them
        raise TypeError(f"{name} is a whole number of steps, got {value!r}.") from None
    if count.numel() and (count.is_floating_point() or count.is_complex() or count.dtype == torch.bool):
        raise TypeError(f"{name} is a whole number of steps, got {count.tolist()}.")
    return count


def _patch_indices(name: str, value: Any) -> Tensor:
    tensor = _as_tensor(name, value)
    if tensor.dtype == torch.bool:
        raise ValueError(
            f"{name} holds patch indices, got booleans. Masks.from_array reads a boolean grid (rows, cols)."
        )
    if tensor.is_floating_point() or tensor.is_complex():
        raise ValueError(f"{name} holds patch indices, which are integers, got {tensor.dtype}.")
    return tensor.long()


def _flags(name: str, value: Any) -> Tensor:
    tensor = _as_tensor(name, value)
    if tensor.dtype != torch.bool:
        raise ValueError(
            f"{name} is a boolean array, got {tensor.dtype} {tuple(tensor.shape)}. Of zeros and ones give "
            "array.astype(bool), of patch indices Masks(context, targets, grid)."
        )
    return tensor


def check_grid(grid: Grid) -> Grid:
    """Return ``grid`` as two integers.

    Raises:
        ValueError: not (rows, cols), both at least 1.
    """
    if len(grid) != 2 or any(int(n) != n or n < 1 for n in grid):
        raise ValueError(f"A grid is (rows, cols), both at least 1, got {grid!r}.")
    return int(grid[0]), int(grid[1])
