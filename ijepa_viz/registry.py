"""Registries: dicts filled by a decorator, with suggestions for unknown names."""

from __future__ import annotations

import ast
import difflib
import importlib
import pkgutil
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

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

    def __missing__(self, name: str) -> NoReturn:
        raise ValueError(unknown_name(self.kind, str(name), list(self)))


def unknown_name(kind: str, name: str, known: list[str]) -> str:
    """The message for an unknown name, with the known ones and the nearest of them."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"No {kind} {name!r}; there are {', '.join(known)}.{hint}"


def as_help(title: str, entries: Mapping[str, str]) -> str:
    """Help text of named entries: each name with the first line of its docstring."""
    lines = [f"{title}:"]
    for name, text in entries.items():
        first = text.partition("\n")[0]
        lines += textwrap.wrap(f"{name:22}{first}", 100, initial_indent="  ", subsequent_indent=" " * 24)
    return "\n".join(lines)


def registered_in(decorator: str, *places: Path) -> dict[str, str]:
    """Names and docstrings of what registers itself, read from source files without importing them.

    Importing takes seconds (torch, diffusers), which help and a mistyped name should not.

    Args:
        decorator: as the files write it, such as ``PROBES.register``.
        places: files, or folders whose Python files are read.
    """
    found: dict[str, str] = {}
    for place in places:
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    text = ast.get_docstring(node) or ""
                    found |= dict.fromkeys(filter(None, (_name(d, decorator) for d in node.decorator_list)), text)
                elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                    name = _name(node.value.func, decorator)  # register("name")(Class), of another library
                    found |= {name: ast.unparse(node.value.args[0])} if name and node.value.args else {}
    return found


def _name(node: ast.expr, decorator: str) -> str | None:
    """The name that ``decorator("name")`` registers; None for any other expression."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != decorator or len(node.args) != 1:
        return None
    name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    return name if isinstance(name, str) else None


def import_files(package: str) -> None:
    """Import every module of ``package``, which registers the entries defined there."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if found.name != "__main__":
            importlib.import_module(f"{package}.{found.name}")
