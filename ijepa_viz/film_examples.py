"""Drawn films that no training draws, beside what a model predicts of their future with a cue and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ijepa_viz.data.menagerie.film_clip import film
from ijepa_viz.data.menagerie.film_stories import ODDS
from ijepa_viz.figures.film_loops import Panel
from ijepa_viz.film_prediction import predict_film
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, Sampler
from ijepa_viz.probes.film_truth import TEST_SEED, FutureFilms, draw_futures

STORIES = ("signpost", "flower", "meets_wall")
_DRAWN = 64  # films among which each story is looked for
_HIDDEN = 0.82


@dataclass(frozen=True)
class CuedFilm:
    """A film and its future by cue: ``predictions`` of "", the right and the other cue, in this order."""

    story: str
    predictions: tuple[Prediction, Prediction, Prediction]
    cues: tuple[str, str, str]


def cued_films(model: IJEPA, stories: Sequence[str] = STORIES, first: int = 0) -> list[CuedFilm]:
    """The first film of each story whose first half is seen, and its second half predicted with three cues.

    Args:
        model: of films, with cues. first: how many such films of each story are passed over.

    Raises:
        ValueError: a model of pictures or without cues, or a story that has too few films with a cue.
    """
    if model.config.frames == 1 or not model.config.cue_tokens:
        raise ValueError("Films with cues need a model that takes both, such as the bundled film-tiny.")
    if first < 0:
        raise ValueError(f"first is the number of films that are passed over, from 0, got {first}.")
    if unknown := sorted(set(stories) - set(ODDS)):
        raise ValueError(
            f"There is no story {', '.join(map(repr, unknown))}: the stories are {', '.join(sorted(ODDS))}."
        )
    drawn = draw_futures(model.config, _DRAWN, TEST_SEED)
    return [_cued(model, drawn, story, first) for story in stories]


def _cued(model: IJEPA, drawn: FutureFilms, story: str, first: int) -> CuedFilm:
    steps = model.config.steps
    fitting = [
        i
        for i in drawn.of(story).nonzero().flatten().tolist()
        if int(drawn.seen[i]) == steps // 2 and drawn.wrong_cues[i]
    ]
    if len(fitting) <= first:
        enough = f"first is at most {len(fitting) - 1}" if fitting else f"take another story, such as {STORIES[0]!r}"
        raise ValueError(
            f"Of {_DRAWN} films {len(fitting)} are of {story!r}, with an event after their first half and two cues: "
            f"{enough}."
        )
    number = fitting[first]
    cues = ("", drawn.cues[number], drawn.wrong_cues[number])
    masks = Masks.future(model.grid, steps, steps // 2)
    index, size = int(drawn.numbers[number]), 2 * model.config.height_and_width[0]
    shown = film(index, size, TEST_SEED, model.config.frames).frames  # the same film, drawn larger
    plain, right, other = (predict_film(model, drawn.frames[number].numpy(), masks, cue, shown) for cue in cues)
    return CuedFilm(story, (plain, right, other), cues)


def film_panels(films: Sequence[CuedFilm], decoder: Sampler, samples: int = 2, seed: int = 0) -> list[list[Panel]]:
    """A row a film: the film, what the model sees of it, samples without a cue, one with the right, one with the other.

    Args:
        samples: number of those without a cue. seed: of the decoder's noise.
    """
    rows = []
    for one_film in films:
        plain, right, other = one_film.predictions
        drawn = decoder.sample(plain, samples=samples, seed=seed)
        whole = plain.picture(drawn.images.shape[-2])
        predicted = tuple(drawn.inside.flatten(1).any(1).tolist())
        seen = torch.where(drawn.inside[:, None], torch.full_like(whole, _HIDDEN), whole)
        row = [Panel(whole, "the film"), Panel(seen, "what the model sees")]
        row += [Panel(one, f"no cue, sample {i + 1}", predicted) for i, one in enumerate(drawn.on(whole))]
        for prediction, cue in ((right, one_film.cues[1]), (other, one_film.cues[2])):
            one = decoder.sample(prediction, samples=1, seed=seed).on(whole)[0]
            row.append(Panel(one, f"cue: {cue}", predicted))
        rows.append(row)
    return rows
