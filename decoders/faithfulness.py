"""Instruments of truth: what a decoder's pictures may be believed to say. Nothing is downloaded.

An instrument of ``ijepa-viz evaluate NAME --decoder`` is ``f(model, decoder, split) -> {name: value or section}``,
registered under its name; ``split("train")`` and ``split("test")`` open the pictures. A Figure under the key
"figure" is not printed; ``--figure FILE`` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.blocks import Blocks, blocks_of
from decoders.family import PREDICTED, TARGET
from decoders.ridge import Ridge
from decoders.sampling import Decoder, DecoderConfig
from ijepa_viz.data.sources import Source, arrays
from ijepa_viz.data.transforms import denormalise, normalise
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA, unpatchify
from ijepa_viz.prediction import predict
from ijepa_viz.probes import Split
from ijepa_viz.probes.factors import share_of
from ijepa_viz.registry import Registry

Instrument = Callable[[IJEPA, Decoder, Split], dict[str, Any]]
INSTRUMENTS: Registry[Instrument] = Registry("instrument")
# Images from which the right one is picked; the holes that closed-form decoders are fitted on.
_CANDIDATES, _FIT = 100, 4000


def centre_hole(model: IJEPA) -> Masks:
    """The hole that photographs are asked about: half the grid's height and width, in the middle."""
    rows, cols = model.grid
    return Masks.from_block(model.grid, rows // 4, cols // 4, rows // 2, cols // 2)


def box_of(hole: Masks) -> tuple[int, int]:
    """(rows, cols) of patches of a rectangular hole."""
    hidden = hole.hidden[0]
    return int(hidden.any(1).sum()), int(hidden.any(0).sum())


def pictures(source: Source, size: int, limit: int, seed: int = 0) -> Tensor:
    """(n, 3, size, size) normalised, ``limit`` of the source's pictures or all, drawn without labels.

    Raises:
        ValueError: fewer than one set of candidates.
    """
    images = arrays(source, size)
    if len(images) < _CANDIDATES:
        raise ValueError(f"This instrument needs at least {_CANDIDATES} pictures, {source.name} has {len(images)}.")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:limit].sort().values
    return normalise(torch.from_numpy(images[order.numpy()]).permute(0, 3, 1, 2) / 255)


def see(model: IJEPA, images: Tensor, masks: Masks, batch: int = 100, patch_size: int | None = None) -> Blocks:
    """Every image's hidden block: pixels, prediction and target, on the CPU. ``masks`` are for all, or one for each."""
    parts = []
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        theirs = masks.repeat(len(some)) if len(masks) == 1 else masks[start : start + batch]
        parts.append(blocks_of(model, some, theirs, patch_size).to("cpu"))
    names = ("clean", "places", "predicted", "target")
    return Blocks(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def draw(decoder: Decoder, tokens: Tensor, places: Tensor, seed: int = 0, batch: int = 64, **options: Any) -> Tensor:
    """One sample of every block, (n, T, 3 p p) in [-1, 1].

    Args:
        decoder: of the family.
        tokens: (n, T, D). places: (n, T).
        seed: block i's noise is seed + i's. batch: blocks at a time.
        options: of ``BlockPipeline``, such as ``condition``; the number of steps is the decoder's own.
    """
    options = {"num_inference_steps": decoder.config.steps, **options}
    drawn = []
    for start in range(0, len(tokens), batch):
        some = slice(start, start + batch)
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(tokens[some]))]
        result = decoder.pipeline(
            tokens[some].to(decoder.device), places[some].to(decoder.device), generator=generators, **options
        )
        drawn.append(result.pixels.float().cpu().clamp(-1, 1))
    return torch.cat(drawn)


