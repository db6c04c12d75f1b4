"""Drawn scenes as rectangles: the centre of a square one, with its ground truth, as rectangular models read it."""

from __future__ import annotations

from dataclasses import replace

from ijepa_viz.data.menagerie.composition import Scene, scene
from ijepa_viz.data.picture_size import ImageSize, height_and_width


def framed_scene(index: int, size: ImageSize = 64, seed: int = 0) -> Scene:
    """Scene ``index`` of the menagerie ``seed`` at a square or rectangular size.

    A rectangle is the centre of the square scene of its longer side, as it is cut from photographs: maps and image are
    (height, width), and positions and sizes of things and details are relative to the rectangle's sides. What lies
    beyond it has positions below 0 or above 1.

    Raises:
        ValueError: a longer side below 32 pixels.
    """
    height, width = height_and_width(size)
    side = max(height, width)
    whole = scene(index, side, seed)
    if height == width:
        return whole
    top, left = (side - height) // 2, (side - width) // 2
    rows, cols = slice(top, top + height), slice(left, left + width)

    def x(value: float) -> float:
        return (value * side - left) / width

    def y(value: float) -> float:
        return (value * side - top) / height

    things = tuple(replace(t, x=x(t.x), y=y(t.y), size=t.size * side / height) for t in whole.things)
    return replace(
        whole,
        image=whole.image[rows, cols],
        parts=whole.parts[rows, cols],
        owners=whole.owners[rows, cols],
        things=things,
        details=tuple((x(a), y(b)) for a, b in whole.details),
    )
