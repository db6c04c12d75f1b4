"""A square around a cat's face in a picture of any size, found by OpenCV's cascade where that is installed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

_MEND = "python -m pip install 'ijepa-viz[judge]' (in a clone: '.[judge]')"
# The cascade sees no small face and is slow on large pictures: the longer side is brought to this length.
_SIDE = 384
_NEIGHBOURS = 6  # detections that have to agree, as many as leave few mistakes
_SMALLEST = 1 / 4  # side of a face, of the picture's shorter one: smaller detections are often spots within a face


def can_find_faces() -> bool:
    """Whether an OpenCV with cascades is installed: it is part of the extra ``judge``."""
    try:
        cat_face_cascade()
    except ValueError:
        return False
    return True


def find_cat_face(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The square around the largest cat's face, eyes and mouth in it where aligned faces have them.

    Args:
        image: RGB, upright.

    Returns:
        (left, top, right, bottom) in pixels; None where no face is found, or none of a quarter of the shorter side.

    Raises:
        ValueError: OpenCV is not installed, or has no cascades.
    """
    cascade = cat_face_cascade()[1]
    scale = _SIDE / max(image.size)
    small = image.convert("L").resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    least = max(1, round(_SMALLEST * min(small.size)))
    found = cascade.detectMultiScale(
        np.asarray(small), scaleFactor=1.05, minNeighbors=_NEIGHBOURS, minSize=(least, least)
    )
    if not len(found):
        return None
    left, top, width, height = max(found, key=lambda box: box[2] * box[3]) / scale
    side = min(max(width, height), *image.size)
    return _square((left + width / 2, top + height / 2), round(side), image.size)


def _square(centre: tuple[float, float], side: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The square of this side inside of (width, height) whose centre is nearest."""
    left, top = (min(max(0, round(at - side / 2)), most - side) for at, most in zip(centre, size, strict=True))
    return left, top, left + side, top + side


@cache
def cat_face_cascade() -> tuple[Any, Any]:
    """OpenCV, and its cascade of cat faces.

    Raises:
        ValueError: OpenCV is not installed, has no cascades, or cannot read this one.
    """
    try:
        import cv2
    except ImportError as error:
        raise ValueError(
            f"The judge of cat faces is part of OpenCV, which is not installed ({error}): {_MEND}"
        ) from error
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    if not hasattr(cv2, "CascadeClassifier") or not folder:
        raise ValueError(f"OpenCV {cv2.__version__} has no cascades, which version 4 has: {_MEND}")
    path = f"{folder}haarcascade_frontalcatface_extended.xml"
    cascade = cv2.CascadeClassifier(path)
    if cascade.empty():
        raise ValueError(f"OpenCV {cv2.__version__} cannot read the judge of cat faces, {path}: {_MEND}")
    return cv2, cascade
