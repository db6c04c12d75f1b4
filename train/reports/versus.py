"""``python -m train.reports.versus RUN RUN ... --data menagerie``: comparison of objectives over seeds.

Runs of one objective form a group. The target encoder of every run is evaluated on the same questions by a linear
probe on its last four layers (appendix A.2) and by kNN. A group wins a question where Tukey's HSD test finds its mean
significantly different from that of every other group.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from scipy.stats import tukey_hsd

from ijepa_viz.checkpoints import load_model
from ijepa_viz.checkpoints.training_cost import TrainingCost, training_of
from ijepa_viz.data.splits import Splits
from ijepa_viz.figures import write_figure
from ijepa_viz.figures.figure import Figure, legible
from ijepa_viz.probes.features import FeatureBank
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.probes.linear import linear_accuracy
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything
from ijepa_viz.runtime.device import add_device_argument, choose_device
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.outputs import check_output, figure_file, json_file, table_file, write_table

KNN = "class, kNN-20"

_BASELINES = ("colour_thumbnail_8x8", "most_frequent")

# Largest relative difference in arithmetic between runs that count as equal.
_EQUAL_COMPUTE = 0.02

# Accuracies of one run: question -> {"target_encoder", "colour_thumbnail_8x8", "most_frequent"}, each 0 to 1.
Answers = dict[str, dict[str, float]]


def answers(
    source: str,
    data: str,
    limit: int | None = None,
    before: Answers | None = None,
    device: torch.device | None = None,
) -> Answers:
    """Accuracy of one run on every question that ``data`` has labels for.

    Args:
        source: a model, any source of ``load_model``.
        data: labelled images, any source of ``open_source``.
        limit: maximum number of images.
        before: another run's answers on the same images, whose baselines are reused: they do not depend on the model.
        device: of the model; None is the CPU.

    Raises:
        FileNotFoundError, ValueError: as these functions; or data without labels.
    """
    model = load_model(source, device).eval()
    bank = FeatureBank(model, Splits(data), limit)
    train = bank.sources["train"]
    questions = ([] if train.labels is None else ["class"]) + list(train.truths)
    if not questions:
        raise ValueError(f"{data} has no labels: there is nothing to compare on.")
    best = [name for name in bank.features if name.startswith("target_encoder")][-1]  # the last four layers
    accuracies = {}
    for name in questions + ([KNN] if train.labels is not None else []):
        is_knn = name == KNN
        column = "target_encoder" if is_knn else best
        reused = {n: v for n, v in before[name].items() if n in _BASELINES} if before else {}
        columns = {column, *_BASELINES} - set(reused)
        table = bank.table(knn_accuracy if is_knn else linear_accuracy, "class" if is_knn else name, only=columns)
        baselines = {n: reused[n] if n in reused else table[n] for n in _BASELINES}
        accuracies[name] = {"target_encoder": table[column], **baselines}
    return accuracies


def over_seeds(groups: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Mean of every group with its 95 % interval; with one run in each group the interval is the mean.

    The variance between seeds is assumed equal in all groups and is pooled over them, as in an analysis of variance,
    so that few seeds in each group suffice.
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
    """The group with the highest mean, if Tukey's HSD test separates it from every other; else an empty string."""
    if len(groups) < 2 or min(map(len, groups.values())) < 2:
        return ""
    names = list(groups)
    best = max(range(len(names)), key=lambda i: float(np.mean(groups[names[i]])))
    p_values = tukey_hsd(*groups.values()).pvalue[best]
    return names[best] if all(p_values[i] < level for i in range(len(names)) if i != best) else ""


def compare(found: Mapping[str, Answers], costs: Mapping[str, TrainingCost]) -> dict[str, Any]:
    """Table of intervals over seeds (:func:`over_seeds`) and winners (:func:`winner`), by question and objective.

    Args:
        found: run -> its answers.
        costs: run -> its training cost.

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


def unequal(costs: Mapping[str, TrainingCost]) -> str:
    """Warning if the runs' arithmetic differs by more than two per cent, else an empty string."""
    flops = {run: cost.flops for run, cost in costs.items()}
    low, high = min(flops, key=flops.__getitem__), max(flops, key=flops.__getitem__)
    if flops[high] <= flops[low] * (1 + _EQUAL_COMPUTE):
        return ""
    return f"Not of equal arithmetic: {low} took {flops[low]:.3g} operations, {high} {flops[high]:.3g}."


def load_answers(file: Path | None, data: str, limit: int | None) -> dict[str, dict[str, Any]]:
    """Read the file of ``--remember``: run -> ``answers`` and ``training``; empty if it does not exist.

    Raises:
        ValueError: a damaged file, or one about other images.
    """
    if file is None or not file.exists():
        return {}
    try:
        kept = json.loads(file.read_bytes())
        asked, runs, tested_on = (kept["data"], kept["limit"]), kept["runs"], kept.get("test_data")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not a file of --remember ({error!r}).") from error
    if tested_on is None:  # of 0.1.0, whose folders were tested on what was learned from
        raise ValueError(
            f"{file} does not say which pictures were tested on: its answers are not comparable. Name another."
        )
    if asked != (data, limit):
        raise ValueError(f"{file} holds answers on --data {asked[0]} --limit {asked[1]}: name another file.")
    return dict(runs)


