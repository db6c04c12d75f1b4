"""Sentences of films: what a clip shows, what happens in it, and the creature in a picture; written and read back.

The grammar, in Extended Backus-Naur Form::

    clip     = opening { "and" opening } place time { "then" event } ;
    opening  = ( "a" | "an" ) creature verb [ side ] ;
    event    = "the" creature happening | "evening" "falls" ;
    portrait = ( "a" | "an" ) creature "looking" side ;
    creature = colour species ;
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ijepa_viz.data.menagerie.composition import NAMES, Thing
from ijepa_viz.data.menagerie.creatures import COLOURS
from ijepa_viz.data.menagerie.film_events import SCENE, Event
from ijepa_viz.data.menagerie.film_plan import Film
from ijepa_viz.data.menagerie.film_vocabulary import Vocabulary

SPECIES_WORDS = {**{name: name for name in NAMES}, "building": "house"}

# "the brown dog ..."; {house} is "the red house".
HAPPENINGS = {
    "turns": "turns round",
    "stops": "stops",
    "walks_on": "walks on",
    "goes_left": "goes left",
    "goes_right": "goes right",
    "takes_off": "takes off",
    "lands": "lands",
    "hides": "goes behind {house}",
    "returns": "comes out again",
    "leaves": "leaves the picture",
}

PLACES = {"grass": "on the grass", "sand": "on the sand", "snow": "in the snow", "shore": "on the shore"}

TIMES = {"day": "by day", "dusk": "at dusk", "overcast": "under clouds", "morning": "in the morning"}

# Pose in the first frame -> verb; those that move have a side.
VERBS = {"walk": "walks", "fly": "flies", "stand": "stands", "sit": "sits", "howl": "howls", "peck": "pecks"}
_MOVING = ("walks", "flies")

# Ids are positions in this list, and trained models keep them: add words at its end only.
VOCABULARY = Vocabulary(
    (
        *("a", "an", "the", "and", "then", "left", "right"),
        *("dog", "wolf", "cat", "bird", "house"),
        *("brown", "golden", "white", "black", "grey", "orange", "red", "blue", "yellow"),
        *("walks", "flies", "stands", "sits", "howls", "pecks", "looking"),
        *(
            "turns",
            "round",
            "stops",
            "on",
            "goes",
            "takes",
            "off",
            "lands",
            "behind",
            "comes",
            "out",
            "again",
            "leaves",
        ),
        *("picture", "evening", "falls"),
        *("grass", "sand", "in", "snow", "shore", "by", "day", "at", "dusk", "under", "clouds", "morning"),
    )
)

# Words of the longest sentence of one event: "the golden dog goes behind the yellow house".
EVENT_WORDS = 8


@dataclass(frozen=True)
class Creature:
    """A colour and a species, as words: "brown" and "dog"."""

    colour: str
    species: str

    def __str__(self) -> str:
        return f"{self.colour} {self.species}"


@dataclass(frozen=True)
class Happening:
    """What the sentence of an event says; ``actor`` None is the whole scene's, ``house`` where it hides."""

    kind: str
    actor: Creature | None = None
    house: Creature | None = None


@dataclass(frozen=True)
class Opening:
    """What the sentence of a clip says of one creature in the first frame; ``side`` is where it moves, or ""."""

    creature: Creature
    verb: str
    side: str = ""


@dataclass(frozen=True)
class Description:
    """What the sentence of a clip says."""

    openings: tuple[Opening, ...]
    ground: str
    sky: str
    happenings: tuple[Happening, ...] = ()


def describe(film: Film) -> Description:
    """What is said of a film: its subject, whoever else moves, the ground, the light, and the events."""
    subject = film.subject
    walking = [
        i for i, states in enumerate(film.states)
        if i != subject and (states[0].x, states[0].y) != (states[1].x, states[1].y)
    ]  # fmt: skip
    openings = tuple(_opening(film, i) for i in (subject, *walking))
    return Description(openings, film.ground, film.sky, tuple(happening(film, event) for event in film.events))


def happening(film: Film, event: Event) -> Happening:
    """What is said of an event."""
    if event.actor == SCENE:
        return Happening(event.kind)
    house = (
        None if event.place is None or "{house}" not in HAPPENINGS[event.kind] else creature(film.things[event.place])
    )
    return Happening(event.kind, creature(film.things[event.actor]), house)


def creature(thing: Thing) -> Creature:
    """The words of a creature or house."""
    return Creature(thing.colour, SPECIES_WORDS[thing.species])


def event_sentence(film: Film, event: Event) -> str:
    """The sentence of an event, such as "the brown dog turns round"."""
    return write_event(happening(film, event))


def alternative_sentences(film: Film, event: Event) -> tuple[str, ...]:
    """The sentences of all that might have happened instead, the event's own among them."""
    kinds = event.alternatives or (event.kind,)
    return tuple(event_sentence(film, replace(event, kind=kind)) for kind in kinds)


