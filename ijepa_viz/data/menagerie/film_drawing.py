"""Drawing of films: the landscape once, then what moves, frame by frame.

A frame costs a fraction of a still scene, because polygons are computed once
(:mod:`ijepa_viz.data.menagerie.film_sprites`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ijepa_viz.data.menagerie.drawing import Canvas, Colour, Frame, mix, shade
from ijepa_viz.data.menagerie.film_paths import State
from ijepa_viz.data.menagerie.film_plan import NOISE, Film, generator
from ijepa_viz.data.menagerie.film_sprites import GAIT_STEPS, Recorder, Sprite, creature_sprite, extent
from ijepa_viz.data.menagerie.film_stories import Mark
from ijepa_viz.data.menagerie.landscape import (
    GROUNDS,
    SKIES,
    add_texture,
    draw_cloud,
    draw_detail,
    draw_sun,
    draw_tree,
    enter_image,
    fill_ground,
    fill_strip,
    hill_colour,
)

_SCENERY = 6

# What dusk leaves of red, green and blue.
_DUSK = np.array([0.82, 0.7, 0.72], np.float32)

_RED: Colour = (214, 48, 60)
_GREEN: Colour = (58, 112, 52)
_WOOD: Colour = (132, 92, 58)


@dataclass(frozen=True)
class _Scenery:
    """What stands still: the ground below the horizon, and what rises above it."""

    horizon: float
    sun: tuple[float, float] | None
    rising: Sprite
    details: tuple[tuple[float, float], ...]
    ground: Image.Image


def draw(film: Film, size: int, first: int | None = None) -> np.ndarray:
    """The frames of a film, (T, size, size, 3) uint8; ``first`` draws only that many."""
    canvas = Canvas(size, maps=False)
    count = film.frames if first is None else first
    noise = generator(film.seed, film.index, NOISE)
    out = np.empty((count, size, size, 3), np.uint8)
    for frame, pixels in enumerate(_frames(film, canvas, count)):
        out[frame] = add_texture(pixels, film.texture_phase, film.speckle, noise)
    return out


def draw_maps(film: Film, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts (T, size, size) uint8, owners (T, size, size) uint8, and occluded (T, A) float32 of a film.

    Owner ``i`` is thing ``i - 1``, 0 is the background, as in still scenes. Occluded is the share of a thing's pixels
    in the picture that nearer things cover; 1 for a thing that is outside.
    """
    shape = (film.frames, size, size)
    parts, owners = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    occluded = np.empty((film.frames, len(film.things)), np.float32)
    alone = Canvas(size, maps=True)
    for frame in range(film.frames):
        canvas = Canvas(size, maps=True)
        for actor in range(len(film.things)):
            _stamp_thing(canvas, film, actor, frame)
        parts[frame], owners[frame] = canvas.maps()
        for actor in range(len(film.things)):
            alone.clear_maps()
            _stamp_thing(alone, film, actor, frame)
            own = alone.maps()[1] > 0
            seen = own & (owners[frame] == actor + 1)
            occluded[frame, actor] = 1 - seen.sum() / own.sum() if own.any() else 1.0
    return parts, owners, occluded


def details_of(film: Film, size: int) -> tuple[tuple[float, float], ...]:
    """(x, y) of the tufts of grass or the stones on the ground."""
    return _scenery(film, Canvas(size, maps=False)).details


def _frames(film: Film, canvas: Canvas, count: int) -> Iterator[np.ndarray]:
    scenery = _scenery(film, canvas)
    edge = round(scenery.horizon * canvas.pixels)
    for frame in range(count):
        evening = film.evening[frame]
        low, high = (mix(a, b, evening) for a, b in zip(SKIES[film.sky], SKIES["dusk"], strict=True))
        if frame == 0 or evening != film.evening[frame - 1]:
            fill_strip(canvas, high, low, 0, edge)
            sky = canvas.image.crop((0, 0, canvas.pixels, edge))
        canvas.image.paste(sky, (0, 0))
        canvas.image.paste(scenery.ground, (0, edge))
        canvas.haze = ((0, 0, 0), 0.0)
        enter_image(canvas)
        if scenery.sun is not None:
            x, y = scenery.sun
            sinks = evening if film.sky != "dusk" else 0.0
            draw_sun(canvas, x, y + (scenery.horizon - 0.07 - y) * sinks, film.sky_at(frame))
        for x, y, s in film.clouds:
            # A cloud that has drifted out of the picture comes in again on the other side.
            place = (x + 2 * s + film.wind * frame) % (1 + 4 * s) - 2 * s
            draw_cloud(canvas, place, y, s, mix((255, 255, 255), low, 0.25))
        _stamp(canvas, scenery.rising)
        for actor in range(len(film.things)):
            _stamp_thing(canvas, film, actor, frame, low)
        pixels = canvas.finish()
        yield pixels * (1 + (_DUSK - 1) * np.float32(evening)) if evening else pixels


