"""A matplotlib Figure with an alternative text, and its files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure

from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.outputs import FIGURE_ENDINGS, ending

_MANY = 12  # most panels listed in the alternative text
_READ_AT = 9.0  # inches: the width at which notebooks and pages show a wider figure


class Figure(matplotlib.figure.Figure):
    """matplotlib's Figure with an alternative text in notebooks and exported pages.

    Args:
        about: one sentence that describes the content.
        options: of matplotlib's Figure.
    """

    def __init__(self, about: str, **options: Any) -> None:
        super().__init__(**options)
        self.about = about

    @property
    def alt(self) -> str:
        """Alternative text: :attr:`about`, then the panels with titles, axes and names of the lines."""
        panels = [words for axis in self.axes if (words := _panel(axis))]
        title = self.get_suptitle()
        sentences = [self.about, *([f"{title}."] if title else [])]
        if panels:
            more = f"; and {len(panels) - _MANY} more" if len(panels) > _MANY else ""
            sentences.append(f"{'Panels' if len(panels) > 1 else 'Panel'}: {'; '.join(panels[:_MANY])}{more}.")
        return " ".join(sentences)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        content = base64.b64encode(png(self)).decode()
        html = (
            f'<img style="max-width: 100%" alt="{escape(self.alt, quote=True)}" src="data:image/png;base64,{content}">'
        )
        return {"text/html": html, "image/png": content, "text/plain": self.alt}


def legible(points: float, width: float) -> float:
    """Font size in a figure ``width`` inches wide that reads as ``points`` where a notebook scales it to its column.

    >>> legible(9, 6), legible(9, 18)
    (9, 18.0)
    """
    return points if width <= _READ_AT else points * width / _READ_AT


def panel_size(side: float, shape: Sequence[int]) -> tuple[float, float]:
    """(width, height) in inches of a panel for a picture or grid of ``shape`` (height, width).

    It has the area of a square of ``side`` inches, up to pictures three times as long as high or the reverse.

    >>> panel_size(1.25, (64, 64)), panel_size(1.0, (4, 9))
    ((1.25, 1.25), (1.5, 0.6666666666666666))
    """
    stretch = min(max(shape[1] / shape[0], 1 / 3), 3.0) ** 0.5
    return side * stretch, side / stretch


def _panel(axis: Any) -> str:
    """Description of one panel; empty for a panel without labels."""
    title = " ".join(axis.get_title().split())
    x, y = axis.get_xlabel(), axis.get_ylabel()
    across = f"{y} over {x}" if x and y else x or y
    lines = [line.get_label() for line in axis.get_lines() if not str(line.get_label()).startswith("_")]
    named = f"({', '.join(dict.fromkeys(map(str, lines)))})" if lines else ""
    return " ".join(part for part in (f"{title}:" if title and across else title, across, named) if part)


def png(figure: matplotlib.figure.Figure, dpi: int = 130) -> bytes:
    """Encode a figure as PNG bytes."""
    return encode_figure(figure, ".png", dpi)


# Without the time of writing.
_METADATA: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


def encode_figure(figure: matplotlib.figure.Figure, kind: str, dpi: int = 130) -> bytes:
    """Encode a figure in the format of an ending, such as ".pdf"; the same bytes every time.

    Raises:
        ValueError: an ending that is none of ``FIGURE_ENDINGS``.
    """
    kind = kind.lower()
    if kind not in FIGURE_ENDINGS:
        raise ValueError(f"A figure is encoded as {', '.join(FIGURE_ENDINGS)}, not as {kind!r}.")
    options: dict[str, Any] = {"pil_kwargs": {"quality": 95}} if kind in (".jpg", ".jpeg", ".webp") else {}
    if kind in _METADATA:
        about = {"Title": figure.alt} if isinstance(figure, Figure) else {}
        options["metadata"] = {**_METADATA[kind], **about}
    out = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ijepa_viz"}):  # names of an SVG's parts, else random
        figure.savefig(out, format=kind[1:], dpi=dpi, **options)
    return out.getvalue()


def write_figure(path: Path, figure: matplotlib.figure.Figure, dpi: int = 130) -> None:
    """Write a figure to a file in the format of its ending: .png .pdf .svg .jpg .webp.

    Raises:
        ValueError: another ending. OSError: as :func:`ijepa_viz.runtime.files.write_file`.
    """
    write_file(path, encode_figure(figure, ending(path, FIGURE_ENDINGS), dpi))
