"""Readings of single samples against evaluations of the network that draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ijepa_viz.figures.figure import Figure


def drawing_steps_figure(steps: Sequence[int], table: Mapping[str, Any], factors: Sequence[str]) -> Figure:
    """Plot accuracy by factor, of predicted and target tokens, and the kernel distance, against steps.

    Args:
        steps: numbers of evaluations.
        table: ``"predicted tokens, steps 3"`` -> factor -> {"accuracy"}, and ``distance_x_1000``; likewise of target
            tokens; ``"real_pixels"``.
        factors: to plot.
    """
    figure = Figure(
        "Accuracy of a classifier on single samples, and their distance to real blocks, by steps of the drawing.",
        figsize=(9, 3.8),
        layout="constrained",
    )
    accuracy, distance = figure.subplots(1, 2)
    for source, line in (("predicted", "o-"), ("target", "s--")):
        rows = [table[f"{source} tokens, steps {count}"] for count in steps]
        for number, factor in enumerate(factors):
            values = [100 * row[factor]["accuracy"] for row in rows]
            label = factor if source == "predicted" else None
            accuracy.plot(steps, values, line, color=f"C{number}", markersize=4, label=label)
        distance.plot(
            steps,
            [row["distance_x_1000"] for row in rows],
            line,
            color="0.2",
            markersize=4,
            label=f"{source} tokens",
        )
    distance.axhline(table["real_pixels"]["distance_x_1000"], color="0.5", linewidth=0.8, linestyle=":")
    accuracy.set_ylabel("classified right, % (dashed: target tokens)")
    distance.set_ylabel("kernel distance x 1000 (dotted: real pixels)")
    distance.set_yscale("symlog", linthresh=10)
    for axes in (accuracy, distance):
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(steps), [str(count) for count in steps])
        axes.minorticks_off()
        axes.set_xlabel("evaluations of the network that draws")
    distance.legend(frameon=False)
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside upper center", ncols=len(factors), frameon=False)
    return figure