def closed_form(model: IJEPA, blocks: Blocks) -> Decoder:
    """A ridge decoder fitted on ``blocks``: seconds, for any model, so that models can be compared."""
    sizes = model.config
    network = Ridge(sizes.grid, math.isqrt(blocks.clean.shape[-1] // 3), sizes.width)
    for kind, tokens in ((PREDICTED, blocks.predicted), (TARGET, blocks.target)):
        network.feature_mean[kind] = tokens.flatten(0, 1).mean(0)
        network.feature_std[kind] = tokens.flatten(0, 1).std(0).clamp_min(1e-4)
        network.accumulate(blocks.places, tokens, kind, blocks.clean)
    network.solve()
    return Decoder(network, DecoderConfig(steps=1))


# --------------------------------------------------------------------------- leakage


@INSTRUMENTS.register("leakage")
def leakage(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """How far samples move when every context pixel changes and the prediction does not. It must be 0, to the bit."""
    images = pictures(split("test"), model.config.image_size, 4)
    worst = 0.0
    for image in images:
        shown = denormalise(image).clamp(0, 1)
        prediction = predict(model, shown, centre_hole(model))
        reference = decoder.sample(prediction, 2).images
        for other in (1 - shown, torch.rand_like(shown), torch.full_like(shown, float("nan"))):
            moved = (decoder.sample(replace(prediction, image=other), 2).images - reference).abs().max()
            worst = max(worst, float(moved))
    return {"images": len(images), "largest_difference": worst}


# --------------------------------------------------------------------------- the right image among many


@torch.no_grad()
def embed(model: IJEPA, pixels: Tensor, places: Tensor, batch: int = 100) -> Tensor:
    """The target encoder on the block's own patches alone, (n, T, 3 p p) in [-1, 1] -> (n, T, D).

    The rest of the image is not computed on: re-encoding a completed image would let the context answer.
    """
    parts = []
    for start in range(0, len(pixels), batch):
        own, where = (t[start : start + batch].to(model.device) for t in (pixels, places))
        canvas = own.new_zeros(len(own), model.grid[0] * model.grid[1], own.shape[-1])
        canvas = canvas.scatter(1, where[..., None].expand_as(own), own)
        patch = math.isqrt(own.shape[-1] // 3)
        drawn = unpatchify(canvas, model.grid, patch) / 2 + 0.5
        if patch != model.config.patch_size:
            # Patch by patch, so that no resampling mixes a patch with what is not drawn.
            drawn = drawn.repeat_interleave(model.config.patch_size, 2).repeat_interleave(model.config.patch_size, 3)
            drawn = F.avg_pool2d(drawn, patch)
        images = normalise(drawn)
        parts.append(model.target_encoder(images, where).float().cpu())
    return torch.cat(parts)


def ranks(guesses: Tensor, truths: Tensor, candidates: int = _CANDIDATES) -> Tensor:
    """Where each guess's own truth ranks among ``candidates`` truths of the same set, (n,), 1 is first.

    Args:
        guesses, truths: (n, F); the order in which they are similar is by cosine, each feature standardised
            by the truths. n is a multiple of ``candidates``; ties count as half a rank.
    """
    mean, std = truths.mean(0), truths.std(0).clamp_min(1e-6)
    guesses, truths = (F.normalize((t - mean) / std, dim=1) for t in (guesses, truths))
    found = []
    for group in torch.arange(len(truths)).split(candidates):
        similar = guesses[group] @ truths[group].T
        own = similar.diagonal()[:, None]
        higher, equal = (similar > own + 1e-6).sum(1), ((similar - own).abs() <= 1e-6).sum(1) - 1
        found.append(1 + higher + equal / 2)
    return torch.cat(found)


def rank_summary(found: Tensor) -> dict[str, Any]:
    """Mean reciprocal rank, and how often the right one is first with Wilson's 95 % interval."""
    return {
        "mean_reciprocal_rank": float((1 / found).mean()),
        "first_of_100": share_of(int((found == 1).sum()), len(found)),
    }


@INSTRUMENTS.register("rank")
def rank(model: IJEPA, decoder: Decoder, split: Split, count: int = 400) -> dict[str, Any]:
    """Where the right image ranks among 100, by the decoded block alone, for the target encoder (as RCDM asks).

    One sample an image, all in the same hole. Closed-form decoders stand beside the decoder, because one can be
    fitted to a model that never trained.
    """
    size, hole = model.config.image_size, centre_hole(model)
    test = pictures(split("test"), size, count)
    test = test[: len(test) // _CANDIDATES * _CANDIDATES]
    train = pictures(split("train"), size, _FIT, seed=1)
    torch.manual_seed(0)
    untrained = IJEPA(model.config).to(model.device).eval()
    patch = decoder.network.config.patch_size
    seen, blind = (see(m, test, hole, patch_size=patch) for m in (model, untrained))
    ridge, random_ridge = (closed_form(m, see(m, train, hole, patch_size=patch)) for m in (model, untrained))
    tokens, places = seen.predicted, seen.places
    decoded = {
        "real_pixels": seen.clean,
        "target_tokens": draw(decoder, seen.target, places, source="target"),
        "predicted_tokens": draw(decoder, tokens, places),
        "predicted_pooled": draw(decoder, tokens, places, condition="pooled"),
        "blur_of_predicted": draw(decoder, tokens, places, num_inference_steps=1),
        "ridge_predicted": draw(ridge, tokens, places),
        "ridge_random_init": draw(random_ridge, blind.predicted, places),
        "another_image": draw(decoder, tokens.roll(1, 0), places),
        "null": draw(decoder, tokens, places, condition="null"),
    }
    truths = embed(model, seen.clean, places).flatten(1)
    table: dict[str, Any] = {
        name: rank_summary(ranks(embed(model, pixels, places).flatten(1), truths)) for name, pixels in decoded.items()
    }
    chance = {"accuracy": 1 / _CANDIDATES, "low": 1 / _CANDIDATES, "high": 1 / _CANDIDATES}
    harmonic = sum(1 / k for k in range(1, _CANDIDATES + 1)) / _CANDIDATES
    return {**table, "chance": {"mean_reciprocal_rank": harmonic, "first_of_100": chance}}
