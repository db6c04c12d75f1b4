"""A griffe extension: in docstrings, ``:func:`name``` and its like become links, and doctests become code blocks."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|attr|data|mod|obj|exc):`(~?)([\w.]+)`")
_DOCTEST = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)


class Roles(griffe.Extension):
    """Replace roles and doctests when an object's docstring has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of ``obj``; a name without a page of its own stays plain code."""
        if obj.docstring:
            text = _ROLE.sub(lambda match: _link(obj, match), obj.docstring.value)
            obj.docstring.value = _DOCTEST.sub(lambda match: f"```pycon\n{match.group()}\n```", text)


def _link(obj: griffe.Object, match: re.Match[str]) -> str:
    short, name = match.groups()
    shown = name.rpartition(".")[2] if short else name
    try:
        target = name if "." in name and name.split(".")[0] in _PACKAGES else obj.resolve(name)
    except griffe.NameResolutionError:
        target = name
    return f'<autoref identifier="{escape(target)}" optional><code>{escape(shown)}</code></autoref>'


_PACKAGES = ("ijepa_viz", "train", "decoders")
