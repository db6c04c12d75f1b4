"""Plans of films: everything that a film shows and that happens in it, without its pixels.

Deterministic in (seed, index). The outcome of an open event has a random number of its own, so that the same film can
be planned with the other outcome: all frames before the event are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ijepa_viz.data.menagerie.composition import Thing
from ijepa_viz.data.menagerie.creatures import COLOURS, POSES
from ijepa_viz.data.menagerie.film_events import SCENE, Event
from ijepa_viz.data.menagerie.film_paths import State, outline, shown
from ijepa_viz.data.menagerie.film_sprites import VARIATIONS, extent
from ijepa_viz.data.menagerie.film_stories import ODDS, STORIES, WALKERS, Mark, Stage, walker_size
from ijepa_viz.data.menagerie.landscape import GROUNDS, SKIES

# Part of the cache's key: raise it whenever a film changes.
VERSION = 1

FEWEST_FRAMES, MOST_FRAMES = 4, 64

# Streams of random numbers of one film.
_CAST, _STORY, _OUTCOME, _OTHERS, _SCENERY = range(5)
NOISE = 5

_FILM = 7  # apart from the numbers of still scenes

# Poses of creatures that stay.
_STAYING = {"dog": "sit", "wolf": "howl", "cat": "sit", "bird": "peck"}


@dataclass(frozen=True)
class Film:
    """A planned film of T frames with A things.

    Attributes:
        index, seed: which film.
        story: a name of :data:`ijepa_viz.data.menagerie.film_stories.STORIES`.
        outcome: 0 or 1, of the open event.
        things: (A,) ground truth in the first frame, far to near. subject: index of the one that the story is about.
        states: (A,) of T + 1 states each: one more than there are frames, for the last frame's velocity.
        variations: (A,) number of each one's small differences.
        events: by frame. marks: flowers and signposts, on the ground.
        ground, sky: names; the sky at the first frame. evening: (T,) 0 to 1, how far dusk has fallen.
        clouds: (x, y, size) of each at the first frame. wind: image widths that they drift a frame.
        texture_phase (radians), speckle (standard deviation, 0 to 1):
            nuisance factors, as in still scenes.
    """

    index: int
    seed: int
    frames: int
    story: str
    outcome: int
    things: tuple[Thing, ...]
    subject: int
    states: tuple[tuple[State, ...], ...]
    variations: tuple[int, ...]
    events: tuple[Event, ...]
    marks: tuple[Mark, ...]
    ground: str
    sky: str
    evening: tuple[float, ...]
    clouds: tuple[tuple[float, float, float], ...]
    wind: float
    texture_phase: float
    speckle: float

    @property
    def open(self) -> bool:
        """Whether a future of this film is open: there is an event with an alternative."""
        return any(event.open for event in self.events)

    @property
    def main_event(self) -> Event | None:
        """The event that the story is about: the open one, or else the subject's first; None where nothing happens."""
        mine = [event for event in self.events if event.actor == self.subject]
        return next((event for event in mine if event.open), mine[0] if mine else None)

    def sky_at(self, frame: int) -> str:
        """Name of the sky in a frame: at dusk once more than half of it has fallen."""
        return "dusk" if self.evening[frame] > 0.5 else self.sky

    def things_at(self, frame: int) -> tuple[Thing, ...]:
        """Ground truth of the things in a frame, far to near; ``frame`` up to T."""
        return tuple(shown(thing, states[frame]) for thing, states in zip(self.things, self.states, strict=True))

    def positions(self) -> np.ndarray:
        """(T + 1, A, 2) float64: x and y of each thing's feet, in image widths and heights."""
        return np.array([[(s.x, s.y) for s in states] for states in self.states]).transpose(1, 0, 2)

    def velocities(self) -> np.ndarray:
        """(T, A, 2) float64: from a frame to the next, in image widths and heights a frame."""
        return np.diff(self.positions(), axis=0)

    def next_event(self, frame: int, actor: int) -> Event | None:
        """The first event of an actor after ``frame``; None where nothing happens to it any more.

        It comes in ``event.frame - frame`` frames.
        """
        return next((event for event in self.events if event.actor == actor and event.frame > frame), None)


def generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """One of the streams of random numbers of a film."""
    return np.random.default_rng([seed, index, _FILM, stream])


def cast(index: int, seed: int = 0) -> tuple[str, str, str]:
    """(story, species, colour) of a film's subject, without the rest of its plan."""
    rng = generator(seed, index, _CAST)
    story = str(list(ODDS)[int(np.searchsorted(np.cumsum(list(ODDS.values()))[:-1], rng.random(), side="right"))])
    species = WALKERS[int(rng.integers(len(WALKERS)))]
    if story in ("startled", "lands"):
        species = "bird"
    colours = tuple(COLOURS[species])
    return story, species, colours[int(rng.integers(len(colours)))]


@lru_cache(maxsize=1024)
def plan(index: int, seed: int = 0, frames: int = 16, outcome: int | None = None) -> Film:
    """Plan film ``index`` of the menagerie ``seed``.

    Args:
        frames: T, 4 to 64, of the same two seconds: more frames are finer steps.
        outcome: which alternative of the open event happens, 0 or 1; None draws it, at even odds.

    Raises:
        ValueError: a number of frames out of range, another outcome, or one for a film without an open event.
    """
    if not FEWEST_FRAMES <= frames <= MOST_FRAMES:
        raise ValueError(f"A film has {FEWEST_FRAMES} to {MOST_FRAMES} frames, not {frames}.")
    if outcome not in (None, 0, 1):
        raise ValueError(f"The outcome of an open event is 0 or 1, not {outcome!r}.")
    story, species, colour = cast(index, seed)
    rng = generator(seed, index, _STORY)
    drawn = int(generator(seed, index, _OUTCOME).integers(2))
    ground = _pick(rng, tuple(GROUNDS))
    sky, evening = _light(rng, frames)
    wind = float(rng.uniform(0.003, 0.01)) * (1 if rng.random() < 0.5 else -1) * 16 / frames
    mirror = bool(rng.random() < 0.5)
    stage = Stage(rng, drawn if outcome is None else outcome, frames, ground, species, colour, mirror)
    STORIES[story](stage)
    if outcome is not None and not any(event.open for event in stage.events):
        raise ValueError(f"Film {index} of seed {seed} has no open event ({story}), so no outcome can be chosen.")
    _others(stage, story, generator(seed, index, _OTHERS))
    actors = [(t, tuple(s.mirrored() for s in states)) for t, states in stage.actors] if mirror else stage.actors
    things = [shown(thing, states[0]) for thing, states in actors]
    events = [*stage.events, *_departures(things, [states for _, states in actors], frames)]
    if evening[-1] > evening[0]:
        events.append(Event(next(i for i, e in enumerate(evening) if e > 0.5), SCENE, "evening"))
    order = sorted(range(len(things)), key=lambda i: -things[i].depth)
    rank = {old: new for new, old in enumerate(order)}
    moved = [_renumbered(event, rank) for event in events if event.frame < frames]
    clouds = generator(seed, index, _SCENERY)
    variety = clouds.integers(VARIATIONS, size=len(things)).tolist()
    return Film(
        index=index,
        seed=seed,
        frames=frames,
        story=story,
        outcome=stage.outcome,
        things=tuple(things[i] for i in order),
        subject=rank[0],
        states=tuple(actors[i][1] for i in order),
        variations=tuple(variety[i] for i in order),
        events=tuple(sorted(moved, key=lambda event: (event.frame, event.actor))),
        marks=tuple(replace(mark, x=1 - mark.x) if mirror else mark for mark in stage.marks),
        ground=ground,
        sky=sky,
        evening=evening,
        clouds=tuple(
            (float(clouds.uniform(0, 1)), float(clouds.uniform(0.06, 0.34)), float(clouds.uniform(0.05, 0.09)))
            for _ in range(int(clouds.integers(0, 4)))
        ),
        wind=wind,
        texture_phase=float(clouds.uniform(0, 2 * np.pi)),
        speckle=float(clouds.uniform(0.0, 0.02)),
    )


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _light(rng: np.random.Generator, frames: int) -> tuple[str, tuple[float, ...]]:
    """The sky of the first frame, and how far dusk has fallen in each."""
    if rng.random() < 0.2:
        return "day", tuple(np.linspace(0, 1, frames).tolist())
    sky = _pick(rng, tuple(SKIES))
    return sky, (1.0 if sky == "dusk" else 0.0,) * frames


