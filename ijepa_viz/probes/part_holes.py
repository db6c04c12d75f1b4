"""Holes over parts of animals: of aligned cats' faces, by shares of the head's box, and of birds, by their parts."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.annotations import PARTS
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA

Box = tuple[float, float, float, float]

# Left, top, right, bottom of an aligned face: both eyes and the nose; and the eye on the left of the picture.
EYES_AND_NOSE: Box = (1 / 8, 1 / 4, 7 / 8, 3 / 4)
LEFT_EYE: Box = (1 / 8, 1 / 4, 1 / 2, 5 / 8)

# Centre (x, y) of the eye on the left, of the mean of aligned faces.
LEFT_EYE_CENTRE = (0.28, 0.41)

HOLE = 3 / 8  # side of the holes of birds, as a share of the picture's

# Parts of birds that are told apart, and the annotated parts that are one of it.
GROUPS = {
    "leg": ("left leg", "right leg"),
    "beak": ("beak",),
    "eye": ("left eye", "right eye"),
    "tail": ("tail",),
}


def inside(head: Box, share: tuple[float, float]) -> tuple[float, float]:
    """Point (x, y) at a share (x, y) of the head's box, in the box's units."""
    left, top, right, bottom = head
    return left + share[0] * (right - left), top + share[1] * (bottom - top)


def face_hole(model: IJEPA, head: Box, part: Box) -> Masks:
    """The smallest rectangle of patches that covers a part of the face.

    Args:
        model: its grid is used. head: box of the heads in pixels of the model's pictures.
        part: shares of that box.
    """
    patch, (rows, cols) = model.config.patch_size, model.grid
    (left, top), (right, bottom) = inside(head, part[:2]), inside(head, part[2:])
    row, col = max(0, math.floor(top / patch + 1e-6)), max(0, math.floor(left / patch + 1e-6))
    last_row, last_col = min(rows, math.ceil(bottom / patch - 1e-6)), min(cols, math.ceil(right / patch - 1e-6))
    return Masks.from_block(model.grid, row, col, last_row - row, last_col - col)


def group_points(points: np.ndarray) -> Tensor:
    """Places of the fifteen parts (n, 15, 2) as those of :data:`GROUPS`, (n, 4, 2, 2) float; NaN for none."""
    grouped = np.full((len(points), len(GROUPS), 2, 2), np.nan)
    for i, names in enumerate(GROUPS.values()):
        for k, name in enumerate(names):
            grouped[:, i, k] = points[:, PARTS.index(name)]
    return torch.from_numpy(grouped).float()


def holes_over_parts(
    points: Tensor, grid: tuple[int, int], patch: int, side: int
) -> tuple[np.ndarray, list[str], Masks]:
    """Square holes: one over the legs of each picture, and one over the beak and the tail in turn.

    Args:
        points: (n, 4, 2, 2), of :data:`GROUPS`. grid: (rows, cols). patch: pixels. side: of the holes, in patches.

    Returns:
        Indices (m,) of the pictures, the name of the hidden part of each, and m masks.

    Raises:
        ValueError: no picture with a visible leg.
    """
    names = list(GROUPS)
    rows, over, hidden = [], [], []
    for index, places in enumerate(points):
        for name in ("leg", "tail" if index % 2 else "beak"):
            known = places[names.index(name)]
            known = known[~known.isnan().any(-1)]
            if not len(known):
                continue
            x, y = (known.mean(0) / patch - side / 2).round().long().tolist()
            top, left = min(max(y, 0), grid[0] - side), min(max(x, 0), grid[1] - side)
            mask = np.zeros(grid, bool)
            mask[top : top + side, left : left + side] = True
            rows.append(index)
            over.append(name)
            hidden.append(mask)
    if "leg" not in over:
        raise ValueError(f"A leg is visible in none of {len(points)} pictures: there is nothing to hide.")
    return np.array(rows), over, Masks.from_array(np.stack(hidden))


def in_holes(points: Tensor, masks: Masks, patch: int) -> Tensor:
    """The points (m, P, K, 2) in pixels of the holes; NaN for those outside."""
    first = masks.targets[:, 0, 0]
    corner = torch.stack([first % masks.grid[1], first // masks.grid[1]], -1) * patch
    side = round(masks.targets.shape[-1] ** 0.5) * patch
    inside = points - corner[:, None, None]
    fits = ((inside >= 0) & (inside < side)).all(-1, keepdim=True)
    return torch.where(fits, inside, torch.full_like(inside, torch.nan))
