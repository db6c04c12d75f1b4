"""Quality of samples against what they cost: steps and milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter


def few_steps_figure(curves: Mapping[str, Sequence[tuple[int, float, float, float]]], knee: tuple[str, int]) -> Figure:
    """Error against evaluations and against time, and the spread of samples against evaluations.

    Args:
        curves: solver -> (evaluations, milliseconds, error, spread), by evaluations; error and spread relative to
            the samples of a very fine solution.
        knee: the (solver, evaluations) to mark.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    for number, (name, points) in enumerate(curves.items()):
        steps, cost, error, spread = zip(*points, strict=True)
        for panel, x, y in ((0, steps, error), (1, cost, error), (2, steps, spread)):
            axes[panel].plot(x, y, "o-", color=f"C{number}", markersize=4, label=name)
            if name == knee[0]:
                at = steps.index(knee[1])
                axes[panel].plot(x[at], y[at], "o", markersize=12, markerfacecolor="none", color="k", label="default")
    for panel, label in (
        (0, "evaluations of the network"),
        (1, "ms for six samples"),
        (2, "evaluations of the network"),
    ):
        axes[panel].set_xscale("log", base=2)
        axes[panel].xaxis.set_major_formatter("{x:g}")
        axes[panel].xaxis.set_minor_formatter(NullFormatter())
        axes[panel].set_xlabel(label)
    for panel in (0, 1):
        axes[panel].set_yscale("log")
        axes[panel].yaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.4, 0.8]))
        axes[panel].yaxis.set_major_formatter(ScalarFormatter())
        axes[panel].yaxis.set_minor_formatter(NullFormatter())
        axes[panel].set_ylabel("error of a sample / spread")
    axes[2].axhline(1, color="0.6", linewidth=0.8)
    axes[2].set_ylabel("spread / exact spread")
    handles, labels = axes[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=len(unique), frameon=False)
    return figure
