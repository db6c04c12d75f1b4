"""Do samples vary as much as the truth does? What varies between them is read as "not in the prediction", and what they
share as known; both hold only for samples that are spread as widely as what is really there.

The checks are those of ensemble weather forecasts: the spread-error ratio, the rank histogram, and the reliability of
what a share of the samples says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.ground_truth import QUESTIONS, learned_eye
from decoders.evaluation.metric import INSTRUMENTS, draw
from decoders.evaluation.recogniser import as_images, read_out
from decoders.evaluation.variation import band_name, cosine_transform, held_out, in_bands, shares_of
from ijepa_viz.figures import calibration_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import renumbered
from ijepa_viz.probes.probe import Split

_IMAGES, _SAMPLES, _LEARN, _BINS = 160, 24, 10000, 5

# Whose samples are checked; guidance is there to show what it does.
WAYS: Mapping[str, dict[str, Any]] = {
    "predicted_tokens": {},
    "predicted_pooled": {"condition": "pooled"},
    "predicted_guidance_2": {"guidance_scale": 2.0},
    "null": {"condition": "null"},
}


@dataclass(frozen=True)
class Dispersion:
    """How the samples of many blocks are spread around what is really there.

    Attributes:
        ratio: the samples' standard deviation over the error of their mean, 1 where the truth could be one of them:
            below, they agree more than they should. low, high: its 95 % interval over images.
        by_band: the same of cosine coefficients, from coarse to fine.
        ranks: (S + 1,), how often so many of the S samples are darker than the real pixel; flat where the truth could
            be one of them.
    """

    ratio: float
    low: float
    high: float
    by_band: list[float]
    ranks: Tensor

    @property
    def outside(self) -> float:
        """The share of real values beyond all samples; 2 / (S + 1) is right."""
        return float(self.ranks[0] + self.ranks[-1])


def disperse(samples: Tensor, real: Tensor, seed: int = 0) -> Dispersion:
    """Compare samples (n, S, 3, h, w) of n blocks with what is really there, (n, 3, h, w).

    Raises:
        ValueError: fewer than two samples of a block.
    """
    count = samples.shape[1]
    if count < 2:
        raise ValueError(f"Spread needs at least two samples of each block, got {count}.")
    # The mean of S samples is off by their own scatter too.
    more = 1 + 1 / count
    spread, error = more * samples.var(1), (samples.mean(1) - real).square()
    each = torch.stack([t.flatten(1).mean(1) for t in (spread, error)], 1)  # (n, 2)
    generator = torch.Generator().manual_seed(seed)
    again = torch.randint(len(each), (1000, len(each)), generator=generator)
    low, high = _ratio(*each[again].sum(1).unbind(1)).quantile(torch.tensor([0.025, 0.975])).tolist()
    waves, true = cosine_transform(samples), cosine_transform(real)
    by_wave = more * waves.var(1).mean((0, 1)), (waves.mean(1) - true).square().mean((0, 1))
    by_band = [float(_ratio(*(t[inside].sum() for t in by_wave))) for _, inside in in_bands(*real.shape[-2:])]
    below, ties = (compare(samples, real[:, None]).sum(1) for compare in (torch.lt, torch.eq))
    # Among equals the truth's place is drawn.
    place = below + (torch.rand(ties.shape, generator=generator) * (ties + 1)).long()
    ranks = torch.bincount(place.flatten(), minlength=count + 1) / place.numel()
    return Dispersion(float(_ratio(*each.sum(0))), low, high, by_band, ranks)


def _ratio(spread: Tensor, error: Tensor) -> Tensor:
    """Of two variances, as deviations."""
    return (spread / error.clamp_min(1e-12)).sqrt()


def reliability(shares: Tensor, truth: Tensor, bins: int = _BINS) -> list[tuple[float, float, int]]:
    """How often what a share of the samples says is true, over all blocks and answers.

    Args:
        shares: (n, A), of the samples that give each answer. truth: (n,) int64; -1 for none of them.
        bins: of equal width.

    Returns:
        (mean share, how often it was true, how many) of every bin that is not empty.
    """
    right = F.one_hot(truth.clamp_min(0), shares.shape[1]) * (truth >= 0)[:, None]
    number = (shares * bins).long().clamp_max(bins - 1)
    found = []
    for i in range(bins):
        here = number == i
        if here.any():
            found.append((float(shares[here].mean()), float(right[here].float().mean()), int(here.sum())))
    return found


@INSTRUMENTS.register("calibration")
def calibration(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    images: int = _IMAGES,
    samples: int = _SAMPLES,
    learn: int = _LEARN,
) -> dict[str, Any]:
    """Whether samples are spread as widely as the truth, of predictions token by token and averaged, and of nothing.

    ``spread_over_error`` is 1 for samples that the truth could be one of, and smaller where they agree too much;
    ``tokens_4_to_8_cycles`` is the same of structure of four to eight cycles a block, decoded from predicted tokens.
    ``beyond_all_samples`` is how often a real value is, and ``expected`` how often it should be. Of drawn scenes,
    ``species agree`` is the share of samples that give the most frequent answer, ``species right`` how often it is
    the truth: equal where a vote of the samples can be taken at its word.

    Raises:
        ValueError: a decoder whose samples are all alike.
    """
    if not decoder.network.stochastic:
        raise ValueError("This decoder draws one picture only: there is no spread to compare.")
    held = held_out(model, decoder, split, images, seed=2004, learn=learn)
    patch = decoder.network.config.patch_size
    eye = None if held.learned is None else learned_eye(model, held.learned, patch)
    real = as_images(held.seen.clean, held.block)
    tokens, places = (t.repeat_interleave(samples, 0) for t in (held.seen.predicted, held.seen.places))
    table: dict[str, Any] = {}
    found: dict[str, Dispersion] = {}
    votes: dict[str, list[tuple[float, float, int]]] = {}
    for row, way in WAYS.items():
        drawn = as_images(draw(decoder, tokens, places, **way), held.block)
        spread = found[row] = disperse(drawn.unflatten(0, (len(real), samples)), real)
        table[row] = {
            "spread_over_error": {"ratio": spread.ratio, "low": spread.low, "high": spread.high},
            "beyond_all_samples": spread.outside,
            "expected": 2 / (samples + 1),
        }
        if eye is None or held.learned is None or held.asked is None:
            continue
        said = read_out(eye, drawn)
        for name in QUESTIONS:
            shares = shares_of(said[name].unflatten(0, (len(real), samples)))
            truth = renumbered(held.asked, held.learned, name)
            most = shares.max(-1)
            table[row] |= {
                f"{name} agree": float(most.values.mean()),
                f"{name} right": float((most.indices == truth).float().mean()),
            }
            if row == "predicted_tokens":
                votes[name] = reliability(shares, truth)
    bands = [edges for edges, _ in in_bands(*real.shape[-2:])]
    by_band = found["predicted_tokens"].by_band
    of_tokens = {f"tokens_{low:g}_to_{high:g}_cycles": x for (low, high), x in zip(bands, by_band, strict=True)}
    rows = {row: (spread.ranks.numpy(), spread.by_band) for row, spread in found.items()}
    return {**of_tokens, **table, "figure": calibration_figure(rows, [band_name(*edges) for edges in bands], votes)}
