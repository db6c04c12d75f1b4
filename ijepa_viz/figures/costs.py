"""Accuracy against what training cost: arithmetic and hours, one point a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ijepa_viz.costs import Training
from ijepa_viz.figures.figure import Figure

# In this order, as long as a table has them.
BASELINES = {"chance": ":", "random_init": "--", "colour_thumbnail_8x8": "-."}


def cost_figure(tables: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Training | None], probe: str) -> Figure:
    """Two panels: accuracy over operations, and over device-hours; baselines of the first model as lines.

    Args:
        tables: model -> a probe's table with ``target_encoder``.
        costs: model -> its training; models whose cost nobody wrote down are named below instead of drawn.
        probe: its name, for the axis.

    Raises:
        ValueError: no model whose cost is known, or tables without an accuracy.
    """
    known = {name: cost for name, cost in costs.items() if cost is not None}
    if not known:
        raise ValueError(f"Nobody wrote down what {', '.join(costs)} cost: there is no training.json beside them.")
    if any("target_encoder" not in table for table in tables.values()):
        raise ValueError(f"The probe {probe!r} does not say one accuracy a model: use knn, linear, count or distance.")
    figure = Figure(
        f"Accuracy of {', '.join(known)} by the {probe} probe, against what their training cost.",
        figsize=(9.5, 4.2),
        layout="constrained",
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axis, quantity, label in zip(
        panels, ("flops", "hours"), ("operations of the training (FLOPs)", "device-hours of the training"), strict=True
    ):
        for number, (name, cost) in enumerate(known.items()):
            best = max(value for key, value in tables[name].items() if key.startswith("target_encoder"))
            amount = getattr(cost, quantity)
            if amount <= 0:
                continue
            text = (
                f"{name} ({cost.objective}; {cost.hardware})" if quantity == "hours" else f"{name} ({cost.objective})"
            )
            axis.plot([amount] * 2, [tables[name]["target_encoder"], best], "-", color=f"C{number}", linewidth=1)
            axis.plot(amount, tables[name]["target_encoder"], "o", color=f"C{number}", label=text)
            axis.plot(amount, best, "^", color=f"C{number}", markersize=5)
        first = next(iter(tables.values()))
        for key, style in BASELINES.items():
            if key in first:
                axis.axhline(first[key], linestyle=style, color="0.5", linewidth=1, label=key.replace("_", " "))
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
        axis.margins(x=0.3, y=0.12)
    panels[0].set_ylabel(f"{probe} accuracy")
    panels[0].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    unknown = [name for name in costs if name not in known]
    note = "Dot: last layer. Triangle: the better of last layer and last four."
    note += f" Cost not known: {', '.join(unknown)}." if unknown else ""
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8, title=note, title_fontsize=8
    )
    return figure
