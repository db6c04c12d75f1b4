"""Class labels from what files hold: numbers, names, or numbers with names elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def as_labels(values: Sequence[Any], names: Sequence[str], where: str) -> tuple[np.ndarray, list[str]]:
    """Labels (n,) int64 and class names of a column; None becomes -1, the images without a class.

    Args:
        values: integers, or class names, whose classes are then numbered alphabetically.
        names: names of integer labels, or none. where: for the message.

    Raises:
        ValueError: other values, an integer beyond the names or beyond 64 bits, or one below -1.
    """
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, str) for value in present):
        classes = sorted(set(present))
        index = {name: i for i, name in enumerate(classes)}
        return np.array([-1 if value is None else index[value] for value in values], np.int64), classes
    if not all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in present):
        odd = next(value for value in present if isinstance(value, bool) or not isinstance(value, int | np.integer))
        raise ValueError(f"{where} holds {odd!r}: labels are integers or class names.")
    if present and not -1 <= min(present) <= max(present) < 2**63:
        odd = min(present) if min(present) < -1 else max(present)
        raise ValueError(f"{where} holds the label {odd}: labels are 0, 1, 2, ...; -1 is an image without a class.")
    labels = np.array([-1 if value is None else int(value) for value in values], np.int64)
    if names and len(labels) and labels.max() >= len(names):
        raise ValueError(f"{where} holds the label {labels.max()}, but names {len(names)} classes only.")
    return labels, list(names)


def merge_labels(parts: Sequence[tuple[np.ndarray, list[str]]]) -> tuple[np.ndarray, list[str]]:
    """Labels of several files in one numbering: by class name, where they have names; a file may have none.

    Raises:
        ValueError: some files have names and others numbers only.
    """
    known = [names for labels, names in parts if names or (labels >= 0).any()]
    parts = [(labels, names if names or (labels >= 0).any() or not known else known[0]) for labels, names in parts]
    lists = [names for _, names in parts]
    if all(names == lists[0] for names in lists):
        return np.concatenate([labels for labels, _ in parts]), lists[0]
    if not all(lists):
        raise ValueError("Some files name their classes and others do not, so that labels cannot be matched.")
    # The order of the first file, then what the others add.
    classes = list(dict.fromkeys(name for names in lists for name in names))
    return np.concatenate([renumber(labels, names, classes) for labels, names in parts]), classes


def unlabelled_note(labels: np.ndarray, name: str) -> list[str]:
    """A note on the images of ``name`` without a class, -1 in ``labels`` (n,), where others have one."""
    count = int((labels < 0).sum())
    if not 0 < count < len(labels):
        return []
    return [f"{count} of the {len(labels)} pictures of {name} have no class: no label, or -1."]


def renumber(labels: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Labels (n,) of ``names`` as positions in ``classes``; -1 stays."""
    table = np.array([*(classes.index(name) for name in names), -1], np.int64)
    return table[labels]
