"""Matrices of CKA between the layers of models, beside those with a random encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from ijepa_viz.figures.figure import Figure, legible


@dataclass(frozen=True)
class Similarity:
    """CKA of the layers of one encoder with those of another.

    Attributes:
        rows, cols: names of the two. row_layers, col_layers: numbers of their layers, in order.
        values: (len(row_layers), len(col_layers)), at most 1; unbiased, so that chance is 0 and values may be below.
    """

    rows: str
    cols: str
    row_layers: tuple[int, ...]
    col_layers: tuple[int, ...]
    values: np.ndarray


def cka_figure(lines: Sequence[Sequence[Similarity]], pictures: int) -> Figure:
    """One row of panels a model: with each model, and at the right end with a random encoder of its own shape.

    Args:
        lines: a row of panels each, of the same number.
        pictures: number of pictures, for the title.

    Raises:
        ValueError: no panels, or rows of different numbers.
    """
    columns = {len(line) for line in lines}
    if columns in (set(), {0}) or len(columns) > 1:
        raise ValueError("A figure of CKA needs rows of as many panels each, at least one.")
    wide = columns.pop()
    width = 2.7 * wide + 0.9
    size = legible(9, width)
    figure = Figure(
        "Linear CKA between layers of encoders, bright where they represent pictures alike.",
        figsize=(width, 2.7 * len(lines) + 0.7),
        layout="constrained",
    )
    figure.suptitle(f"Linear CKA, unbiased, of {pictures} pictures", fontsize=size * 1.2)
    axes = figure.subplots(len(lines), wide, squeeze=False)
    for row, line in zip(axes, lines, strict=True):
        for axis, one in zip(row, line, strict=True):
            drawn = axis.imshow(one.values, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
            _layers(axis.xaxis, one.col_layers, size)
            _layers(axis.yaxis, one.row_layers, size)
            axis.set_xlabel(f"layer of {one.cols}", fontsize=size)
            axis.set_ylabel(f"layer of {one.rows}", fontsize=size)
            last = float(one.values[-1, -1])
            axis.set_title(f"last layers {last:.2f}", fontsize=size)
    bar = figure.colorbar(drawn, ax=axes.ravel().tolist(), shrink=min(1.0, 0.9 / len(lines) + 0.1), aspect=30)
    bar.ax.tick_params(labelsize=size)
    return figure


def _layers(axis: object, layers: tuple[int, ...], size: float) -> None:
    """Ticks at some of the layers, named by their numbers."""
    places = MaxNLocator(min(8, len(layers)), integer=True).tick_values(0, max(1, len(layers) - 1))
    chosen = [int(place) for place in places if 0 <= place < len(layers)]
    axis.set_ticks(chosen, [str(layers[place]) for place in chosen], fontsize=size)  # type: ignore[attr-defined]
