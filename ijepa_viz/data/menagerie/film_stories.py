"""Stories of the menagerie's films: what one creature does, where, and what of it can be foreseen.

The rules of this world, by which the frames before tell what follows, or leave it open:

- whoever walks goes on at its speed; whoever comes to the wall of a house turns round;
- whoever goes behind a house comes out on its other side;
- at a flower a creature stops or walks on (a bird stops or takes off), at even odds;
- at a signpost it stops for a moment and goes left or right, at even odds;
- a bird takes off when a walker comes near, and a bird that glides down lands;
- whoever sits, howls or pecks stays.

Stories are written for a creature that moves to the right; half of the films are mirrored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ijepa_viz.data.menagerie.composition import Thing
from ijepa_viz.data.menagerie.creatures import COLOURS, PART, POSES
from ijepa_viz.data.menagerie.film_events import OPEN, Event
from ijepa_viz.data.menagerie.film_paths import Path, State
from ijepa_viz.data.menagerie.film_sprites import creature_sprite, extent
from ijepa_viz.data.menagerie.landscape import SHORE_DEPTH
from ijepa_viz.registry import Registry

WALKERS = ("dog", "wolf", "cat", "bird")


@dataclass(frozen=True)
class Mark:
    """Something on the ground where the future is open.

    Attributes:
        kind: "flower" or "signpost". x, y: its foot, in image widths and heights. size: its height, in image heights.
    """

    kind: str
    x: float
    y: float
    size: float


@dataclass
class Stage:
    """What a story is written with, and what it writes.

    Attributes:
        rng: for everything but the outcome of the open event. outcome: 0 or 1, which alternative happens.
        frames: T. ground: name. species, colour: of the creature that the story is about. mirror: whether left and
            right are exchanged afterwards.
        actors: (ground truth in the first frame, states) of each. events: of actors as indices into ``actors``.
    """

    rng: np.random.Generator
    outcome: int
    frames: int
    ground: str
    species: str
    colour: str
    mirror: bool
    actors: list[tuple[Thing, tuple[State, ...]]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def pace(self) -> float:
        """Frames of a film of 16 frames that one frame stands for."""
        return 16 / self.frames

    def uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        return float(self.rng.uniform(low, high))

    def moment(self, low: float, high: float) -> int:
        """A frame between two of a film of 16 frames, in frames of this one; at least 1."""
        return max(1, round(self.uniform(low, high) / self.pace))

    def speed(self, low: float = 0.022, high: float = 0.034) -> float:
        """Image widths a frame, from those of a film of 16 frames."""
        return self.uniform(low, high) * self.pace

    def line(self, depth: float) -> float:
        """Y of the feet at this depth."""
        return 0.93 - (SHORE_DEPTH if self.ground == "shore" else 0.37) * depth

    def other_colour(self, species: str, taken: str | None = None) -> str:
        """A colour of a species, not ``taken``."""
        names = [c for c in COLOURS[species] if c != taken]
        return names[int(self.rng.integers(len(names)))]

    def enter(self, species: str, colour: str, size: float, depth: float, path: Path) -> int:
        """Add an actor with its path; returns its index."""
        states = path.finish()
        first = states[0]
        facing = "right" if first.yaw > 0 else "left"
        thing = Thing(species, facing, first.pose, colour, first.x, first.y, size, depth)
        self.actors.append((thing, states))
        return len(self.actors) - 1

    def path(self, species: str, size: float, x: float, y: float, facing: int = 1) -> Path:
        """An empty path; it wants one state more than there are frames, for the last frame's velocity."""
        return Path(species, size, x, y, self.frames + 1, self.pace, facing)

    def subject(self, size: float, depth: float, path: Path) -> int:
        """Add the creature that the story is about."""
        return self.enter(self.species, self.colour, size, depth, path)

    def house(self, pose: str, colour: str, size: float, depth: float, x: float, facing: int = 1) -> int:
        """Add a house; returns its index."""
        path = self.path("building", size, x, self.line(depth), facing).rest(self.frames + 1, pose)
        return self.enter("building", colour, size, depth, path)


# How far a creature walks behind a house without being seen, at most, in image widths; a tower is always as narrow.
_LONGEST_HIDDEN = 0.24

Story = Callable[[Stage], None]

STORIES: Registry[Story] = Registry("story")
"""``f(stage)`` by name; it adds actors, the creature that it is about first, and events."""

# How often each is told.
ODDS = {
    "walks": 0.14,
    "hides": 0.2,
    "meets_wall": 0.12,
    "flower": 0.22,
    "signpost": 0.18,
    "startled": 0.07,
    "lands": 0.07,
}


