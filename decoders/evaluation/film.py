"""Metric ``film``: places, events and outcomes that a CNN reads from the decoded futures of drawn films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.film_frames import (
    UNSEEN,
    FrameReader,
    FrameReading,
    appearances,
    fit_frame_reader,
    frames_ahead,
    read_frames,
    real_frames,
)
from decoders.evaluation.metric import DECODER_METRICS
from ijepa_viz.figures.film_places import film_places_figure
from ijepa_viz.film_prediction import predict_film
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.bootstrap import share_of_pictures
from ijepa_viz.probes.film import contrary_cue, untrained
from ijepa_viz.probes.film_measures import agreement, frames_until_return, place_errors, returns
from ijepa_viz.probes.film_truth import TEST_SEED, TRAIN_SEED, FutureFilms, draw_futures, require_films
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track

# Fewest films of a kind for numbers of their own.
_FEWEST = 5
# Open films of which several samples are drawn: the first ones.
_OUTCOMES = 40
_BATCH = 16


@DECODER_METRICS.register("film")
def film(
    model: IJEPA, decoder: Decoder, split: Split, test: int = 120, train: int = 800, samples: int = 6, epochs: int = 12
) -> dict[str, Any]:
    """Futures of drawn films, decoded: places, events and outcomes that a CNN reads, fitted on real frames only.

    Films are cut before the event of their story, as by the probe ``film``, and the frames after the cut are decoded;
    the CNN sees these frames alone. Rows: "real" are the true frames, the limit of what the CNN can read; "no_cue"
    ("predicted" in ``place``), "right_cue" and "wrong_cue" single samples; "another_film" the sample of another film;
    "random_init" a sample from an untrained model's prediction. A film without a cue's sentence counts without a cue.

    ``place``: distance to the creature's true place by frames ahead, in image widths, beside "copy_last" and
    "constant_velocity" of the true places. ``event``: share of open films in which the event is read that happens, of
    the two that might, of "wrong_cue" the one that the cue names; ``contrary_cue`` the same of walls, where a creature
    turns. ``outcomes``: whether samples of one film without a cue show both outcomes, beside even odds and beside what
    the CNN's errors alone would make of samples that agree. ``returns``: when and where a creature is seen again behind
    a house. ``appearance``: species, and facing in the last frame of films without an open event.

    Args:
        model, decoder: a pair. split: of ``menagerie-film``; its ``count`` limits the films that are tested.
        test, train: number of films for testing, and for fitting the CNN, in ``epochs``.
        samples: of each of the first 40 open films without a cue.

    Raises:
        ValueError: another data set, a model of pictures, or fewer than two samples.
    """
    source = split("test")
    require_films(source)
    if samples < 2:
        raise ValueError(f"Outcomes differ between samples: draw at least 2 of a film, not {samples}.")
    films = draw_futures(model.config, min(test, len(source)), TEST_SEED)
    learned = draw_futures(model.config, train, TRAIN_SEED)
    reader = fit_frame_reader(learned, model.config.frames, TRAIN_SEED, epochs)
    usual = learned.of("hides")
    guess = float(frames_until_return(learned[usual]).float().mean()) if usual.any() else None
    table = decoded_measures(model, decoder, reader, films, samples, guess)
    note = f"{len(films)} films drawn with seed {TEST_SEED}, read by a CNN fitted on {train} with seed {TRAIN_SEED}"
    figure = film_places_figure(
        table["place"], f"Places that a CNN reads from the decoded futures of {len(films)} films."
    )
    return {**table, "test_data": note, "figure": figure}


def decoded_measures(
    model: IJEPA, decoder: Decoder, reader: FrameReader, films: FutureFilms, samples: int, guess: float | None
) -> dict[str, Any]:
    """The table of :func:`film` for films that are drawn already, with the seed ``TEST_SEED``.

    Args:
        guess: mean number of frames until a hidden creature returns, in the films of the CNN; None is not known.
    """
    own = films.open
    often = own & (own.cumsum(0) <= _OUTCOMES)
    rows, several = _readings(model, decoder, reader, films, often, samples)
    futures = {name: row.future for name, row in rows.items()}
    places = {("predicted" if name == "no_cue" else name): row.places for name, row in rows.items()}
    places |= {"copy_last": films.copy_last(), "constant_velocity": films.constant_velocity()}
    table: dict[str, Any] = {"films": len(films), "place": place_errors(films, places)}
    if int(own.sum()) >= _FEWEST:
        table["event"] = agreement(films[own], {name: row.of(own).future for name, row in rows.items()})
        table["outcomes"] = _outcomes(films[often], several, table["event"]["all"]["real"]["accuracy"])
    walls = films.of("meets_wall")
    if "wrong_cue" in rows and int(walls.sum()) >= _FEWEST:
        table["contrary_cue"] = contrary_cue(films, futures, walls)
    hides = films.of("hides")
    if guess is not None and int(hides.sum()) >= _FEWEST:
        table["returns"] = {name: returns(films[hides], row.of(hides).future, guess) for name, row in rows.items()}
    table["appearance"] = _appearance(films, appearances(films, model.config.frames, TEST_SEED), rows)
    return table


def _readings(
    model: IJEPA, decoder: Decoder, reader: FrameReader, films: FutureFilms, often: Tensor, samples: int
) -> tuple[dict[str, FrameReading], FrameReading]:
    """What is read of each row's frames, and of the samples without a cue of the films ``often``, (n S, ...)."""
    last = films.last
    several = read_frames(
        reader, _decoded(model, decoder, films[often], each=samples), last[often].repeat_interleave(samples, 0)
    )
    drawn = _decoded(model, decoder, films)
    plain = read_frames(reader, drawn, last)
    rows = {"real": read_frames(reader, real_frames(films), last), "no_cue": plain}
    if model.config.cue_tokens:
        for name, cues in (("right_cue", films.cues), ("wrong_cue", films.wrong_cues)):
            given = torch.tensor([bool(cue) for cue in cues])
            told = _decoded(model, decoder, films[given], [cue for cue in cues if cue])
            rows[name] = _joined({True: read_frames(reader, told, last[given]), False: plain.of(~given)}, given)
    # Frames of the film before, asked where this one's creature is.
    rows["another_film"] = read_frames(reader, drawn.roll(1, 0), last)
    rows["random_init"] = read_frames(reader, _decoded(untrained(model), decoder, films), last)
    return rows, several


