"""Metric ``variation``: share of the pixel variance that the prediction explains, by pixel, frequency and factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.classifier import answer_shares, as_images, predict_logits
from decoders.evaluation.frequency_bands import band_name, cosine_transform, frequency_bands
from decoders.evaluation.held_out import held_out_blocks
from decoders.evaluation.metric import DECODER_METRICS, sample_blocks
from decoders.evaluation.scenes import SCENE_FACTORS, block_images, train_block_classifier
from ijepa_viz.figures import variation_figure
from ijepa_viz.figures.figure import Figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split

_SAMPLES, _IMAGES, _TRAIN = 64, 12, 10000


@dataclass(frozen=True)
class Variation:
    """Variance of unconditional samples explained by the prediction.

    Attributes:
        by_pixel: (h, w), 1 - Var(x | prediction) / Var(x), averaged over images and colours: 1 where all conditional
            samples agree, 0 where the prediction has no influence.
        by_band: the same of cosine coefficients, from coarse to fine; bands: their edges, in cycles a block.
        by_factor: factor -> (share of conditional samples in the most frequent class, of unconditional ones); empty
            for photographs.
        blocks: (images, 3, h, w) in [-1, 1], the true pixels.
        conditional, unconditional: (images, S, 3, h, w) in [-1, 1], samples.
        test_data: of drawn scenes, {"test_data": which ones}.
    """

    by_pixel: Tensor
    by_band: list[float]
    bands: list[tuple[float, float]]
    by_factor: dict[str, tuple[float, float]]
    blocks: Tensor
    conditional: Tensor
    unconditional: Tensor
    test_data: dict[str, str]


def explained_variance(
    conditional: Tensor, unconditional: Tensor
) -> tuple[Tensor, list[float], list[tuple[float, float]]]:
    """Explained variance by pixel (h, w), by band, and the bands' edges, of samples (images, S, 3, h, w)."""
    height, width = conditional.shape[-2:]
    by_pixel = 1 - conditional.var(1).mean((0, 1)) / unconditional.var(1).mean((0, 1)).clamp_min(1e-12)
    variance, total = (cosine_transform(t).var(1).mean((0, 1)) for t in (conditional, unconditional))
    by_band, bands = [], []
    for edges, inside in frequency_bands(height, width):
        by_band.append(float(1 - variance[inside].sum() / total[inside].sum().clamp_min(1e-12)))
        bands.append(edges)
    return by_pixel, by_band, bands


def agreement(logits: Tensor) -> float:
    """Share of samples in the most frequent class, averaged over images, of logits (images, S, classes)."""
    return float(answer_shares(logits).max(-1).values.mean())


def measure_variation(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    images: int = _IMAGES,
    samples: int = _SAMPLES,
    train_scenes: int = _TRAIN,
) -> Variation:
    """Sample each of ``images`` held-out blocks ``samples`` times with the prediction and as often without.

    Factors of drawn scenes are classified by a CNN, trained on ``train_scenes`` other scenes.
    """
    held = held_out_blocks(model, decoder, split, images, seed=2003, train_scenes=train_scenes)
    blocks, block = held.blocks, held.shape
    tokens, patch_indices = (t.repeat_interleave(samples, 0) for t in (blocks.predicted, blocks.patch_indices))
    sampled = [
        sample_blocks(decoder, tokens, patch_indices, seed=seed, conditioning=conditioning)
        for seed, conditioning in ((0, "tokens"), (10**6, "null"))
    ]
    conditional, unconditional = (as_images(pixels, block) for pixels in sampled)
    shape = (images, samples, *conditional.shape[1:])
    by_pixel, by_band, bands = explained_variance(conditional.view(shape), unconditional.view(shape))
    by_factor = {}
    if held.train_scenes is not None:
        classifier = train_block_classifier(model, held.train_scenes, decoder.image_size)
        logits = [predict_logits(classifier, block_images(model, pixels)) for pixels in sampled]
        for name in SCENE_FACTORS:
            of_conditional, of_unconditional = (agreement(x[name].view(images, samples, -1)) for x in logits)
            by_factor[name] = (of_conditional, of_unconditional)
    clean = as_images(blocks.clean, block)
    given, not_given = (pixels.view(shape) for pixels in (conditional, unconditional))
    return Variation(by_pixel, by_band, bands, by_factor, clean, given, not_given, held.test_data)


def picture(found: Variation, rows: int = 4, samples: int = 6) -> Figure:
    """Figure of a :class:`Variation`: its first ``rows`` images with the first ``samples`` of each."""

    def to_numpy(images: Tensor) -> np.ndarray:
        return (images / 2 + 0.5).movedim(-3, -1).numpy()

    spread, unconditional_spread = (
        (t[:rows] / 2).std(1).mean(1).numpy() for t in (found.conditional, found.unconditional)
    )
    bands = [(band_name(*edges), kept) for edges, kept in zip(found.bands, found.by_band, strict=True)]
    blocks, shown = to_numpy(found.blocks[:rows]), to_numpy(found.conditional[:rows, :samples])
    return variation_figure(blocks, shown, spread, unconditional_spread, bands, found.by_factor)


@DECODER_METRICS.register("variation")
def variation(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Explained variance over 64 samples, by pixel (its mean) and frequency band, and agreement by factor."""
    found = measure_variation(model, decoder, split)
    table: dict[str, Any] = {"images": _IMAGES, "samples": _SAMPLES, "kept_by_pixel": float(found.by_pixel.mean())}
    for (low, high), kept in zip(found.bands, found.by_band, strict=True):
        table[f"kept_{low:g}_to_{high:g}_cycles"] = kept
    for name, (conditional, unconditional) in found.by_factor.items():
        table[f"agree_on_{name}"] = conditional
        table[f"agree_on_{name}_null"] = unconditional
    return {**found.test_data, **table, "figure": picture(found)}
