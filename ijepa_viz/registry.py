"""Choices by name: a dict filled by a decorator, whose misses name the nearest hit."""

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
    """``registry[name]``; an unknown name raises a ValueError that names the nearest.

    Args:
        what: the kind of thing it holds, for messages: "mask strategy".
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that adds what it decorates under ``name``.

        Raises:
            ValueError: the name is taken.
        """

        def add(entry: T) -> T:
            if name in self:
                raise ValueError(f"The {self.what} {name!r} is registered already.")
            self[name] = entry
            return entry

        return add

    def described(self, title: str) -> str:
        """Help on every entry: its name, and the first sentence of its docstring."""
        lines = [f"{title}:"]
        for name, entry in self.items():
            first = (inspect.getdoc(entry) or "").partition("\n")[0]
            lines += textwrap.wrap(f"{name:22}{first}", 100, initial_indent="  ", subsequent_indent=" " * 24)
        return "\n".join(lines)

    def __missing__(self, name: str) -> T:
        near = difflib.get_close_matches(str(name), self, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"No {self.what} {name!r}; there are {', '.join(self)}.{hint}")


def import_files(package: str) -> None:
    """Import every file of ``package``, so that what registers itself there is registered."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if found.name != "__main__":
            importlib.import_module(f"{package}.{found.name}")
