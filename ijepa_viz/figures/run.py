"""Curves of a training run's log, for the static figure and the live monitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import EngFormatter, MaxNLocator

from ijepa_viz.figures.figure import Figure

Rows = Sequence[Mapping[str, str]]
Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: above the panel. label: of the y axis.
        columns: columns of the log and their names. controls: columns that are baselines.
        logarithmic: logarithmic y axis.
    """

    title: str
    label: str
    columns: dict[str, str]
    controls: tuple[str, ...] = ()
    logarithmic: bool = False

    def lines(self, rows: Rows) -> dict[str, Points]:
        """Measured points (images seen, value) of each column, in order."""
        return {
            column: [(int(row["images"]), float(row[column])) for row in rows if row.get(column)]
            for column in self.columns
        }


PANELS = (
    Panel(
        "Loss",
        "loss",
        {"loss": "whole", "prediction_loss": "prediction", "variance": "variance", "covariance": "covariance",
         "sigreg": "SIGReg"},
    ),
    Panel(
        "Does a prediction fit its own image?",
        "cosine with the target",
        {"cosine": "own image", "cosine_other": "another image (control)"},
        controls=("cosine_other",),
    ),
    Panel(
        "Do features stay apart?",
        "spread, share of the features' size",
        {"spread_tokens": "over tokens of an image", "spread_images": "over images at a place"},
    ),
    Panel("How many directions are used?", "effective rank (RankMe)", {"rankme": "pooled features"}),
    Panel(
        "What is it good for?",
        "kNN-20 accuracy",
        {"knn": "target encoder", "knn_random_init": "random init", "knn_thumbnail": "colour thumbnail"},
        controls=("knn_random_init", "knn_thumbnail"),
    ),
    Panel(
        "How fast does it move?",
        "relative change",
        {"update_ratio": "encoder, one step", "teacher_moved": "teacher, between looks"},
        logarithmic=True,
    ),
)  # fmt: skip


def run_figure(rows: Rows, title: str) -> Figure:
    """Plot the curves of a log in six panels; panels without measurements are labelled as such."""
    figure = Figure("The log of a training run as curves.", figsize=(10, 6.6), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold")
    seen = max((int(row["images"]) for row in rows), default=0)
    for axes, panel in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        drawn = 0
        for number, (column, points) in enumerate(panel.lines(rows).items()):
            if not points:
                continue
            drawn += 1
            style = "--" if column in panel.controls else "-"
            marker = "o" if len(points) < 30 else None
            if len(points) == 1 and column in panel.controls:
                points, marker = [(0, points[0][1]), *points], None  # a baseline is a level, not a dot
            x, y = zip(*points, strict=True)
            axes.plot(x, y, style, color=f"C{number}", marker=marker, markersize=3, label=panel.columns[column])
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel("images seen")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylabel(panel.label)
        if panel.logarithmic and drawn:
            axes.set_yscale("log")
        if drawn:
            # The whole run, as in the live monitor, also for panels with a single measurement.
            axes.set_xlim(-0.04 * seen, 1.04 * seen)
            axes.legend(fontsize=9, frameon=False)
            axes.grid(alpha=0.25)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.text(0.5, 0.5, "not measured in this run", ha="center", va="center", transform=axes.transAxes)
    return figure
