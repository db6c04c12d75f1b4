"""Parquet shards with encoded images, in the layout of the Hugging Face hub."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import numpy as np

from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image


def _column_bytes(cell: Any) -> bytes:
    return cell["bytes"] if isinstance(cell, dict) else cell


def open_parquet(name: str, files: list[str]) -> Source:
    """Open parquet shards with an ``image`` (or ``img``) column and an optional label column.

    Raises:
        ValueError: no image column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(f) for f in files]
    table = pa.concat_tables(tables)
    columns = table.column_names
    picture = next((c for c in ("image", "img") if c in columns), None)
    if picture is None:
        raise ValueError(f"{files[0]} has columns {columns}, but no column 'image' or 'img'.")
    cells = table.column(picture)
    label = next((c for c in ("label", "labels", "fine_label") if c in columns), None)
    labels = None if label is None else table.column(label).to_numpy().astype(np.int64)
    return Source(
        name=name,
        read=lambda i: read_image(io.BytesIO(_column_bytes(cells[i].as_py()))),
        count=table.num_rows,
        labels=labels,
        classes=_class_names(table.schema.metadata, label),
        stamp=[[os.path.realpath(f), os.stat(f).st_size, os.stat(f).st_mtime_ns] for f in files],
    )


def _class_names(metadata: dict[bytes, bytes] | None, label: str | None) -> list[str]:
    """Class names of a label column, from Hugging Face's metadata in the schema."""
    if not metadata or b"huggingface" not in metadata or label is None:
        return []
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    return list(features[label].get("names", []))