def clip_sentence(film: Film, *, until: int | None = None) -> str:
    """The sentence of a film; ``until`` leaves out the events from this frame on."""
    said = describe(film)
    if until is not None:
        before = tuple(happening(film, event) for event in film.events if event.frame < until)
        said = replace(said, happenings=before)
    return write_clip(said)


def portrait_sentence(thing: Thing) -> str:
    """The sentence of a creature in a picture, such as "a grey wolf looking left"."""
    return f"{_with_article(creature(thing))} looking {thing.facing}"


def write_event(said: Happening) -> str:
    """The sentence of an event."""
    if said.actor is None:
        return "evening falls"
    return f"the {said.actor} {HAPPENINGS[said.kind].format(house=f'the {said.house}')}"


def write_clip(said: Description) -> str:
    """The sentence of a clip."""
    openings = " and ".join(
        f"{_with_article(o.creature)} {o.verb}" + (f" {o.side}" if o.side else "") for o in said.openings
    )
    events = "".join(f" then {write_event(event)}" for event in said.happenings)
    return f"{openings} {PLACES[said.ground]} {TIMES[said.sky]}{events}"


def read_event(sentence: str) -> Happening:
    """The inverse of :func:`write_event`.

    Raises:
        ValueError: an unknown word, or a sentence that is not of the grammar.
    """
    reader = _Reader(sentence)
    said = reader.event()
    reader.end()
    return said


def read_clip(sentence: str) -> Description:
    """The inverse of :func:`write_clip`.

    Raises:
        ValueError: an unknown word, or a sentence that is not of the grammar.
    """
    reader = _Reader(sentence)
    openings = [reader.opening()]
    while reader.take("and"):
        openings.append(reader.opening())
    ground, sky = reader.one_of(PLACES, "a place"), reader.one_of(TIMES, "a time of day")
    events = []
    while reader.take("then"):
        events.append(reader.event())
    reader.end()
    return Description(tuple(openings), ground, sky, tuple(events))


def _opening(film: Film, actor: int) -> Opening:
    state = film.states[actor][0]
    moves = state.gait is not None
    verb = "flies" if state.pose == "fly" else "walks" if moves else VERBS[state.pose]
    return Opening(creature(film.things[actor]), verb, film.things[actor].facing if moves else "")


def _with_article(named: Creature) -> str:
    return f"{'an' if named.colour[0] in 'aeiou' else 'a'} {named}"


class _Reader:
    """The words of a sentence, taken one after the other."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        self.words = VOCABULARY.split(sentence)
        self.at = 0

    def take(self, phrase: str) -> bool:
        """Whether the phrase comes next; it is passed over."""
        words = phrase.split()
        if self.words[self.at : self.at + len(words)] != words:
            return False
        self.at += len(words)
        return True

    def one_of(self, phrases: dict[str, str], what: str) -> str:
        """The key of the phrase that comes next."""
        # The longest first: "goes" begins several.
        for key in sorted(phrases, key=lambda k: -len(phrases[k])):
            if self.take(phrases[key]):
                return key
        raise self.error(f"{what} ({', '.join(phrases.values())})")

    def error(self, expected: str) -> ValueError:
        found = repr(self.words[self.at]) if self.at < len(self.words) else "its end"
        return ValueError(f"{self.sentence!r}: {expected} was expected as word {self.at + 1}, not {found}.")

    def end(self) -> None:
        if self.at < len(self.words):
            raise self.error("its end")

    def creature(self) -> Creature:
        colour = self.one_of({c: c for colours in COLOURS.values() for c in colours}, "a colour")
        name = self.one_of(SPECIES_WORDS, "a species")
        if colour not in COLOURS[name]:
            self.at -= 2
            raise self.error(f"a colour of a {SPECIES_WORDS[name]} ({', '.join(COLOURS[name])})")
        return Creature(colour, SPECIES_WORDS[name])

    def opening(self) -> Opening:
        if not (self.take("an") or self.take("a")):
            raise self.error("'a' or 'an'")
        named = self.creature()
        verb = self.one_of({v: v for v in VERBS.values()}, "a verb")
        side = self.one_of({"left": "left", "right": "right"}, "a side") if verb in _MOVING else ""
        return Opening(named, verb, side)

    def event(self) -> Happening:
        if self.take("evening falls"):
            return Happening("evening")
        if not self.take("the"):
            raise self.error("'the', or 'evening falls',")
        actor = self.creature()
        kind = self.one_of({k: v.partition(" {")[0] for k, v in HAPPENINGS.items()}, "what happens")
        if "{house}" not in HAPPENINGS[kind]:
            return Happening(kind, actor)
        if not self.take("the"):
            raise self.error("'the' and a house")
        return Happening(kind, actor, self.creature())
