"""How a picture of any proportions lies on a model's grid of patches: cropped, padded, or on a grid of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ijepa_viz.data.picture_size import ImageSize, height_and_width

FITS = {
    "crop": "the largest centred part that has the proportions of the model's pictures",
    "pad": "the whole picture on the model's grid; patches beside it are padding, neither visible nor hidden",
    "native": "the whole picture on a grid of its own proportions, of about as many patches as the model's",
}
"""Ways to fit a picture to a model, and what each shows."""

_PADDING = 255  # white, for figures: no network reads it


@dataclass(frozen=True)
class Placement:
    """Place of a picture on a grid of patches.

    Attributes:
        grid: (rows, cols) of what the model reads.
        part: (top, left, rows, cols), the patches that the picture covers; the others are padding.
        patch_size: in pixels.
    """

    grid: tuple[int, int]
    part: tuple[int, int, int, int]
    patch_size: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the model reads, in pixels."""
        return self.grid[0] * self.patch_size, self.grid[1] * self.patch_size

    @property
    def inside(self) -> Tensor | None:
        """(rows, cols) bool, False for padding; None where there is none."""
        top, left, rows, cols = self.part
        if (rows, cols) == self.grid:
            return None
        inside = torch.zeros(self.grid, dtype=torch.bool)
        inside[top : top + rows, left : left + cols] = True
        return inside

    def draw(self, image: Image.Image, scale: float = 1.0) -> Image.Image:
        """The picture as the model reads it, or ``scale`` times as large: RGB, antialiased."""
        top, left, rows, cols = (round(side * self.patch_size * scale) for side in self.part)
        drawn = centre_crop(image, (rows, cols))
        height, width = (round(side * scale) for side in self.size)
        if (rows, cols) == (height, width):
            return drawn
        canvas = Image.new("RGB", (width, height), (_PADDING,) * 3)
        canvas.paste(drawn, (left, top))
        return canvas

    def own_scale(self, height: int, width: int, largest: int) -> float:
        """Scale at which a picture of (height, width) has its own resolution, at most ``largest`` px in the result."""
        rows, cols = (side * self.patch_size for side in self.part[2:])
        return min(height / rows, width / cols, largest / max(self.size))


def place(
    picture: tuple[int, int], model: ImageSize, patch_size: int, fit: str = "crop", patches: int | None = None
) -> Placement:
    """Place a picture on a grid of patches; nothing is ever stretched.

    Args:
        picture: (height, width) of the picture, in pixels.
        model: size of the model's pictures. patch_size: in pixels.
        fit: a name in :data:`FITS`. "pad" fills the model's grid along one side and "native" has about ``patches``
            patches, or fewer where the picture has fewer pixels. Both have whole patches only: what is left of the last
            one is cut off, half of it at each of two opposite edges.
        patches: of "native"; None is as many as the model's own grid has, so that things are as large as in training.

    Raises:
        ValueError: an unknown name, ``patches`` below 1 or for another fit than "native", or with that a picture so
            long that one row of patches in its proportions is more than the model's grid and than ``patches``.

    >>> place((300, 600), 64, 8).grid
    (8, 8)
    >>> place((300, 600), 64, 8, "pad").part  # top, left, rows, cols
    (2, 0, 4, 8)
    >>> place((300, 600), 64, 8, "native").grid
    (6, 12)
    """
    if fit not in FITS:
        raise ValueError(f"fit is one of {', '.join(FITS)}, got {fit!r}.")
    if patches is not None and (fit != "native" or patches < 1):
        raise ValueError(f"patches is for fit='native' and at least 1, got {patches} and {fit!r}.")
    rows, cols = (side // patch_size for side in height_and_width(model))
    height, width = picture
    if fit == "crop":
        return Placement((rows, cols), (0, 0, rows, cols), patch_size)
    if fit == "pad":
        scale = min(rows / height, cols / width)
        part = _whole_part(height * scale, rows), _whole_part(width * scale, cols)
        return Placement((rows, cols), ((rows - part[0]) // 2, (cols - part[1]) // 2, *part), patch_size)
    scale = min(((patches or rows * cols) / (height * width)) ** 0.5, 1 / patch_size)
    shorter = max(1, round(min(height, width) * scale))
    longer = max(1, round(shorter * max(height, width) / min(height, width)))
    if longer > max(patches or 0, rows * cols, 1):
        raise ValueError(
            f"A picture of {width}x{height} px is too long a strip for fit='native': whole patches of its proportions "
            f"are {longer} in a row, and the model's grid has {rows * cols} ({rows}x{cols}). Cut it into shorter "
            f"pictures, take fit='crop', or from Python allow them with patches={longer}."
        )
    own = (shorter, longer) if height <= width else (longer, shorter)
    return Placement(own, (0, 0, *own), patch_size)


def _whole_part(patches: float, most: int) -> int:
    """A whole number of patches near ``patches``: of the next smaller and larger one the one that cuts off less."""
    low, high = max(1, math.floor(patches + 1e-9)), min(most, math.ceil(patches - 1e-9))
    return max(low, high) if min(low, patches) / max(low, patches) < min(high, patches) / max(high, patches) else low


def centre_crop(image: Image.Image, size: ImageSize) -> Image.Image:
    """Crop the largest centred part of the proportions of ``size`` and resize it to that many pixels, antialiased."""
    height, width = height_and_width(size)
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def as_tensor(image: Image.Image) -> Tensor:
    """Convert an RGB image to (3, H, W) float in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
