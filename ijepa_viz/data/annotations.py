"""Places in the pictures of a data set, of parquet's columns ``parts`` and ``head_box``, as places in its squares."""

from __future__ import annotations

import numpy as np

from ijepa_viz.data.picture_size import ImageSize, height_and_width
from ijepa_viz.data.source import Source

# Columns, with the shape of one picture's values: fifteen parts of a bird as [x, y, visible], and a head as
# [left, top, right, bottom], in pixels of the stored picture.
ANNOTATIONS: dict[str, tuple[int, ...]] = {"parts": (15, 3), "head_box": (4,)}

PARTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape", "right eye",
    "right leg", "right wing", "tail", "throat",
)  # fmt: skip


def part_points(source: Source, size: ImageSize) -> np.ndarray:
    """Places of the birds' parts in the centred parts of pictures that models see.

    Args:
        source: with a column ``parts``. size: of what models see, in pixels: a square's side, or (height, width).

    Returns:
        (count, 15, 2) float64 as (x, y), in the order of :data:`PARTS`; NaN where a part is not visible, not known, or
        outside of what models see.

    Raises:
        ValueError: a data set without the column.
    """
    parts = _annotation(source, "parts")
    points = _cropped(source, parts[..., :2], size)
    shown = (parts[..., 2] > 0) & ((points >= 0) & (points < _width_and_height(size))).all(-1)
    return np.where(shown[..., None], points, np.nan)


def head_box(source: Source, size: ImageSize) -> tuple[float, float, float, float]:
    """Where heads are in what models see of an aligned data set: the median (left, top, right, bottom), in pixels.

    A data set without the column ``head_box`` holds nothing but heads: its box is the whole picture.
    """
    if "head_box" not in source.annotations:
        return 0.0, 0.0, *_width_and_height(size).tolist()
    boxes = _annotation(source, "head_box")
    known = _cropped(source, boxes.reshape(-1, 2, 2), size)
    if np.isnan(known).all():
        raise ValueError(f"The column head_box of {source.name} is empty.")
    left, top, right, bottom = np.nanmedian(known, axis=0).clip(0, _width_and_height(size)).reshape(4).tolist()
    return left, top, right, bottom


def _annotation(source: Source, name: str) -> np.ndarray:
    if name not in source.annotations:
        have = f"it has {', '.join(source.annotations)}" if source.annotations else "it has none"
        raise ValueError(
            f"{source.name} has no annotation {name!r}: {have}. Annotations are columns of parquet files, {name} of "
            f"{' x '.join(map(str, ANNOTATIONS[name]))} numbers a picture."
        )
    return source.annotations[name]()


def _cropped(source: Source, points: np.ndarray, size: ImageSize) -> np.ndarray:
    """Points (count, n, 2) of stored pictures as points of their largest centred parts, resized to ``size`` px."""
    sides = np.array([source[i].size for i in range(len(source))], np.float64)  # (count, 2) as (width, height)
    wanted = _width_and_height(size)
    whole = (wanted / sides).argmax(1)  # the axis along which nothing is cut off
    rows = np.arange(len(sides))
    kept = sides[rows, whole][:, None] * wanted / wanted[whole][:, None]
    scale = wanted[whole] / sides[rows, whole]
    return (points - ((sides - kept) / 2)[:, None]) * scale[:, None, None]


def _width_and_height(size: ImageSize) -> np.ndarray:
    """(2,) float64, in the order of points."""
    return np.array(height_and_width(size)[::-1], np.float64)