def _renumbered(event: Event, rank: dict[int, int]) -> Event:
    actor = event.actor if event.actor == SCENE else rank[event.actor]
    return replace(event, actor=actor, place=None if event.place is None else rank[event.place])


def _departures(things: list[Thing], states: list[tuple[State, ...]], frames: int) -> list[Event]:
    """The events of creatures that leave the picture: the first frame without any part of them."""
    found = []
    for actor, (thing, path) in enumerate(zip(things, states, strict=True)):
        if thing.species == "building":
            continue
        for frame in range(frames):
            now = shown(thing, path[frame])
            left, right = outline(now)
            if right <= 0 or left >= 1 or now.y <= 0:
                found.append(Event(frame, actor, "leaves"))
                break
    return found


def _others(stage: Stage, story: str, rng: np.random.Generator) -> None:
    """Add creatures that stay, a far house, a second walker, a bird in the sky: farther than the subject."""
    nearest = stage.actors[0][0].depth
    taken = {(thing.species, thing.colour) for thing, _ in stage.actors}
    covered = [(mark.x - 0.1, mark.x + 0.1) for mark in stage.marks]
    # Whoever sat beside the wall, or near the bird, would seem to be the cause.
    chance = 0.55 if story not in ("hides", "meets_wall", "startled") else 0.0
    for depth in np.sort(rng.uniform(nearest + 0.25, 1.0, 3)):
        kind = rng.random()
        if kind > chance:
            continue
        species = "building" if kind < 0.12 else _pick(rng, WALKERS)
        colour = _pick(rng, tuple(COLOURS[species]))
        pose = _pick(rng, POSES["building"]) if species == "building" else _STAYING[species]
        size = walker_size(species, float(depth)) * (1.5 if species == "building" else 0.95)
        back, front, _ = (reach * size for reach in extent(species, pose))
        x, facing = float(rng.uniform(0.1, 0.9)), 1 if rng.random() < 0.5 else -1
        left, right = x - max(back, front), x + max(back, front)
        apart = all(right < a or left > b for a, b in covered)
        if apart and (species, colour) not in taken:
            path = stage.path(species, size, x, stage.line(float(depth)), facing).rest(stage.frames + 1, pose)
            stage.enter(species, colour, size, float(depth), path)
            taken.add((species, colour))
            covered.append((left, right))
    if story in ("walks", "flower", "signpost", "lands") and rng.random() < 0.15 and nearest < 0.5:
        _second_walker(stage, rng, nearest, taken)
    if story not in ("startled", "lands") and rng.random() < 0.2:
        colour = _pick(rng, tuple(COLOURS["bird"]))
        if ("bird", colour) not in taken:
            size, speed = float(rng.uniform(0.13, 0.18)), float(rng.uniform(0.018, 0.03)) * stage.pace
            y, facing = float(rng.uniform(0.24, 0.34)), 1 if rng.random() < 0.5 else -1
            x = float(rng.uniform(0.1, 0.5))
            path = stage.path("bird", size, x if facing > 0 else 1 - x, y, facing)
            stage.enter("bird", colour, size, 0.99, path.fly(stage.frames + 1, speed, 0.0))


def _second_walker(stage: Stage, rng: np.random.Generator, nearest: float, taken: set[tuple[str, str]]) -> None:
    """Another creature that walks straight on, well behind the subject's line."""
    species = _pick(rng, WALKERS[:3])
    colour = _pick(rng, tuple(COLOURS[species]))
    depth = nearest + float(rng.uniform(0.25, 0.4))
    size = walker_size(species, depth, 0.75)
    speed, facing = float(rng.uniform(0.018, 0.026)) * stage.pace, 1 if rng.random() < 0.5 else -1
    x = float(rng.uniform(0.18, 0.5))
    if (species, colour) not in taken:
        path = stage.path(species, size, x if facing > 0 else 1 - x, stage.line(depth), facing)
        stage.enter(species, colour, size, depth, path.walk(stage.frames + 1, speed))
