"""Predictions at every position, shift equivariance of the prediction, and maps of predicted parts.

Position embeddings alone tell the predictor where to predict (section 3, "Prediction"). One context can therefore be
queried at every position of the grid, and shifted as a whole to measure whether the prediction shifts with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import PART
from ijepa_viz.data.menagerie.framing import framed_scene
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures.completion import BOX, context_image, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.inspections import components
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, target_layer_norm
from ijepa_viz.probes.factors import REGIONS
from ijepa_viz.probes.features import standardise
from ijepa_viz.probes.linear import fit_linear
from ijepa_viz.runtime.progress import track


@INSPECTIONS.register("position")
def inspect_position(inputs: InspectionInput) -> dict[str, Any]:
    """Prediction at every position from one context, its shift equivariance, and maps of predicted parts.

    The part classifier is fitted on drawn scenes, so the part maps are valid for drawn scenes only.
    """
    model, masks = inputs.model, inputs.masks
    prediction = inputs.predict()
    predicted = predict_everywhere(model, inputs.image, masks)
    with torch.no_grad():
        target = model.encode_target(normalise(inputs.image[None].to(model.device).float()))[0]
    target = target_layer_norm(target).float().cpu()
    classifier = fit_part_classifier(model, inputs.scenes)
    rows, cols = masks.grid
    expected, real = classifier(predicted).view(rows, cols, -1), classifier(target).view(rows, cols, -1)
    steps = {
        shift: cosine
        for shift in ((-1, 0), (1, 0), (0, -1), (0, 1), (-2, 0), (2, 0), (0, -2), (0, 2))
        if _stays_in_grid(masks, shift)
        for cosine in shift_equivariance(model, inputs.image, masks, [shift]).values()
    }
    parts = [i for i in range(1, len(PART_NAMES)) if max(expected[..., i].max(), real[..., i].max()) > 0.3]
    parts = sorted(parts, key=lambda i: -float(torch.maximum(expected[..., i], real[..., i]).sum()))[:4]
    columns = 2 + len(parts) + 1
    wide, high = panel_size(1.65, masks.grid)
    figure = Figure(
        "Prediction at every position from the same context, and maps of predicted parts.",
        figsize=(wide * columns + 0.8, 2 * high + 0.8),
        layout="constrained",
    )
    axes = figure.subplots(2, columns, squeeze=False)
    show(axes[0, 0], prediction.image.permute(1, 2, 0).numpy())
    show(axes[1, 0], context_image(prediction))
    axes[0, 0].set_title("original", fontsize=9)
    axes[1, 0].set_title("context", fontsize=9)
    colours = components.common_components([target, predicted])
    for row, (name, tokens) in enumerate((("target", target), ("predicted everywhere", predicted))):
        show(axes[row, 1], colours.colours(tokens).view(rows, cols, 3).numpy())
        axes[row, 1].set_title(f"{name}\n(first components)", fontsize=8)
    drawn = None
    for column, part in enumerate(parts, start=2):
        for row, values in enumerate((real, expected)):
            axis = axes[row, column]
            drawn = axis.imshow(values[..., part], vmin=0, vmax=1, cmap="viridis")
            axis.set_title(f"{PART_NAMES[part]}\n{('target', 'predicted')[row]}", fontsize=8)
    for row, values in enumerate((real, expected)):
        axis = axes[row, -1]
        entropy = axis.imshow(uncertainty(values), vmin=0, vmax=float(np.log2(len(PART_NAMES))), cmap="magma")
        axis.set_title(f"uncertainty\n{('target', 'predicted')[row]}", fontsize=8)
    for axis in axes[:, 2:].flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[:, 1:].flat:
        outline(axis, masks, 1, BOX["predicted"], 1.5)
    if drawn is not None:
        figure.colorbar(drawn, ax=axes[0].tolist(), label="probability", shrink=0.8)
    figure.colorbar(entropy, ax=axes[1].tolist(), label="entropy, bits", shrink=0.8)
    return {**{f"moved_by_{r}_{c}": value for (r, c), value in steps.items()}, "figure": figure}


def _stays_in_grid(masks: Masks, shift: tuple[int, int]) -> bool:
    rows, cols = masks.grid
    r, c = masks.targets // cols + shift[0], masks.targets % cols + shift[1]
    return masks.targets.shape[1] == 1 and bool(((r >= 0) & (r < rows) & (c >= 0) & (c < cols)).all())


# 0 is background; the regions of the factor probe follow.
PART_NAMES = ("background", *REGIONS)

_FIT_PATCHES, _BATCH_PATCHES = 96_000, 4096


@torch.no_grad()
def predict_everywhere(model: IJEPA, image: Tensor, masks: Masks) -> Tensor:
    """Prediction at every patch of the grid, visible ones included, from one image's context: (N, D).

    Each patch is a target block of its own, because mask tokens of one block attend to each other.

    Args:
        image: (3, H, W) in [0, 1].
        masks: of one image; only the context is used.
    """
    pixels = normalise(image.to(model.device).float())[None]
    context = masks.context.to(model.device)
    valid = None if masks.context_valid is None else masks.context_valid.to(model.device)
    patch_indices = torch.arange(masks.num_patches, device=model.device)[None, :, None]
    every_patch = Masks(context, patch_indices, masks.grid, valid)
    return model.predict(model.encode_context(pixels, every_patch), every_patch)[0, :, 0].float().cpu()


@torch.no_grad()
def shift_equivariance(
    model: IJEPA, image: Tensor, masks: Masks, shifts: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """Cosine of the predictions before and after a shift of context and target together, by shift.

    Shifts are by whole patches. Patches that leave the grid are removed from the context before as well as after the
    shift, so that both contexts have the same content.

    Args:
        image: (3, H, W) in [0, 1].
        masks: of one image, one block.
        shifts: (rows down, columns right), with the target block and some context inside the grid.

    Returns:
        shift -> mean cosine of predicted tokens, 1 for exact equivariance.

    Raises:
        ValueError: a shift that moves the target block, or all of the context, out of the grid.
    """
    rows, cols = masks.grid
    size = model.config.patch_size
    pixels = normalise(image.to(model.device).float())[None]
    context, target = masks.context[0], masks.targets[:1, :1]
    found = {}
    for down, right in shifts:
        after = [(index // cols + down, index % cols + right) for index in (context, target)]
        stays = [(r >= 0) & (r < rows) & (c >= 0) & (c < cols) for r, c in after]
        if not bool(stays[1].all()) or not bool(stays[0].any()):
            raise ValueError(
                f"A shift by {(down, right)} moves the target block, or all of the context, out of the grid."
            )
        (r, c), (tr, tc) = after
        old = Masks(context[stays[0]][None], target, masks.grid).to(str(model.device))
        new = Masks((r * cols + c)[stays[0]][None], tr * cols + tc, masks.grid).to(str(model.device))
        there = pixels.roll((down * size, right * size), (2, 3))
        before = model.predict(model.encode_context(pixels, old), old)
        moved_along = model.predict(model.encode_context(there, new), new)
        found[(down, right)] = float(F.cosine_similarity(before, moved_along, dim=-1).mean())
    return found


class PartClassifier:
    """Multinomial logistic regression from a target token to the part of a drawn creature in its patch.

    Args:
        tokens: (n, D), of the target encoder after the loss's LayerNorm.
        labels: (n,) int64, into :data:`PART_NAMES`.
    """

    def __init__(self, tokens: Tensor, labels: Tensor, penalty: float = 1e-3) -> None:
        self.mean, self.std = tokens.mean(0), tokens.std(0).clamp_min(1e-6)
        train, _ = standardise(tokens, tokens[:1])
        self.weights, self.bias = fit_linear(train, labels, penalty, iterations=60)

    def __call__(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., parts) probabilities, in the order of :data:`PART_NAMES`."""
        logits = (tokens.float() - self.mean) / self.std @ self.weights + self.bias
        return F.pad(logits, (0, len(PART_NAMES) - logits.shape[-1]), value=-torch.inf).softmax(-1)


