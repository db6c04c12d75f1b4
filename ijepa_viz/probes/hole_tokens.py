"""Tokens of one hole in each picture, and baselines without a trained model, as features of linear probes."""

from __future__ import annotations

import torch
from torch import Tensor

from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, Encoder, Predictor, patchify
from ijepa_viz.runtime.computation import compute_like
from ijepa_viz.runtime.progress import track

# Rows of a table: "another_picture" is no feature of its own, but what is read from the prediction of another picture.
ROWS = (
    "predicted_tokens",
    "target_tokens",
    "context_mean",
    "mean_visible_colour",
    "visible_colours",
    "another_picture",
    "random_init",
)


@torch.no_grad()
def hole_tokens(model: IJEPA, images: Tensor, masks: Masks, batch: int = 200, seed: int = 0) -> dict[str, Tensor]:
    """Features of each picture with its hole, (n, F) each; all but the target tokens see only what is visible.

    ``predicted_tokens``: of the hole, concatenated. ``target_tokens``: of the hole, from the encoder that sees the
    whole picture. ``context_mean``: the mean context token. ``mean_visible_colour``: of the visible pixels.
    ``visible_colours``: mean colour of every patch, the hidden ones replaced by the mean visible colour.
    ``random_init``: predicted tokens of a randomly initialised model of the same sizes.

    Args:
        model: with a predictor. images: (n, 3, H, W) uint8. masks: one hole a picture, n of them.
        seed: of the random initialisation.

    Raises:
        RuntimeError: a model without a predictor.
    """
    if model.predictor is None:
        raise RuntimeError(f"This model has an encoder only, so it cannot predict. {model.why_no_predictor}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, predictor = Encoder(model.config).to(model.device).eval(), Predictor(model.config).to(model.device)
    compute_like(encoder, model.encoder)
    compute_like(predictor.eval(), model.predictor)
    model.eval()
    parts: dict[str, list[Tensor]] = {name: [] for name in ROWS if name != "another_picture"}
    for start in track(range(0, len(images), batch), "predicting", "batch"):
        pixels = images[start : start + batch].to(model.device) / 255
        some, theirs = normalise(pixels), masks[start : start + batch].to(model.device)
        context = model.encode_context(some, theirs)
        untrained = predictor(encoder(some, theirs.context, theirs.context_valid), theirs)
        colours = patchify(pixels, model.config.patch_size).unflatten(-1, (3, -1)).mean(-1)  # (b, N, 3)
        visible = theirs.visible.flatten(1)[..., None]
        mean = (colours * visible).sum(1) / visible.sum(1)
        found = {
            "predicted_tokens": model.predict(context, theirs).flatten(1),
            "target_tokens": model.targets(some, theirs).flatten(1),
            "context_mean": context.mean(1),
            "mean_visible_colour": mean,
            "visible_colours": torch.where(visible, colours, mean[:, None]).flatten(1),
            "random_init": untrained.flatten(1),
        }
        for name, values in found.items():
            parts[name].append(values.float().cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


@torch.no_grad()
def predicted_tokens(model: IJEPA, images: Tensor, masks: Masks, batch: int = 200) -> Tensor:
    """The row of that name of :func:`hole_tokens` alone, (n, T D)."""
    parts = []
    for start in track(range(0, len(images), batch), "predicting", "batch"):
        some = normalise(images[start : start + batch].to(model.device) / 255)
        theirs = masks[start : start + batch].to(model.device)
        parts.append(model.predict(model.encode_context(some, theirs), theirs).flatten(1).float().cpu())
    return torch.cat(parts)
