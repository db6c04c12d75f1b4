"""Data sets of the Hugging Face hub, by id."""

from __future__ import annotations

from typing import Any

import numpy as np

from ijepa_viz.data.labels import as_labels
from ijepa_viz.data.parquet import LABELS, PICTURES
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image


def open_hub(spec: str, split: str) -> Source:
    """Open a data set of the Hugging Face hub, with its image and label columns.

    The test part is "test", or else "validation".

    Raises:
        FileNotFoundError: the ``datasets`` package is not installed, or the hub has no such data set or cannot be
            reached; the message begins in lower case, after "no folder ..., and".
        ValueError: no image column.
    """
    try:
        from datasets import get_dataset_split_names, load_dataset
    except ImportError as error:
        raise FileNotFoundError(
            f"a data set {spec} of the Hugging Face hub, if it is meant, needs: pip install 'ijepa-viz[hub]'."
        ) from error
    try:
        parts = get_dataset_split_names(spec)
        tests = [part for part in ("test", "validation") if part in parts]
        two = "train" in parts and bool(tests)
        wanted = ("train" if split == "train" else tests[0]) if two else parts[0]
        data: Any = load_dataset(spec, split=wanted)
    except Exception as error:  # datasets raises many kinds, of its own and of its transports
        raise FileNotFoundError(f"the Hugging Face hub did not give {spec}: {error}") from error
    picture = next((name for name in PICTURES if name in data.column_names), None)
    if picture is None:
        raise ValueError(f"{spec} has columns {data.column_names}, but no image column ({', '.join(PICTURES)}).")
    label = next((name for name in LABELS if name in data.column_names), None)
    labels: np.ndarray | None = None
    classes: list[str] = []
    if label is not None:
        labels, classes = as_labels(data[label], getattr(data.features[label], "names", []), f"{label!r} of {spec}")
    return Source(
        name=f"{spec} ({wanted})",
        read=lambda i: read_image(data[int(i)][picture]),
        count=len(data),
        labels=labels,
        classes=classes,
        stamp=[spec, wanted, data._fingerprint],
        split=split if two else None,
    )
