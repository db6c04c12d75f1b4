"""``python -m train.reports.versus RUN RUN ... --data menagerie``: which architecture wins on what, over seeds.

Runs of one objective are one group. Every run answers the same questions by a linear probe on the last four layers
of its target encoder (appendix A.2) and by kNN. One group wins where Tukey's test sets it apart from every other.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student
from scipy.stats import tukey_hsd

from ijepa_viz.checkpoints import load_model
from ijepa_viz.checkpoints.training_cost import Training, training_of
from ijepa_viz.data.unreadable import open_readable
from ijepa_viz.figures import png
from ijepa_viz.figures.figure import Figure
from ijepa_viz.probes.features import FeatureBank
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.probes.linear import linear_accuracy
from ijepa_viz.runtime.files import write_file

KNN = "class, kNN-20"

_BASELINES = ("colour_thumbnail_8x8", "most_frequent")

# Runs whose arithmetic differs by more than this share are not called equal.
_EQUAL = 0.02

# question -> {"target_encoder": share, "colour_thumbnail_8x8": share, "most_frequent": share} of one run.
Answers = dict[str, dict[str, float]]


def answers(source: str, data: str, limit: int | None = None, before: Answers | None = None) -> Answers:
    """One run's accuracy on every question that ``data`` knows the truth of.

    Args:
        source: as ``load_model`` takes it. data: as ``open_source`` takes it. limit: at most so many pictures.
        before: another run's answers on the same pictures, whose baselines are taken over: they know no model.

    Raises:
        FileNotFoundError, ValueError: as those two; or data without any labels.
    """
    model = load_model(source).eval()
    bank = FeatureBank(model, lambda split: open_readable(data, split), limit)
    train = bank.sources["train"]
    questions = ([] if train.labels is None else ["class"]) + list(train.truths)
    if not questions:
        raise ValueError(f"{data} has no labels: there is nothing to compare on.")
    best = [name for name in bank.features if name.startswith("target_encoder")][-1]  # the last four layers
    found = {}
    for name in questions + ([KNN] if train.labels is not None else []):
        near = name == KNN
        column = "target_encoder" if near else best
        known = {n: v for n, v in before[name].items() if n in _BASELINES} if before else {}
        asked = {column, *_BASELINES} - set(known)
        table = bank.table(knn_accuracy if near else linear_accuracy, "class" if near else name, only=asked)
        found[name] = {"target_encoder": table[column], **{n: known[n] if n in known else table[n] for n in _BASELINES}}
    return found


def over_seeds(groups: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Mean of every group and the ends of its 95 % interval; with one run a group, the ends are the mean.

    The spread between seeds is taken to be the same in every group and is pooled over them, as in an analysis of
    variance: few seeds each then still tell it.
    """
    runs = sum(map(len, groups.values()))
    freedom = runs - len(groups)
    squares = sum(float(np.square(np.asarray(values) - np.mean(values)).sum()) for values in groups.values())
    spread = float(student.ppf(0.975, freedom)) * math.sqrt(squares / freedom) if freedom else 0.0
    found = {}
    for name, values in groups.items():
        mean, half = float(np.mean(values)), spread / math.sqrt(len(values))
        found[name] = {"accuracy": mean, "low": mean - half, "high": mean + half}
    return found


def winner(groups: Mapping[str, Sequence[float]], level: float = 0.05) -> str:
    """The group with the highest mean where it differs from each other by Tukey's test, else nothing."""
    if len(groups) < 2 or min(map(len, groups.values())) < 2:
        return ""
    names = list(groups)
    best = max(range(len(names)), key=lambda i: float(np.mean(groups[names[i]])))
    chances = tukey_hsd(*groups.values()).pvalue[best]
    return names[best] if all(chances[i] < level for i in range(len(names)) if i != best) else ""


def compare(found: Mapping[str, Answers], costs: Mapping[str, Training]) -> dict[str, Any]:
    """Question -> objective -> interval over its runs (:func:`over_seeds`), and ``winner`` (:func:`winner`).

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
        values = {
            objective: [found[run][question]["target_encoder"] for run in runs] for objective, runs in groups.items()
        }
        row = {name: {**interval, "runs": values[name]} for name, interval in over_seeds(values).items()}
        baselines = next(iter(found.values()))[question]
        table[question] = {
            "winner": winner(values),
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


def remembered(file: Path | None, data: str, limit: int | None) -> dict[str, dict[str, Any]]:
    """What ``--remember`` kept: run -> ``answers`` and ``training``; nothing where there is no such file yet.

    Raises:
        ValueError: a damaged file, or one about other pictures.
    """
    if file is None or not file.exists():
        return {}
    try:
        kept = json.loads(file.read_text())
        asked, runs = (kept["data"], kept["limit"]), kept["runs"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not what --remember writes ({error!r}).") from error
    if asked != (data, limit):
        raise ValueError(f"{file} remembers answers about --data {asked[0]} --limit {asked[1]}: name another file.")
    return dict(runs)


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
    parser = argparse.ArgumentParser(
        prog="python -m train.reports.versus", description="Compare objectives over seeds."
    )
    parser.add_argument("runs", nargs="*", help="models with a training.json: a checkpoint's folder, a bundled name")
    parser.add_argument("--data", required=True, help="labelled pictures; the menagerie knows most questions")
    parser.add_argument("--limit", type=int, help="use at most so many pictures")
    parser.add_argument(
        "--remember", type=Path, metavar="FILE", help="keep each run's answers here, and compare with those kept before"
    )
    parser.add_argument("--json", type=Path, help="write the table here as well")
    parser.add_argument("--figure", type=Path, help="write the picture here, .png")
    options = parser.parse_args(arguments)
    try:
        kept = remembered(options.remember, options.data, options.limit)
        if not options.runs and not kept:
            raise ValueError("There is no run to compare: name some.")
        costs = {run: training_of(run) for run in options.runs}
        # Kept answers stand for a run that is gone or is still the same, not for one trained anew under its name.
        same = [run for run, cost in costs.items() if run in kept and cost in (None, Training(**kept[run]["training"]))]
        costs = {run: cost for run, cost in costs.items() if run not in same}
        silent = [run for run, cost in costs.items() if cost is None]
        if silent:
            raise ValueError(f"{silent[0]} has no training.json: what it minimised, and at what cost, is not known.")
        known = {run: Training(**kept[run]["training"]) for run in kept}
        found = {run: kept[run]["answers"] for run in kept}
        for run, cost in costs.items():
            assert cost is not None
            found[run] = answers(run, options.data, options.limit, next(iter(found.values()), None))
            known[run] = cost
            if options.remember:
                runs = {name: {"training": asdict(known[name]), "answers": found[name]} for name in found}
                text = json.dumps({"data": options.data, "limit": options.limit, "runs": runs}, indent=1)
                write_file(options.remember, (text + "\n").encode())
        table = compare(found, known)
        print(as_text(table))
        print(unequal(known) or "Of equal arithmetic.")
        if options.json:
            write_file(options.json, (json.dumps(table, indent=2) + "\n").encode())
        if options.figure:
            write_file(options.figure, png(draw(table)))
    except (OSError, ValueError) as error:
        print(f"train.reports.versus: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
