"""Folders of image files: flat, with one sub-folder a class, or with training and test folders of these."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from ijepa_viz.data.formats import KNOWN_BUT_UNREADABLE, SUFFIXES
from ijepa_viz.data.layout import Tree, file_stamps, folder_part, part_of, visible_folders, walk
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image

_SHOWN = 3


def open_folder(path: Path, split: str = "train", tree: Tree | None = None) -> Source:
    """Open a folder of images.

    The top-level sub-folders are the classes, in alphabetical order, however deep their images lie: torchvision's
    ``ImageFolder``. Images beside class folders have no class (label -1). A root with a ``train`` folder and one of
    ``test``, ``val`` or ``validation`` has two parts; of several, the first that has classes is the test part. So has
    one with a folder for each part that has the word in its name (``training_set``, ``test_set``) and no other images.
    A folder ``train`` of images beside others, but no test folder, is a class (of vehicles), as the others are.

    Args:
        path: links are followed. split: "train" or "test".
        tree: what was found below ``path`` already; None looks.

    Raises:
        ValueError: a folder without images; the message counts the files that are none.
    """
    tree = walk(path) if tree is None else tree
    parts, notes = _parts(tree)
    if len(parts) < 2 or split == "train":
        source = _open_one(tree.below(parts.get("train", path)))
        source.split = "train" if len(parts) > 1 else None
    else:
        candidates = [_open_one(tree.below(parts[name])) for name in ("test", "validation") if name in parts]
        source = next((s for s in candidates if s.labels is not None), candidates[0])
        source.split = "test"
    source.notes = [*source.notes, *notes]
    return source


def _parts(tree: Tree) -> tuple[dict[str, Path], list[str]]:
    """Part -> folder, where the root holds a training folder; empty otherwise. And notes on what else it holds."""
    root = tree.root
    folders = visible_folders(root)
    if not any(part_of(folder.name) == "train" for folder in folders):
        return {}, []
    filled = [folder for folder in folders if _holds_images(tree.below(folder))]
    parts: dict[str, Path] = {}
    for folder in filled:
        if part := folder_part(folder.name):
            parts.setdefault(part, folder)
    by_word = {part: folder for folder in filled if (part := part_of(folder.name))}
    if "train" not in parts and len(by_word) == len(filled) > 1 and "train" in by_word:
        parts = by_word
    others = [folder.name for folder in filled if folder not in parts.values()]
    train_is_flat = "train" in parts and not any(
        _holds_images(tree.below(folder)) for folder in visible_folders(parts["train"])
    )
    if "train" not in parts or (len(parts) == 1 and others and train_is_flat):
        words = [folder.name for folder in filled if part_of(folder.name)]
        said = len(by_word) > 1 or "train" in parts  # one word in a longer name is a coincidence
        return {}, [f"Folders of {root} are read as classes, not as its parts: also {_listed(words)}."] if said else []
    empty = [folder.name for folder in folders if folder not in filled and folder_part(folder.name)]
    notes = [f"Ignored in {root}: {_listed(others)}, beside {parts['train'].name}."] if others else []
    notes += [f"Ignored in {root}: {_listed(empty)}, without pictures."] if empty else []
    return parts, notes


def _holds_images(tree: Tree) -> bool:
    """Whether an image lies below; a part that cannot be read is one all the same, and opening it says so."""
    found = any(os.path.splitext(name)[1].lower() in SUFFIXES for _, names in tree.folders for name in names)
    return found or bool(tree.unreachable and folder_part(tree.root.name))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _open_one(tree: Tree) -> Source:
    root = tree.root
    files: list[str] = []
    folder_of: list[str] = []
    others: list[str] = []
    for folder, names in tree.folders:
        inside = os.path.relpath(folder, root).split(os.sep)[0]
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                files.append(os.path.join(folder, name))
                folder_of.append(inside)
            else:
                others.append(name)
    notes = [f"Ignored in {root}: {ignored_files(others)}."] if others else []
    notes += tree.notes
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
        stamp=file_stamps(files),
        notes=notes,
        key=lambda i: os.path.relpath(files[i], root),
    )


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
