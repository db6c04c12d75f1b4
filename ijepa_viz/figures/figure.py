"""A matplotlib Figure that says in words what it shows, for whoever cannot see it."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import matplotlib.figure

_MANY = 12  # panels whose titles are read out; more would tire any listener


class Figure(matplotlib.figure.Figure):
    """As matplotlib's, and in a notebook or an exported page it carries an alternative text.

    Args:
        about: a sentence: what is to be seen, and what to look for.
        options: of matplotlib's Figure.
    """

    def __init__(self, about: str, **options: Any) -> None:
        super().__init__(**options)
        self.about = about

    @property
    def alt(self) -> str:
        """:attr:`about`, then the panels: their titles, axes and the names of their lines."""
        panels = [words for axis in self.axes if (words := _panel(axis))]
        title = self.get_suptitle()
        told = [self.about, *([f"{title}."] if title else [])]
        if panels:
            more = f"; and {len(panels) - _MANY} more" if len(panels) > _MANY else ""
            told.append(f"{'Panels' if len(panels) > 1 else 'Panel'}: {'; '.join(panels[:_MANY])}{more}.")
        return " ".join(told)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        content = base64.b64encode(png(self)).decode()
        html = (
            f'<img style="max-width: 100%" alt="{escape(self.alt, quote=True)}" src="data:image/png;base64,{content}">'
        )
        return {"text/html": html, "image/png": content, "text/plain": self.alt}


def _panel(axis: Any) -> str:
    """What one panel says of itself; nothing for one without any word."""
    title = " ".join(axis.get_title().split())
    x, y = axis.get_xlabel(), axis.get_ylabel()
    across = f"{y} over {x}" if x and y else x or y
    lines = [line.get_label() for line in axis.get_lines() if not str(line.get_label()).startswith("_")]
    named = f"({', '.join(dict.fromkeys(map(str, lines)))})" if lines else ""
    return " ".join(part for part in (f"{title}:" if title and across else title, across, named) if part)


def png(figure: matplotlib.figure.Figure, dpi: int = 130) -> bytes:
    """A figure as PNG bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()
