"""Where the parts of aligned cats' faces are, as shares of the head's box, and holes over them."""

from __future__ import annotations

import math

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA

Box = tuple[float, float, float, float]

# Left, top, right, bottom: both eyes and the nose; and the eye on the left of the picture.
EYES_AND_NOSE: Box = (1 / 8, 1 / 4, 7 / 8, 3 / 4)
LEFT_EYE: Box = (1 / 8, 1 / 4, 1 / 2, 5 / 8)

# Centre (x, y) of the eye on the left, of the mean of aligned faces.
LEFT_EYE_CENTRE = (0.28, 0.41)


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
