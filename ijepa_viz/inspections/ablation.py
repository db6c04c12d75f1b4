"""Attribution of a prediction to the visible patches: leave-one-out ablation, and the gradient.

Leave-one-out costs one forward pass a patch. The gradient costs one forward and a few backward passes, and is a
first-order approximation. Both measure what the *model* uses, not what the image would offer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures.completion import BOX, context_image, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.progress import track


@INSPECTIONS.register("ablation")
def inspect_ablation(inputs: InspectionInput) -> dict[str, Any]:
    """Attribution to the visible patches, by leave-one-out ablation and by the gradient, with the cost of each."""
    prediction = inputs.predict()
    found = {
        "left out, one at a time": leave_one_out(inputs.model, inputs.image, inputs.masks),
        "gradient": gradient(inputs.model, inputs.image, inputs.masks),
    }
    rows, cols = inputs.masks.grid
    wide, high = panel_size(2.4, inputs.masks.grid)
    figure = Figure(
        "Attribution of the prediction to the visible patches, bright for large.",
        figsize=(wide * 3 + 1.4, high + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(1, 3)
    show(axes[0], context_image(prediction))
    axes[0].set_title("context", fontsize=9)
    for axis, (name, importance) in zip(axes[1:], found.items(), strict=True):
        values = np.full(rows * cols, np.nan, np.float32)
        values[importance.patches.numpy()] = importance.weight.numpy()
        drawn = axis.imshow(values.reshape(rows, cols), vmin=0, cmap="viridis")
        outline(axis, inputs.masks, 1, BOX["predicted"], 1.5)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"{name}\n{importance.passes} passes, {importance.seconds:.2f} s", fontsize=9)
        figure.colorbar(drawn, ax=axis, shrink=0.75)
    first, second = (importance.weight for importance in found.values())
    ranks = [w.argsort().argsort().double() for w in (first, second)]
    agreement = float(torch.corrcoef(torch.stack(ranks))[0, 1])
    numbers = {
        "rank_correlation_of_the_two": agreement,
        **{f"{n.split(',')[0].replace(' ', '_')}_seconds": i.seconds for n, i in found.items()},
    }
    return {**numbers, "figure": figure}


@dataclass(frozen=True)
class Importance:
    """Attribution of a prediction to each visible patch.

    Attributes:
        patches: (K,) int64, the visible patches; weight: (K,) float32, zero or more.
        passes: forward passes of one image through encoder and predictor (a backward pass counts as two).
        seconds: wall time.
    """

    patches: Tensor
    weight: Tensor
    passes: int
    seconds: float


def _checked(image: Tensor, masks: Masks) -> None:
    if len(masks) != 1 or image.ndim != 3:
        raise ValueError(f"Ablation takes one image (3, H, W) and its masks, got {tuple(image.shape)}, {len(masks)}.")
    if not bool(masks.valid.all()):
        raise ValueError("Ablation takes a context without padding.")


@torch.no_grad()
def leave_one_out(model: IJEPA, image: Tensor, masks: Masks, batch: int = 16) -> Importance:
    """Root mean square change of the predicted tokens when one visible patch is left out of the context.

    Args:
        image: (3, H, W) in [0, 1].
        masks: of one image, with at least two visible patches.
        batch: contexts encoded at a time; memory grows with it.

    Raises:
        ValueError: several images, padding, or a context of one patch.
    """
    _checked(image, masks)
    count = masks.context.shape[1]
    if count < 2:
        raise ValueError("Leave-one-out needs at least two visible patches.")
    started = time.perf_counter()
    pixels = normalise(image.to(model.device).float())[None]
    masks = masks.to(str(model.device))
    whole = model.predict(model.encode_context(pixels, masks), masks)
    others = ~torch.eye(count, dtype=torch.bool, device=model.device)
    contexts = masks.context.expand(count, -1)[others].view(count, count - 1)
    weight = []
    for context in track(contexts.split(batch), "leaving patches out", "batch"):
        many = Masks(context, masks.targets.expand(len(context), -1, -1), masks.grid)
        predicted = model.predict(model.encode_context(pixels.expand(len(context), -1, -1, -1), many), many)
        weight.append((predicted - whole).float().square().mean((1, 2, 3)).sqrt().cpu())
    return Importance(masks.context[0].cpu(), torch.cat(weight), count + 1, time.perf_counter() - started)


def gradient(model: IJEPA, image: Tensor, masks: Masks, directions: int = 8, seed: int = 0) -> Importance:
    """Sensitivity of the predicted tokens to each visible patch's pixels.

    The root mean square, over random directions v of the output, of the length of the gradient of <v, prediction>
    with respect to the patch's pixels: an estimate of the norm of the patch's block of the Jacobian.

    Args:
        image: (3, H, W) in [0, 1].
        masks: of one image.
        directions: number of backward passes; more reduce the noise of the estimate.

    Raises:
        ValueError: several images, padding, or no direction.
    """
    _checked(image, masks)
    if directions < 1:
        raise ValueError(f"Needs at least one direction, got {directions}.")
    started = time.perf_counter()
    size = model.config.patch_size
    masks = masks.to(str(model.device))
    pixels = normalise(image.to(model.device).float())[None].requires_grad_(True)
    predicted = model.predict(model.encode_context(pixels, masks), masks)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(masks.num_patches)
    for i in range(directions):
        v = torch.randn(predicted.shape, generator=generator).to(predicted)
        (slope,) = torch.autograd.grad((predicted * v).sum(), pixels, retain_graph=i + 1 < directions)
        rows, cols = masks.grid
        by_patch = slope[0].float().square().view(3, rows, size, cols, size).sum((0, 2, 4)).flatten()
        total += by_patch.cpu()
    weight = (total / directions / predicted.numel()).sqrt()
    context = masks.context[0].cpu()
    return Importance(context, weight[context], 1 + 2 * directions, time.perf_counter() - started)
