"""Sizes of pictures: one number of pixels for a square, or (height, width)."""

from __future__ import annotations

from typing import Any

ImageSize = int | tuple[int, int]


def image_size(value: Any) -> ImageSize:
    """A size in its one form: an int where height and width are equal, else a tuple.

    Args:
        value: an int, or a tuple or list (height, width).

    Raises:
        ValueError: neither, or a side below 1.

    >>> image_size([64, 96]), image_size((64, 64))
    ((64, 96), 64)
    """
    height, width = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in (height, width)):
        raise ValueError(f"A picture's size is a number of pixels or (height, width), each at least 1, got {value!r}.")
    return height if height == width else (height, width)


def height_and_width(size: ImageSize) -> tuple[int, int]:
    """(height, width) in pixels.

    >>> height_and_width(64), height_and_width((64, 96))
    ((64, 64), (64, 96))
    """
    return (size, size) if isinstance(size, int) else size


def square_side(size: ImageSize, what: str) -> int:
    """The side of a square size, for what takes no rectangles.

    Raises:
        ValueError: a rectangle; ``what`` opens the message.
    """
    if not isinstance(size, int):
        raise ValueError(f"{what} takes square pictures, not {in_words(size)} px.")
    return size


def in_words(size: ImageSize) -> str:
    """The size for a message: ``64`` or ``64x96``, height first."""
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"
