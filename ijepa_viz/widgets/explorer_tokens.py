"""Tokens as colours on the explorer's page: a tile for each sample, and those that it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from ijepa_viz.figures.token_samples import TokenColours
from ijepa_viz.widgets.picture_widget import data_uri

NO_TILES: dict[str, Any] = {"token_tiles": [], "reference_tiles": [], "agreement": ""}
# Why there are no sampled tokens to show: of a menu's choice, and of a decoder.
DRAWN_AT_ONCE = {
    "target": "The target encoder's tokens are drawn as they are: none are sampled.",
    "null": "Without a condition no tokens are sampled.",
}
ONE_STAGE = "This decoder has one stage: it samples pixels, and no tokens."


def token_traits(colours: TokenColours, show: str = "predicted") -> dict[str, Any]:
    """Traits of the page for tokens as colours: one tile a sample, and those of what they are compared with.

    Args:
        colours: of one result. show: choice of the menu, for the name of the predicted tokens.
    """
    tiles = []
    for i, (picture, cosine, mutual) in enumerate(
        zip(colours.sampled, colours.target_cosine, colours.mutual_cosine, strict=True), start=1
    ):
        words = f"Tokens of sample {i} as colours: cosine {cosine:.2f} with the target tokens"
        words += "" if np.isnan(mutual) else f", {mutual:.2f} with the other samples' tokens"
        tiles.append(_tile(f"sample {i}", picture, f"{words}."))
    given = {"other": "tokens predicted for another image", "mean": "mean predicted tokens"}.get(
        show, "predicted tokens"
    )
    words = f"The {given} as colours: cosine {colours.predicted_cosine:.2f} with the target tokens."
    references = [
        _tile(given, colours.predicted, words),
        _tile("target tokens", colours.target, "The target tokens as colours."),
    ]
    if len(tiles) > 1:
        hidden = ~np.isnan(colours.agreement)
        map_colours = colormaps["viridis"](np.where(hidden, colours.agreement, 0.0)) * hidden[..., None]
        references.append(_tile("where samples agree: dark 0, bright 1", map_colours, colours.about))
    return {"token_tiles": tiles, "reference_tiles": references, "agreement": colours.about}


def _tile(name: str, rgba: np.ndarray, words: str) -> dict[str, str]:
    """One pixel a patch."""
    image = Image.fromarray((rgba * 255).round().astype(np.uint8))
    return {"name": name, "picture": data_uri(image), "words": words}
