"""Probe ``film``: what a model of films predicts of a drawn film's future, with cues and without."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.data.menagerie.film_events import KINDS
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.film_measures import (
    agreement,
    averaging,
    energy_aurocs,
    frames_until_return,
    place_errors,
    returns,
)
from ijepa_viz.probes.film_reader import ReaderOptions, Reading, fit_reader, read
from ijepa_viz.probes.film_tokens import energies, predicted_tokens, share_of_the_way, target_tokens
from ijepa_viz.probes.film_truth import (
    TEST_SEED,
    TRAIN_SEED,
    FutureFilms,
    draw_futures,
    frozen,
    require_films,
    twins_of,
)
from ijepa_viz.probes.probe import PROBES, Split

# Fewest films of a kind for numbers of their own.
_FEWEST = 5


@PROBES.register("film")
def film_table(model: IJEPA, split: Split, train: int = 2000, test: int = 500, steps: int = 2500) -> dict[str, Any]:
    """Futures of drawn films: places by horizon, returns from behind a house, cues, averages of open futures, energies.

    Films are cut before the event of their story, and the steps after the cut are predicted. ``place`` is the distance
    to the creature's true place, in image widths, by frames ahead: "predicted" without a cue, "right_cue", "wrong_cue",
    "random_init" of an untrained model, "real" of the target encoder's tokens, which see those frames. One reader,
    fitted on predictions without and with the right cue, reads the first three; the other two have one each. A reader
    is told where the creature was last seen, since there are others.
    "copy_last" and "constant_velocity" are of the ground truth of the seen frames. Behind a house constant velocity is
    exact; at walls, turns and landings it is not.

    ``cue``: share of open films in which the event is read that happens, or that a wrong cue names; the reader is
    fitted on the *target encoder's* tokens of training films, so that it cannot read the cue itself. ``contrary_cue``
    is of walls, where a creature turns. ``average``: on the line between both futures' target tokens, nothing fitted.
    ``energy``: AUROC of true futures against the frozen last frame and against the other outcome (without a cue 1/2 by
    construction), and of right against wrong captions of one film; nothing fitted.

    Args:
        model: of films. split: of ``menagerie-film``. train, test: number of films. steps: of fitting each reader.

    Raises:
        ValueError: another data set, or a model of pictures. RuntimeError: a model without a predictor.
    """
    require_films(split("test"))
    config = model.config
    films, learned = draw_futures(config, test, TEST_SEED), draw_futures(config, train, TRAIN_SEED)
    table = film_measures(model, learned, films, steps)
    note = f"{len(films)} films drawn with seed {TEST_SEED}, readers fitted on {len(learned)} with seed {TRAIN_SEED}"
    return {**table, "test_data": note + ", whatever count= and seed= of the data are"}


def film_measures(model: IJEPA, learned: FutureFilms, films: FutureFilms, steps: int = 2500) -> dict[str, Any]:
    """The table of :func:`film_table` for films that are drawn already.

    Args:
        learned: films for fitting. films: for testing, with the seed ``TEST_SEED``.
    """
    options, grid, tubelet = ReaderOptions(steps=steps), model.grid, model.config.tubelet
    cued = model.config.cue_tokens > 0
    target, plain = target_tokens(model, films), predicted_tokens(model, films)
    real_reader = fit_reader(target_tokens(model, learned), learned, grid, tubelet, options)
    fitted, fitted_films = predicted_tokens(model, learned), learned
    by_cue = {"no_cue": plain}
    if cued:
        by_cue["right_cue"] = predicted_tokens(model, films, films.cues)
        by_cue["wrong_cue"] = predicted_tokens(model, films, films.wrong_cues)
        fitted = torch.cat([fitted, predicted_tokens(model, learned, learned.cues)])
        fitted_films = learned[torch.arange(len(learned)).repeat(2)]
    reader = fit_reader(fitted, fitted_films, grid, tubelet, options)
    readings = {name: read(reader, tokens, films) for name, tokens in by_cue.items()}
    as_real = {name: read(real_reader, tokens, films) for name, tokens in by_cue.items()}
    real = read(real_reader, target, films)
    initial = untrained(model)
    random_reader = fit_reader(predicted_tokens(initial, learned), learned, grid, tubelet, options)
    places = {
        "predicted": readings["no_cue"].places,
        **{name: readings[name].places for name in ("right_cue", "wrong_cue") if cued},
        "random_init": read(random_reader, predicted_tokens(initial, films), films).places,
        "real": real.places,
        "copy_last": films.copy_last(),
        "constant_velocity": films.constant_velocity(),
    }
    table: dict[str, Any] = {"films": len(films), "place": place_errors(films, places)}
    hides, usual = films.of("hides"), learned.of("hides")
    if int(hides.sum()) >= _FEWEST and usual.any():
        guess = float(frames_until_return(learned[usual]).float().mean())
        own = read(reader, plain[hides], films[hides])
        table["returns"] = returns(films[hides], own, guess)
    table["energy"] = energy_aurocs({"true_or_frozen": (energies(plain, target), _energies_of_frozen(model, films))})
    if int(films.open.sum()) >= _FEWEST:
        table |= _open_films(model, films, by_cue, as_real, real, target, table["energy"])
    contrary = films.of("meets_wall")
    if cued and int(contrary.sum()) >= _FEWEST:
        table["contrary_cue"] = contrary_cue(films, as_real, contrary)
    return table


def _open_films(
    model: IJEPA,
    films: FutureFilms,
    by_cue: dict[str, Tensor],
    as_real: dict[str, Reading],
    real: Reading,
    target: Tensor,
    energy: dict[str, Any],
) -> dict[str, Any]:
    """Sections on films with an open event; adds the energies of both outcomes to ``energy``."""
    rows = films.open
    own = films[rows]
    twin = target_tokens(model, twins_of(model.config, own, TEST_SEED))
    mine = target[rows]
    shares = {name: share_of_the_way(tokens[rows], twin, mine) for name, tokens in by_cue.items()}
    pairs = {"outcomes_no_cue": (energies(by_cue["no_cue"][rows], mine), energies(by_cue["no_cue"][rows], twin))}
    if "right_cue" in by_cue:
        right, wrong = by_cue["right_cue"][rows], by_cue["wrong_cue"][rows]
        pairs["outcomes_right_cue"] = (energies(right, mine), energies(right, twin))
        pairs["captions"] = (energies(right, mine), energies(wrong, mine))
    energy |= energy_aurocs(pairs)
    readings = {"real": real, **as_real}
    some = {name: Reading(*(part[rows] for part in reading)) for name, reading in readings.items()}
    return {"cue": agreement(own, some), "average": averaging(shares)}


def contrary_cue(films: FutureFilms, as_real: dict[str, Reading], rows: Tensor) -> dict[str, Any]:
    """At a wall, where a creature turns round: how often a cue that it walks on is followed."""
    count = int(rows.sum())
    turns = films.kinds[rows]
    goes_on = torch.full_like(turns, KINDS.index("walks_on"))
    table: dict[str, Any] = {"films": count}
    for name, reading in as_real.items():
        own = Reading(*(part[rows] for part in reading))
        table[name] = {"walks_on": float((~own.chosen(turns, goes_on)).float().mean())}
    return table


def _energies_of_frozen(model: IJEPA, films: FutureFilms) -> Tensor:
    """Energies (n,) of futures that are the last seen frame over and over."""
    still = frozen(films)
    return energies(predicted_tokens(model, still), target_tokens(model, still))


def untrained(model: IJEPA) -> IJEPA:
    """A model of the same sizes with initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return IJEPA(dataclasses.replace(model.config)).eval().to(model.device)
