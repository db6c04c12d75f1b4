"""The explorer's samples as a sheet and as a figure, and its file in PDF or SVG with text that stays text."""

from __future__ import annotations

import base64
from typing import Any

import matplotlib
from PIL import Image

from ijepa_viz.figures import Answer, Figure, one_hole_figure
from ijepa_viz.figures.figure import encode_figure
from ijepa_viz.prediction import Prediction

_WIDE = 160  # of a picture of the sheet, in pixels
_TYPES = {".pdf": "application/pdf", ".svg": "image/svg+xml"}


def samples_figure(prediction: Prediction, drawn: Any, kind: str, caption: str) -> Figure:
    """Original, context and every sample in its box.

    Args:
        prediction: whose tokens were decoded. drawn: samples. kind: a key of ``BOX``.
        caption: how they were drawn.
    """
    whole = prediction.picture(drawn.images.shape[-2])
    answers = [Answer(f"sample {i}", one, kind=kind) for i, one in enumerate(drawn.on(whole), start=1)]
    figure = one_hole_figure(prediction, answers)
    figure.supxlabel(caption, fontsize=9, wrap=True)
    return figure


def samples_sheet(pictures: list[Image.Image]) -> Image.Image:
    """Pictures in a row, each as wide as ``_WIDE`` and as high as the first one's proportions say."""
    height = round(_WIDE * pictures[0].height / pictures[0].width)
    sheet = Image.new("RGB", (_WIDE * len(pictures), height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture.resize((_WIDE, height), Image.Resampling.NEAREST), (_WIDE * i, 0))
    return sheet


def figure_file(figure: Figure, ending: str) -> dict[str, str]:
    """A file for the page to save: {"name", "type", "content" in base64}.

    Raises:
        ValueError: neither .pdf nor .svg.
    """
    if ending not in _TYPES:
        raise ValueError(f"A figure is saved as {' or '.join(_TYPES)}, not as {ending!r}.")
    # Text as text, which can be searched, restyled and read aloud; by default it becomes outlines.
    with matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
        content = encode_figure(figure, ending)
    return {"name": f"samples{ending}", "type": _TYPES[ending], "content": base64.b64encode(content).decode()}
