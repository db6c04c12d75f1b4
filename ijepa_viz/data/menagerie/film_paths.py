"""Paths of the creatures of a film: places, poses and gaits, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ijepa_viz.data.menagerie.composition import Thing
from ijepa_viz.data.menagerie.film_sprites import cycle_length, extent

# Wing beats a frame of a film of 16 frames: four frames a beat.
_BEAT = 0.27

# A creature that turns round is drawn narrower; it never becomes a line.
_NARROWEST = 0.3


@dataclass(frozen=True)
class State:
    """One creature in one frame.

    Attributes:
        x, y: where its feet (a flier: its lowest point) are, in image widths and heights.
        pose: of its species' POSES.
        yaw: its facing as a number, 1 right to -1 left; between them it turns round, and is drawn as narrow.
        gait: phase of legs or wings in cycles; None where they rest.
    """

    x: float
    y: float
    pose: str
    yaw: float
    gait: float | None = None

    def mirrored(self) -> State:
        """The state in the mirror image."""
        return replace(self, x=1 - self.x, yaw=-self.yaw)


class Path:
    """The states of one creature, one after the other.

    Each method adds frames. A state shows the creature where the motion so far has brought it.

    Args:
        species: its name. size: height of one unit. x, y: at the first frame. facing: 1 or -1.
        length: number of states wanted; further ones are dropped.
        pace: frames of a film of 16 frames that one frame stands for.
    """

    def __init__(
        self, species: str, size: float, x: float, y: float, length: int, pace: float, facing: int = 1
    ) -> None:
        self.species, self.size = species, size
        self.x, self.y, self.facing = x, y, facing
        self.length, self.pace = length, pace
        self.states: list[State] = []
        self._gait = 0.0

    def _show(self, pose: str, yaw: float | None = None, gait: float | None = None) -> None:
        self.states.append(State(self.x, self.y, pose, self.facing if yaw is None else yaw, gait))

    def walk(self, frames: int, speed: float) -> Path:
        """Walk for some frames, at ``speed`` image widths a frame."""
        pose = "stand" if self.species == "bird" else "walk"
        for _ in range(frames):
            self._show(pose, gait=self._gait % 1)
            self.x += self.facing * speed
            self._gait += speed / (cycle_length(self.species) * self.size)
        return self

    def rest(self, frames: int, pose: str = "stand") -> Path:
        """Stay where it is."""
        for _ in range(frames):
            self._show(pose)
        return self

    def turn(self, frames: int) -> Path:
        """Turn round on the spot."""
        for i in range(frames):
            yaw = self.facing * (1 - (2 * i + 1) / frames)
            # In the middle of an odd number of frames it faces the new way already.
            sign = self.facing if yaw * self.facing > 0 else -self.facing
            self._show("stand", yaw=sign * max(abs(yaw), _NARROWEST))
        self.facing = -self.facing
        return self

    def fly(self, frames: int, speed: float, climb: float) -> Path:
        """Fly, at ``speed`` image widths and ``climb`` image heights a frame; a bird."""
        for _ in range(frames):
            self._show("fly", gait=self._gait % 1)
            self.x += self.facing * speed
            self.y -= climb
            self._gait += _BEAT * self.pace
        return self

    def finish(self) -> tuple[State, ...]:
        """The wanted number of states.

        Raises:
            ValueError: fewer were added.
        """
        if len(self.states) < self.length:
            raise ValueError(f"The path of the {self.species} has {len(self.states)} of {self.length} states.")
        return tuple(self.states[: self.length])


def shown(thing: Thing, state: State) -> Thing:
    """Ground truth of a creature in one frame."""
    return replace(thing, x=state.x, y=state.y, pose=state.pose, facing="right" if state.yaw > 0 else "left")


def outline(thing: Thing) -> tuple[float, float]:
    """(left, right): the interval of x that a creature covers at most, in image widths."""
    back, front, _ = (reach * thing.size for reach in extent(thing.species, thing.pose))
    return (thing.x - back, thing.x + front) if thing.facing == "right" else (thing.x - front, thing.x + back)
