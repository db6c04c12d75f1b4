"""Answers of the live page that are computed before: its first sight, and all of it where no model can run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ijepa_viz.data.transforms import to_tensor
from ijepa_viz.inspections.maps import controls
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.page.pictures import PagePicture, sheet_of, webp
from ijepa_viz.prediction import Sampler, predict
from ijepa_viz.runtime.progress import track

# Drawings of each answer, by what they are drawn from; "blur" is one step from the prediction.
COUNTS = {"prediction": 6, "another": 3, "nothing": 3, "target": 3, "blur": 1}
_FIRST_OF_NOTHING = COUNTS["prediction"] + COUNTS["another"]
_COLUMNS = 64


def answer_holes(pictures: Sequence[PagePicture], grid: tuple[int, int], most: int | None = None) -> list[str]:
    """Holes with answers: those of the pictures, and blocks of half the sides over the whole grid, as texts."""
    rows, cols = grid
    height, width = max(1, rows // 2), max(1, cols // 2)
    holes = [one.hole_text(grid) for one in pictures]
    holes = [hole for hole in dict.fromkeys(holes) if hole.count("1") == height * width]
    for top in sorted({0, (rows - height) // 2, rows - height}):
        for left in sorted({0, (cols - width) // 2, cols - width}):
            hidden = np.zeros(grid, bool)
            hidden[top : top + height, left : left + width] = True
            holes.append("".join("1" if cell else "0" for cell in hidden.ravel()))
    return list(dict.fromkeys(holes))[:most]


def write_answers(
    pictures: Sequence[PagePicture], model: IJEPA, decoder: Sampler, holes: int | None = None
) -> dict[str, bytes]:
    """Files of the page: drawings of every picture and hole on one sheet, and its index.

    Args:
        pictures: of the model's size; the control "another" takes the next one. holes: how many; None is all.
    """
    if len(pictures) < 2:
        raise ValueError('Answers need at least two pictures: the control "another" takes the next one.')
    grid = model.grid
    input_size = model.config.image_size
    texts = answer_holes(pictures, grid, holes)
    masks = [Masks.from_array(np.array([c == "1" for c in text]).reshape(grid)) for text in texts]
    images = [to_tensor(one.image, input_size) for one in pictures]
    tiles: list[np.ndarray] = []
    cosines: list[list[float]] = []
    undirected: dict[str, list[np.ndarray]] = {}  # by hole: what is drawn from nothing is the same in every picture
    for number in track(range(len(pictures)), "answers", "picture"):
        other = images[(number + 1) % len(images)]
        for text, hole in zip(texts, masks, strict=True):
            found, cosine = _answer(model, decoder, images[number], other, hole, undirected.get(text))
            undirected[text] = found[_FIRST_OF_NOTHING : _FIRST_OF_NOTHING + COUNTS["nothing"]]
            tiles += found
            cosines.append(cosine)
    index = {
        "grid": list(grid),
        "input": list(model.config.height_and_width),
        "size": _drawn_size(tiles[0], masks[0]),
        "steps": decoder.config.steps,
        "tile": list(tiles[0].shape[:2]),
        "columns": _COLUMNS,
        "pictures": [one.id for one in pictures],
        "holes": texts,
        "counts": COUNTS,
        "cosine": cosines,
    }
    return {
        "data/answers.json": json.dumps(index, separators=(",", ":")).encode(),
        "data/answers.webp": webp(sheet_of(tiles, _COLUMNS), lossless=False),
    }


def _drawn_size(tile: np.ndarray, hole: Masks) -> list[int]:
    """(height, width) of a decoder's pictures, from the tile of a hole, which is a block."""
    rows = hole.hidden[0].reshape(hole.grid).any(1).sum()
    patch = tile.shape[0] // int(rows)
    return [side * patch for side in hole.grid]


def _answer(
    model: IJEPA,
    decoder: Sampler,
    image: torch.Tensor,
    other: torch.Tensor,
    hole: Masks,
    undirected: list[np.ndarray] | None,
) -> tuple[list[np.ndarray], list[float]]:
    """The tiles of one hole, (height, width, 3) uint8 each in the order of COUNTS, and the cosine of each hidden patch.

    Args:
        undirected: tiles of "nothing", where they are known.
    """
    prediction = predict(model, image, hole)
    as_uint8 = (other[None] * 255).round().to(torch.uint8)
    elsewhere = prediction.replaced(controls(model, as_uint8, hole)["another image"])
    asked: dict[str, tuple[Any, dict[str, Any]]] = {
        "prediction": (prediction, {}),
        "another": (elsewhere, {}),
        "nothing": (prediction, {"conditioning": "null"}),
        "target": (prediction, {"source": "target"}),
        "blur": (prediction, {"steps": 1}),
    }
    tiles = []
    for name, (given, options) in asked.items():
        if name == "nothing" and undirected is not None:
            tiles += undirected
            continue
        drawn = decoder.sample(given, samples=COUNTS[name], seed=0, **options)
        rows, cols = np.nonzero(drawn.inside.cpu().numpy())
        cut = drawn.images[..., rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        pixels = (cut.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        tiles += list(pixels)
    return tiles, [round(float(value), 4) for value in prediction.cosine.flatten()]
