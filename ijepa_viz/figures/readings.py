"""Completed pictures by what filled the hole, each kind beside what was read from many of them."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.patches import Patch
from torch import Tensor

from ijepa_viz.figures.completion import BOX, outline, show
from ijepa_viz.figures.figure import Figure
from ijepa_viz.masks import Masks

_WORDS = {
    "target": "real, or from the target encoder",
    "predicted": "decoded from the prediction",
    "control": "control",
}


def readings_figure(
    pictures: Mapping[str, Tensor],
    panels: Mapping[str, Mapping[str, Mapping[str, float]]],
    rows: Mapping[str, tuple[str, str]],
    masks: Masks,
    about: str,
) -> Figure:
    """One row a way to fill the hole: some completed pictures, then each reading with its 95 % interval.

    Args:
        pictures: row -> (k, 3, H, W) in [0, 1], the same k pictures in each.
        panels: title -> {row: a number and the ends of its interval, in this order}; shares or correlations.
        rows: row -> (its name, a key of ``BOX``), in the order from top to bottom.
        masks: the holes, one for all pictures or at least one for each that is shown.
        about: a sentence that describes the content.
    """
    names = [row for row in rows if row in pictures]
    shown = len(pictures[names[0]])
    height = 0.82 * len(names) + 1.3
    figure = Figure(about, figsize=(0.82 * shown + 2.3 + 2.6 * len(panels), height), layout="constrained")
    grid = figure.add_gridspec(len(names), shown + len(panels), width_ratios=[1] * shown + [2.6] * len(panels))
    for line, row in enumerate(names):
        name, kind = rows[row]
        for i, picture in enumerate(pictures[row]):
            axis = figure.add_subplot(grid[line, i])
            show(axis, picture.permute(1, 2, 0).numpy())
            own = masks if len(masks) == 1 else masks[i : i + 1]
            outline(axis, own, picture.shape[-1] // masks.grid[1], BOX[kind], width=1.1)
            if i == 0:
                axis.set_ylabel(
                    name.replace(" picture's", "\npicture's").replace(", ", ",\n"),
                    rotation=0, ha="right", va="center", fontsize=9,
                )  # fmt: skip
    for number, (title, readings) in enumerate(panels.items()):
        axis = figure.add_subplot(grid[:, shown + number])
        values = {row: list(readings[row].values()) for row in names if row in readings}
        for line, row in enumerate(names):
            axis.axhline(line, color="0.92", linewidth=0.8, zorder=0)
            if row not in values:
                continue
            middle, low, high = values[row]
            axis.errorbar(
                middle, line, xerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
                fmt="o", markersize=5, color=BOX[rows[row][1]], capsize=2, linewidth=1.2,
            )  # fmt: skip
            axis.annotate(f"{middle:.2f}", (middle, line), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        smallest = min((value[1] for value in values.values()), default=0.0)
        axis.set_xlim(-0.05 if smallest > -0.05 else smallest - 0.05, 1.08)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks([])
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
        for side in ("left", "right", "top"):
            axis.spines[side].set_visible(False)
    kinds = dict.fromkeys(rows[row][1] for row in names)
    handles = [Patch(color=BOX[kind], label=_WORDS[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return figure
