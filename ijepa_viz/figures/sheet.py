"""Sheet of many completions, each beside its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.patches import Patch
from torch import Tensor

from ijepa_viz.figures.completion import BOX, context_image, detail_words, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.prediction import Prediction


def sheet_figure(rows: Sequence[tuple[Prediction, Mapping[str, tuple[str, Tensor]]]], detail: float = 0.0) -> Figure:
    """One row an image: original, context, then one completion a column, with a box in the colour of its kind.

    Args:
        rows: (prediction, column title -> (a key of ``BOX``, picture (3, H, W) in [0, 1])); the same columns in all.
        detail: noise level at which sampling ended with the expected picture, for the legend.

    Raises:
        ValueError: no rows, or rows of different columns.
    """
    if not rows:
        raise ValueError("A sheet needs at least one row.")
    titles = list(rows[0][1])
    if any(list(columns) != titles for _, columns in rows):
        raise ValueError("All rows of a sheet need the same columns.")
    panels = [panel_size(0.95, prediction.masks.grid) for prediction, _ in rows]
    wide = max(width for width, _ in panels)
    figure = Figure(
        f"{len(rows)} pictures with a hole, decoded from the prediction and from controls, a column each.",
        figsize=(wide * (2 + len(titles)), fmean(high + 0.03 for _, high in panels) * len(rows) + 0.6),
        layout="constrained",
    )
    axes = figure.subplots(len(rows), 2 + len(titles), squeeze=False)
    for line, (prediction, columns) in zip(axes, rows, strict=True):
        height = next(iter(columns.values()))[1].shape[1]
        show(line[0], prediction.picture(height).permute(1, 2, 0).numpy())
        show(line[1], context_image(prediction, height))
        for axis, (kind, picture) in zip(line[2:], columns.values(), strict=True):
            show(axis, picture.permute(1, 2, 0).clamp(0, 1).numpy())
            outline(axis, prediction.masks, height // prediction.masks.grid[0], BOX[kind], width=1.2)
    for axis, title in zip(axes[0], ["original", "context", *titles], strict=True):
        axis.set_title(title, fontsize=7)
    kinds = dict.fromkeys(kind for kind, _ in rows[0][1].values())
    words = {
        "predicted": "decoded from the prediction" + detail_words(detail),
        "control": "control",
        "target": "from the target encoder",
    }
    handles = [Patch(edgecolor=BOX[kind], fill=False, linewidth=2, label=words[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    return figure
