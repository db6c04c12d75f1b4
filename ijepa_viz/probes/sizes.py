"""Predictions at other picture sizes, by the way to their positions: cosine with the own and another picture's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.batches import evenly
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import sample
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.runtime.progress import track

# Sides of the pictures as multiples of the trained ones, height first.
SCALES = ((1.0, 1.0), (1.0, 1.5), (1.5, 1.0), (1.0, 2.0), (1.5, 1.5), (2.0, 2.0), (0.5, 1.0), (0.5, 0.5))
_BATCH = 32


@PROBES.register("sizes")
@torch.inference_mode()
def evaluate_sizes(
    model: IJEPA, split: Split, images: int = 400, scales: Sequence[tuple[float, float]] = SCALES
) -> dict[str, Any]:
    """Cosine of predictions at other picture sizes, with positions computed anew or interpolated (test split only).

    Every picture is cropped to the proportions of each size and resized to it, and one block of 15 to 20 % of the grid
    is hidden at a random place. ``cosine`` is of predicted and target tokens; ``cosine_of_another``, the control, is
    that of the prediction from the next picture at the same place. A prediction knows of its own picture by
    ``above_control``, the difference, with its ``standard_error`` over pictures.

    Raises:
        ValueError: fewer than two pictures. RuntimeError: a model without a predictor.
    """
    source = split("test")
    chosen = evenly(len(source), images)
    if len(chosen) < 2:
        raise ValueError(f"The control is another picture's prediction, and {source.name} has {len(chosen)}.")
    model.eval()
    patch, (rows, cols) = model.config.patch_size, model.grid
    table: dict[str, Any] = {"images": len(chosen)}
    for down, right in track(scales, "picture sizes", "size"):
        grid = max(2, round(rows * down)), max(2, round(cols * right))
        size = grid[0] * patch, grid[1] * patch
        pixels = torch.from_numpy(np.array(arrays(source.subset(chosen, "sizes"), size))).permute(0, 3, 1, 2)
        trained = grid == (rows, cols)
        for positions in ("recomputed",) if trained else ("recomputed", "interpolated"):
            name = f"{grid[0]}x{grid[1]}, {'as trained' if trained else positions}"
            table[name] = _cosines(model.at(*size, positions=positions), pixels)
    return table


def _cosines(model: IJEPA, pixels: Tensor) -> dict[str, float]:
    """Means over pictures (n, 3, H, W) uint8."""
    own: list[Tensor] = []
    other: list[Tensor] = []
    for start in range(0, len(pixels), _BATCH):
        # The last batch is filled up by the first pictures: one alone would be its own control.
        index = torch.arange(start, start + _BATCH) % len(pixels) if len(pixels) > _BATCH else torch.arange(len(pixels))
        images = normalise(pixels[index].to(model.device).float() / 255)
        masks = sample(
            batch=len(images),
            grid=model.grid,
            generator=torch.Generator().manual_seed(start),
            targets=1,
            context_scale=(1.0, 1.0),
        ).to(str(model.device))
        target = model.targets(images, masks)
        count = min(_BATCH, len(pixels) - start)
        for found, given in ((own, images), (other, images.roll(1, 0))):
            predicted = model.predict(model.encode_context(given, masks), masks)
            found.append(F.cosine_similarity(predicted, target, dim=-1).mean((1, 2))[:count].float().cpu())
    mine, theirs = torch.cat(own), torch.cat(other)
    return {
        "cosine": float(mine.mean()),
        "cosine_of_another": float(theirs.mean()),
        "above_control": float((mine - theirs).mean()),
        "standard_error": float((mine - theirs).std() / math.sqrt(len(mine))),
    }