def draw(table: Mapping[str, Mapping[str, Any]]) -> Figure:
    """One panel for each question: a dot for each run, a bar for the interval over seeds, lines for the baselines."""
    objectives = [name for name, value in next(iter(table.values())).items() if isinstance(value, dict)]
    columns = min(len(table), 4)
    rows, size = -(-len(table) // columns), legible(9, 2.4 * columns)
    figure = Figure(
        "Accuracy of several architectures on several questions, a dot for each run.",
        figsize=(2.4 * columns, 3.2 * rows + 0.4),
        layout="constrained",
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(table) :]:
        axis.remove()
    for axis, (question, row) in zip(axes, table.items(), strict=False):
        for x, name in enumerate(objectives):
            cell = row[name]
            axis.plot([x] * 2, [cell["low"], cell["high"]], color=f"C{x}", linewidth=6, alpha=0.35)
            axis.plot([x] * len(cell["runs"]), cell["runs"], "o", color=f"C{x}", markersize=4)
        axis.axhline(row["colour_thumbnail_8x8"], linestyle="-.", color="0.5", linewidth=1, label="colour thumbnail")
        axis.axhline(row["most_frequent"], linestyle=":", color="0.5", linewidth=1, label="most frequent answer")
        axis.set_xticks(range(len(objectives)), objectives, fontsize=size)
        axis.set_xlim(-0.6, len(objectives) - 0.4)
        axis.set_title(f"{question}\n{row['winner'] or 'no significant difference'}", fontsize=size)
        axis.grid(alpha=0.25, axis="y")
    for axis in axes[::columns]:
        axis.set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=size)
    return figure


def as_text(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as a text, one line for each question."""
    lines = []
    for question, row in table.items():
        cells = [
            f"{name} {100 * v['accuracy']:.1f} [{100 * v['low']:.1f}, {100 * v['high']:.1f}]"
            for name, v in row.items()
            if isinstance(v, dict)
        ]
        base = f"thumbnail {100 * row['colour_thumbnail_8x8']:.1f}  most frequent {100 * row['most_frequent']:.1f}"
        lines.append(f"{question:14} {'  '.join(cells)}  {base}  -> {row['winner'] or 'no significant difference'}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(prog="python -m train.reports.versus", description="Compare objectives over seeds.")
    parser.add_argument("runs", nargs="*", help="model with a training.json: checkpoint folder or bundled name")
    parser.add_argument("--data", required=True, help="labelled images; the menagerie has the most questions")
    parser.add_argument("--limit", type=int, help="maximum number of images")
    parser.add_argument(
        "--remember", type=json_file, metavar="FILE", help="add each run's answers to FILE, and compare with all in it"
    )
    parser.add_argument("--json", type=table_file, metavar="FILE", help="also write the table: .json or .csv")
    parser.add_argument(
        "--figure", type=figure_file, metavar="FILE", help="write the figure: .png .pdf .svg .jpg .webp"
    )
    add_device_argument(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        check_output(options.json, options.figure, options.remember)
        device = choose_device(options.device)
        kept = load_answers(options.remember, options.data, options.limit)
        if not options.runs and not kept:
            raise ValueError("No runs to compare: name at least one.")
        costs = {run: training_of(run) for run in options.runs}
        # Stored answers hold for a run that is gone or unchanged, not for one retrained under the same name.
        same = [
            run for run, cost in costs.items() if run in kept and cost in (None, TrainingCost(**kept[run]["training"]))
        ]
        costs = {run: cost for run, cost in costs.items() if run not in same}
        without_cost = [run for run, cost in costs.items() if cost is None]
        if without_cost:
            raise ValueError(f"{without_cost[0]} has no training.json, which records its objective and training cost.")
        known = {run: TrainingCost(**kept[run]["training"]) for run in kept}
        found = {run: kept[run]["answers"] for run in kept}
        for run, cost in costs.items():
            assert cost is not None
            found[run] = answers(run, options.data, options.limit, next(iter(found.values()), None), device)
            known[run] = cost
            if options.remember:
                runs = {name: {"training": asdict(known[name]), "answers": found[name]} for name in found}
                about = {"data": options.data, "limit": options.limit, "test_data": Splits(options.data).rule}
                text = json.dumps({**about, "runs": runs}, indent=1)
                write_file(options.remember, (text + "\n").encode())
        table = compare(found, known)
        print(as_text(table))
        print(unequal(known) or "Of equal arithmetic.")
        if options.json:
            write_table(options.json, table)
        if options.figure:
            write_figure(options.figure, draw(table))

    return attempt("train.reports.versus", work)


if __name__ == "__main__":
    sys.exit(main())
