"""Drawn films with a cut between seen and unseen frames, and what is true of the unseen ones."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.menagerie.film_clip import film
from ijepa_viz.data.menagerie.film_events import KINDS
from ijepa_viz.data.menagerie.film_plan import Film, plan
from ijepa_viz.data.menagerie.film_sentences import alternative_sentences, event_sentence
from ijepa_viz.data.source import Source
from ijepa_viz.models import ModelConfig
from ijepa_viz.runtime.progress import Progress

# Seeds of the menagerie for fitting and for testing: odd ones, while trainings draw from even ones.
TRAIN_SEED, TEST_SEED = 3001, 3003

NO_EVENT = len(KINDS)  # label of a film in which nothing happens

# What a film's creature does not do: the wrong cue of stories with a foreseeable event.
_CONTRARY = {"turns": "walks_on", "takes_off": "stops", "lands": "leaves"}


@dataclass(frozen=True)
class FutureFilms:
    """n films, each cut before the event that its story is about; the frames after the cut are to be predicted.

    Attributes:
        frames: (n, T, s, s, 3) uint8.
        seen: (n,) int64, steps of the context. frames_seen: frames of it.
        places: (n, h, 2), x and y of the subject's feet in the h frames after the cut, in image widths and heights.
        last, velocity: (n, 2), its place in the last frame of the context, and from the frame before to it.
        visible: (n, h) bool, neither behind a house nor out of the picture. inside: (n, h) bool, not out of it.
        kinds: (n,) int64, what happens: an index of ``KINDS``, or :data:`NO_EVENT`.
        other_kinds: (n,) the alternative of an open event; the same as ``kinds`` where there is none.
        stories: of each film. numbers: their indices in the menagerie. events: (n,) frame of the event, or -1.
        cues, wrong_cues: the sentence of the story's event, and of what might have happened instead, or contradicts it;
            "" for none.
    """

    frames: Tensor
    seen: Tensor
    frames_seen: Tensor
    places: Tensor
    last: Tensor
    velocity: Tensor
    visible: Tensor
    inside: Tensor
    kinds: Tensor
    other_kinds: Tensor
    events: Tensor
    numbers: Tensor
    stories: tuple[str, ...]
    cues: tuple[str, ...]
    wrong_cues: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def open(self) -> Tensor:
        """(n,) bool, films whose event could have been another."""
        return self.kinds != self.other_kinds

    def of(self, story: str) -> Tensor:
        """(n,) bool, films of a story."""
        return torch.tensor([name == story for name in self.stories])

    def __getitem__(self, rows: Tensor) -> FutureFilms:
        """Some of the films, by indices (m,) or flags (n,)."""
        index = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        chosen: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            chosen[name] = value[index] if isinstance(value, Tensor) else tuple(value[i] for i in index.tolist())
        return FutureFilms(**chosen)

    def copy_last(self) -> Tensor:
        """Places (n, h, 2) of a creature that stays where it was last seen, by the ground truth."""
        return self.last[:, None].expand_as(self.places)

    def constant_velocity(self) -> Tensor:
        """Places (n, h, 2) of a creature that keeps its last velocity, by the ground truth of the seen frames."""
        ahead = torch.arange(1, self.places.shape[1] + 1)[None, :, None]
        return self.last[:, None] + ahead * self.velocity[:, None]


def require_films(source: Source) -> None:
    """Check that a data set is of drawn films.

    Raises:
        ValueError: another data set.
    """
    if not source.name.startswith("menagerie-film "):
        raise ValueError(f"Only drawn films have a known truth: use --data menagerie-film, not {source.name}.")


def cut(planned: Film, steps: int, tubelet: int) -> int:
    """Steps of a film's context: a quarter to half of them, as many as lie before the event; 0 where none do.

    The event of ``hides`` is the return: the cut is where the creature cannot be seen, where there is such a place.
    """
    low, high = max(1, steps // 4), steps // 2
    if planned.story == "hides":
        hides, returns = _unseen(planned)
        good = [k for k in range(low, high + 1) if hides < k * tubelet <= returns]
        return good[-1] if good else 0
    event = planned.main_event
    if event is None or event.kind == "leaves":
        return (low + high) // 2
    seen = min(high, event.frame // tubelet)
    return seen if seen >= low else 0


def draw_futures(config: ModelConfig, count: int, seed: int) -> FutureFilms:
    """Draw ``count`` films of a model's sizes, those without a cut before their event left out.

    Raises:
        ValueError: a model of pictures, or of oblong frames.
    """
    found: list[dict[str, Any]] = []
    index = 0
    with Progress("drawing films", count, "film") as bar:
        while len(found) < count:
            made = _future(config, index, seed, None)
            index += 1
            if made is not None:
                found.append(made)
                bar.update()
    return _stacked(found)


def twins_of(config: ModelConfig, films: FutureFilms, seed: int) -> FutureFilms:
    """The same films with the other outcome, for films with an open event: all frames of the context are the same.

    Raises:
        ValueError: a film without an open event.
    """
    found = []
    for index in films.numbers.tolist():
        other = 1 - plan(index, seed, config.frames).outcome
        made = _future(config, index, seed, other)
        assert made is not None  # the cut is the same
        found.append(made)
    return _stacked(found)


def frozen(films: FutureFilms) -> FutureFilms:
    """The films with the last seen frame repeated to the end: a false continuation of whatever moves."""
    frames = films.frames.clone()
    for row, seen in zip(frames, films.frames_seen.tolist(), strict=True):
        row[seen:] = row[seen - 1]
    return replace(films, frames=frames)


def _unseen(planned: Film) -> tuple[int, int]:
    """First frame behind the house, and first frame after it, of a film of ``hides``."""
    own = {event.kind: event.frame for event in planned.events if event.actor == planned.subject}
    return own.get("hides", 0), own.get("returns", planned.frames)


def _future(config: ModelConfig, index: int, seed: int, outcome: int | None) -> dict[str, Any] | None:
    if config.frames == 1:
        raise ValueError(
            "This model is of pictures: a film's future needs one of films, such as the bundled film-tiny."
        )
    (height, width), tubelet = config.height_and_width, config.tubelet
    if height != width:
        raise ValueError(f"Films are drawn as squares, this model's frames are {height}x{width}.")
    planned = plan(index, seed, config.frames, outcome)
    seen = cut(planned, config.steps, tubelet)
    if not seen:
        return None
    start, ahead = seen * tubelet, config.steps // 2 * tubelet
    own = planned.positions()[:, planned.subject]  # (T + 1, 2)
    event = planned.main_event
    if planned.story == "hides":
        event = next((e for e in planned.events if e.kind == "returns" and e.actor == planned.subject), None)
    gone = next(
        (e.frame for e in planned.events if e.kind == "leaves" and e.actor == planned.subject), planned.frames + 1
    )
    coming = np.arange(start, start + ahead)
    hides, returns = _unseen(planned) if planned.story == "hides" else (0, 0)
    kind = NO_EVENT if event is None or event.kind == "leaves" else KINDS.index(event.kind)
    others = [] if event is None else [KINDS.index(name) for name in event.alternatives if name != event.kind]
    cue, wrong = "", ""
    if planned.main_event is not None:  # as in training, whose cue of "hides" is what happened before the cut
        cue = event_sentence(planned, planned.main_event)
    if event is not None and planned.story != "hides":
        different = [text for text in alternative_sentences(planned, event) if text != cue]
        contrary = _CONTRARY.get(event.kind)
        if different:
            wrong = different[0]
        elif contrary is not None:
            wrong = event_sentence(planned, replace(event, kind=contrary, place=None))
    return {
        "frames": torch.from_numpy(film(index, height, seed, config.frames, outcome=outcome).frames),
        "seen": seen,
        "frames_seen": start,
        "places": torch.from_numpy(own[start : start + ahead]).float(),
        "last": torch.from_numpy(own[start - 1]).float(),
        "velocity": torch.from_numpy(own[start - 1] - own[start - 2]).float() if start > 1 else torch.zeros(2),
        "visible": torch.from_numpy(~((hides <= coming) & (coming < returns)) & (coming < gone)),
        "inside": torch.from_numpy(coming < gone),
        "kinds": kind,
        "other_kinds": others[0] if others else kind,
        "events": -1 if event is None else event.frame,
        "numbers": index,
        "stories": planned.story,
        "cues": cue,
        "wrong_cues": wrong,
    }


def _stacked(found: list[dict[str, Any]]) -> FutureFilms:
    columns: dict[str, Any] = {}
    for name in found[0]:
        values = [one[name] for one in found]
        if isinstance(values[0], Tensor):
            columns[name] = torch.stack(values)
        else:
            columns[name] = torch.tensor(values) if isinstance(values[0], int) else tuple(values)
    return FutureFilms(**columns)
