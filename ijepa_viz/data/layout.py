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


def folder_part(name: str) -> str | None:
    """The part of which a folder has exactly the name, in any case: "Train", "val"; None otherwise."""
    return _KEYWORD.get(name.lower())


def visible_folders(root: Path) -> list[Path]:
    """The folders in ``root``, sorted by name, without hidden ones and those made by systems."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not _left_out(p.name))


def _left_out(name: str) -> bool:
    return name.startswith(".") or name in _NO_DATA


def file_stamp(file: str) -> list[str | int]:
    """Identity of a file's content, for keys of caches: path, size, and the times of its content and of its entry.

    The latter tells a file that was replaced by one of the same size and date, as archives with fixed dates do.
    """
    try:
        state = os.stat(file)
    except OSError:  # a link that leads nowhere or to itself: it is found unreadable later, with all others
        state = os.lstat(file)
    return [os.path.realpath(file), state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def walk(root: Path, unreachable: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders below ``root`` and their files, (path, names), in torchvision's order.

    Links to folders are followed, except one that leads back to a folder it lies in. Hidden names and folders made by
    systems are left out. Folders that cannot be read are appended to ``unreachable``.
    """
    yield from sorted(visit(root, unreachable))


def visit(root: Path, unreachable: list[str]) -> Iterator[tuple[str, list[str]]]:
    """As :func:`walk`, one by one, in the order in which they are found."""
    trail: dict[str, set[tuple[int, int]]] = {}

    def refused(error: OSError) -> None:
        unreachable.append(f"{error.filename}: {error.strerror}")

    for path, folders, names in os.walk(root, followlinks=True, onerror=refused):
        above = trail.get(os.path.dirname(path), set()) if path != str(root) else set()
        kept = []
        try:
            state = os.stat(path)
        except OSError as error:
            refused(error)
            folders.clear()
            continue
        here = above | {(state.st_dev, state.st_ino)}
        trail[path] = here
        for name in folders:
            if _left_out(name):
                continue
            try:
                below = os.stat(os.path.join(path, name))
            except OSError as error:
                refused(error)
                continue
            if (below.st_dev, below.st_ino) not in here:
                kept.append(name)
        folders[:] = kept
        yield path, sorted(name for name in names if not name.startswith("."))
