"""What the samples agree on, which is in the prediction, and what varies, which is not: by pixel, frequency, factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.blocks import Blocks
from decoders.decoder import Decoder
from decoders.evaluation.ground_truth import QUESTIONS, SHAPE, blocks_asked, learned_eye
from decoders.evaluation.metric import INSTRUMENTS, box_of, centre_hole, draw, pictures, see
from decoders.evaluation.recogniser import as_images, read_out
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures import variation_figure
from ijepa_viz.figures.figure import Figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import Questions
from ijepa_viz.probes.probe import Split

_SAMPLES, _IMAGES, _LEARN = 64, 12, 10000


@dataclass(frozen=True)
class Variation:
    """How much of what varies with no condition at all the condition settles.

    Attributes:
        by_pixel: (h, w), 1 - Var(x | s) / Var(x | null), averaged over images and colours: 1 where all samples
            agree, 0 where the prediction says nothing.
        by_band: the same of cosine coefficients, from coarse to fine; bands: their edges, in cycles a block.
        by_factor: question -> (share of samples that give the most frequent answer, the same with no condition),
            empty where nothing is known of the pictures.
        blocks, told, untold: (images, 3, h, w) and (images, S, 3, h, w) in [-1, 1]: the real blocks, the samples
            with the prediction, and those with nothing.
    """

    by_pixel: Tensor
    by_band: list[float]
    bands: list[tuple[float, float]]
    by_factor: dict[str, tuple[float, float]]
    blocks: Tensor
    told: Tensor
    untold: Tensor


def cosine_transform(images: Tensor) -> Tensor:
    """The orthonormal two-dimensional DCT-II of (..., h, w)."""
    for axis in (-1, -2):
        size = images.shape[axis]
        k, n = torch.arange(size)[:, None], torch.arange(size)[None]
        basis = torch.cos(math.pi * (2 * n + 1) * k / (2 * size)) * math.sqrt(2 / size)
        basis[0] /= math.sqrt(2)
        images = (images.movedim(axis, -1) @ basis.T).movedim(-1, axis)
    return images


def band_edges(height: int, width: int) -> list[tuple[float, float]]:
    """Octaves of spatial frequency, in cycles a block: the average alone, then below 1, 2, 4, ... to the finest."""
    edges = [0.25, 1.0]
    while edges[-1] < max(height, width) / math.sqrt(2):
        edges.append(2 * edges[-1])
    return [(0.0, edges[0]), *pairwise(edges)]


def in_bands(height: int, width: int) -> list[tuple[tuple[float, float], Tensor]]:
    """Every band that a block of so many pixels has, and which of its cosine coefficients are in it, (h, w) bool."""
    frequency = torch.hypot(torch.arange(height)[:, None] / 2, torch.arange(width)[None] / 2)
    bands = [((low, high), (frequency >= low) & (frequency < high)) for low, high in band_edges(height, width)]
    return [(edges, inside) for edges, inside in bands if inside.any()]


def band_name(low: float, high: float) -> str:
    """A band in a figure."""
    return f"{low:g}-{high:g}" if low else "mean"


def measure(told: Tensor, untold: Tensor) -> tuple[Tensor, list[float], list[tuple[float, float]]]:
    """Kept variance by pixel (h, w), by band, and the bands, of samples (images, S, 3, h, w) with and without."""
    height, width = told.shape[-2:]
    by_pixel = 1 - told.var(1).mean((0, 1)) / untold.var(1).mean((0, 1)).clamp_min(1e-12)
    spread, free = (cosine_transform(t).var(1).mean((0, 1)) for t in (told, untold))
    by_band, bands = [], []
    for edges, inside in in_bands(height, width):
        by_band.append(float(1 - spread[inside].sum() / free[inside].sum().clamp_min(1e-12)))
        bands.append(edges)
    return by_pixel, by_band, bands


def shares_of(logits: Tensor) -> Tensor:
    """The share of samples that give each answer, as most probable: (images, S, answers) -> (images, answers)."""
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).float().mean(1)


def agreement(logits: Tensor) -> float:
    """The share of samples with the most frequent answer, averaged over images; logits (images, S, answers)."""
    return float(shares_of(logits).max(-1).values.mean())


@dataclass(frozen=True)
class Held:
    """Held-out blocks to draw again and again.

    Attributes:
        seen: their pixels and tokens. block: their (rows, cols) of patches.
        learned, asked: of drawn scenes, what a recogniser learns from and what is known of the blocks.
    """

    seen: Blocks
    block: tuple[int, int]
    learned: Questions | None = None
    asked: Questions | None = None


def held_out(model: IJEPA, decoder: Decoder, split: Split, images: int, seed: int, learn: int) -> Held:
    """Drawn scenes with a hole over one part each, so many and ``learn`` others; photographs with one in the middle."""
    patch = decoder.network.config.patch_size
    if split("test").name.startswith("menagerie"):
        learned, asked = blocks_asked(model, learn, seed=2001), blocks_asked(model, images, seed=seed)
        return Held(see(model, normalise(asked.images / 255), asked.masks, patch_size=patch), SHAPE, learned, asked)
    hole = centre_hole(model)
    shown = pictures(split("test"), model.config.image_size, max(images, 100))[:images]
    return Held(see(model, shown, hole, patch_size=patch), box_of(hole))


def vary(
    model: IJEPA, decoder: Decoder, split: Split, images: int = _IMAGES, samples: int = _SAMPLES, learn: int = _LEARN
) -> Variation:
    """Draw ``samples`` of each of ``images`` held-out holes with the prediction, and as many with nothing.

    Of drawn scenes the factors are read by a recogniser.
    """
    held = held_out(model, decoder, split, images, seed=2003, learn=learn)
    seen, block = held.seen, held.block
    tokens, places = (t.repeat_interleave(samples, 0) for t in (seen.predicted, seen.places))
    told, untold = (
        as_images(draw(decoder, tokens, places, seed=seed, condition=condition), block)
        for seed, condition in ((0, "tokens"), (10**6, "null"))
    )
    shape = (images, samples, *told.shape[1:])
    by_pixel, by_band, bands = measure(told.view(shape), untold.view(shape))
    by_factor = {}
    if held.learned is not None:
        eye = learned_eye(model, held.learned, decoder.network.config.patch_size)
        says, guesses = read_out(eye, told), read_out(eye, untold)
        for name in QUESTIONS:
            pair = [x[name].view(images, samples, -1) for x in (says, guesses)]
            by_factor[name] = (agreement(pair[0]), agreement(pair[1]))
    blocks = as_images(seen.clean, block)
    return Variation(by_pixel, by_band, bands, by_factor, blocks, told.view(shape), untold.view(shape))


def picture(found: Variation, rows: int = 4, samples: int = 6) -> Figure:
    """A :class:`Variation` as one picture, its first ``rows`` images with the first ``samples`` of each."""

    def shown(images: Tensor) -> np.ndarray:
        return (images / 2 + 0.5).movedim(-3, -1).numpy()

    spread, free = ((t[:rows] / 2).std(1).mean(1).numpy() for t in (found.told, found.untold))
    bands = [(band_name(*edges), kept) for edges, kept in zip(found.bands, found.by_band, strict=True)]
    return variation_figure(
        shown(found.blocks[:rows]), shown(found.told[:rows, :samples]), spread, free, bands, found.by_factor
    )


@INSTRUMENTS.register("variation")
def variation(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Kept variance over 64 samples, by pixel (its mean), frequency band and factor."""
    found = vary(model, decoder, split)
    table: dict[str, Any] = {"images": _IMAGES, "samples": _SAMPLES, "kept_by_pixel": float(found.by_pixel.mean())}
    for (low, high), kept in zip(found.bands, found.by_band, strict=True):
        table[f"kept_{low:g}_to_{high:g}_cycles"] = kept
    for name, (with_it, without) in found.by_factor.items():
        table[f"agree_on_{name}"] = with_it
        table[f"agree_on_{name}_null"] = without
    return {**table, "figure": picture(found)}
