"""Accuracy against what training cost: arithmetic and hours, one point a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from ijepa_viz.checkpoints.training_cost import Training
from ijepa_viz.figures.figure import Figure

# In this order, as long as a table has them.
BASELINES = {"chance": ":", "random_init": "--", "colour_thumbnail_8x8": "-."}


def known_costs(costs: Mapping[str, Training | None]) -> dict[str, Training]:
    """The models whose cost is written down.

    Raises:
        ValueError: there are none.
    """
    known = {name: cost for name, cost in costs.items() if cost is not None}
    if not known:
        raise ValueError(f"Nobody wrote down what {', '.join(costs)} cost: there is no training.json beside them, and "
                         "the figure is of accuracy against cost.")  # fmt: skip
    return known


def cost_figure(tables: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Training | None], probe: str) -> Figure:
    """Two panels a question: accuracy over operations, and over device-hours; baselines of the first model as lines.

    Args:
        tables: model -> a probe's table with ``target_encoder``, or one with such a table for every question, as
            ``all`` and ``low-shot`` give.
        costs: model -> its training; models whose cost nobody wrote down are named below instead of drawn.
        probe: its name, for the axis.

    Raises:
        ValueError: no model whose cost is known, or tables without an accuracy.
    """
    known = known_costs(costs)
    questions = _questions(tables, probe)
    figure = Figure(
        f"Accuracy of {', '.join(known)} by the {probe} probe, against what their training cost.",
        figsize=(9.5, 1.4 + 2.8 * len(questions)),
        layout="constrained",
    )
    rows = figure.subplots(len(questions), 2, sharex="col", sharey="row", squeeze=False)
    for panels, (question, answers) in zip(rows, questions.items(), strict=True):
        for axis, quantity in zip(panels, _QUANTITIES, strict=True):
            _draw(axis, quantity, answers, known)
        panels[0].set_ylabel(f"{question} accuracy")
        panels[0].set_ylim(bottom=0)
    for axis, label in zip(rows[-1], _QUANTITIES.values(), strict=True):
        axis.set_xlabel(label)
    handles, labels = rows[0, 0].get_legend_handles_labels()
    unknown = [name for name in costs if name not in known]
    note = "Dot: last layer. Triangle: the better of last layer and last four."
    note += f" Cost not known: {', '.join(unknown)}." if unknown else ""
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8, title=note, title_fontsize=8
    )
    return figure


_QUANTITIES = {"flops": "operations of the training (FLOPs)", "hours": "device-hours of the training"}


def _draw(axis: Axes, quantity: str, answers: Mapping[str, Mapping[str, float]], known: Mapping[str, Training]) -> None:
    for number, (name, cost) in enumerate(known.items()):
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


def _questions(tables: Mapping[str, Mapping[str, Any]], probe: str) -> dict[str, dict[str, dict[str, float]]]:
    """Question -> model -> features -> accuracy; a table without sections is one question."""
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
        raise ValueError(f"Not every model was asked about {', '.join(lacking)}: evaluate them on the same data.")
    return found
