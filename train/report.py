"""``python -m train.report RUN [--out FILE]``: a run's curves in one picture, and a verdict in words."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from ijepa_viz import strict_config
from ijepa_viz.checkpoints import write_file
from ijepa_viz.figures import png
from train.config import TrainConfig
from train.monitor import Verdict, verdict

Rows = Sequence[Mapping[str, str]]

# title, y label, the log's columns and their names, whether the y axis is logarithmic.
_PANELS: tuple[tuple[str, str, dict[str, str], bool], ...] = (
    (
        "Loss",
        "loss",
        {"loss": "whole", "prediction_loss": "prediction", "variance": "variance", "covariance": "covariance",
         "sigreg": "SIGReg"},
        False,
    ),
    (
        "Does a prediction fit its own image?",
        "cosine with the target",
        {"cosine": "own image", "cosine_other": "another image (control)"},
        False,
    ),
    (
        "Do features stay apart?",
        "spread, share of the features' size",
        {"spread_tokens": "over tokens of an image", "spread_images": "over images at a place"},
        False,
    ),
    ("How many directions are used?", "effective rank (RankMe)", {"rankme": "pooled features"}, False),
    (
        "What is it good for?",
        "kNN-20 accuracy",
        {"knn": "target encoder", "knn_random_init": "random init", "knn_thumbnail": "colour thumbnail"},
        False,
    ),
    (
        "How fast does it move?",
        "relative change",
        {"update_ratio": "encoder, one step", "teacher_moved": "teacher, between looks"},
        True,
    ),
)  # fmt: skip


def read_log(run: Path) -> list[dict[str, str]]:
    """The rows of a run's ``log.csv``.

    Raises:
        FileNotFoundError: not a run's folder.
        ValueError: nothing was logged yet.
    """
    path = run / "log.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is not a run's folder: it has no log.csv.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path} has no rows yet.")
    return rows


def draw_run(rows: Rows, judged: Verdict, title: str) -> Figure:
    """The curves of a log, six panels, the verdict below the title; panels without numbers say so."""
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    figure.suptitle(f"{title}: {judged.name}", fontsize=14, fontweight="bold")
    for axes, (name, label, columns, logarithmic) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        drawn = 0
        for number, (column, legend) in enumerate(columns.items()):
            points = [(int(r["images"]), float(r[column])) for r in rows if r.get(column)]
            if not points:
                continue
            drawn += 1
            style = "--" if column in ("cosine_other", "knn_random_init", "knn_thumbnail") else "-"
            marker = "o" if len(points) < 30 else None
            x, y = zip(*points, strict=True)
            axes.plot(x, y, style, color=f"C{number}", marker=marker, markersize=3, label=legend)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("images seen")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylabel(label)
        if logarithmic and drawn:
            axes.set_yscale("log")
        if drawn:
            axes.legend(fontsize=8, frameon=False)
            axes.grid(alpha=0.25)
        else:
            axes.text(0.5, 0.5, "not measured in this run", ha="center", va="center", transform=axes.transAxes)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.report", description="Draw a training run and judge it.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--out", type=Path, help="the picture to write (default: RUN/report.png)")
    options = parser.parse_args(arguments)
    try:
        rows = read_log(options.run)
        config = strict_config.load(TrainConfig, options.run / "config.yaml")
        judged = verdict(rows, config.model.width)
        out = options.out or options.run / "report.png"
        write_file(out, png(draw_run(rows, judged, options.run.name)))
    except (OSError, ValueError) as error:
        print(f"train.report: {error}", file=sys.stderr)
        return 1
    print(judged)
    print(out.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
