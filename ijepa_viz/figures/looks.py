"""Looking inside one prediction: a probe of ``probes/`` and its figure, by name, for any model with a predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.figures.completion import BOX, context_image, outline, show
from ijepa_viz.figures.figure import Figure
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA
from ijepa_viz.prediction import Prediction, predict
from ijepa_viz.probes import ablation, components, maps, position
from ijepa_viz.probes.retrieval import Found, TokenIndex
from ijepa_viz.registry import Registry


@dataclass(frozen=True)
class Question:
    """One image with a hole, and other images to compare with.

    Attributes:
        model: with a predictor.
        image: (3, H, W) in [0, 1]. masks: of it, B = 1.
        others: (n, 3, H, W) uint8 at the model's size, not holding the image.
        scenes: how many drawn scenes a reader of parts is fitted on; None is :func:`position.part_reader`'s own.
    """

    model: IJEPA
    image: Tensor
    masks: Masks
    others: Tensor
    scenes: int | None = None

    def predict(self) -> Prediction:
        """The model's prediction for the hole."""
        return predict(self.model, self.image, self.masks)


Look = Callable[[Question], dict[str, Any]]
LOOKS: Registry[Look] = Registry("look")
"""``f(question) -> {number: value, "figure": Figure}``; ``ijepa-viz look --probe NAME`` finds it."""


# --------------------------------------------------------------------------- error and cosine maps


@LOOKS.register("maps")
def look_maps(question: Question) -> dict[str, Any]:
    """Cosine and error over the hole, of the prediction and of what knows nothing of this image."""
    prediction = question.predict()
    tokens = {"prediction": prediction.predicted.cpu()}
    tokens |= maps.controls(question.model, question.others, question.masks)
    found = {name: maps.token_map(t, prediction.target.cpu(), question.masks) for name, t in tokens.items()}
    figure = Figure(
        "How well each patch of the hole is predicted, beside predictions that know nothing of this picture.",
        figsize=(2.1 * (1 + len(found)) + 0.6, 4.6),
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


# --------------------------------------------------------------------------- retrieval


@LOOKS.register("retrieval")
def look_retrieval(question: Question, k: int = 7) -> dict[str, Any]:
    """The real blocks nearest to the predicted one, to the target, and to the mean prediction (the control)."""
    prediction = question.predict()
    hidden = question.masks.hidden[0].nonzero()
    (top, left), (bottom, right) = hidden.min(0).values.tolist(), hidden.max(0).values.tolist()
    shape = (bottom - top + 1, right - left + 1)
    if len(hidden) != shape[0] * shape[1] or question.masks.targets.shape[1] != 1:
        raise ValueError("Retrieval looks for blocks: hide one rectangle.")
    index = TokenIndex.of(question.model, question.others)
    queries = {
        "predicted": prediction.predicted[0].cpu(),
        "target": prediction.target[0].cpu(),
        "mean prediction": maps.controls(question.model, question.others[:256], question.masks)["mean prediction"][0],
    }
    found = {name: index.blocks(tokens, shape, k) for name, tokens in queries.items()}
    kinds = dict(zip(queries, ("predicted", "target", "control"), strict=True))
    figure = Figure(
        "The real blocks nearest to the predicted tokens, to the target's, and to the mean prediction.",
        figsize=(1.3 * (k + 1), 1.55 * len(found) + 0.3),
        layout="constrained",
    )
    axes = figure.subplots(len(found), k + 1, squeeze=False)
    for line, (name, places) in zip(axes, found.items(), strict=True):
        show(line[0], context_image(prediction) if name != "target" else prediction.image.permute(1, 2, 0).numpy())
        outline(line[0], question.masks, prediction.patch_size, BOX[kinds[name]], 1.5)
        line[0].set_title(f"nearest to\n{name}", fontsize=8)
        for i, axis in enumerate(line[1:]):
            if i >= len(places.images):
                axis.set_axis_off()
                continue
            _show_block(axis, question, places, i, shape, BOX[kinds[name]])
    return {**{f"{name.replace(' ', '_')}_best": float(p.cosine[0]) for name, p in found.items()}, "figure": figure}


def _show_block(axis: Any, question: Question, found: Found, i: int, shape: tuple[int, int], colour: str) -> None:
    show(axis, (question.others[found.images[i]].permute(1, 2, 0) / 255).numpy())
    row, col = int(found.rows[i]), int(found.cols[i])
    block = Masks.from_block(question.model.grid, row, col, *shape)
    outline(axis, block, question.model.config.patch_size, colour, 1.5)
    axis.set_title(f"cosine {found.cosine[i]:.2f}", fontsize=8)


# --------------------------------------------------------------------------- components and neighbours


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


# --------------------------------------------------------------------------- position


@LOOKS.register("position")
def look_position(question: Question) -> dict[str, Any]:
    """What is expected at every place from the same context; whether it moves along; where which part is expected.

    The part maps come from a reader trained on drawn scenes, so they mean something for drawn scenes only.
    """
    model, masks = question.model, question.masks
    prediction = question.predict()
    asked = position.everywhere(model, question.image, masks)
    with torch.no_grad():
        target = model.encode_target(_normalised(question.image[None], model))[0]
    target = F.layer_norm(target, target.shape[-1:]).float().cpu()
    reader = position.part_reader(model, question.scenes)
    rows, cols = masks.grid
    expected, real = reader(asked).view(rows, cols, -1), reader(target).view(rows, cols, -1)
    steps = {
        shift: cosine
        for shift in ((-1, 0), (1, 0), (0, -1), (0, 1), (-2, 0), (2, 0), (0, -2), (0, 2))
        if _stays(masks, shift)
        for cosine in position.moved(model, question.image, masks, [shift]).values()
    }
    parts = [i for i in range(1, len(position.PART_NAMES)) if max(expected[..., i].max(), real[..., i].max()) > 0.3]
    parts = sorted(parts, key=lambda i: -float(torch.maximum(expected[..., i], real[..., i]).sum()))[:4]
    columns = 2 + len(parts) + 1
    figure = Figure(
        "What is expected at every place from the same context, and where each part is expected.",
        figsize=(1.65 * columns + 0.8, 4.1),
        layout="constrained",
    )
    axes = figure.subplots(2, columns, squeeze=False)
    show(axes[0, 0], prediction.image.permute(1, 2, 0).numpy())
    show(axes[1, 0], context_image(prediction))
    axes[0, 0].set_title("original", fontsize=9)
    axes[1, 0].set_title("context", fontsize=9)
    colours = components.common_components([target, asked])
    for row, (name, tokens) in enumerate((("target", target), ("predicted everywhere", asked))):
        show(axes[row, 1], colours.colours(tokens).view(rows, cols, 3).numpy())
        axes[row, 1].set_title(f"{name}\n(first components)", fontsize=8)
    drawn = None
    for column, part in enumerate(parts, start=2):
        for row, values in enumerate((real, expected)):
            axis = axes[row, column]
            drawn = axis.imshow(values[..., part], vmin=0, vmax=1, cmap="viridis")
            axis.set_title(f"{position.PART_NAMES[part]}\n{('target', 'predicted')[row]}", fontsize=8)
    for row, values in enumerate((real, expected)):
        axis = axes[row, -1]
        doubt = axis.imshow(
            position.uncertainty(values), vmin=0, vmax=float(np.log2(len(position.PART_NAMES))), cmap="magma"
        )
        axis.set_title(f"undecided\n{('target', 'predicted')[row]}", fontsize=8)
    for axis in axes[:, 2:].flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[:, 1:].flat:
        outline(axis, masks, 1, BOX["predicted"], 1.5)
    if drawn is not None:
        figure.colorbar(drawn, ax=axes[0].tolist(), label="probability", shrink=0.8)
    figure.colorbar(doubt, ax=axes[1].tolist(), label="entropy, bits", shrink=0.8)
    return {**{f"moved_by_{r}_{c}": value for (r, c), value in steps.items()}, "figure": figure}


def _stays(masks: Masks, shift: tuple[int, int]) -> bool:
    rows, cols = masks.grid
    r, c = masks.targets // cols + shift[0], masks.targets % cols + shift[1]
    return masks.targets.shape[1] == 1 and bool(((r >= 0) & (r < rows) & (c >= 0) & (c < cols)).all())


# --------------------------------------------------------------------------- ablation


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
