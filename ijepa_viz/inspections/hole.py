"""One hole as one model fills it: target and predicted tokens as colours, the cosine, and the nearest real block.

Made to be compared: between the checkpoints of a run, or between models.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ijepa_viz.data.batches import evenly
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures.hole_views import HoleView, hole_views_figure
from ijepa_viz.figures.token_colours import common_components
from ijepa_viz.inspections import maps
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput
from ijepa_viz.inspections.retrieval import TokenIndex
from ijepa_viz.models import target_layer_norm


@INSPECTIONS.register("hole")
def inspect_hole(inputs: InspectionInput) -> dict[str, Any]:
    """One hole in a column: tokens, cosine and the nearest real block, to be compared by --models and --over-time."""
    view = hole_view(inputs)
    return {**hole_numbers(view), "figure": hole_views_figure([view], ["model"])}


def hole_numbers(view: HoleView) -> dict[str, float]:
    """What a view measures, by name: the cosine beside its control, and that of the nearest block beside its own."""
    return {
        "cosine": view.mean_cosine,
        "cosine_of_another": view.control_cosine,
        "nearest_block_cosine": view.nearest_cosine,
    }


@torch.no_grad()
def hole_view(inputs: InspectionInput, before: HoleView | None = None, beside: int = 15) -> HoleView:
    """How a model fills the hole of one image.

    Args:
        inputs: with one rectangular target block.
        before: a view whose colours this one's are matched to, where both have the same grid: principal components have
            no order or sign of their own from one checkpoint to the next.
        beside: number of other images that the components are of as well.

    Raises:
        ValueError: several blocks, or one that is not rectangular. RuntimeError: the model has no predictor.
    """
    model, masks = inputs.model, inputs.masks
    hidden = masks.hidden[0].cpu().nonzero()
    (top, left), (bottom, right) = hidden.min(0).values.tolist(), hidden.max(0).values.tolist()
    shape = (bottom - top + 1, right - left + 1)
    if len(hidden) != shape[0] * shape[1] or masks.targets.shape[1] != 1:
        raise ValueError("This inspection needs one rectangular target block.")
    prediction = inputs.predict()
    some = inputs.others[evenly(len(inputs.others), beside)].float() / 255
    images = torch.cat([inputs.image[None].cpu(), some])
    target = target_layer_norm(model.encode_target(normalise(images.to(model.device).float()))).float().cpu()
    shared = target.mean(1, keepdim=True)
    found = common_components(list(target - shared))
    predicted = prediction.predicted.cpu()
    filled = target[0].clone()
    filled[masks.targets[0].flatten().cpu()] = predicted.flatten(0, 1)
    grid = (*model.grid, 3)
    colours = [found.colours(tokens - shared[0]).view(grid).numpy() for tokens in (target[0], filled)]
    own = maps.token_map(predicted, prediction.target.cpu(), masks)
    controls = maps.controls(model, inputs.others[evenly(len(inputs.others), 1)], masks)
    another = maps.token_map(controls["another image"], prediction.target.cpu(), masks)
    index = TokenIndex.from_images(model, inputs.others)
    near = index.blocks(predicted[0], shape, 1)
    picture = inputs.image.cpu().clone()
    size = prediction.patch_size
    high, wide = shape[0] * size, shape[1] * size
    row, col = int(near.rows[0]) * size, int(near.cols[0]) * size
    block = inputs.others[near.images[0], :, row : row + high, col : col + wide].float() / 255
    picture[:, top * size : top * size + high, left * size : left * size + wide] = block
    view = HoleView(
        image=_picture(inputs.image),
        masks=masks.to("cpu"),
        patch_size=size,
        target=colours[0],
        predicted=colours[1],
        cosine=own.cosine,
        mean_cosine=own.mean_cosine,
        control_cosine=another.mean_cosine,
        nearest=_picture(picture),
        nearest_cosine=float(near.cosine[0]),
    )
    if before is None or before.target.shape != view.target.shape:
        return view
    turn = matching(view.target, before.target)
    return replace(view, target=turned(view.target, turn), predicted=turned(view.predicted, turn))


def _picture(image: Tensor) -> np.ndarray:
    return np.asarray(image.permute(1, 2, 0).cpu().numpy())


def matching(colours: np.ndarray, like: np.ndarray) -> list[tuple[int, bool]]:
    """How three channels (rows, cols, 3) become most like those of other colours: for each, (which one, inverted)."""
    flat = [values.reshape(-1, 3) - values.reshape(-1, 3).mean(0) for values in (colours, like)]
    lengths = [np.linalg.norm(values, axis=0) for values in flat]
    correlation = flat[0].T @ flat[1] / np.maximum(np.outer(*lengths), 1e-12)  # (own channel, other channel)
    own, other = linear_sum_assignment(-np.abs(correlation))
    order = own[np.argsort(other)]
    return [(int(channel), bool(correlation[channel, place] < 0)) for place, channel in enumerate(order)]


def turned(colours: np.ndarray, turn: list[tuple[int, bool]]) -> np.ndarray:
    """Colours (rows, cols, 3) in [0, 1] with channels exchanged and inverted as :func:`matching` says."""
    return np.stack([1 - colours[..., i] if inverted else colours[..., i] for i, inverted in turn], axis=-1)
