"""Nested results as aligned text."""

from __future__ import annotations

from typing import Any


def as_text(table: dict[str, Any]) -> str:
    """Format a result as text: one line a number, or one line a section with its numbers in columns."""
    sections = {name: value for name, value in table.items() if isinstance(value, dict)}
    lines = [f"{name:34} {_cell(value)}" for name, value in table.items() if name not in sections]
    if sections:
        columns = list(dict.fromkeys(column for row in sections.values() for column in row))
        wide = max(22, *map(len, columns))
        longest = max(18, *map(len, sections))
        lines.append(" ".join([" " * longest, *(f"{c:>{wide}}" for c in columns)]))
        for name, row in sections.items():
            lines.append(
                " ".join([f"{name:{longest}}", *(f"{_cell(row.get(c, '')):>{wide}}" for c in columns)]).rstrip()
            )
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        middle, low, high = value.values()
        return f"{middle:.3f} [{low:.3f} {high:.3f}]"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
