"""Metric ``rank``: rank of the right image among 100 by its decoded block alone (as RCDM, Bordes et al. 2022)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.metric import (
    CANDIDATES,
    DECODER_METRICS,
    centre_hole,
    fit_ridge,
    sample_blocks,
    source_blocks,
)
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA, unpatchify
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track

# Number of holes that ridge decoders are fitted on.
_FIT = 4000


@torch.no_grad()
def embed(model: IJEPA, pixels: Tensor, patch_indices: Tensor, batch: int = 100) -> Tensor:
    """Encode the block's own patches alone with the target encoder, (n, T, 3 p p) in [-1, 1] -> (n, T, D).

    No other patch enters: in a completed image the context would identify the image.
    """
    parts = []
    for start in track(range(0, len(pixels), batch), "encoding decoded blocks", "batch"):
        own, indices = (t[start : start + batch].to(model.device) for t in (pixels, patch_indices))
        canvas = own.new_zeros(len(own), model.grid[0] * model.grid[1], own.shape[-1])
        canvas = canvas.scatter(1, indices[..., None].expand_as(own), own)
        patch = math.isqrt(own.shape[-1] // 3)
        drawn = unpatchify(canvas, model.grid, patch) / 2 + 0.5
        if patch != model.config.patch_size:
            # Patch by patch: resampling the canvas would mix a patch with the blank around it.
            drawn = drawn.repeat_interleave(model.config.patch_size, 2).repeat_interleave(model.config.patch_size, 3)
            drawn = F.avg_pool2d(drawn, patch)
        images = normalise(drawn)
        parts.append(model.target_encoder(images, indices).float().cpu())
    return torch.cat(parts)


def ranks(guesses: Tensor, truths: Tensor, candidates: int = CANDIDATES) -> Tensor:
    """Rank of each guess's own truth among ``candidates`` truths, (n,), from 1; ties count as half a rank.

    Args:
        guesses, truths: (n, F), n a multiple of ``candidates``. Similarity is the cosine of features standardised by
            the truths.
        candidates: the set is split into groups of this size.
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
    """Mean reciprocal rank, and the share of rank 1 with its 95 % Wilson interval."""
    return {
        "mean_reciprocal_rank": float((1 / found).mean()),
        "first_of_100": accuracy_with_interval(int((found == 1).sum()), len(found)),
    }


@DECODER_METRICS.register("rank")
def rank(model: IJEPA, decoder: Decoder, split: Split, count: int = 400) -> dict[str, Any]:
    """Rank of the right image among 100 by the target encoder's features of the decoded block alone (as in RCDM).

    One sample an image, all in the same hole. Rows of ridge decoders are the baseline, since one can be fitted to an
    untrained model as well.
    """
    pair = train_and_test(split)
    size, hole = decoder.image_size, centre_hole(model)
    torch.manual_seed(0)
    untrained = IJEPA(model.config).to(model.device).eval()
    blocks, untrained_blocks = (source_blocks(m, pair.test, size, hole, count) for m in (model, untrained))
    whole = slice(0, len(blocks.clean) // CANDIDATES * CANDIDATES)
    blocks, untrained_blocks = blocks[whole], untrained_blocks[whole]
    ridge, random_ridge = (
        fit_ridge(m, source_blocks(m, pair.train, size, hole, _FIT, seed=1)) for m in (model, untrained)
    )
    tokens, patch_indices = blocks.predicted, blocks.patch_indices
    decoded = {
        "real_pixels": blocks.clean,
        "target_tokens": sample_blocks(decoder, blocks.target, patch_indices, source="target"),
        "predicted_tokens": sample_blocks(decoder, tokens, patch_indices),
        "predicted_pooled": sample_blocks(decoder, tokens, patch_indices, conditioning="pooled"),
        "blur_of_predicted": sample_blocks(decoder, tokens, patch_indices, num_inference_steps=1),
        "ridge_predicted": sample_blocks(ridge, tokens, patch_indices),
        "ridge_random_init": sample_blocks(random_ridge, untrained_blocks.predicted, patch_indices),
        "another_image": sample_blocks(decoder, tokens.roll(1, 0), patch_indices),
        "null": sample_blocks(decoder, tokens, patch_indices, conditioning="null"),
    }
    truths = embed(model, blocks.clean, patch_indices).flatten(1)
    table: dict[str, Any] = {
        name: rank_summary(ranks(embed(model, pixels, patch_indices).flatten(1), truths))
        for name, pixels in decoded.items()
    }
    chance = {"accuracy": 1 / CANDIDATES, "low": 1 / CANDIDATES, "high": 1 / CANDIDATES}
    harmonic = sum(1 / k for k in range(1, CANDIDATES + 1)) / CANDIDATES
    return {**table, "chance": {"mean_reciprocal_rank": harmonic, "first_of_100": chance}}
