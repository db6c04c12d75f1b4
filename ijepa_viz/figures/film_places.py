"""Errors of a film creature's predicted place by the number of frames ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ijepa_viz.figures.figure import Figure

# Row -> its name, colour and line; Okabe-Ito, as the other figures.
_ROWS = {
    "predicted": ("predicted, no cue", "#009E73", "-"),
    "right_cue": ("predicted, right cue", "#0072B2", "-"),
    "wrong_cue": ("predicted, wrong cue", "#D55E00", "-"),
    "random_init": ("random init", "#999999", "-"),
    "real": ("read of the real future", "#000000", ":"),
    "copy_last": ("copy last (truth)", "#CC79A7", "--"),
    "constant_velocity": ("constant velocity (truth)", "#E69F00", "--"),
}
_STORIES = {
    "meets_wall": "turns at a wall",
    "lands": "lands",
    "hides": "comes out from\nbehind a house",
    "walks": "walks straight",
    "startled": "takes off",
    "flower": "at a flower (open)",
    "signpost": "at a signpost (open)",
}


def film_places_figure(place: Mapping[str, Any], about: str) -> Figure:
    """Mean distance to the true place, in image widths, with 95 % intervals over films: by frames ahead, and by story.

    Args:
        place: section ``place`` of the probe ``film``. about: a sentence that describes the content.
    """
    stories = [name for name in _STORIES if name in place]
    figure = Figure(about, figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    for row, (name, colour, line) in _ROWS.items():
        curve = place["all"].get(row)
        if curve is None:
            continue
        ahead = [int(h) for h in curve]
        mean, low, high = ([point[key] for point in curve.values()] for key in ("mean", "low", "high"))
        left.plot(ahead, mean, line, color=colour, label=name, linewidth=1.8)
        left.fill_between(ahead, low, high, color=colour, alpha=0.12, linewidth=0)
    left.set_xlabel("frames ahead")
    left.set_ylabel("distance to the true place, image widths")
    left.set_ylim(bottom=0)
    left.set_title("all stories", fontsize=10)
    horizons = [int(h) for story in stories for h in place[story]["predicted"]]
    middle = str(min(horizons)) if horizons else ""
    shown = [row for row in _ROWS if row in ("predicted", "right_cue", "copy_last", "constant_velocity")]
    for i, row in enumerate(shown):
        name, colour, _ = _ROWS[row]
        points = [(j, place[s][row][middle]) for j, s in enumerate(stories) if middle in place[s].get(row, {})]
        if not points:
            continue
        y = [j + 0.16 * (i - (len(shown) - 1) / 2) for j, _ in points]
        mean = [p["mean"] for _, p in points]
        spread = [
            [max(0.0, p["mean"] - p["low"]) for _, p in points], [max(0.0, p["high"] - p["mean"]) for _, p in points],
        ]  # fmt: skip
        right.errorbar(mean, y, xerr=spread, fmt="o", color=colour, markersize=4, capsize=2, linewidth=1.1)
    right.set_yticks(range(len(stories)), [_STORIES[s] for s in stories], fontsize=8)
    right.invert_yaxis()
    right.set_xlim(left=-0.015 * right.get_xlim()[1])  # a guess that is exact lies at 0: its mark is whole
    right.set_xlabel("distance to the true place, image widths")
    right.set_title(f"{middle} frames ahead, by story" if middle else "by story", fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure
