"""Places in the pictures of a data set, of parquet's columns ``parts`` and ``head_box``, as places in its squares."""

from __future__ import annotations

import numpy as np

from ijepa_viz.data.source import Source

# Columns, with the shape of one picture's values: fifteen parts of a bird as [x, y, visible], and a head as
# [left, top, right, bottom], in pixels of the stored picture.
ANNOTATIONS: dict[str, tuple[int, ...]] = {"parts": (15, 3), "head_box": (4,)}

PARTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape", "right eye",
    "right leg", "right wing", "tail", "throat",
)  # fmt: skip


def part_points(source: Source, size: int) -> np.ndarray:
    """Places of the birds' parts in the centred squares that models see.

    Args:
        source: with a column ``parts``. size: side of the squares, in pixels.

    Returns:
        (count, 15, 2) float64 as (x, y), in the order of :data:`PARTS`; NaN where a part is not visible, not known, or
        outside of the square.

    Raises:
        ValueError: a data set without the column.
    """
    parts = _annotation(source, "parts")
    points = _in_squares(source, parts[..., :2], size)
    shown = (parts[..., 2] > 0) & ((points >= 0) & (points < size)).all(-1)
    return np.where(shown[..., None], points, np.nan)


def head_box(source: Source, size: int) -> tuple[float, float, float, float]:
    """Where heads are in the squares of an aligned data set: the median (left, top, right, bottom), in pixels.

    A data set without the column ``head_box`` holds nothing but heads: its box is the whole square.
    """
    if "head_box" not in source.annotations:
        return 0.0, 0.0, float(size), float(size)
    boxes = _annotation(source, "head_box")
    known = _in_squares(source, boxes.reshape(-1, 2, 2), size)
    if np.isnan(known).all():
        raise ValueError(f"The column head_box of {source.name} is empty.")
    left, top, right, bottom = np.nanmedian(known, axis=0).reshape(4).clip(0, size).tolist()
    return left, top, right, bottom


def _annotation(source: Source, name: str) -> np.ndarray:
    if name not in source.annotations:
        have = f"it has {', '.join(source.annotations)}" if source.annotations else "it has none"
        raise ValueError(
            f"{source.name} has no annotation {name!r}: {have}. Annotations are columns of parquet files, {name} of "
            f"{' x '.join(map(str, ANNOTATIONS[name]))} numbers a picture."
        )
    return source.annotations[name]()


def _in_squares(source: Source, points: np.ndarray, size: int) -> np.ndarray:
    """Points (count, n, 2) of stored pictures as points of their centred squares of ``size`` px."""
    sides = np.array([source[i].size for i in range(len(source))], np.float64)  # (count, 2) as (width, height)
    shorter = sides.min(1)
    offset = (sides - shorter[:, None]) / 2
    return (points - offset[:, None]) * (size / shorter)[:, None, None]
