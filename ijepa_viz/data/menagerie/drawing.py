"""Anti-aliased shapes in a creature's own coordinates, with maps of parts and owners.

Anti-aliasing is by oversampling: shapes are drawn several times too large and averaged down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]

Point = tuple[float, float]

_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)

_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


def _spline_weights(steps: int) -> np.ndarray:
    """(steps, 4): Catmull-Rom weights of four neighbouring knots."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    return 0.5 * np.concatenate(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1
    )


_SPLINE = _spline_weights(5)

_NEIGHBOURS = np.array([[-1], [0], [1], [2]])


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Interpolate from ``a`` (share 0) to ``b`` (share 1); colours are 0 to 255."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share


def shade(colour: Colour, factor: float) -> Colour:
    """Scale the brightness of a colour; a factor above 1 mixes in white."""
    if factor <= 1:
        return colour[0] * factor, colour[1] * factor, colour[2] * factor
    return mix(colour, (255, 255, 255), factor - 1)


@dataclass(frozen=True)
class Frame:
    """Coordinate frame of a creature: x forward, y up, feet at y = 0, unit length its height.

    ``origin`` and ``scale`` are in image heights, ``facing`` is +1 (right) or -1 (left), between them while turning.
    """

    origin: Point
    scale: float
    facing: float = 1


class Canvas:
    """Drawing surface at ``oversample`` times the image size, with maps of parts and owners."""

    def __init__(self, size: int, maps: bool) -> None:
        self.size = size
        self.oversample = 4 if size <= 96 else 3 if size <= 192 else 2
        self.pixels = size * self.oversample
        self.image = Image.new("RGB", (self.pixels, self.pixels))
        self._brush = ImageDraw.Draw(self.image)
        self._maps = None
        if maps:
            # Red is the part, green the owner, so that one polygon writes both.
            self._map_image = Image.new("RGB", (self.pixels, self.pixels))
            self._maps = ImageDraw.Draw(self._map_image)
        self.owner = 0
        self.haze: tuple[Colour, float] = ((0, 0, 0), 0.0)
        # Phase of the legs or wings in cycles, 0 to 1; None draws the pose of a still scene.
        self.gait: float | None = None
        self.enter(Frame((0.0, 0.0), 1.0))

    def enter(self, frame: Frame) -> None:
        """Set the coordinate frame of all further shapes."""
        step = frame.scale * self.pixels
        self._step = np.array([frame.facing * step, -step])
        self._origin = np.array(frame.origin) * self.pixels

    def polygon(self, points: np.ndarray | list[Point], colour: Colour, part: int = 0) -> None:
        """Fill a polygon; ``part`` 0 leaves the part map unchanged."""
        flat = (np.asarray(points) * self._step + self._origin).ravel().tolist()
        r, g, b = mix(colour, *self.haze) if self.haze[1] else colour
        self._brush.polygon(flat, fill=(int(r), int(g), int(b)))
        if part and self._maps is not None:
            self._maps.polygon(flat, fill=(part, self.owner, 0))

    def stamp(self, points: np.ndarray, ends: Sequence[int], colours: Sequence[Colour], parts: Sequence[int]) -> None:
        """Fill many polygons: ``points`` (n, 2) of all of them, ``ends`` the index after each one's last point."""
        flat = (points * self._step + self._origin).ravel().tolist()
        pale, share = self.haze
        start = 0
        for end, colour, part in zip(ends, colours, parts, strict=True):
            r, g, b = mix(colour, pale, share) if share else colour
            outline = flat[2 * start : 2 * end]
            self._brush.polygon(outline, fill=(int(r), int(g), int(b)))
            if part and self._maps is not None:
                self._maps.polygon(outline, fill=(part, self.owner, 0))
            start = end

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, part: int = 0, tilt: float = 0.0
    ) -> None:
        """Fill an ellipse around (x, y), tilted by ``tilt`` degrees."""
        outline = _CIRCLE * (rx, ry)
        if tilt:
            c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
            outline = outline @ np.array([[c, s], [-s, c]])
        self.polygon(outline + np.array([x, y]), colour, part)

    def blob(self, knots: list[Point], colour: Colour, part: int = 0) -> None:
        """Fill a smooth closed curve through ``knots``."""
        k = np.asarray(knots, dtype=float)
        n = np.arange(len(k))
        near = k[(n + _NEIGHBOURS) % len(k)]  # (4, n, 2)
        self.polygon(np.einsum("sk,knd->nsd", _SPLINE, near).reshape(-1, 2), colour, part)

    def limb(self, joints: list[Point], widths: list[float], colour: Colour, part: int = 0) -> None:
        """Fill a limb through ``joints`` with these ``widths``, round at both ends."""
        for (x0, y0), (x1, y1), w0, w1 in zip(joints, joints[1:], widths, widths[1:], strict=False):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            nx, ny = (y0 - y1) / length / 2, (x1 - x0) / length / 2
            quad = [
                (x0 + nx * w0, y0 + ny * w0),
                (x1 + nx * w1, y1 + ny * w1),
                (x1 - nx * w1, y1 - ny * w1),
                (x0 - nx * w0, y0 - ny * w0),
            ]
            self.polygon(quad, colour, part)
        for (x, y), w in zip(joints, widths, strict=True):
            self.ellipse(x, y, w / 2, w / 2, colour, part)

    def finish(self) -> np.ndarray:
        """The image averaged down, (size, size, 3) float32, 0 to 255."""
        return np.asarray(self.image.reduce(self.oversample), dtype=np.float32)

    def clear_maps(self) -> None:
        """Make both maps background again.

        Raises:
            ValueError: a canvas without maps.
        """
        if self._maps is None:
            raise ValueError("This canvas was made without maps.")
        self._maps.rectangle((0, 0, self.pixels, self.pixels), fill=(0, 0, 0))

    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Part and owner at the centre of each pixel, (size, size) uint8 each.

        Raises:
            ValueError: a canvas without maps.
        """
        if self._maps is None:
            raise ValueError("This canvas was made without maps.")
        centre = self.oversample // 2
        picked = np.asarray(self._map_image)[centre :: self.oversample, centre :: self.oversample]
        return picked[..., 0].copy(), picked[..., 1].copy()
