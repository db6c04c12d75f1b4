"""Completions of one masked image by several models, side by side, with annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.patches import Patch
from torch import Tensor

from ijepa_viz.figures.completion import BOX, context_image, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.prediction import Prediction


@dataclass(frozen=True)
class Answer:
    """One completion of the masked image.

    Attributes:
        title: such as the model's name. picture: (3, H, W) in [0, 1], the whole image with the block filled.
        lines: annotations below it, such as energies and the classes that a classifier predicts.
        kind: "predicted", "control" or "target", for the colour of its box.
    """

    title: str
    picture: Tensor
    lines: tuple[str, ...] = ()
    kind: str = "predicted"


_COLUMNS = 5

_NAMES = {
    "predicted": "from the visible patches alone",
    "control": "control",
    "target": "the original, or from tokens that saw it",
}


def one_hole_figure(prediction: Prediction, answers: Sequence[Answer], truth: Sequence[str] = ()) -> Figure:
    """Show original, context and every completion as a grid of at most five columns, each with its lines below.

    Args:
        prediction: of the image and masks to show.
        answers: the completions.
        truth: lines below the original.

    Raises:
        ValueError: no completions, or one of other proportions than the image.
    """
    if not answers:
        raise ValueError("one_hole_figure needs at least one answer.")
    rows, cols = prediction.image.shape[-2:]
    for answer in answers:
        shape = answer.picture.shape
        if (
            len(shape) != 3
            or shape[0] != 3
            or shape[1] * cols != shape[2] * rows
            or shape[1] % prediction.masks.grid[0]
        ):
            raise ValueError(
                f"{answer.title!r} is {tuple(shape)}, the image {tuple(prediction.image.shape)}: a completion has the "
                "image's proportions and whole patches."
            )
    total = 2 + len(answers)
    lines = -(-total // _COLUMNS)
    columns = -(-total // lines)
    tall = max(len(truth), *(len(answer.lines) for answer in answers))
    wide, high = panel_size(1.85, prediction.masks.grid)
    figure = Figure(
        f"One picture with a hole, and {len(answers)} completions of it, each with annotations.",
        figsize=(wide * columns, (high + 0.5 + 0.17 * tall) * lines + 0.4),
        layout="constrained",
    )
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[total:]:
        axis.remove()
    height = max(answer.picture.shape[1] for answer in answers)
    show(axes[0], prediction.picture(height).permute(1, 2, 0).numpy())
    outline(axes[0], prediction.masks, height // prediction.masks.grid[0], BOX["target"])
    show(axes[1], context_image(prediction, height))
    axes[0].set_title("original", fontsize=11)
    axes[1].set_title("context", fontsize=11)
    axes[0].set_xlabel("\n".join(truth), fontsize=10)
    for axis, answer in zip(axes[2:total], answers, strict=True):
        show(axis, answer.picture.permute(1, 2, 0).clamp(0, 1).numpy())
        outline(axis, prediction.masks, answer.picture.shape[1] // prediction.masks.grid[0], BOX[answer.kind])
        axis.set_title(answer.title, fontsize=11)
        axis.set_xlabel("\n".join(answer.lines), fontsize=10)
    kinds = list(dict.fromkeys(["target", *(answer.kind for answer in answers)]))
    figure.legend(
        handles=[Patch(edgecolor=BOX[kind], fill=False, linewidth=2, label=_NAMES[kind]) for kind in kinds],
        loc="outside lower center", ncols=len(kinds), frameon=False, fontsize=10,
    )  # fmt: skip
    return figure
