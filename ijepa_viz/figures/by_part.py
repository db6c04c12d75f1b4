"""Heat table of the accuracy of decoded blocks by species and part, beside what real pixels reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ijepa_viz.data import menagerie
from ijepa_viz.figures.figure import Figure
from ijepa_viz.probes.factors import REGIONS

# Fewest blocks for an accuracy that is more than a hint: below, the interval is wider than 30 %.
_FEW = 30

# One cell: the subject's rows by case, and the column of the table.
_Cell = tuple[Mapping[str, Mapping[str, Any]], str]


def by_part_figure(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Draw species, part and facing all right, by species (rows) and part (columns), the worst first.

    Below: heads by size and blocks that hide two things. Small print: real pixels, drawn target tokens, the count.

    Args:
        rows: subject -> case -> {"count", column: {"accuracy", "low", "high"}}, as the metric ``by-part`` has them
            under ``subject: case``; the order of the subjects is that of the rows and columns.
    """
    species = [name for name in _words(rows, "every ") if name in menagerie.NAMES]
    parts = [name for name in _words(rows, "every ") if name in REGIONS]
    below: dict[str, _Cell] = {}
    for subject, cases in rows.items():
        if subject.endswith(("px)", "two things", "species")) and not subject.startswith("every "):
            column = "all_three" if "all_three" in cases["predicted_tokens"] else "species"
            measure = f" ({column.replace('_', ' ')})" if subject.endswith("things") else ""
            label = f"{subject}{measure}".replace(" (", "\n(")
            below[label] = cases, column
    figure = Figure(
        "Accuracy of a classifier on decoded blocks by species and part, beside that on real pixels, the worst first.",
        figsize=(1.5 * (len(parts) + 1) + 1.2, 0.95 * (len(species) + 1) + 3.1),
        layout="constrained",
    )
    top, bottom = figure.subplots(2, 1, height_ratios=[len(species) + 1, 1.1])
    across = [*parts, ""]
    down = [*species, ""]
    grid = [[_cell(rows, one, part) for part in across] for one in down]
    _heat_table(top, grid, [*parts, "every part"], [*species, "every species"])
    _heat_table(bottom, [list(below.values())], list(below), [""])
    top.set_title("Species, part and facing all three read right from one decoded sample, %", fontsize=12, pad=28)
    bottom.set_title(
        "Heads by the creature's height (all three right), and blocks that hide two things of different species, %",
        fontsize=12,
        pad=38,
    )
    bottom.set_xlabel(
        f"Small print: the same from real pixels and from drawn target tokens. Faint: fewer than {_FEW} blocks",
        fontsize=10,
        labelpad=8,
    )
    return figure


def _words(rows: Mapping[str, Any], beginning: str) -> list[str]:
    return [subject.removeprefix(beginning) for subject in rows if subject.startswith(beginning)]


def _cell(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], species: str, part: str) -> _Cell | None:
    """Rows of a species and a part; of all parts or species where one is empty. None if no block hides it."""
    words = [word for word in (species, part) if word]
    subject = {0: "all", 1: f"every {species or part}", 2: " ".join(words)}[len(words)]
    return (rows[subject], "all_three") if subject in rows else None


def _heat_table(
    axes: Axes, cells: Sequence[Sequence[_Cell | None]], across: Sequence[str], down: Sequence[str]
) -> None:
    """One coloured cell each, its accuracy large and the cases to compare with in small print."""
    colours = matplotlib.colormaps["viridis"]
    for y, line in enumerate(cells):
        for x, cell in enumerate(line):
            if cell is None:
                axes.text(x, y, "–", ha="center", va="center", color="0.6")
                continue
            cases, column = cell
            drawn, target, real = (
                cases[case][column]["accuracy"] for case in ("predicted_tokens", "target_tokens", "real_pixels")
            )
            count = cases["predicted_tokens"]["count"]
            axes.add_patch(Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, color=colours(drawn), linewidth=0))
            # Faint where the count is so small that the number is a hint.
            style: dict[str, Any] = {"ha": "center", "va": "center", "alpha": 0.55 if count < _FEW else 1.0}
            style["color"] = "white" if drawn < 0.6 else "black"
            axes.text(x, y - 0.14, f"{100 * drawn:.0f}", fontsize=15, **style)
            small = f"real {100 * real:.0f} · target {100 * target:.0f}\n{count} blocks"
            axes.text(x, y + 0.25, small, fontsize=8, linespacing=1.1, **style)
    axes.set_xlim(-0.5, len(across) - 0.5)
    axes.set_ylim(len(down) - 0.5, -0.5)
    axes.set_xticks(range(len(across)), across, fontsize=9)
    axes.set_yticks(range(len(down)), down, fontsize=10)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
