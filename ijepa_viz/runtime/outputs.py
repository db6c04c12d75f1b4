"""Output files: the ending of their name decides the format, and they are checked before work begins."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ijepa_viz.runtime.files import write_file

FIGURE_ENDINGS = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
FILM_ENDINGS = (".gif", ".mp4")
TABLE_ENDINGS = (".json", ".csv")


def ending(path: str | Path, endings: tuple[str, ...]) -> str:
    """The ending of ``path`` in lower case, one of ``endings``.

    Raises:
        ValueError: no ending, or another one.
    """
    found = Path(path).suffix.lower()
    if found not in endings:
        is_what = f"ends in {found}" if found else "has no ending"
        raise ValueError(f"{path} {is_what}, and the ending decides the format: {', '.join(endings)}.")
    return found


def check_film(path: Path) -> None:
    """Refuse a video where PyAV, which writes it, is missing.

    Raises:
        ValueError: another ending than those of :data:`FILM_ENDINGS`, or a video without PyAV.
    """
    if ending(path, FILM_ENDINGS) == ".mp4" and importlib.util.find_spec("av") is None:
        raise ValueError(f"{path} is a video, and PyAV writes videos: pip install 'ijepa-viz[video]', or name a .gif.")


def figure_file(text: str) -> Path:
    """The path of a figure to write; ``type=`` of an argparse option."""
    return _argument(text, FIGURE_ENDINGS)


def table_file(text: str) -> Path:
    """The path of a table to write; ``type=`` of an argparse option."""
    return _argument(text, TABLE_ENDINGS)


def json_file(text: str) -> Path:
    """The path of a JSON file to write; ``type=`` of an argparse option."""
    return _argument(text, (".json",))


def _argument(text: str, endings: tuple[str, ...]) -> Path:
    try:
        ending(text, endings)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def check_output(*paths: Path | None) -> None:
    """Check, before minutes of work, that these files can be written; None is a file that nobody asked for.

    Nothing is left behind: a missing folder is made when the file is written.

    Raises:
        IsADirectoryError: a folder. NotADirectoryError: a file where a folder should be.
        OSError: the folder, or the nearest one above that exists, cannot be written to.
    """
    for path in filter(None, paths):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file in it.")
        _check_parent(path)


def check_output_folder(path: Path) -> None:
    """As :func:`check_output` for a folder that files will be written into."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, and a folder is to be written there: name another one.")
    _check_parent(path / "file")


def _check_parent(path: Path) -> None:
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {parent} is a file and no folder.")
    # Tried, because permissions do not tell all: there are read-only disks, and quotas.
    trial = parent / f".{os.getpid()}.partial"
    try:
        try:
            trial.touch()
        finally:  # also when it is interrupted
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror} in {parent.resolve()}.") from error


def write_table(path: Path, table: Mapping[str, Any]) -> None:
    """Write nested numbers as JSON, or as CSV: one row a section, the names of nested values joined by dots.

    Raises:
        ValueError: another ending. OSError: as :func:`ijepa_viz.runtime.files.write_file`.
    """
    kinds: dict[str, Callable[[Mapping[str, Any]], str]] = {".json": _as_json, ".csv": as_csv}
    write_file(path, kinds[ending(path, TABLE_ENDINGS)](table).encode())


def _as_json(table: Mapping[str, Any]) -> str:
    return json.dumps(table, indent=2) + "\n"


def as_csv(table: Mapping[str, Any]) -> str:
    """A table as CSV text: one row for a flat one; else one row a section, its name in the column ``name``.

    >>> print(as_csv({"knn": {"accuracy": 0.5}, "linear": {"accuracy": 0.75}}), end="")
    name,accuracy
    knn,0.5
    linear,0.75
    """
    sections = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    single = {name: value for name, value in table.items() if name not in sections}
    rows = [{"name": name, **_flat(value)} for name, value in sections.items()]
    # Numbers beside the sections hold for all of them.
    rows = [{**row, **_flat(single)} for row in rows] or [_flat(single)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list | tuple) else value
    return found
