"""Files below a folder, and the training and test parts that their names tell, as ImageNet and Hugging Face do."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


def file_stamps(files: Sequence[str]) -> list[list[str | int]]:
    """Identity of each file's content, for keys of caches: path, size, and the times of its content and of its entry.

    The latter tells a file that was replaced by one of the same size and date, as archives with fixed dates do.
    """
    real_folders: dict[str, str] = {}
    stamps: list[list[str | int]] = []
    for file in files:
        folder, name = os.path.split(file)
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        path, state = os.path.join(real_folders[folder], name), os.lstat(file)
        if stat.S_ISLNK(state.st_mode):
            path = os.path.realpath(file)
            with contextlib.suppress(OSError):  # one that leads nowhere is found unreadable later, with all others
                state = os.stat(file)
        stamps.append([path, state.st_size, state.st_mtime_ns, state.st_ctime_ns])
    return stamps


@dataclass(frozen=True)
class Tree:
    """The folders at and below ``root``, found by :func:`walk`.

    Attributes:
        folders: (path, names of the files in it), in torchvision's order.
        unreachable: folders that cannot be read -> why.
    """

    root: Path
    folders: list[tuple[str, list[str]]]
    unreachable: dict[str, str]

    def below(self, folder: Path) -> Tree:
        """The part of the tree at and below ``folder``."""
        top = str(folder)
        start = os.path.join(top, "") if folder != Path() else ""

        def inside(path: str) -> bool:
            return path == top or path.startswith(start)

        return Tree(
            folder,
            [found for found in self.folders if inside(found[0])],
            {path: why for path, why in self.unreachable.items() if inside(path)},
        )

    @property
    def notes(self) -> list[str]:
        """Sentences on the folders that cannot be read."""
        return [f"A folder in {self.root} cannot be read: {path}: {why}." for path, why in self.unreachable.items()]


def walk(root: Path) -> Tree:
    """Find the folders below ``root`` and their files.

    Links to folders are followed, except one that leads back to a folder it lies in. Hidden names and folders made by
    systems are left out.
    """
    unreachable: dict[str, str] = {}
    found = sorted((str(Path(path)), names) for path, names in _visit(root, unreachable))  # "./a" is "a"
    return Tree(root, found, unreachable)


def _visit(root: Path, unreachable: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    trail: dict[str, set[tuple[int, int]]] = {}

    def refused(error: OSError) -> None:
        unreachable[str(Path(error.filename))] = str(error.strerror)

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
