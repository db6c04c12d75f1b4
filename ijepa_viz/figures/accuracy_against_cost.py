"""Accuracy against the cost of training, in operations and device-hours, one point a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from matplotlib.axes import Axes

from ijepa_viz.figures.figure import Figure

# Baselines drawn as lines, if in the table.
BASELINES = {"chance": ":", "random_init": "--", "colour_thumbnail_8x8": "-."}


class Cost(Protocol):
    """Cost of one model's training, such as :class:`ijepa_viz.checkpoints.training_cost.TrainingCost`."""

    @property
    def objective(self) -> str:
        """Name of the training objective."""
        ...

    @property
    def flops(self) -> float:
        """Floating point operations."""
        ...

    @property
    def hours(self) -> float:
        """Device-hours; 0 if not recorded."""
        ...

    @property
    def hardware(self) -> str:
        """Device of the hours."""
        ...


def recorded_costs(costs: Mapping[str, Cost | None]) -> dict[str, Cost]:
    """The models with a recorded training cost.

    Raises:
        ValueError: no recorded cost at all.
    """
    recorded = {name: cost for name, cost in costs.items() if cost is not None}
    if not recorded:
        raise ValueError(f"No training cost is recorded for {', '.join(costs)} (no training.json beside the weights), "
                         "and the figure is of accuracy against cost.")  # fmt: skip
    return recorded


def cost_figure(tables: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Cost | None], probe: str) -> Figure:
    """Plot accuracy over operations and device-hours, two panels a task; baselines of the first model as lines.

    Args:
        tables: model -> table of a probe with ``target_encoder``, or a dict of such tables by task (probes ``all`` and
            ``low-shot``).
        costs: model -> cost of its training; models without a recorded cost are listed in the legend, not drawn.
        probe: name of the probe, for the axis.

    Raises:
        ValueError: no recorded cost at all, or tables without an accuracy.
    """
    recorded = recorded_costs(costs)
    tasks = _by_task(tables, probe)
    figure = Figure(
        f"Accuracy of {', '.join(recorded)} by the {probe} probe, against what their training cost.",
        figsize=(9.5, 1.4 + 2.8 * len(tasks)),
        layout="constrained",
    )
    rows = figure.subplots(len(tasks), 2, sharex="col", sharey="row", squeeze=False)
    for panels, (task, answers) in zip(rows, tasks.items(), strict=True):
        for axis, quantity in zip(panels, _QUANTITIES, strict=True):
            _draw(axis, quantity, answers, recorded)
        panels[0].set_ylabel(f"{task} accuracy")
        panels[0].set_ylim(bottom=0)
    for axis, label in zip(rows[-1], _QUANTITIES.values(), strict=True):
        axis.set_xlabel(label)
    handles, labels = rows[0, 0].get_legend_handles_labels()
    unrecorded = [name for name in costs if name not in recorded]
    note = "Dot: last layer. Triangle: the better of last layer and last four."
    note += f" Cost not recorded: {', '.join(unrecorded)}." if unrecorded else ""
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8, title=note, title_fontsize=8
    )
    return figure


_QUANTITIES = {"flops": "operations of the training (FLOPs)", "hours": "device-hours of the training"}


def _draw(axis: Axes, quantity: str, answers: Mapping[str, Mapping[str, float]], recorded: Mapping[str, Cost]) -> None:
    for number, (name, cost) in enumerate(recorded.items()):
        last = answers[name]["target_encoder"]
        best = max(value for key, value in answers[name].items() if key.startswith("target_encoder"))
        amount = getattr(cost, quantity)
        if amount <= 0:
            continue
        text = f"{name} ({cost.objective}; {cost.hardware})" if quantity == "hours" else f"{name} ({cost.objective})"
        axis.plot([amount] * 2, [last, best], "-", color=f"C{number}", linewidth=1)
        axis.plot(amount, last, "o", color=f"C{number}", label=text)
        axis.plot(amount, best, "^", color=f"C{number}", markersize=5)
    first = next(iter(answers.values()))
    for key, style in BASELINES.items():
        if key in first:
            axis.axhline(first[key], linestyle=style, color="0.5", linewidth=1, label=key.replace("_", " "))
    axis.set_xscale("log")
    axis.grid(alpha=0.25)
    axis.margins(x=0.3, y=0.12)


def _by_task(tables: Mapping[str, Mapping[str, Any]], probe: str) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> model -> features -> accuracy; a table without sections is one task."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, table in tables.items():
        sections = {title: row for title, row in table.items() if isinstance(row, Mapping)} or {probe: table}
        for title, row in sections.items():
            shares = {key: value["accuracy"] if isinstance(value, Mapping) else value for key, value in row.items()}
            found.setdefault(title, {})[name] = shares
    if any("target_encoder" not in row for answers in found.values() for row in answers.values()):
        raise ValueError(f"The probe {probe!r} does not say one accuracy a model: use knn, linear, low-shot, count, "
                         "distance or all.")  # fmt: skip
    lacking = [title for title, answers in found.items() if len(answers) < len(tables)]
    if lacking:
        raise ValueError(f"Not every model has {', '.join(lacking)}: evaluate them on the same data.")
    return found
