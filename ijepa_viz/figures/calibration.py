"""Calibration of a decoder's samples: rank histogram, spread over error, and reliability of votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from ijepa_viz.figures.completion import BOX
from ijepa_viz.figures.figure import Figure

# Colours shared with other figures.
_COLOURS = {"predicted_tokens": BOX["predicted"], "null": BOX["control"]}
_OTHERS = ("#0072B2", "#CC79A7", "#E69F00")
_RIGHT = {"color": "0.5", "linewidth": 0.9, "linestyle": "--"}


def calibration_figure(
    rows: Mapping[str, tuple[np.ndarray, Sequence[float]]],
    bands: Sequence[str],
    votes: Mapping[str, Sequence[tuple[float, float, int]]],
) -> Figure:
    """Plot ranks of the real pixel among the samples, spread over error by frequency, and reliability of votes.

    Args:
        rows: name -> (share of each rank, spread over error by band).
        bands: names of the frequency bands, coarse to fine.
        votes: factor -> (share of samples, accuracy, count) points; empty without ground truth.
    """
    figure = Figure(
        "Rank histogram of the real pixel among the samples, spread over error by frequency, and reliability of votes.",
        figsize=(12 if votes else 8.5, 3.9),
        layout="constrained",
    )
    axes = figure.subplots(1, 3 if votes else 2)
    others = cycle(_OTHERS)
    for name, (ranks, ratios) in rows.items():
        colour = _COLOURS.get(name) or next(others)
        count = len(ranks)
        axes[0].step(
            np.arange(count), np.asarray(ranks) * count, where="mid", color=colour, label=name.replace("_", " ")
        )
        axes[1].plot(range(len(ratios)), ratios, "o-", color=colour, markersize=4)
    axes[0].axhline(1, **_RIGHT)
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlabel("samples darker than the real pixel")
    axes[0].set_ylabel("frequency / uniform frequency")
    axes[1].axhline(1, **_RIGHT)
    axes[1].set_xticks(range(len(bands)), bands, fontsize=8)
    axes[1].set_ylim(bottom=0)
    axes[1].set_xlabel("cycles a block, coarse to fine")
    axes[1].set_ylabel("spread / error (1 is right)")
    if votes:
        axes[2].plot([0, 1], [0, 1], **_RIGHT)
        for number, (name, points) in enumerate(votes.items()):
            share, true, _ = zip(*points, strict=True)
            axes[2].plot(share, true, "o-", markersize=4, color=f"C{number}", label=name)
        axes[2].set_xlabel("share of samples that vote for a class")
        axes[2].set_ylabel("accuracy of the vote")
        axes[2].set_xlim(0, 1.02)
        axes[2].set_ylim(0, 1.02)
        axes[2].legend(fontsize=8, frameon=False, loc="upper left", title="predicted tokens", title_fontsize=8)
    figure.legend(
        loc="outside upper left",
        ncols=len(rows),
        frameon=False,
        fontsize=9,
        handles=axes[0].get_legend_handles_labels()[0],
    )
    return figure
