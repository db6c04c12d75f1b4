"""Metric ``calibration``: whether samples are spread as widely as the true pixels.

Reading the variation between samples as "not in the prediction" is valid only for calibrated samples. The checks are
those of ensemble weather forecasts: spread-error ratio, rank histogram, and reliability diagram.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.classifier import answer_shares, as_images, predict_logits
from decoders.evaluation.frequency_bands import band_name, cosine_transform, frequency_bands
from decoders.evaluation.held_out import held_out_blocks
from decoders.evaluation.metric import DECODER_METRICS, draw_tokens, sample_blocks
from decoders.evaluation.scenes import SCENE_FACTORS, block_images, train_block_classifier
from ijepa_viz.figures import calibration_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import relabelled
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track

_IMAGES, _SAMPLES, _TRAIN, _BINS = 160, 24, 10000, 5

# Options of ``BlockPipeline`` for each row; guidance shows how it reduces the spread.
SAMPLING: Mapping[str, dict[str, Any]] = {
    "predicted_tokens": {},
    "predicted_pooled": {"conditioning": "pooled"},
    "predicted_guidance_2": {"guidance_scale": 2.0},
    "null": {"conditioning": "null"},
}


@dataclass(frozen=True)
class Dispersion:
    """Spread of the samples of many blocks around the true pixels.

    Attributes:
        ratio: standard deviation of the samples over the root mean square error of their mean; 1 if calibrated, below 1
            if underdispersed. low, high: its 95 % bootstrap interval over images.
        by_band: the same ratio of cosine coefficients, from coarse to fine.
        ranks: (S + 1,), rank histogram: frequency of the number of samples below the true value; uniform if calibrated.
    """

    ratio: float
    low: float
    high: float
    by_band: list[float]
    ranks: Tensor

    @property
    def outside(self) -> float:
        """Frequency of true values outside the range of the samples; 2 / (S + 1) if calibrated."""
        return float(self.ranks[0] + self.ranks[-1])


def dispersion(samples: Tensor, real: Tensor, seed: int = 0) -> Dispersion:
    """Measure the spread of samples (n, S, 3, h, w) of n blocks around the true pixels (n, 3, h, w).

    Raises:
        ValueError: fewer than two samples of a block.
    """
    count = samples.shape[1]
    if count < 2:
        raise ValueError(f"Spread needs at least two samples of each block, got {count}.")
    # The mean of S samples has a sampling error of 1 / S of their variance.
    correction = 1 + 1 / count
    spread, error = correction * samples.var(1), (samples.mean(1) - real).square()
    each = torch.stack([t.flatten(1).mean(1) for t in (spread, error)], 1)  # (n, 2)
    generator = torch.Generator().manual_seed(seed)
    bootstrap = torch.randint(len(each), (1000, len(each)), generator=generator)
    low, high = _ratio(*each[bootstrap].sum(1).unbind(1)).quantile(torch.tensor([0.025, 0.975])).tolist()
    coefficients, true_coefficients = cosine_transform(samples), cosine_transform(real)
    by_coefficient = (
        correction * coefficients.var(1).mean((0, 1)),
        (coefficients.mean(1) - true_coefficients).square().mean((0, 1)),
    )
    by_band = [
        float(_ratio(*(t[inside].sum() for t in by_coefficient))) for _, inside in frequency_bands(*real.shape[-2:])
    ]
    below, ties = (compare(samples, real[:, None]).sum(1) for compare in (torch.lt, torch.eq))
    # The rank among ties is drawn.
    rank = below + (torch.rand(ties.shape, generator=generator) * (ties + 1)).long()
    ranks = torch.bincount(rank.flatten(), minlength=count + 1) / rank.numel()
    return Dispersion(float(_ratio(*each.sum(0))), low, high, by_band, ranks)


def token_dispersion(samples: Tensor, target: Tensor, shape: tuple[int, int], seed: int = 0) -> Dispersion:
    """:func:`dispersion` in token space, of standardised tokens.

    Its bands are of frequencies over the block's patches: the first is of the block's mean token.

    Args:
        samples: (n, S, T, D), sampled target tokens of rectangular blocks. target: (n, T, D), the real ones.
        shape: (rows, cols) of a block.
    """
    scale = target.flatten(0, 1).std(0).clamp_min(1e-6)
    found, real = ((t / scale).transpose(-1, -2).unflatten(-1, shape) for t in (samples, target))
    return dispersion(found, real, seed)


def _ratio(spread: Tensor, error: Tensor) -> Tensor:
    """Ratio of two variances, as standard deviations."""
    return (spread / error.clamp_min(1e-12)).sqrt()


def reliability(shares: Tensor, truth: Tensor, bins: int = _BINS) -> list[tuple[float, float, int]]:
    """Reliability diagram: frequency of a class being true against the share of samples in that class.

    Args:
        shares: (n, C), share of samples in each class. truth: (n,) int64; -1 for a class that is none of them.
        bins: number of bins of equal width.

    Returns:
        (mean share, frequency of the true class, count) of every bin that is not empty.
    """
    right = F.one_hot(truth.clamp_min(0), shares.shape[1]) * (truth >= 0)[:, None]
    bin_of = (shares * bins).long().clamp_max(bins - 1)
    found = []
    for i in range(bins):
        inside = bin_of == i
        if inside.any():
            found.append((float(shares[inside].mean()), float(right[inside].float().mean()), int(inside.sum())))
    return found


@DECODER_METRICS.register("calibration")
def calibration(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    images: int = _IMAGES,
    samples: int = _SAMPLES,
    train_scenes: int = _TRAIN,
) -> dict[str, Any]:
    """Compare the spread of samples with their error, by conditioning.

    ``spread_over_error`` is 1 if calibrated, smaller if underdispersed; ``tokens_4_to_8_cycles`` is the same for
    frequencies of four to eight cycles a block, of samples from predicted tokens. ``beyond_all_samples`` is the
    frequency of true values outside the range of the samples, ``expected`` that of calibrated samples. Of drawn scenes,
    ``species agree`` is the share of samples in the most frequent class, ``species right`` that class's accuracy: equal
    if calibrated. Of two stages, ``sampled_tokens`` is the same in token space, and ``of_the_mean_token`` the ratio for
    the average of a block's tokens, below 1 where samples of its patches do not belong together.

    Args:
        model, decoder: a pair. split: of the data set.
        images: number of blocks. samples: of each. train_scenes: for training a classifier, of drawn scenes only.

    Raises:
        ValueError: a decoder that is not stochastic.
    """
    if not decoder.network.stochastic:
        raise ValueError("This decoder is deterministic: its samples have no spread to compare.")
    held = held_out_blocks(model, decoder, split, images, seed=2004, train_scenes=train_scenes)
    classifier = None
    if held.train_scenes is not None:
        classifier = train_block_classifier(model, held.train_scenes, decoder.image_size)
    real = as_images(held.blocks.clean, held.shape)
    tokens, patch_indices = (
        t.repeat_interleave(samples, 0) for t in (held.blocks.predicted, held.blocks.patch_indices)
    )
    table: dict[str, Any] = {}
    found: dict[str, Dispersion] = {}
    votes: dict[str, list[tuple[float, float, int]]] = {}
    for row, options in track(SAMPLING.items(), "calibration", "row"):
        pixels = sample_blocks(decoder, tokens, patch_indices, **options)
        sampled = as_images(pixels, held.shape)
        spread = found[row] = dispersion(sampled.unflatten(0, (len(real), samples)), real)
        table[row] = {
            "spread_over_error": {"ratio": spread.ratio, "low": spread.low, "high": spread.high},
            "beyond_all_samples": spread.outside,
            "expected": 2 / (samples + 1),
        }
        if classifier is None or held.train_scenes is None or held.scenes is None:
            continue
        logits = predict_logits(classifier, block_images(model, pixels))
        for name in SCENE_FACTORS:
            shares = answer_shares(logits[name].unflatten(0, (len(real), samples)))
            truth = relabelled(held.scenes, held.train_scenes, name)
            most = shares.max(-1)
            table[row] |= {
                f"{name} agree": float(most.values.mean()),
                f"{name} right": float((most.indices == truth).float().mean()),
            }
            if row == "predicted_tokens":
                votes[name] = reliability(shares, truth)
    if decoder.pipeline.token_network is not None:
        sampled_tokens = draw_tokens(decoder, tokens, patch_indices).unflatten(0, (len(real), samples))
        spread = token_dispersion(sampled_tokens, held.blocks.target, held.shape)
        table["sampled_tokens"] = {
            "spread_over_error": {"ratio": spread.ratio, "low": spread.low, "high": spread.high},
            "of_the_mean_token": spread.by_band[0],
            "beyond_all_samples": spread.outside,
            "expected": 2 / (samples + 1),
        }
    bands = [edges for edges, _ in frequency_bands(*real.shape[-2:])]
    by_band = found["predicted_tokens"].by_band
    of_tokens = {f"tokens_{low:g}_to_{high:g}_cycles": x for (low, high), x in zip(bands, by_band, strict=True)}
    rows = {row: (spread.ranks.numpy(), spread.by_band) for row, spread in found.items()}
    figure = calibration_figure(rows, [band_name(*edges) for edges in bands], votes)
    return {**held.test_data, **of_tokens, **table, "figure": figure}