def _joined(parts: Mapping[bool, FrameReading], flags: Tensor) -> FrameReading:
    """The reading of all films of those that have a flag, and of the others."""
    order = torch.cat([flags.nonzero().flatten(), (~flags).nonzero().flatten()]).argsort()
    pairs = zip(parts[True], parts[False], strict=True)
    return FrameReading(*(torch.cat([yes, no])[order] for yes, no in pairs))


def _decoded(
    model: IJEPA, decoder: Decoder, films: FutureFilms, cues: Sequence[str] | None = None, each: int = 1
) -> Tensor:
    """Decode the frames after the cuts, (n S, h, 3, H, W) float16: of each film its ``each`` samples, one by one."""
    steps = model.config.steps
    parts = []
    for rows in track(torch.arange(len(films)).split(_BATCH), "decoding films", "batch"):
        some = films[rows]
        masks = Masks.future(model.grid, steps, some.seen, ahead=steps // 2)
        told = "" if cues is None else [cues[i] for i in rows.tolist()]
        # Of no known weights: the decoder would refuse an untrained model's prediction.
        prediction = replace(predict_film(model, some.frames, masks, told), weights=None)
        parts.append(frames_ahead(decoder.sample(prediction, each).images, some).flatten(0, 1).half())
    return torch.cat(parts) if parts else real_frames(films).half()


def _outcomes(films: FutureFilms, several: FrameReading, real: float) -> dict[str, Any]:
    """Whether samples (n S, ...) of open films without a cue show both outcomes, of all films and by story.

    Args:
        real: share of real films whose event is read rightly.
    """
    count = len(several.kinds) // len(films)
    # Of each pair of alternatives the first is the first in the list of kinds.
    first, second = torch.minimum(films.kinds, films.other_kinds), torch.maximum(films.kinds, films.other_kinds)
    chosen = several.future.chosen(first.repeat_interleave(count), second.repeat_interleave(count)).view(-1, count)
    groups = {"all": torch.ones(len(films), dtype=torch.bool), **{s: films.of(s) for s in sorted(set(films.stories))}}
    table: dict[str, Any] = {
        "samples": count,
        "both_by_even_odds": 1 - 0.5 ** (count - 1),
        "both_by_errors_alone": 1 - real**count - (1 - real) ** count,
    }
    for name, rows in groups.items():
        if (n := int(rows.sum())) < _FEWEST:
            continue
        some = chosen[rows]
        both = some.any(1) & ~some.all(1)
        table[name] = {
            "films": n,
            "both": accuracy_with_interval(int(both.sum()), n),
            "first_outcome": share_of_pictures(some.flatten(), torch.arange(n).repeat_interleave(count)),
            "first_outcome_real": accuracy_with_interval(int((films.kinds == first)[rows].sum()), n),
        }
    return table


def _appearance(
    films: FutureFilms, truth: tuple[Tensor, Tensor], rows: Mapping[str, FrameReading]
) -> dict[str, dict[str, Any]]:
    """Accuracy of species, and of facing where no event is open, by row, beside the most frequent answer."""
    species, facing = truth
    answers = {
        "species": (species, species != UNSEEN, {name: row.species.argmax(1) for name, row in rows.items()}),
        "facing": (facing, (facing != UNSEEN) & ~films.open, {n: (row.facing > 0).long() for n, row in rows.items()}),
    }
    table: dict[str, dict[str, Any]] = {}
    for name, (true, asked, given) in answers.items():
        total = int(asked.sum())
        if total < _FEWEST:
            continue
        table[name] = {"films": total}
        for row, answer in given.items():
            table[name][row] = accuracy_with_interval(int((answer == true)[asked].sum()), total)
        table[name]["most_frequent"] = int(true[asked].bincount().max()) / total
    return table
