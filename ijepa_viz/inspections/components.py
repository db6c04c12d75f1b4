"""Principal components of tokens, common to several images, as colours; cosine similarity to one patch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures.completion import BOX, context_image, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.figures.token_colours import Components, common_components
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput, central_patch
from ijepa_viz.models import target_layer_norm

__all__ = ["Components", "common_components", "inspect_components", "similarity"]


@INSPECTIONS.register("components")
def inspect_components(inputs: InspectionInput, beside: int = 3) -> dict[str, Any]:
    """Principal components of target and predicted tokens as colours, and cosine similarity to the block's centre.

    Each image's mean target token is subtracted first, because it would dominate the components. Of a model without a
    predictor: the target tokens only.
    """
    model = inputs.model
    prediction = inputs.predict() if model.predictor is not None else None
    images = torch.cat([inputs.image[None].cpu(), inputs.others[:beside].float() / 255])
    with torch.no_grad():
        target = model.encode_target(normalise(images.to(model.device).float()))
    target = target_layer_norm(target).float().cpu()
    shared = target.mean(1, keepdim=True)
    found = common_components(list(target - shared))
    rows, cols = model.grid
    centre = central_patch(inputs.masks)
    near = {"real": target[0, centre]}
    columns = beside + (2 if prediction is None else 3)
    wide, high = panel_size(1.7, inputs.masks.grid)
    figure = Figure(
        f"Principal components of {'target' if prediction is None else 'target and predicted'} tokens as colours, and "
        "cosine similarity to one patch.",
        figsize=(wide * columns + 0.7, 2 * high + 0.6),
        layout="constrained",
    )
    axes = figure.subplots(2, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for i, picture in enumerate(images):
        show(axes[0, i], picture.permute(1, 2, 0).numpy())
        show(axes[1, i], found.colours(target[i] - shared[i]).view(rows, cols, 3).numpy())
        axes[0, i].set_title("image" if i == 0 else "another", fontsize=9)
        axes[1, i].set_title("target tokens", fontsize=9)
    if prediction is not None:
        filled = target[0].clone()
        filled[inputs.masks.targets[0].flatten()] = prediction.predicted.flatten(0, 1).cpu()
        near["predicted"] = filled[centre]
        outline(axes[0, 0], inputs.masks, prediction.patch_size, BOX["predicted"])
        outline(axes[1, 0], inputs.masks, 1, BOX["target"])
        show(axes[1, beside + 1], found.colours(filled - shared[0]).view(rows, cols, 3).numpy())
        outline(axes[1, beside + 1], inputs.masks, 1, BOX["predicted"])
        axes[1, beside + 1].set_title("hole predicted", fontsize=9)
        show(axes[0, beside + 1], context_image(prediction))
        axes[0, beside + 1].set_title("context", fontsize=9)
    for row, (name, token) in enumerate(near.items()):
        cosine = similarity(token, target[0]).view(rows, cols)
        axis = axes[row, -1]
        axis.set_axis_on()
        drawn = axis.imshow(cosine, vmin=min(0.0, float(cosine.min())), vmax=1, cmap="viridis")
        axis.plot(centre % cols, centre // cols, "o", markersize=5, color=BOX["control"])
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"cosine with the dot: {name}", fontsize=8)
    figure.colorbar(drawn, ax=axes[: len(near), -1].tolist(), shrink=0.8)
    numbers = {f"component_{i + 1}_share": float(s) for i, s in enumerate(found.share)}
    return {**numbers, "figure": figure}


def similarity(token: Tensor, tokens: Tensor) -> Tensor:
    """Cosine similarity of one token (D,) with each of (..., D)."""
    return F.cosine_similarity(tokens.float(), token.float().expand_as(tokens), dim=-1)