def walker_size(species: str, depth: float, factor: float = 1.0) -> float:
    """Size of a creature of a film at this depth: smaller than in still scenes, so that it has room to move."""
    return (0.37 - 0.16 * depth) * factor * (0.8 if species == "bird" else 1.0)


@STORIES.register("walks")
def walks(stage: Stage) -> None:
    """A creature walks straight on, in some films out of the picture."""
    depth = stage.uniform(0.1, 0.6)
    size = walker_size(stage.species, depth, stage.uniform(0.92, 1.08))
    back, front = _reach(stage.species, size)
    speed, count = stage.speed(), stage.frames
    if stage.rng.random() < 0.35:
        speed = stage.speed(0.03, 0.036)
        x = 1 + back - speed * (stage.moment(12.6, 15.4) - 0.5)
    else:
        low, high = back + 0.02, 0.98 - front - speed * count
        x = stage.uniform(low, high) if low < high else (low + high) / 2
    stage.subject(size, depth, stage.path(stage.species, size, x, stage.line(depth)).walk(count + 1, speed))


@STORIES.register("hides")
def hides(stage: Stage) -> None:
    """A creature goes behind a house and comes out on its other side."""
    depth = stage.uniform(0.5, 0.7)
    near = depth - stage.uniform(0.1, 0.2)
    size = stage.uniform(0.19, 0.22) * (0.9 if stage.species in ("bird", "wolf") else 1.0)
    back, front = _reach(stage.species, size)
    top = extent(stage.species, "stand" if stage.species == "bird" else "walk")[2] * size
    colour = stage.other_colour("building")
    behind = stage.uniform(0.08, 0.16)  # how far it walks unseen, at least
    houses = []
    for pose in POSES["building"]:
        left, right, height = creature_sprite("building", colour, pose, None, 0).extent(PART["wall"])
        # Large enough to hide the creature, in width and in height.
        wide = (back + front + behind) / (left + right)
        high = (stage.line(near) - stage.line(depth) + top + 0.015) / height
        if max(wide, high) * (left + right) < back + front + _LONGEST_HIDDEN:
            houses.append((pose, max(wide, high), left, right))
    pose, house, left, right = houses[int(stage.rng.integers(len(houses)))]
    facing = 1 if stage.rng.random() < 0.5 else -1  # which side its shaded wall is on
    left, right = (left, right) if facing > 0 else (right, left)
    x = 0.5 + (left - right) / 2 * house + stage.uniform(-0.04, 0.04)
    enters, leaves = x - left * house + back, x + right * house - front  # x of the creature, hidden between them
    hidden = round((leaves - enters) / stage.speed(0.03, 0.042))
    hidden = min(max(2, hidden), max(2, round(6 / stage.pace)))
    frame = stage.moment(5.6, 7.4)
    speed = (leaves - enters) / (hidden - 0.5)
    path = stage.path(stage.species, size, enters + 1e-6 - speed * frame, stage.line(depth))
    actor = stage.subject(size, depth, path.walk(stage.frames + 1, speed))
    place = stage.house(pose, colour, house, near, x, facing)
    stage.events += [Event(frame, actor, "hides", place=place), Event(frame + hidden, actor, "returns", place=place)]


@STORIES.register("meets_wall")
def meets_wall(stage: Stage) -> None:
    """A creature comes to the wall of a house, turns round, and goes back."""
    depth = stage.uniform(0.25, 0.55)
    size = walker_size(stage.species, depth, stage.uniform(0.85, 0.95))
    back, front = _reach(stage.species, size)
    pose = POSES["building"][int(stage.rng.integers(3))]
    colour = stage.other_colour("building")
    house = stage.uniform(0.42, 0.55)
    left = creature_sprite("building", colour, pose, None, 0).extent(PART["wall"])[0] * house
    speed, frame = stage.speed(0.022, 0.032), stage.moment(5.6, 9.4)
    start = stage.uniform(0.04, 0.1) + back
    wall = start + speed * frame + front
    path = stage.path(stage.species, size, start, stage.line(depth)).walk(frame, speed)
    actor = stage.subject(size, depth, path.turn(_turning(stage)).walk(stage.frames + 1, speed))
    place = stage.house(pose, colour, house, depth + 0.02, wall + left)
    stage.events.append(Event(frame, actor, "turns", place=place))


