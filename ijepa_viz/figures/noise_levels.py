"""Readings of the expected picture at each noise level of the sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ijepa_viz.figures.figure import Figure


def noise_levels_figure(levels: Sequence[float], rows: Sequence[Mapping[str, Any]], factors: Sequence[str]) -> Figure:
    """Plot accuracy by factor, and the spread of the samples over their error, against the noise level.

    Args:
        levels: falling from 1.
        rows: of each level: factor -> {"accuracy"}, and ``spread_over_error``; a further row is that of real pixels.
        factors: to plot.
    """
    figure = Figure(
        "Accuracy of a classifier on the expected picture, and spread over error, by the noise level reached.",
        figsize=(9, 3.8),
        layout="constrained",
    )
    accuracy, spread = figure.subplots(1, 2)
    for number, factor in enumerate(factors):
        values = [100 * row[factor]["accuracy"] for row in rows[: len(levels)]]
        accuracy.plot(levels, values, "o-", color=f"C{number}", markersize=4, label=factor)
        if len(rows) > len(levels):
            accuracy.axhline(100 * rows[-1][factor]["accuracy"], color=f"C{number}", linewidth=0.8, linestyle=":")
    accuracy.set_ylabel("classified right, % (dotted: real pixels)")
    spread.plot(levels, [row["spread_over_error"] for row in rows[: len(levels)]], "o-", color="0.2", markersize=4)
    spread.axhline(1, color="0.6", linewidth=0.8)
    spread.set_ylabel("spread of samples / their error")
    spread.set_ylim(bottom=0)
    for axes in (accuracy, spread):
        axes.set_xlim(1.03, -0.03)  # as sampling runs
        axes.set_xlabel("noise level at which sampling ends")
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside upper center", ncols=len(factors), frameon=False)
    return figure
