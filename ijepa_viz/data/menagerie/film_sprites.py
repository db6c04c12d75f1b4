"""Recorded drawings: the polygons of a creature in its own frame, computed once and filled in many frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ijepa_viz.data.menagerie.creatures import COLOURS, SPECIES, SWING
from ijepa_viz.data.menagerie.drawing import Canvas, Colour, Point

# Phases of a gait and variations of tail and windows that are kept: every further one is another recording.
GAIT_STEPS, VARIATIONS = 24, 8


@dataclass(frozen=True)
class Sprite:
    """Polygons of a drawing.

    Attributes:
        points: (n, 2) float64, of all polygons, in the drawing's own frame.
        ends: the index after each polygon's last point.
        colours: of each polygon, without haze. parts: of each polygon, 0 for none.
    """

    points: np.ndarray
    ends: tuple[int, ...]
    colours: tuple[Colour, ...]
    parts: tuple[int, ...]

    def extent(self, *parts: int) -> tuple[float, float, float]:
        """(back, front, top): how far these parts (all, if none is named) reach from the origin, in units."""
        starts = (0, *self.ends[:-1])
        rows = [
            self.points[start:end]
            for start, end, part in zip(starts, self.ends, self.parts, strict=True)
            if (part in parts if parts else part)
        ]
        points = np.concatenate(rows)
        return -float(points[:, 0].min()), float(points[:, 0].max()), float(points[:, 1].max())


class Recorder(Canvas):
    """A canvas that keeps polygons instead of filling them."""

    def __init__(self, gait: float | None = None) -> None:
        self.gait = gait
        self.owner, self.haze = 0, ((0, 0, 0), 0.0)
        self._shapes: list[tuple[np.ndarray, Colour, int]] = []

    def polygon(self, points: np.ndarray | list[Point], colour: Colour, part: int = 0) -> None:
        """Keep a polygon."""
        self._shapes.append((np.asarray(points, dtype=np.float64), colour, part))

    def sprite(self) -> Sprite:
        """What was drawn."""
        points = [p for p, _, _ in self._shapes]
        ends = tuple(np.cumsum([len(p) for p in points]).tolist())
        everything = np.concatenate(points) if points else np.empty((0, 2))
        return Sprite(everything, ends, tuple(c for _, c, _ in self._shapes), tuple(p for _, _, p in self._shapes))


@lru_cache(maxsize=4096)
def creature_sprite(species: str, colour: str, pose: str, gait_step: int | None, variation: int) -> Sprite:
    """The polygons of a creature or building.

    Args:
        gait_step: of :data:`GAIT_STEPS` in a cycle of legs or wings; None draws the pose of a still scene.
        variation: of :data:`VARIATIONS`: the small differences between creatures of one kind.
    """
    recorder = Recorder(None if gait_step is None else gait_step / GAIT_STEPS)
    SPECIES[species](recorder, COLOURS[species][colour], pose, np.random.default_rng([variation, 11]))
    return recorder.sprite()


@lru_cache(maxsize=64)
def extent(species: str, pose: str) -> tuple[float, float, float]:
    """(back, front, top): how far a creature reaches from its feet, in units of height.

    The largest over a cycle of its gait, and over the small differences between creatures.
    """
    colour = next(iter(COLOURS[species]))
    kinds: list[tuple[int | None, int]] = [(None, variation) for variation in range(VARIATIONS)]
    if species != "building":
        kinds += [(step, 0) for step in range(GAIT_STEPS)]
    reach = np.array([creature_sprite(species, colour, pose, step, variation).extent() for step, variation in kinds])
    back, front, top = reach.max(0).tolist()
    return back, front, top


def cycle_length(species: str) -> float:
    """How far a creature walks in one cycle of its gait, in units of height."""
    return 4 * SWING[species]
