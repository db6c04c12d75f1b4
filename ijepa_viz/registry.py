"""Registries: dicts filled by a decorator, with suggestions for unknown names."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Registry(dict[str, T]):
    """Dict of named entries; an unknown name raises a ValueError that suggests the nearest.

    Args:
        kind: kind of the entries, for messages, such as "mask strategy".

    >>> strategies = Registry("mask strategy")
    >>> @strategies.register("block")
    ... def block(): ...
    >>> strategies["blok"]
    Traceback (most recent call last):
    ValueError: No mask strategy 'blok'; there are block. Did you mean 'block'?
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a function or class under ``name``.

        Raises:
            ValueError: the name is registered already.
        """

        def add(entry: T) -> T:
            if name in self:
                raise ValueError(f"The {self.kind} {name!r} is registered already.")
            self[name] = entry
            return entry

        return add

    def described(self, title: str) -> str:
        """Help text of all entries: each name with the first line of its docstring."""
        lines = [f"{title}:"]
        for name, entry in self.items():
            first = (inspect.getdoc(entry) or "").partition("\n")[0]
            lines += textwrap.wrap(f"{name:22}{first}", 100, initial_indent="  ", subsequent_indent=" " * 24)
        return "\n".join(lines)

    def __missing__(self, name: str) -> T:
        near = difflib.get_close_matches(str(name), self, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"No {self.kind} {name!r}; there are {', '.join(self)}.{hint}")


def import_files(package: str) -> None:
    """Import every module of ``package``, which registers the entries defined there."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if found.name != "__main__":
            importlib.import_module(f"{package}.{found.name}")
