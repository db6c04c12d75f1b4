"""Which visible patches a prediction hangs on: by leaving each out, and by the gradient.

Leaving out asks the model itself, at the price of one forward pass a patch. The gradient costs one forward pass and a
few backward ones, and answers only for small changes of the patches' pixels. Both say what the *model* uses, not what
there is to be used.
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
from ijepa_viz.figures.figure import Figure
from ijepa_viz.inspections import ablation
from ijepa_viz.inspections.inspection import LOOKS, Question
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA


@LOOKS.register("ablation")
def look_ablation(question: Question) -> dict[str, Any]:
    """Which visible patches the prediction hangs on, by leaving each out and by the gradient, with what both cost."""
    prediction = question.predict()
    found = {
        "left out, one at a time": ablation.leave_one_out(question.model, question.image, question.masks),
        "gradient": ablation.gradient(question.model, question.image, question.masks),
    }
    rows, cols = question.masks.grid
    figure = Figure(
        "Which visible patches the prediction hangs on, bright where it does.",
        figsize=(2.4 * 3 + 1.4, 2.9),
        layout="constrained",
    )
    axes = figure.subplots(1, 3)
    show(axes[0], context_image(prediction))
    axes[0].set_title("context", fontsize=9)
    for axis, (name, importance) in zip(axes[1:], found.items(), strict=True):
        values = np.full(rows * cols, np.nan, np.float32)
        values[importance.patches.numpy()] = importance.weight.numpy()
        drawn = axis.imshow(values.reshape(rows, cols), vmin=0, cmap="viridis")
        outline(axis, question.masks, 1, BOX["predicted"], 1.5)
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
    """How much each visible patch matters.

    Attributes:
        patches: (K,) int64, the visible patches; weight: (K,) float32, zero or more.
        passes: number of images that went forward through encoder and predictor (a gradient's backward pass counts
            as two); seconds: what it took.
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
        raise ValueError("Leaving out needs at least two visible patches.")
    started = time.perf_counter()
    pixels = normalise(image.to(model.device).float())[None]
    masks = masks.to(str(model.device))
    whole = model.predict(model.encode_context(pixels, masks), masks)
    others = ~torch.eye(count, dtype=torch.bool, device=model.device)
    contexts = masks.context.expand(count, -1)[others].view(count, count - 1)
    weight = []
    for context in contexts.split(batch):
        many = Masks(context, masks.targets.expand(len(context), -1, -1), masks.grid)
        predicted = model.predict(model.encode_context(pixels.expand(len(context), -1, -1, -1), many), many)
        weight.append((predicted - whole).float().square().mean((1, 2, 3)).sqrt().cpu())
    return Importance(masks.context[0].cpu(), torch.cat(weight), count + 1, time.perf_counter() - started)


def gradient(model: IJEPA, image: Tensor, masks: Masks, directions: int = 8, seed: int = 0) -> Importance:
    """How fast the predicted tokens change with each visible patch's pixels.

    The root mean square, over random directions v of the output, of the length of the gradient of <v, prediction>
    with respect to the patch's pixels: an estimate of the norm of the patch's block of the Jacobian.

    Args:
        image: (3, H, W) in [0, 1].
        masks: of one image.
        directions: backward passes; more is less noise.

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
