"""Files below a folder, and the training and test parts that their names tell, as ImageNet and Hugging Face do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

# Names of the parts, as in Hugging Face's data files and in torchvision's ImageNet.
PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "valid", "val", "dev"),
}
_KEYWORD = {word: part for part, words in PARTS.items() for word in words}
_WORDS = re.compile(rf"(?:^|[-._ /])({'|'.join(sorted(_KEYWORD, key=len, reverse=True))})(?=[-._ /]|$)")

# Folders that systems make: resource forks of macOS archives, thumbnails of network drives.
_NO_DATA = {"__MACOSX", "@eaDir"}


def part_of(relative: str) -> str | None:
    """The part that a path relative to the data set's root names: "train", "test", "validation", or None.

    The keyword stands between separators (``train-00000-of-00010.parquet``, ``data/test.parquet``); of several, the
    last counts.
    """
    found = _WORDS.findall(relative.lower())
    return _KEYWORD[found[-1]] if found else None


def part_folders(root: Path) -> dict[str, Path]:
    """Part -> folder, where the root holds a training folder by name; empty otherwise."""
    found: dict[str, Path] = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        part = _KEYWORD.get(folder.name.lower())
        if part and part not in found:
            found[part] = folder
    return found if "train" in found else {}


def walk(root: Path, unreachable: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders below ``root`` and their files, (path, names), in torchvision's order.

    Links to folders are followed, except one that leads back to a folder it lies in. Hidden names and folders made by
    systems are left out. Folders that cannot be read are appended to ``unreachable``.
    """
    trail: dict[str, set[tuple[int, int]]] = {}
    rows: list[tuple[str, list[str]]] = []

    def refused(error: OSError) -> None:
        unreachable.append(f"{error.filename}: {error.strerror}")

    for path, folders, names in os.walk(root, followlinks=True, onerror=refused):
        above = trail.get(os.path.dirname(path), set()) if path != str(root) else set()
        kept = []
        state = os.stat(path)
        here = above | {(state.st_dev, state.st_ino)}
        trail[path] = here
        for name in folders:
            if name.startswith(".") or name in _NO_DATA:
                continue
            below = os.stat(os.path.join(path, name))
            if (below.st_dev, below.st_ino) not in here:
                kept.append(name)
        folders[:] = kept
        rows.append((path, sorted(name for name in names if not name.startswith("."))))
    yield from sorted(rows)
