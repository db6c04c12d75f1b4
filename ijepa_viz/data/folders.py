"""Folders of image files: flat, with one sub-folder a class, or with training and test folders of these."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from ijepa_viz.data.formats import KNOWN_BUT_UNREADABLE, SUFFIXES
from ijepa_viz.data.layout import part_folders, walk
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image

_SHOWN = 3


def open_folder(path: Path, split: str = "train") -> Source:
    """Open a folder of images.

    The top-level sub-folders are the classes, in alphabetical order, however deep their images lie: torchvision's
    ``ImageFolder``. Images beside class folders have no class (label -1). A root with a ``train`` folder and one of
    ``test``, ``val`` or ``validation`` has two parts; of several, the first that has classes is the test part.

    Args:
        path: links are followed. split: "train" or "test".

    Raises:
        ValueError: a folder without images; the message counts the files that are none.
    """
    parts = part_folders(path)
    if len(parts) < 2 or split == "train":
        source = _open_one(parts.get("train", path))
        source.split = "train" if len(parts) > 1 else None
        return source
    candidates = [_open_one(parts[name]) for name in ("test", "validation") if name in parts]
    source = next((s for s in candidates if s.labels is not None), candidates[0])
    source.split = "test"
    return source


def _open_one(root: Path) -> Source:
    files: list[str] = []
    folder_of: list[str] = []
    others: list[str] = []
    unreachable: list[str] = []
    for folder, names in walk(root, unreachable):
        inside = os.path.relpath(folder, root).split(os.sep)[0]
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                files.append(os.path.join(folder, name))
                folder_of.append(inside)
            else:
                others.append(name)
    notes = [f"Ignored in {root}: {ignored_files(others)}."] if others else []
    notes += [f"A folder in {root} cannot be read: {why}." for why in unreachable]
    if not files:
        raise ValueError(
            " ".join([f"{root} holds no images ({', '.join(SUFFIXES)}) and no parquet or tar files.", *notes])
        )
    classes = sorted(set(folder_of) - {"."})
    # Class by class, as ImageFolder; images outside of any class come first.
    order = sorted(range(len(files)), key=lambda i: (folder_of[i] != ".", folder_of[i]))
    files = [files[i] for i in order]
    labels = None
    if classes:
        index = {".": -1, **{name: i for i, name in enumerate(classes)}}
        labels = np.array([index[folder_of[i]] for i in order], np.int64)
        if labels[0] < 0:
            notes.append(
                f"{int((labels < 0).sum())} pictures of {root} lie beside its class folders and have no class."
            )
    return Source(
        name=str(root),
        read=lambda i: read_image(files[i]),
        count=len(files),
        labels=labels,
        classes=classes,
        stamp=[_stamp(file) for file in files],
        notes=notes,
    )


def _stamp(file: str) -> list[str | int]:
    try:
        state = os.stat(file)
    except FileNotFoundError:  # a link that leads nowhere: it is found unreadable later, with all others
        state = os.lstat(file)
    return [os.path.realpath(file), state.st_size, state.st_mtime_ns]


def ignored_files(names: list[str]) -> str:
    """Files that are not read, counted by ending, some by name, with the mend where one is known."""
    by_ending: dict[str, list[str]] = {}
    for name in names:
        by_ending.setdefault(os.path.splitext(name)[1].lower(), []).append(name)
    words = []
    for ending, count in Counter({e: len(n) for e, n in by_ending.items()}).most_common():
        some = ", ".join(by_ending[ending][:_SHOWN]) + (", ..." if count > _SHOWN else "")
        mend = f"; {KNOWN_BUT_UNREADABLE[ending]}" if ending in KNOWN_BUT_UNREADABLE else ""
        words.append(f"{count} {ending or 'without ending'} ({some}{mend})")
    return ", ".join(words)
