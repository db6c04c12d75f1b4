"""Data sets of the Hugging Face hub, by id."""

from __future__ import annotations

from typing import Any

import numpy as np

from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image


def open_hub(spec: str, split: str) -> Source:
    """Open a data set of the Hugging Face hub, with its ``image`` (or ``img``) and ``label`` columns.

    Raises:
        ValueError: the ``datasets`` package is not installed.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ValueError(
            f"{spec!r} looks like a Hugging Face data set id, which needs: pip install 'ijepa-viz[hub]'"
        ) from error
    data: Any = load_dataset(spec, split=split)
    picture = "image" if "image" in data.column_names else "img"
    labels = np.array(data["label"], dtype=np.int64) if "label" in data.column_names else None
    names = data.features["label"].names if labels is not None else []
    return Source(
        name=spec,
        read=lambda i: read_image(data[int(i)][picture]),
        count=len(data),
        labels=labels,
        classes=names,
        stamp=[spec, split, data._fingerprint],
    )
