"""Maps of cosine and error between predicted and target tokens, beside two controls.

A cosine of 0.9 means little by itself, because all tokens of a model may share a direction. The prediction from another
image and the mean prediction at the same position are the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures.completion import context_image, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.progress import track


@INSPECTIONS.register("maps")
def inspect_maps(inputs: InspectionInput) -> dict[str, Any]:
    """Maps of cosine and error over the target block, for the prediction and for controls from other images."""
    prediction = inputs.predict()
    tokens = {"prediction": prediction.predicted.cpu()}
    tokens |= controls(inputs.model, inputs.others, inputs.masks)
    found = {name: token_map(t, prediction.target.cpu(), inputs.masks) for name, t in tokens.items()}
    wide, high = panel_size(2.1, inputs.masks.grid)
    figure = Figure(
        "Cosine and error of each hidden patch, for the prediction and for controls from other images.",
        figsize=(wide * (1 + len(found)) + 0.6, 2 * high + 0.4),
        layout="constrained",
    )
    axes = figure.subplots(2, 1 + len(found), squeeze=False)
    show(axes[0, 0], prediction.image.permute(1, 2, 0).numpy())
    show(axes[1, 0], context_image(prediction))
    axes[0, 0].set_title("original", fontsize=9)
    axes[1, 0].set_title("context", fontsize=9)
    most = max(float(np.nanmax(m.error)) for m in found.values())
    for column, (name, m) in enumerate(found.items(), start=1):
        for row, values, low, high, colours in (
            (0, m.cosine, min(0.0, min(float(np.nanmin(x.cosine)) for x in found.values())), 1.0, "viridis"),
            (1, m.error, 0.0, most, "magma"),
        ):
            axis = axes[row, column]
            drawn = axis.imshow(values, vmin=low, vmax=high, cmap=colours)
            axis.set_xticks([])
            axis.set_yticks([])
            mean = m.mean_cosine if row == 0 else m.mean_error
            axis.set_title(f"{name}\n{('cosine', 'error')[row]} {mean:.2f}", fontsize=9)
            if column == len(found):
                figure.colorbar(drawn, ax=axis, label=("cosine with the target", "error, per feature")[row])
    numbers = {f"{name.replace(' ', '_')}_cosine": m.mean_cosine for name, m in found.items()}
    numbers |= {f"{name.replace(' ', '_')}_error": m.mean_error for name, m in found.items()}
    return {**numbers, "figure": figure}


@dataclass(frozen=True)
class TokenMap:
    """Cosine and error between tokens and the target, patch by patch.

    Attributes:
        cosine: (rows, cols) float32, NaN outside the target blocks.
        error: (rows, cols), root mean square over features of the difference; targets have unit size per feature.
    """

    cosine: np.ndarray
    error: np.ndarray

    @property
    def mean_cosine(self) -> float:
        """Mean cosine over the hidden patches."""
        return float(np.nanmean(self.cosine))

    @property
    def mean_error(self) -> float:
        """Mean error over the hidden patches."""
        return float(np.nanmean(self.error))


def token_map(tokens: Tensor, target: Tensor, masks: Masks) -> TokenMap:
    """Compare predicted with target tokens; a patch in several blocks gets their average.

    Args:
        tokens, target: (M, T, D), of the blocks of one image.
        masks: of that image (B = 1).

    Raises:
        ValueError: shapes that differ, or masks of several images.
    """
    if tokens.shape != target.shape or len(masks) != 1 or masks.targets.shape[1:] != tokens.shape[:2]:
        raise ValueError(
            f"Needs tokens and target of one image's blocks {tuple(masks.targets.shape)}, got {tuple(tokens.shape)} "
            f"and {tuple(target.shape)}."
        )
    cosine = F.cosine_similarity(tokens, target, dim=-1)
    error = (tokens - target).square().mean(-1).sqrt()
    return TokenMap(*(scatter_mean(values, masks.targets[0], masks.grid) for values in (cosine, error)))


def scatter_mean(values: Tensor, patch_indices: Tensor, grid: Grid) -> np.ndarray:
    """Scatter (M, T) values to (M, T) patch indices: (rows, cols), the mean of duplicates, NaN elsewhere."""
    # To the CPU first: not every device has float64.
    flat, index = values.flatten().cpu().double(), patch_indices.flatten().cpu()
    total = torch.zeros(grid[0] * grid[1], dtype=torch.float64).index_add_(0, index, flat)
    count = torch.zeros_like(total).index_add_(0, index, torch.ones_like(flat))
    return (total / count).view(*grid).float().numpy()


@torch.no_grad()
def controls(model: IJEPA, images: Tensor, masks: Masks, batch: int = 64) -> dict[str, Tensor]:
    """Control predictions for the same target blocks from other images, (M, T, D) each.

    Args:
        images: (n, 3, H, W) uint8, without the inspected image.
        masks: of one image.

    Returns:
        "another image": the prediction from the first; "mean prediction": the average over all, token by token.

    Raises:
        ValueError: no images.
    """
    if not len(images):
        raise ValueError("The controls need at least one other image.")
    first, total = None, torch.zeros((), device=model.device)
    for chunk in track(images.split(batch), "predicting other images", "batch"):
        pixels = normalise(chunk.to(model.device).float() / 255)
        many = repeat(masks, len(chunk)).to(model.device)
        predicted = model.predict(model.encode_context(pixels, many), many).float()
        first = predicted[0] if first is None else first
        total = total + predicted.sum(0)
    assert first is not None
    return {"another image": first.cpu(), "mean prediction": (total / len(images)).cpu()}


def repeat(masks: Masks, count: int) -> Masks:
    """Repeat the masks of one image for a batch of ``count``."""
    valid = None if masks.context_valid is None else masks.context_valid.expand(count, -1)
    return Masks(masks.context.expand(count, -1), masks.targets.expand(count, -1, -1), masks.grid, valid)