def patch_parts(scene: menagerie.Scene, grid: tuple[int, int]) -> Tensor:
    """Part of the nearest thing that fills most of each patch, (N,) int64; 0 where no part fills a quarter of it."""
    own = scene.owners == scene.count
    side = scene.parts.shape[0] // grid[0]
    shares = [np.full(grid, 0.25)]
    for names in REGIONS.values():
        there = own & np.isin(scene.parts, [PART[n] for n in names])
        shares.append(there.reshape(grid[0], side, grid[1], side).mean((1, 3)))
    return torch.from_numpy(np.stack(shares).argmax(0).flatten())


@torch.no_grad()
def fit_part_classifier(model: IJEPA, scenes: int | None = None, seed: int = 1003) -> PartClassifier:
    """Fit a :class:`PartClassifier` for a model on drawn scenes at its image size.

    Args:
        scenes: number of scenes; None is as many as hold 96 000 patches (1500 of 8x8), which bounds the memory. Each
            costs one pass of the target encoder, seconds for ViT-g on a CPU.

    Raises:
        ValueError: fewer than one scene.
    """
    scenes = max(1, _FIT_PATCHES // math.prod(model.grid)) if scenes is None else scenes
    if scenes < 1:
        raise ValueError(f"The part classifier is fitted on at least one drawn scene, got {scenes}.")
    batch = max(1, _BATCH_PATCHES // math.prod(model.grid))
    tokens, labels = [], []
    for start in track(range(0, scenes, batch), "drawing and encoding scenes for the part classifier", "batch"):
        drawn = [framed_scene(i, model.config.image_size, seed) for i in range(start, min(start + batch, scenes))]
        images = torch.from_numpy(np.stack([s.image for s in drawn])).permute(0, 3, 1, 2).to(model.device)
        found = model.encode_target(normalise(images.float() / 255))
        tokens.append(target_layer_norm(found).float().cpu().flatten(0, 1))
        labels += [patch_parts(s, model.grid) for s in drawn]
    return PartClassifier(torch.cat(tokens), torch.cat(labels))


def uncertainty(probabilities: Tensor) -> Tensor:
    """Entropy in bits of class probabilities, (..., parts) -> (...)."""
    return -(probabilities * probabilities.clamp_min(1e-12).log2()).sum(-1)
