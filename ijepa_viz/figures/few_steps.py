"""Cost of sampling: error over steps and time, and time over the size of the target block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from ijepa_viz.data.picture_size import ImageSize, in_words
from ijepa_viz.figures.figure import Figure


def few_steps_figure(
    curves: Mapping[str, Sequence[tuple[int, float, float, float]]], knee: tuple[str, int] | None
) -> Figure:
    """Plot error over network evaluations and over time, and spread of samples over evaluations.

    Args:
        curves: solver -> (evaluations, milliseconds, error, spread), by evaluations; error and spread relative to
            samples of a very fine solution.
        knee: the (solver, evaluations) to mark; None marks none.
    """
    figure = Figure(
        "Error of few-step sampling over steps and milliseconds, and spread of the samples over steps.",
        figsize=(11, 3.6),
        layout="constrained",
    )
    axes = figure.subplots(1, 3)
    for number, (name, points) in enumerate(curves.items()):
        steps, cost, error, spread = zip(*points, strict=True)
        for panel, x, y in ((0, steps, error), (1, cost, error), (2, steps, spread)):
            axes[panel].plot(x, y, "o-", color=f"C{number}", markersize=4, label=name)
            if knee and name == knee[0]:
                at = steps.index(knee[1])
                axes[panel].plot(x[at], y[at], "o", markersize=12, markerfacecolor="none", color="k", label="knee")
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


def hole_size_figure(table: Mapping[str, Mapping[str, float]], image_size: ImageSize) -> Figure:
    """Plot sampling time over the size of a square target block, in an image and in one of four times the area.

    Args:
        table: "2x2 patches" and the like, ascending -> ``ms``, ``ms_wider_image`` and ``ms_first_preview``.
        image_size: in pixels, of the smaller image.
    """
    wider = image_size * 2 if isinstance(image_size, int) else (2 * image_size[0], 2 * image_size[1])
    figure = Figure(
        "Milliseconds of six samples over the size of the target block, which sets the cost, not the image size.",
        figsize=(6, 3.8),
        layout="constrained",
    )
    axes = figure.subplots()
    sides = [int(name.partition("x")[0]) for name in table]
    for number, (key, label) in enumerate(
        {
            "ms": f"six samples, image of {in_words(image_size)} px",
            "ms_wider_image": f"six samples, image of {in_words(wider)} px",
            "ms_first_preview": "first preview",
        }.items()
    ):
        style = "o--" if key == "ms_wider_image" else "o-"
        axes.plot([s * s for s in sides], [row[key] for row in table.values()], style, color=f"C{number}", label=label)
    axes.set_xticks([s * s for s in sides])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("patches in the target block")
    axes.set_ylabel("ms")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
