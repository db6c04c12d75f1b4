"""Variation between samples: standard deviation maps, explained variance by frequency, agreement by factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ijepa_viz.figures.completion import BOX
from ijepa_viz.figures.figure import Figure


def variation_figure(
    blocks: np.ndarray,
    samples: np.ndarray,
    spread: np.ndarray,
    free_spread: np.ndarray,
    by_band: Sequence[tuple[str, float]],
    by_factor: Mapping[str, tuple[float, float]],
) -> Figure:
    """Blocks with samples and deviation maps; below, variance explained by frequency and agreement by factor.

    Args:
        blocks: (k, h, w, 3), the real hidden blocks, in [0, 1].
        samples: (k, s, h, w, 3), some samples of each.
        spread, free_spread: (k, h, w), standard deviation of conditional and of unconditional samples.
        by_band: (label, explained share of the variance), coarse to fine.
        by_factor: factor -> (agreement of conditional samples, of unconditional samples); empty without ground truth.
    """
    rows, shown = len(blocks), samples.shape[1]
    columns = shown + 3
    figure = Figure(
        "Blocks, samples decoded for them, and the share of the variance that the conditioning explains.",
        figsize=(1.25 * columns, 1.35 * rows + 3.0),
        layout="constrained",
    )
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.35 * rows, 2.8])
    top, bottom = halves
    grid = top.subplots(rows, columns, squeeze=False)
    most = float(free_spread.max())
    for row in range(rows):
        pictures = [blocks[row], *samples[row]]
        for axes, picture in zip(grid[row], pictures, strict=False):
            axes.imshow(picture)
        for axes, deviation in zip(grid[row, -2:], (spread[row], free_spread[row]), strict=True):
            drawn = axes.imshow(deviation, vmin=0, vmax=most, cmap="magma")
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    grid[0, 0].set_title("hidden", fontsize=9)
    grid[0, 1].set_title("samples of the prediction", fontsize=9, loc="left", color=BOX["predicted"])
    grid[0, -2].set_title("deviation", fontsize=9, color=BOX["predicted"])
    grid[0, -1].set_title("null deviation", fontsize=9, color=BOX["control"])
    top.colorbar(drawn, ax=grid[:, -1].tolist(), label="standard deviation", shrink=0.9)
    charts = bottom.subplots(1, 2 if by_factor else 1, squeeze=False)[0]
    names, kept = zip(*by_band, strict=True)
    charts[0].bar(range(len(names)), kept, color=BOX["predicted"])
    charts[0].axhline(0, color="0.3", linewidth=0.8)
    charts[0].set_xticks(range(len(names)), names, fontsize=8)
    charts[0].set_xlabel("cycles a block, coarse to fine")
    charts[0].set_ylabel("explained variance")
    charts[0].set_ylim(min(0.0, *kept) - 0.05, 1.05)
    if by_factor:
        positions = np.arange(len(by_factor))
        conditional, unconditional = zip(*by_factor.values(), strict=True)
        charts[1].bar(positions - 0.2, conditional, 0.4, color=BOX["predicted"], label="conditional")
        charts[1].bar(positions + 0.2, unconditional, 0.4, color=BOX["control"], label="unconditional")
        charts[1].set_xticks(positions, list(by_factor), fontsize=8)
        charts[1].set_ylabel("samples that agree")
        charts[1].set_ylim(0, 1.35)
        charts[1].set_yticks([0, 0.5, 1.0])
        charts[1].legend(fontsize=8, loc="upper center", ncols=2, frameon=False)
    return figure
