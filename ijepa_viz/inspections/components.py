"""Tokens as colours and as neighbours: principal components common to several images, and cosine to a chosen patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.figures.completion import BOX, context_image, outline, show
from ijepa_viz.figures.figure import Figure
from ijepa_viz.inspections import components
from ijepa_viz.inspections.inspection import LOOKS, Question
from ijepa_viz.models import IJEPA


@LOOKS.register("components")
def look_components(question: Question, beside: int = 3) -> dict[str, Any]:
    """Target tokens and predicted tokens as colours common to several images, and the cosine to the hole's centre.

    Each image's mean target token is taken off first: what all its patches share would drown what tells them apart.
    """
    prediction = question.predict()
    model = question.model
    images = torch.cat([question.image[None].cpu(), question.others[:beside].float() / 255])
    with torch.no_grad():
        target = model.encode_target(_normalised(images, model))
    target = F.layer_norm(target, target.shape[-1:]).float().cpu()
    shared = target.mean(1, keepdim=True)
    found = components.common_components(list(target - shared))
    rows, cols = model.grid
    filled = target[0].clone()
    filled[question.masks.targets[0].flatten()] = prediction.predicted.flatten(0, 1).cpu()
    places = question.masks.targets[0].flatten()
    asked = int(places[_central(places, cols)])
    figure = Figure(
        "Tokens as colours common to several pictures, real and predicted, and their likeness to one patch.",
        figsize=(1.7 * (beside + 3) + 0.7, 4.0),
        layout="constrained",
    )
    axes = figure.subplots(2, beside + 3, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for i, picture in enumerate(images):
        show(axes[0, i], picture.permute(1, 2, 0).numpy())
        show(axes[1, i], found.colours(target[i] - shared[i]).view(rows, cols, 3).numpy())
        axes[0, i].set_title("image" if i == 0 else "another", fontsize=9)
        axes[1, i].set_title("target tokens", fontsize=9)
    outline(axes[0, 0], question.masks, prediction.patch_size, BOX["predicted"])
    outline(axes[1, 0], question.masks, 1, BOX["target"])
    show(axes[1, beside + 1], found.colours(filled - shared[0]).view(rows, cols, 3).numpy())
    outline(axes[1, beside + 1], question.masks, 1, BOX["predicted"])
    axes[1, beside + 1].set_title("hole predicted", fontsize=9)
    show(axes[0, beside + 1], context_image(prediction))
    axes[0, beside + 1].set_title("context", fontsize=9)
    for row, (name, token) in enumerate((("real", target[0, asked]), ("predicted", filled[asked]))):
        near = components.similarity(token, target[0]).view(rows, cols)
        axis = axes[row, beside + 2]
        axis.set_axis_on()
        drawn = axis.imshow(near, vmin=min(0.0, float(near.min())), vmax=1, cmap="viridis")
        axis.plot(asked % cols, asked // cols, "o", markersize=5, color=BOX["control"])
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"cosine with the dot: {name}", fontsize=8)
    figure.colorbar(drawn, ax=axes[:, beside + 2].tolist(), shrink=0.8)
    numbers = {f"component_{i + 1}_share": float(s) for i, s in enumerate(found.share)}
    return {**numbers, "figure": figure}


def _central(places: Tensor, cols: int) -> int:
    """Which of ``places`` is nearest to their centre."""
    at = torch.stack([places // cols, places % cols], 1).float()
    return int((at - at.mean(0)).norm(dim=1).argmin())


def _normalised(images: Tensor, model: IJEPA) -> Tensor:
    from ijepa_viz.data.transforms import normalise

    return normalise(images.to(model.device).float())


@dataclass(frozen=True)
class Components:
    """Principal directions of tokens.

    Attributes:
        mean: (D,). directions: (k, D), orthonormal, of falling variance; the entry of largest size is positive.
        share: (k,), of the total variance.
        low, high: (k,), the 1st and 99th percentile along each direction, which :meth:`colours` spreads over [0, 1].
    """

    mean: Tensor
    directions: Tensor
    share: Tensor
    low: Tensor
    high: Tensor

    def colours(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., 3) in [0, 1]: the first three components as red, green and blue."""
        along = (tokens.float() - self.mean) @ self.directions[:3].T
        low, high = self.low[:3], self.high[:3]
        return ((along - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)


def common_components(tokens: Sequence[Tensor], count: int = 3) -> Components:
    """Principal components of all tokens together, so that one colour means one thing in every image.

    Args:
        tokens: of each image or block, (n, D) each.
        count: k.

    Raises:
        ValueError: fewer tokens than components.
    """
    everything = torch.cat([t.reshape(-1, t.shape[-1]) for t in tokens]).double()
    if len(everything) <= count:
        raise ValueError(f"{count} components need more than {count} tokens, got {len(everything)}.")
    mean = everything.mean(0)
    _, values, rows = torch.linalg.svd(everything - mean, full_matrices=False)
    directions = rows[:count]
    # The sign of a direction is free: fixed here, so that a picture can be made again.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    along = (everything - mean) @ directions.T
    low, high = torch.quantile(along, torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)
    share = values[:count].square() / values.square().sum().clamp_min(1e-12)
    return Components(*(t.float() for t in (mean, directions, share, low, high)))


def similarity(token: Tensor, tokens: Tensor) -> Tensor:
    """Cosine of one token (D,) with each of (..., D)."""
    return F.cosine_similarity(tokens.float(), token.float().expand_as(tokens), dim=-1)
