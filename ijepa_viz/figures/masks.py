"""Sampled masks: context and target blocks of a few images on their grid (figure 4)."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.masks import Masks

_CONTEXT, _NEITHER = "#56B4E9", "#E8E8E8"
_TARGETS = ("#E69F00", "#D55E00", "#CC79A7", "#F0E442")


def mask_figure(masks: Masks, count: int = 6) -> Figure:
    """Draw the masks of the first ``count`` images: context blue, each target block a warm colour."""
    count = min(count, len(masks))
    wide, high = panel_size(1.5, masks.grid)
    figure = Figure(
        f"Masks on grids of {masks.grid[0]}x{masks.grid[1]} patches: context in blue, target blocks in warm colours.",
        figsize=(max(wide * count + 0.2, 3.2), high + 0.7),
        layout="constrained",
    )
    for i, axis in enumerate(np.atleast_1d(figure.subplots(1, count))):
        cells = np.tile(np.array(to_rgb(_NEITHER)), (masks.num_patches, 1))
        cells[masks.context[i][masks.valid[i]].cpu().numpy()] = to_rgb(_CONTEXT)
        for m, block in enumerate(masks.targets[i].cpu().numpy()):
            cells[block] = to_rgb(_TARGETS[m % len(_TARGETS)])
        axis.imshow(cells.reshape(*masks.grid, 3), interpolation="nearest")
        axis.set_xticks(np.arange(0.5, masks.grid[1] - 1), [])
        axis.set_yticks(np.arange(0.5, masks.grid[0] - 1), [])
        axis.grid(color="white", linewidth=1)
        axis.tick_params(length=0)
    names = [(_CONTEXT, "context"), (_NEITHER, "neither")]
    names += [(colour, f"target {m + 1}") for m, colour in zip(range(masks.targets.shape[1]), _TARGETS, strict=False)]
    figure.legend(
        handles=[Patch(facecolor=c, label=n) for c, n in names],
        loc="outside lower center", ncols=len(names), frameon=False, fontsize=9,
    )  # fmt: skip
    return figure
