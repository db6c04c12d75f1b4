"""One hole as several models, or several checkpoints of a run, fill it: a strip, and the frames of a film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from ijepa_viz.figures.completion import BOX, outline, show
from ijepa_viz.figures.figure import Figure, legible
from ijepa_viz.masks import Masks

_HIDDEN = 0.82


@dataclass(frozen=True)
class HoleView:
    """How one model fills one hole.

    Attributes:
        image: (H, W, 3) in [0, 1]. masks: of it, one rectangular block. patch_size: in pixels.
        target, predicted: (rows, cols, 3) in [0, 1], target tokens as colours, and with the hole's predicted ones.
        cosine: (rows, cols) of predicted and target tokens, NaN outside the hole. mean_cosine: over the hole.
        control_cosine: that of the prediction from another image.
        nearest: (H, W, 3), the image with the real block in the hole whose tokens are nearest to the predicted ones.
        nearest_cosine: of that block's tokens and the predicted ones.
    """

    image: np.ndarray
    masks: Masks
    patch_size: int
    target: np.ndarray
    predicted: np.ndarray
    cosine: np.ndarray
    mean_cosine: float
    control_cosine: float
    nearest: np.ndarray
    nearest_cosine: float

    @property
    def context(self) -> np.ndarray:
        """The image with the hole grey, (H, W, 3)."""
        found = self.image.copy()
        found[self.masks.hidden_pixels(self.patch_size)[0].numpy()] = _HIDDEN
        return found


_ROWS = ("target tokens", "hole predicted", "cosine", "nearest real\nblock")


def hole_views_figure(views: Sequence[HoleView], names: Sequence[str]) -> Figure:
    """One column a model or checkpoint, after the picture and its context; one scale of the cosine for all.

    Args:
        views: of one picture and one hole. names: as many, above the columns.

    Raises:
        ValueError: no views, or another number of names.
    """
    if not views or len(names) != len(views):
        raise ValueError(f"There are {len(views)} views and {len(names)} names: give one of each, at least.")
    width = 1.35 * (len(views) + 1) + 1.0
    size = legible(8, width)
    figure = Figure(
        f"One hole as it is filled, {len(views)} columns: tokens as colours, their cosine, and the nearest real block.",
        figsize=(width, 1.35 * len(_ROWS) + 0.75 * size / 8),
        layout="constrained",
    )
    axes = figure.subplots(len(_ROWS), len(views) + 1, squeeze=False)
    for axis, picture, title in zip(
        axes[:2, 0], (views[0].image, views[0].context), ("original", "context"), strict=True
    ):
        show(axis, picture)
        axis.set_title(title, fontsize=size)
    for axis in axes[2:, 0]:
        axis.set_axis_off()
    low = _lowest(views)
    for column, view, name in zip(axes[:, 1:].T, views, names, strict=True):
        drawn = _column(column, view, low)
        column[0].set_title(name, fontsize=size)
        column[2].set_title(f"{view.mean_cosine:.2f}, another\nimage's {view.control_cosine:.2f}", fontsize=size * 0.9)
        column[3].set_title(f"cosine {view.nearest_cosine:.2f}", fontsize=size * 0.9)
    for axis, words in zip(axes[:, 1], _ROWS, strict=True):
        axis.set_ylabel(words, fontsize=size)
    bar = figure.colorbar(drawn, ax=axes[2, 0], location="left", fraction=0.2, aspect=8)
    bar.set_label("cosine", fontsize=size)
    bar.ax.tick_params(labelsize=size * 0.9)
    return figure


def hole_frames(views: Sequence[HoleView], steps: Sequence[int]) -> list[Figure]:
    """The frames of a film, one a checkpoint: the hole, and the cosine over the steps with the moment marked.

    Args:
        views: of one picture and one hole. steps: as many, ascending, of the checkpoints.

    Raises:
        ValueError: no views, or another number of steps.
    """
    if not views or len(steps) != len(views):
        raise ValueError(f"There are {len(views)} views and {len(steps)} steps: give one of each, at least.")
    low = _lowest(views)
    return [_frame(views, steps, i, low) for i in range(len(views))]


def _frame(views: Sequence[HoleView], steps: Sequence[int], index: int, low: float) -> Figure:
    view = views[index]
    figure = Figure(
        f"How the hole is filled after step {steps[index]}, and the cosine over the steps.",
        figsize=(8.4, 3.5),
        layout="constrained",
    )
    figure.suptitle(f"step {steps[index]:,}", fontsize=12)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.7, 1.3))
    above, below = parts
    axes = above.subplots(1, 5)
    show(axes[0], view.context)
    axes[0].set_title("context", fontsize=9)
    drawn = _column(axes[1:], view, low)
    for axis, words in zip(axes[1:], _ROWS, strict=True):
        axis.set_title(words.replace("\n", " "), fontsize=9)
    above.colorbar(drawn, ax=axes[3], shrink=0.8)
    curve = below.subplots()
    curve.plot(steps, [one.mean_cosine for one in views], color=BOX["predicted"], label="own image")
    curve.plot(steps, [one.control_cosine for one in views], color=BOX["control"], label="another image (control)")
    curve.axvline(steps[index], color="0.4", linewidth=1)
    curve.plot(steps[index], view.mean_cosine, "o", color=BOX["predicted"])
    curve.set_xlabel("step", fontsize=9)
    curve.set_ylabel("cosine with\nthe target", fontsize=9)
    curve.tick_params(labelsize=8)
    curve.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _lowest(views: Sequence[HoleView]) -> float:
    return min(0.0, *(float(np.nanmin(view.cosine)) for view in views))


def _column(axes: Sequence[Axes], view: HoleView, low: float) -> AxesImage:
    """Draw the four pictures of a view; returns that of the cosine, for its colour bar."""
    show(axes[0], view.target)
    show(axes[1], view.predicted)
    drawn = axes[2].imshow(view.cosine, vmin=low, vmax=1, cmap="viridis")
    axes[2].set_xticks([])
    axes[2].set_yticks([])
    show(axes[3], view.nearest)
    for axis, size, kind in (
        (axes[0], 1, "target"),
        (axes[1], 1, "predicted"),
        (axes[3], view.patch_size, "predicted"),
    ):
        outline(axis, view.masks, size, BOX[kind], 1.5)
    return drawn
