"""Ridge regression from the predicted tokens of a hidden block to its pixels, as explained variance (R2).

A lower bound, at small cost, on the pixel information that a decoder could use; non-linear information is not measured.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ijepa_viz import masks as mask_samplers
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.batches import evenly
from ijepa_viz.data.scan import scan
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, gather_targets, patchify
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.runtime.computation import compute_like
from ijepa_viz.runtime.progress import track


def ridge_r2(train: Tensor, train_pixels: Tensor, test: Tensor, test_pixels: Tensor, strength: float = 30.0) -> float:
    """Share of the test pixels' variance that ridge regression explains.

    Args:
        train, test: (n, D) and (m, D) features, standardised here.
        train_pixels, test_pixels: (n, P) and (m, P).
        strength: of the penalty on the weights; the intercept has none.

    Returns:
        R2, 1 for perfect and 0 for no better than the training mean.
    """
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    x, z = ((t - mean) / std for t in (train, test))
    centre = train_pixels.mean(0)
    gram = x.T @ x + strength * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x.T @ (train_pixels - centre))
    error = (z @ weights + centre - test_pixels).square().sum()
    return float(1 - error / (test_pixels - centre).square().sum())


@PROBES.register("pixels")
def evaluate_pixels(model: IJEPA, split: Split) -> dict[str, float | int]:
    """R2 of ridge regression from the tokens of a hidden block to its pixels, beside baselines (test split only)."""
    return pixel_table(model, split("test"))


@torch.no_grad()
def pixel_table(model: IJEPA, source: Source, limit: int = 2400, seed: int = 0) -> dict[str, float | int]:
    """R2 for a hidden block of a quarter of the image at random places; two thirds of the images fit, one third tests.

    The images are evenly spaced over the set, and the third is drawn among them: a folder lists class after class.

    Regressors: the mean visible colour, predicted tokens of a random init, the average predicted token, the predicted
    tokens, and the target tokens.

    Raises:
        ValueError: fewer than 30 different images.
    """
    # Copies of an image would be fitted and tested on.
    different = np.sort(np.unique(scan(source).digests, return_index=True)[1])
    count = min(limit, len(different))
    if count < 30:
        raise ValueError(f"The pixel probe needs at least 30 different images, got {count}.")
    chosen = different[evenly(len(different), count)]
    pixels = torch.from_numpy(arrays(source, model.config.image_size)[chosen]).permute(0, 3, 1, 2)
    images = normalise(pixels / 255)
    masks = mask_samplers.sample(
        batch=count,
        grid=model.grid,
        generator=torch.Generator().manual_seed(seed),
        targets=1,
        target_scale=(0.25, 0.25),
        target_aspect=(1.0, 1.0),
        context_scale=(1.0, 1.0),
    )
    truth = gather_targets(patchify(images, model.config.patch_size), masks)[:, 0]  # (n, T, 3 p p)
    torch.manual_seed(seed)
    random_init = IJEPA(model.config).to(model.device).eval()
    for own, trained in zip(random_init.children(), model.children(), strict=True):
        compute_like(own, trained)
    predicted, target = _tokens(model.eval(), images, masks)
    features = {
        "mean_visible_colour": _mean_colour(images, masks, model.config.patch_size),
        "random_init_predicted_tokens": _tokens(random_init, images, masks)[0],
        "predicted_tokens_averaged": predicted.mean(1, keepdim=True).expand_as(predicted),
        "predicted_tokens": predicted,
        "target_tokens": target,
    }
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    fit, test = order[: count * 2 // 3], order[count * 2 // 3 :]
    table: dict[str, float | int] = {"images": count}
    for name, tokens in features.items():
        x, y, z, t = (values[rows].flatten(0, 1) for rows in (fit, test) for values in (tokens, truth))
        table[name] = ridge_r2(x, y, z, t)
    return table


def _tokens(model: IJEPA, images: Tensor, masks: Masks, batch: int = 200) -> tuple[Tensor, Tensor]:
    """Predicted and target tokens of the one block of each image, (n, T, D)."""
    parts = []
    for start in track(range(0, len(images), batch), "predicting", "batch"):
        chosen = slice(start, start + batch)
        some, theirs = images[chosen].to(model.device), masks[chosen].to(model.device)
        parts.append((model.predict(model.encode_context(some, theirs), theirs), model.targets(some, theirs)))
    predicted, target = (torch.cat(p)[:, 0].float().cpu() for p in zip(*parts, strict=True))
    return predicted, target


def _mean_colour(images: Tensor, masks: Masks, patch_size: int) -> Tensor:
    """Average colour of each image's visible patches, repeated for every token, (n, T, 3)."""
    colours = patchify(images, patch_size).unflatten(-1, (3, -1)).mean(-1)  # (n, N, 3)
    visible = masks.visible.flatten(1)[..., None]
    mean = (colours * visible).sum(1) / visible.sum(1)
    return mean[:, None].expand(-1, masks.targets.shape[2], -1)