@STORIES.register("flower")
def flower(stage: Stage) -> None:
    """A creature comes to a flower: it stops or walks on, a bird stops or takes off."""
    depth = stage.uniform(0.15, 0.55)
    size = walker_size(stage.species, depth, stage.uniform(0.92, 1.08))
    back, front = _reach(stage.species, size)
    speed, frame = stage.speed(), stage.moment(4.6, 8.4)
    start = stage.uniform(0.04, 0.16) + back
    place = start + speed * frame + front
    path = stage.path(stage.species, size, start, stage.line(depth)).walk(frame, speed)
    alternatives = OPEN["flower", stage.species == "bird"]
    kind = alternatives[stage.outcome]
    rest = stage.frames + 1
    if kind == "stops":
        path.rest(rest)
    elif kind == "walks_on":
        path.walk(rest, speed)
    else:
        _fly_off(path, rest, stage)
    actor = stage.subject(size, depth, path)
    stage.marks.append(Mark("flower", place + 0.02, stage.line(depth), 0.15))
    stage.events.append(Event(frame, actor, kind, alternatives))


@STORIES.register("signpost")
def signpost(stage: Stage) -> None:
    """A creature stops at a signpost, and goes left or right."""
    depth = stage.uniform(0.15, 0.6)
    size = walker_size(stage.species, depth, stage.uniform(0.9, 1.05))
    speed, frame = stage.speed(), stage.moment(2.6, 5.4)
    wait = max(1, round(3 / stage.pace))
    place = stage.uniform(0.42, 0.58)
    path = stage.path(stage.species, size, place - speed * frame, stage.line(depth)).walk(frame, speed).rest(wait)
    alternatives = OPEN["signpost", stage.species == "bird"]
    kind = alternatives[stage.outcome]
    ahead = "goes_left" if stage.mirror else "goes_right"
    if kind != ahead:
        path.turn(_turning(stage))
    actor = stage.subject(size, depth, path.walk(stage.frames + 1, speed))
    stage.marks.append(Mark("signpost", place, stage.line(depth) - 0.015, 0.3))
    stage.events += [Event(frame, actor, "stops"), Event(frame + wait, actor, kind, alternatives)]


@STORIES.register("startled")
def startled(stage: Stage) -> None:
    """A walker comes near a bird, which takes off."""
    depth = stage.uniform(0.2, 0.5)
    size = walker_size("bird", depth, 1.05)
    frame = stage.moment(5.6, 9.4)
    species = WALKERS[int(stage.rng.integers(3))]
    other = walker_size(species, depth, stage.uniform(0.72, 0.82))
    back, front = _reach(species, other)
    speed = stage.speed(0.02, 0.028)
    start = stage.uniform(0.02, 0.05) + back
    x = start + speed * frame + front + 0.04 + _reach("bird", size)[0]
    path = stage.path("bird", size, x, stage.line(depth)).rest(frame)
    bird = stage.subject(size, depth, _fly_off(path, stage.frames + 1, stage))
    path = stage.path(species, other, start, stage.line(depth)).walk(stage.frames + 1, speed)
    stage.enter(species, stage.other_colour(species), other, depth + 0.02, path)
    stage.events.append(Event(frame, bird, "takes_off"))


@STORIES.register("lands")
def lands(stage: Stage) -> None:
    """A bird glides down, lands, and stands."""
    depth = stage.uniform(0.15, 0.5)
    size = walker_size("bird", depth, 1.05)
    frame = stage.moment(6.6, 10.4)
    ground = stage.line(depth)
    high = min(stage.uniform(0.28, 0.4), ground - extent("bird", "fly")[2] * size - 0.02)
    speed = stage.speed(0.026, 0.036)
    x = stage.uniform(0.06, 0.16) + _reach("bird", size)[0]
    path = stage.path("bird", size, x, ground - high).fly(frame, speed, -high / frame)
    bird = stage.subject(size, depth, path.rest(stage.frames + 1))
    stage.events.append(Event(frame, bird, "lands"))


def _reach(species: str, size: float) -> tuple[float, float]:
    """(back, front) of a walking creature, in image widths."""
    back, front, _ = extent(species, "stand" if species == "bird" else "walk")
    return back * size, front * size


def _turning(stage: Stage) -> int:
    """Frames that a turn takes."""
    return max(1, round(2 / stage.pace))


def _fly_off(path: Path, frames: int, stage: Stage) -> Path:
    """Take off and climb, faster and faster."""
    for i in range(frames):
        rise = min(1.0, (i + 1) * stage.pace / 4)
        path.fly(1, 0.034 * stage.pace * (0.4 + 0.6 * rise), 0.042 * stage.pace * rise)
    return path
