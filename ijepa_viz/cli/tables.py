"""Nested results as aligned text, and rows as CSV."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from ijepa_viz.runtime.files import replacing


def as_text(table: dict[str, Any]) -> str:
    """Format a result as text: one line a number, or one line a section with its numbers in columns.

    Sections of sections follow, each under its name.
    """
    sections = {name: value for name, value in table.items() if isinstance(value, dict)}
    lines = [f"{name:34} {_cell(value)}" for name, value in table.items() if name not in sections]
    deep = {name: row for name, row in sections.items() if any(_is_section(value) for value in row.values())}
    flat = {name: row for name, row in sections.items() if name not in deep}
    if flat:
        columns = list(dict.fromkeys(column for row in flat.values() for column in row))
        wide = max(22, *map(len, columns))
        longest = max(18, *map(len, flat))
        lines.append(" ".join([" " * longest, *(f"{c:>{wide}}" for c in columns)]))
        for name, row in flat.items():
            lines.append(
                " ".join([f"{name:{longest}}", *(f"{_cell(row.get(c, '')):>{wide}}" for c in columns)]).rstrip()
            )
    for name, row in deep.items():
        lines += ["", name, as_text(row)]
    return "\n".join(lines)


def _is_section(value: Any) -> bool:
    """Whether a value is a section, and no number with its interval."""
    return isinstance(value, dict) and not {"low", "high"} <= value.keys()


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{next(iter(value.values())):.3f} [{value['low']:.3f} {value['high']:.3f}]"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def rows_file(out: Path | None, columns: Sequence[str]) -> Iterator[Callable[[Mapping[str, Any]], Any]]:
    """A function that writes a row as CSV: to a file that is complete at the end or not there, or to stdout.

    Raises:
        OSError: as :func:`ijepa_viz.runtime.files.replacing`.
    """

    def begin(file: TextIO) -> Callable[[Mapping[str, Any]], Any]:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        return table.writerow

    if out is None:
        yield begin(sys.stdout)
        return
    with replacing(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield begin(file)
