"""Bar chart of the factor probes: accuracy of each factor from each representation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ijepa_viz.figures.completion import BOX
from ijepa_viz.figures.figure import Figure
from ijepa_viz.probes.factors import DROPPED

# representation -> name and colour, in the order of the bars.
_BARS = {
    "target": ("target tokens (see the block)", BOX["target"]),
    "predicted": ("predicted tokens", BOX["predicted"]),
    "context_mean": ("average visible token", "#CC79A7"),
    "position_only": ("position only", "0.55"),
    "random_init": ("random init's prediction", BOX["control"]),
}


def factor_figure(table: Mapping[str, Mapping[str, Any]], title: str = "") -> Figure:
    """Accuracy of every factor from every representation, 95 % intervals, the most frequent class as a line.

    Args:
        table: of :func:`ijepa_viz.probes.factors.factor_table`.
        title: such as the model's name.
    """
    figure = Figure(
        "Accuracy of linear probes for each factor of a hidden block, from several representations, with intervals.",
        figsize=(10, 4.6),
        layout="constrained",
    )
    axis = figure.subplots()
    positions = np.arange(len(table), dtype=float)
    # Nuisance factors stand apart.
    positions[[name in DROPPED for name in table]] += 0.6
    wide = 0.8 / len(_BARS)
    for i, (key, (label, colour)) in enumerate(_BARS.items()):
        values = np.array([row[key]["accuracy"] for row in table.values()])
        ends = np.array([[row[key]["low"], row[key]["high"]] for row in table.values()]).T
        offset = (i - (len(_BARS) - 1) / 2) * wide
        error = {"elinewidth": 0.8}
        axis.bar(
            positions + offset,
            values,
            wide * 0.92,
            yerr=np.abs(ends - values),
            error_kw=error,
            color=colour,
            label=label,
        )
    for position, row in zip(positions, table.values(), strict=True):
        axis.plot(
            [position - 0.45, position + 0.45], [row["most_frequent"]] * 2, color="0.1", linewidth=1.2, linestyle=":"
        )
    axis.plot([], [], color="0.1", linewidth=1.2, linestyle=":", label="most frequent class")
    axis.set_xticks(positions, [name.replace("_", "\n") for name in table], fontsize=9)
    axis.set_ylim(0, 1)
    axis.set_ylabel("linear probe accuracy")
    axis.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
