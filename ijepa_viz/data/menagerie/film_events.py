"""Events of the menagerie's films: what happens, when, and whether it follows from the frames before."""

from __future__ import annotations

from dataclasses import dataclass

# Kinds of events, as the creature's verb. Those of OPEN have an alternative with even odds.
KINDS = (
    "turns", "stops", "walks_on", "goes_left", "goes_right", "takes_off", "lands", "hides", "returns", "leaves",
    "evening",
)  # fmt: skip

# Where the future is open: the mark that a creature reaches, and whether it is a bird -> two kinds, each with odds 1/2.
OPEN: dict[tuple[str, bool], tuple[str, str]] = {
    ("flower", False): ("stops", "walks_on"),
    ("flower", True): ("stops", "takes_off"),
    ("signpost", False): ("goes_left", "goes_right"),
    ("signpost", True): ("goes_left", "goes_right"),
}

# The actor of what happens to the whole scene.
SCENE = -1


@dataclass(frozen=True)
class Event:
    """One event of a film.

    Attributes:
        frame: the first frame that shows it.
        actor: index into the film's things; :data:`SCENE` for the evening.
        kind: one of :data:`KINDS`.
        alternatives: the kinds that were equally likely, ``kind`` among them; empty where the event follows from the
            frames before.
        place: index of the house behind which the actor hides or from behind which it returns; None otherwise.
    """

    frame: int
    actor: int
    kind: str
    alternatives: tuple[str, ...] = ()
    place: int | None = None

    @property
    def open(self) -> bool:
        """Whether the frames before leave it open."""
        return bool(self.alternatives)

    @property
    def odds(self) -> float:
        """Probability of this event, given the frames before it."""
        return 1 / len(self.alternatives) if self.alternatives else 1.0
