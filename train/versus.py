"""``python -m train.versus RUN RUN ... --data menagerie``: which architecture wins on what, over seeds.

Runs of one objective are one group. Every run answers the same questions by a linear probe on the last four layers
of its target encoder (appendix A.2) and by kNN; groups differ where their intervals over seeds do not overlap.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from ijepa_viz.checkpoints import load_model, write_file
from ijepa_viz.costs import Training, training_of
from ijepa_viz.data.sources import open_source
from ijepa_viz.figures import png
from ijepa_viz.figures.figure import Figure
from ijepa_viz.probes.features import FeatureBank
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.probes.linear import linear_accuracy

KNN = "class, kNN-20"
# Runs whose arithmetic differs by more than this share are not called equal.
_EQUAL = 0.02

# question -> {"target_encoder": share, "colour_thumbnail_8x8": share, "most_frequent": share} of one run.
Answers = dict[str, dict[str, float]]


def answers(source: str, data: str, limit: int | None = None) -> Answers:
    """One run's accuracy on every question that ``data`` knows the truth of.

    Args:
        source: as ``load_model`` takes it. data: as ``open_source`` takes it. limit: at most so many pictures.

    Raises:
        FileNotFoundError, ValueError: as those two; or data without any labels.
    """
    model = load_model(source).eval()
    bank = FeatureBank(model, lambda split: open_source(data, split), limit)
    train = bank.sources["train"]
    questions = ([] if train.labels is None else ["class"]) + list(train.truths)
    if not questions:
        raise ValueError(f"{data} has no labels: there is nothing to compare on.")
    best = [name for name in bank.features if name.startswith("target_encoder")][-1]  # the last four layers
    found = {}
    for question in questions:
        table = bank.table(linear_accuracy, question)
        found[question] = {"target_encoder": table[best]}
        found[question] |= {name: table[name] for name in ("colour_thumbnail_8x8", "most_frequent")}
    if train.labels is not None:
        table = bank.table(knn_accuracy)
        found[KNN] = {name: table[name] for name in ("target_encoder", "colour_thumbnail_8x8", "most_frequent")}
    return found


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean and the ends of its 95 % interval (Student's t); the ends are the mean itself for a single seed."""
    mean, n = float(np.mean(values)), len(values)
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else 0.0
    return {"accuracy": mean, "low": mean - half, "high": mean + half}


def compare(found: Mapping[str, Answers], costs: Mapping[str, Training]) -> dict[str, Any]:
    """Question -> objective -> interval over its runs, and ``winner``: the best, where all others lie apart from it.

    Args:
        found: run -> its answers. costs: run -> its training.

    Returns:
        question -> {"winner": objective or "", objective: {"accuracy", "low", "high", "runs": list}, baselines...}.
    """
    groups: dict[str, list[str]] = {}
    for run in found:
        groups.setdefault(costs[run].objective, []).append(run)
    table: dict[str, Any] = {}
    for question in next(iter(found.values())):
        row: dict[str, Any] = {}
        for objective, runs in groups.items():
            values = [found[run][question]["target_encoder"] for run in runs]
            row[objective] = {**over_seeds(values), "runs": values}
        first, *others = sorted(row, key=lambda name: -row[name]["accuracy"])
        several = all(len(runs) > 1 for runs in groups.values())
        apart = several and all(row[first]["low"] > row[other]["high"] for other in others)
        baselines = next(iter(found.values()))[question]
        table[question] = {
            "winner": first if apart else "",
            **row,
            **{name: baselines[name] for name in ("colour_thumbnail_8x8", "most_frequent")},
        }
    return table


def unequal(costs: Mapping[str, Training]) -> str:
    """A sentence if the runs' arithmetic differs by more than two per cent, else nothing."""
    flops = {run: cost.flops for run, cost in costs.items()}
    low, high = min(flops, key=flops.__getitem__), max(flops, key=flops.__getitem__)
    if flops[high] <= flops[low] * (1 + _EQUAL):
        return ""
    return f"Not of equal arithmetic: {low} took {flops[low]:.3g} operations, {high} {flops[high]:.3g}."


def draw(table: Mapping[str, Mapping[str, Any]]) -> Figure:
    """One panel a question: a dot a run, a bar the interval over seeds, lines what needs no learning."""
    objectives = [name for name, value in next(iter(table.values())).items() if isinstance(value, dict)]
    figure = Figure(
        "Accuracy of several architectures on several questions, a dot a run.",
        figsize=(2.4 * len(table), 3.4),
        layout="constrained",
    )
    axes = figure.subplots(1, len(table), squeeze=False)[0]
    for axis, (question, row) in zip(axes, table.items(), strict=True):
        for place, name in enumerate(objectives):
            cell = row[name]
            axis.plot([place] * 2, [cell["low"], cell["high"]], color=f"C{place}", linewidth=6, alpha=0.35)
            axis.plot([place] * len(cell["runs"]), cell["runs"], "o", color=f"C{place}", markersize=4)
        axis.axhline(row["colour_thumbnail_8x8"], linestyle="-.", color="0.5", linewidth=1, label="colour thumbnail")
        axis.axhline(row["most_frequent"], linestyle=":", color="0.5", linewidth=1, label="most frequent answer")
        axis.set_xticks(range(len(objectives)), objectives, fontsize=8)
        axis.set_xlim(-0.6, len(objectives) - 0.4)
        axis.set_title(f"{question}\n{row['winner'] or 'none is apart'}", fontsize=9)
        axis.grid(alpha=0.25, axis="y")
    axes[0].set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def as_text(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The table for people: a line a question."""
    lines = []
    for question, row in table.items():
        cells = [
            f"{name} {100 * v['accuracy']:.1f} [{100 * v['low']:.1f}, {100 * v['high']:.1f}]"
            for name, v in row.items()
            if isinstance(v, dict)
        ]
        base = f"thumbnail {100 * row['colour_thumbnail_8x8']:.1f}  most frequent {100 * row['most_frequent']:.1f}"
        lines.append(f"{question:14} {'  '.join(cells)}  {base}  -> {row['winner'] or 'none is apart'}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.versus", description="Compare objectives over seeds.")
    parser.add_argument("runs", nargs="+", help="models with a training.json: a checkpoint's folder, a bundled name")
    parser.add_argument("--data", required=True, help="labelled pictures; the menagerie knows most questions")
    parser.add_argument("--limit", type=int, help="use at most so many pictures")
    parser.add_argument("--json", type=Path, help="write the table here as well")
    parser.add_argument("--figure", type=Path, help="write the picture here, .png")
    options = parser.parse_args(arguments)
    try:
        costs = {run: training_of(run) for run in options.runs}
        silent = [run for run, cost in costs.items() if cost is None]
        if silent:
            raise ValueError(f"{silent[0]} has no training.json: what it minimised, and at what cost, is not known.")
        known = {run: cost for run, cost in costs.items() if cost is not None}
        table = compare({run: answers(run, options.data, options.limit) for run in known}, known)
        print(as_text(table))
        print(unequal(known) or "Of equal arithmetic.")
        if options.json:
            write_file(options.json, (json.dumps(table, indent=2) + "\n").encode())
        if options.figure:
            write_file(options.figure, png(draw(table)))
    except (OSError, ValueError) as error:
        print(f"train.versus: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