def _scenery(film: Film, canvas: Canvas) -> _Scenery:
    """Draw the ground, and record hills, trees and marks; leaves the canvas as it came but for its pixels."""
    rng = generator(film.seed, film.index, _SCENERY)
    horizon = float(rng.uniform(0.5, 0.54))
    edge = round(horizon * canvas.pixels)
    canvas.haze = ((0, 0, 0), 0.0)
    fill_ground(canvas, film.ground, edge)
    enter_image(canvas)
    sun = None
    if film.sky != "overcast" and rng.random() < 0.6:
        sun = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.08, 0.25))
    rising = Recorder()
    hill = hill_colour(film.ground, film.sky)
    for _ in range(int(rng.integers(0, 3))):
        x, w, h = rng.uniform(0, 1), rng.uniform(0.2, 0.4), rng.uniform(0.06, 0.18)
        rising.polygon([(x - w, horizon), (x, horizon - h), (x + w, horizon)], shade(hill, rng.uniform(0.9, 1.1)))
    if film.ground != "shore":
        for _ in range(int(rng.integers(0, 4))):
            draw_tree(rising, rng.uniform(0, 1), horizon, rng.uniform(0.05, 0.11), rng.uniform(0.85, 1.15))
    details = []
    for _ in range(int(rng.integers(5, 14))):
        x, y = rng.uniform(0, 1), rng.uniform(0.69 if film.ground == "shore" else horizon + 0.03, 1.0)
        details.append((float(x), float(y)))
        draw_detail(canvas, x, y, horizon, film.ground, 0.85 if rng.random() < 0.5 else 1.18)
    for mark in film.marks:
        _MARKS[mark.kind](rising, mark)
    ground = canvas.image.crop((0, edge, canvas.pixels, canvas.pixels))
    return _Scenery(horizon, sun, rising.sprite(), tuple(details), ground)


def _flower(canvas: Canvas, mark: Mark) -> None:
    """Three red flowers; y down, as of the whole image."""
    x, y, s = mark.x, mark.y, mark.size
    for dx, height in ((-0.28, 0.62), (0.3, 0.72), (0.0, 1.0)):
        top = (x + dx * s, y - height * s)
        canvas.limb([(x, y), top], [0.07 * s, 0.06 * s], _GREEN)
        for px, py in ((-0.13, 0.0), (0.13, 0.0), (0.0, -0.13), (0.0, 0.13)):
            canvas.ellipse(top[0] + px * s, top[1] + py * s, 0.14 * s, 0.14 * s, _RED)
        canvas.ellipse(*top, 0.09 * s, 0.09 * s, (250, 214, 80))
    for side in (-1, 1):
        canvas.ellipse(x + side * 0.17 * s, y - 0.14 * s, 0.17 * s, 0.07 * s, _GREEN, tilt=-side * 30)


def _signpost(canvas: Canvas, mark: Mark) -> None:
    """A post with an arrow to either side."""
    x, y, s = mark.x, mark.y, mark.size
    canvas.polygon([(x - 0.04 * s, y), (x - 0.04 * s, y - s), (x + 0.04 * s, y - s), (x + 0.04 * s, y)], _WOOD)
    for side, top in ((-1, 0.95), (1, 0.72)):
        board = [(-0.1, 0.0), (0.3, 0.0), (0.44, 0.1), (0.3, 0.2), (-0.1, 0.2)]
        canvas.polygon([(x + side * bx * s, y - (top - by) * s) for bx, by in board], (204, 156, 96))


_MARKS = {"flower": _flower, "signpost": _signpost}


def _stamp(canvas: Canvas, sprite: Sprite) -> None:
    canvas.stamp(sprite.points, sprite.ends, sprite.colours, sprite.parts)


def _stamp_thing(canvas: Canvas, film: Film, actor: int, frame: int, horizon: Colour = (0, 0, 0)) -> None:
    """Draw one thing with its shadow; ``horizon`` is the colour of its haze."""
    thing, state = film.things[actor], film.states[actor][frame]
    canvas.owner = actor + 1
    canvas.haze = (horizon, 0.35 * thing.depth)
    if state.pose != "fly":
        far, near = GROUNDS[film.ground]
        canvas.enter(Frame((state.x, state.y), thing.size * max(abs(state.yaw), 0.6)))
        back, front, _ = extent(thing.species, state.pose)
        canvas.ellipse(0, 0, (back + front) / 2 * 0.8, 0.07, shade(mix(near, far, thing.depth), 0.8))
    canvas.enter(Frame((state.x, state.y), thing.size, state.yaw))
    _stamp(canvas, _sprite(film, actor, state))


def _sprite(film: Film, actor: int, state: State) -> Sprite:
    thing = film.things[actor]
    step = None if state.gait is None else int(state.gait * GAIT_STEPS) % GAIT_STEPS
    return creature_sprite(thing.species, thing.colour, state.pose, step, film.variations[actor])
