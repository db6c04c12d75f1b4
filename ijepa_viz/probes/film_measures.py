"""What the predicted futures of films are measured by: places by horizon, returns, cues, averages, and energies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.probes.bootstrap import auroc_of_pairs, mean
from ijepa_viz.probes.film_reader import Reading
from ijepa_viz.probes.film_truth import FutureFilms
from ijepa_viz.probes.intervals import accuracy_with_interval

# Fewest films of a story for a line of its own.
_FEWEST = 5


def place_errors(films: FutureFilms, places: Mapping[str, Tensor]) -> dict[str, Any]:
    """Distance of places (n, h, 2) to the truth by frames ahead, in image widths, with intervals over films.

    Frames in which the creature has left the picture are not counted. Of a single story, the middle and the last frame,
    and there how much farther the prediction is than constant velocity, film by film: below 0 is closer.

    Args:
        places: way to predict -> places; "predicted" and "constant_velocity" among them.
    """
    away = {name: (found - films.places).norm(dim=-1) for name, found in places.items()}  # (n, h)
    frames = films.places.shape[1]
    table: dict[str, Any] = {
        "all": {
            name: {str(h + 1): mean(far[films.inside[:, h], h]) for h in range(frames) if films.inside[:, h].any()}
            for name, far in away.items()
        }
    }
    for story in sorted(set(films.stories)):
        own = films.of(story)
        rows: dict[str, Any] = {}
        for h in sorted({frames // 2 - 1, frames - 1}):
            counted = own & films.inside[:, h]
            if int(counted.sum()) < _FEWEST:
                continue
            for name, far in away.items():
                rows.setdefault(name, {})[str(h + 1)] = mean(far[counted, h])
            difference = away["predicted"][counted, h] - away["constant_velocity"][counted, h]
            rows.setdefault("predicted_minus_constant_velocity", {})[str(h + 1)] = mean(difference)
        if rows:
            table[story] = {"films": int(own.sum()), **rows}
    return table


def returns(films: FutureFilms, reading: Reading, usual: float) -> dict[str, Any]:
    """When a creature behind a house is seen again, by what is read of the predicted tokens, and where.

    Args:
        films: of the story ``hides``, all out of sight at their cut.
        reading: of their predicted tokens.
        usual: mean of the training films' frames until the return, the guess without any prediction.

    Returns:
        ``frames_off``: mean absolute error of the first frame that shows it; a creature read as staying hidden counts
        as coming one frame after the last. ``frames_off_usual``: that of the guess. ``place_off``: error of the place
        in the true first frame; ``place_off_copy_last`` that of the place before the cut. Constant velocity has no
        error here: a walker behind a house keeps its speed.
    """
    truth, seen = _first(films.visible), _first(reading.visible > 0)
    rows = torch.arange(len(films))
    comes = truth < films.visible.shape[1]
    at = truth.clamp_max(films.visible.shape[1] - 1)
    table = {
        "films": len(films),
        "frames_off": mean((seen - truth).abs().float()),
        "frames_off_usual": mean((truth.float() - usual).abs()),
    }
    if comes.any():
        off = (reading.places[rows, at] - films.places[rows, at]).norm(dim=-1)[comes]
        table["place_off"] = mean(off)
        table["place_off_copy_last"] = mean((films.last - films.places[rows, at]).norm(dim=-1)[comes])
    return table


def frames_until_return(films: FutureFilms) -> Tensor:
    """Frames after the cut until a hidden creature is seen, (n,); as many as there are where it is not."""
    return _first(films.visible)


def agreement(films: FutureFilms, readings: Mapping[str, Reading]) -> dict[str, Any]:
    """Share of open films of which a reading says that what a cue names happens, rather than the other alternative.

    Args:
        films: with an open event.
        readings: "real" of the target encoder's tokens, "no_cue", "right_cue" and "wrong_cue" of predicted ones.

    Returns:
        Of "real", "no_cue" and "right_cue" the share that agrees with what happens; of "wrong_cue" the share that
        agrees with the cue, which says the other.
    """
    table: dict[str, Any] = {}
    groups = {"all": torch.ones(len(films), dtype=torch.bool)}
    groups |= {story: films.of(story) for story in sorted(set(films.stories))}
    for group, rows in groups.items():
        if int(rows.sum()) < _FEWEST:
            continue
        table[group] = {"films": int(rows.sum())}
        for name, reading in readings.items():
            true = reading.chosen(films.kinds, films.other_kinds)
            agrees = ~true if name == "wrong_cue" else true
            table[group][name] = accuracy_with_interval(int(agrees[rows].sum()), int(rows.sum()))
    return table


def averaging(shares: Mapping[str, Tensor]) -> dict[str, Any]:
    """Where predictions lie between the future that does not happen, 0, and the one that does, 1; (n,) by cue.

    ``between``: share of films nearer to the middle than to either. ``from_the_middle``: mean distance to 1/2.
    """
    return {
        name: {
            "share_of_the_way": mean(share),
            "from_the_middle": mean((share - 0.5).abs()),
            "between": accuracy_with_interval(int(((share > 0.25) & (share < 0.75)).sum()), len(share)),
        }
        for name, share in shares.items()
    }


def energy_aurocs(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Of energies (true, false) of the same films: the probability that a true one is below a false one."""
    return {name: auroc_of_pairs(-true, -false) for name, (true, false) in pairs.items()}


def _first(flags: Tensor) -> Tensor:
    """Index of the first True of each row (n, h); h where there is none."""
    found = flags.int().argmax(1)
    return torch.where(flags.any(1), found, flags.shape[1])
