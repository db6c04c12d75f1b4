"""Composition of menagerie scenes: one to four creatures or buildings in a landscape, with ground truth.

Deterministic in (seed, index). Depth determines both size and position, as in perspective, so that hidden parts are
predictable from visible ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ijepa_viz.data.menagerie.creatures import COLOURS, POSES, SPECIES, height_of, width_of
from ijepa_viz.data.menagerie.drawing import Canvas, Frame, mix, shade
from ijepa_viz.data.menagerie.landscape import GROUNDS, SHORE_DEPTH, SKIES, add_texture, draw_landscape
from ijepa_viz.data.menagerie.workers import in_parallel
from ijepa_viz.runtime.progress import track

NAMES = tuple(SPECIES)

# Class edges of the nearest thing's depth: six classes of about equal size.
DISTANCES = (0.08, 0.16, 0.24, 0.49, 0.69)

_SMALLEST = 32

# Part of the cache's key: raise it whenever a drawing changes.
VERSION = 1

# Starting a process costs about as much as drawing this many scenes.
SCENES_PER_PROCESS = 1000


@dataclass(frozen=True)
class Thing:
    """Ground truth of one creature or building.

    Attributes:
        species: one of :data:`NAMES`. facing: "left" or "right". pose: of that species' POSES.
        colour: the name of its main colour.
        x, y: where its feet (a flier: its lowest point) are, in image widths and heights.
        size: height of one unit in image heights. depth: 0 (near) to 1 (far).
    """

    species: str
    facing: str
    pose: str
    colour: str
    x: float
    y: float
    size: float
    depth: float


@dataclass(frozen=True)
class Scene:
    """A drawn image and its ground truth.

    Attributes:
        image: (size, size, 3) uint8.
        things: far to near; owner ``i`` of the map is ``things[i - 1]``.
        parts: (size, size) uint8, index into ``creatures.PARTS``; 0 is background.
        owners: (size, size) uint8, 0 is background.
        details: (x, y) of the tufts of grass or the stones on the ground, in image widths and heights; they may be
            occluded.
        ground, sky: names. texture_phase (radians), speckle (standard deviation, 0 to 1): nuisance
            factors without meaning.
    """

    image: np.ndarray
    things: tuple[Thing, ...]
    parts: np.ndarray
    owners: np.ndarray
    ground: str
    sky: str
    texture_phase: float
    speckle: float
    details: tuple[tuple[float, float], ...] = ()

    @property
    def count(self) -> int:
        """Number of things."""
        return len(self.things)

    @property
    def subject(self) -> Thing:
        """The nearest thing."""
        return self.things[-1]


def scene(index: int, size: int = 64, seed: int = 0) -> Scene:
    """Draw scene ``index`` of the menagerie ``seed``.

    Raises:
        ValueError: a size below 32 pixels, where a beak is below one pixel.
    """
    check_size(size)
    plan = _plan(index, seed)
    canvas = Canvas(size, maps=True)
    details: list[tuple[float, float]] = []
    image = _draw(canvas, plan, index, seed, details)
    parts, owners = canvas.maps()
    placed, ground, sky, phase, speckle = plan
    return Scene(image, placed, parts, owners, ground, sky, phase, speckle, tuple(details))


def variant(
    index: int,
    size: int = 64,
    seed: int = 0,
    *,
    species: str | None = None,
    colour: str | None = None,
    texture_shift: float = 0.0,
) -> np.ndarray:
    """Draw a counterfactual of scene ``index``: one factor changed, all others equal, (size, size, 3) uint8.

    Args:
        species: replaces the nearest thing, at equal size and facing, in the first pose and (without ``colour``) the
            first colour of the new species; its small variations and the speckle are drawn anew.
        colour: main colour of the nearest thing, one of its species' COLOURS.
        texture_shift: phase shift of the faint wave over the whole image, radians.

    Raises:
        ValueError: an unknown species, or a colour that the species does not have.
    """
    check_size(size)
    placed, ground, sky, phase, speckle = _plan(index, seed)
    thing = placed[-1]
    if species is not None:
        if species not in NAMES:
            raise ValueError(f"There are {', '.join(NAMES)}, not {species!r}.")
        thing = replace(thing, species=species, pose=POSES[species][0], colour=next(iter(COLOURS[species])))
    if colour is not None:
        if colour not in COLOURS[thing.species]:
            raise ValueError(f"A {thing.species} is {', '.join(COLOURS[thing.species])}, not {colour!r}.")
        thing = replace(thing, colour=colour)
    plan = ((*placed[:-1], thing), ground, sky, phase + texture_shift, speckle)
    return _draw(Canvas(size, maps=False), plan, index, seed)


def scenes(start: int, stop: int, size: int = 64, seed: int = 0) -> np.ndarray:
    """Draw the images of scenes ``start`` to ``stop`` without maps, (n, size, size, 3) uint8."""
    check_size(size)
    workers = min(os.cpu_count() or 1, (stop - start) // SCENES_PER_PROCESS)
    if workers > 1:
        drawn = in_parallel(__package__, start, stop, [size, seed], size * size * 3, workers, "drawing scenes", "scene")
        return drawn.reshape(-1, size, size, 3)
    # A child process draws one at a time, and its parent shows the progress.
    indices = range(start, stop) if stop - start == 1 else track(range(start, stop), "drawing scenes", "scene")
    pictures = [_draw(Canvas(size, maps=False), _plan(i, seed), i, seed) for i in indices]
    return np.stack(pictures) if pictures else np.empty((0, size, size, 3), np.uint8)


def things(index: int, seed: int = 0) -> tuple[Thing, ...]:
    """Ground truth of scene ``index``, far to near, without drawing it."""
    return _plan(index, seed)[0]


def subject_label(index: int, seed: int = 0) -> int:
    """The species of the nearest thing as an index into :data:`NAMES`."""
    return NAMES.index(things(index, seed)[-1].species)


_Plan = tuple[tuple[Thing, ...], str, str, float, float]


def check_size(size: int) -> None:
    """Raise ValueError for a size below 32 pixels, where a beak is below one pixel."""
    if size < _SMALLEST:
        raise ValueError(f"The menagerie is drawn from {_SMALLEST} px up, got {size}.")


@lru_cache(maxsize=4096)
def _plan(index: int, seed: int) -> _Plan:
    rng = np.random.default_rng([seed, index])
    ground = _pick(rng, tuple(GROUNDS))
    sky = _pick(rng, tuple(SKIES))
    count = 1 + int(np.searchsorted((0.45, 0.75, 0.9), rng.random()))
    placed: list[Thing] = []
    for depth in np.sort(rng.uniform(0, 1, count) * (0.25 if count == 1 else 1.0))[::-1]:
        for _ in range(12):
            thing = _thing(rng, float(depth), ground)
            if all(_apart(thing, other) for other in placed):
                placed.append(thing)
                break
    phase, speckle = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.0, 0.035))
    return tuple(placed), ground, sky, phase, speckle


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _thing(rng: np.random.Generator, depth: float, ground: str) -> Thing:
    species = _pick(rng, NAMES)
    pose = _pick(rng, POSES[species])
    size = (0.62 - 0.4 * depth) * float(rng.uniform(0.9, 1.1))
    if species == "bird":
        size *= 0.78
    if species == "building":
        size *= 1.15
    half = min(0.46, width_of(species, pose) * size)
    x = float(rng.uniform(half + 0.02, 0.98 - half)) if half < 0.46 else 0.5
    y = 0.93 - (SHORE_DEPTH if ground == "shore" else 0.37) * depth
    if pose == "fly":
        y = float(rng.uniform(0.42, 0.62))
    size = min(size, (y - 0.02) / height_of(species, pose))
    return Thing(
        species=species,
        facing="right" if rng.random() < 0.5 else "left",
        pose=pose,
        colour=_pick(rng, tuple(COLOURS[species])),
        x=x,
        y=y,
        size=size,
        depth=depth,
    )


def _apart(a: Thing, b: Thing) -> bool:
    gap = abs(a.x - b.x)
    wide = 0.7 * (width_of(a.species, a.pose) * a.size + width_of(b.species, b.pose) * b.size)
    high = 0.8 * max(a.size, b.size)
    return gap > wide or abs(a.y - b.y) > high


def _draw(
    canvas: Canvas, plan: _Plan, index: int, seed: int, details: list[tuple[float, float]] | None = None
) -> np.ndarray:
    placed, ground, sky, phase, speckle = plan
    rng = np.random.default_rng([seed, index, 1])
    draw_landscape(canvas, ground, sky, rng, [] if details is None else details)
    far, near = GROUNDS[ground]
    for owner, thing in enumerate(placed, start=1):
        canvas.owner = owner
        canvas.haze = (SKIES[sky][0], 0.35 * thing.depth)
        if thing.pose != "fly":
            canvas.enter(Frame((thing.x, thing.y), thing.size))
            shadow = shade(mix(near, far, thing.depth), 0.8)
            canvas.ellipse(0, 0, width_of(thing.species, thing.pose) * 0.8, 0.07, shadow)
        canvas.enter(Frame((thing.x, thing.y), thing.size, 1 if thing.facing == "right" else -1))
        SPECIES[thing.species](canvas, COLOURS[thing.species][thing.colour], thing.pose, rng)
    return add_texture(canvas.finish(), phase, speckle, rng)
