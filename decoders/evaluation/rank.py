"""Metric ``rank``: how often the right image ranks first among 100 by its decoded block alone."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.metric import CANDIDATES, INSTRUMENTS, centre_hole, closed_form, draw, pictures, see
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA, unpatchify
from ijepa_viz.probes.factors import share_of
from ijepa_viz.probes.probe import Split

# The holes that closed-form decoders are fitted on.
_FIT = 4000


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


def ranks(guesses: Tensor, truths: Tensor, candidates: int = CANDIDATES) -> Tensor:
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
    test = test[: len(test) // CANDIDATES * CANDIDATES]
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
    chance = {"accuracy": 1 / CANDIDATES, "low": 1 / CANDIDATES, "high": 1 / CANDIDATES}
    harmonic = sum(1 / k for k in range(1, CANDIDATES + 1)) / CANDIDATES
    return {**table, "chance": {"mean_reciprocal_rank": harmonic, "first_of_100": chance}}
