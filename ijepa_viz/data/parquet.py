"""Parquet shards with encoded images, in the layout of the Hugging Face hub."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ijepa_viz.data.annotations import ANNOTATIONS
from ijepa_viz.data.labels import as_labels, merge_labels, unlabelled_note
from ijepa_viz.data.layout import file_stamps
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image

# Usual names, in order of preference; Hugging Face's metadata tells of others.
PICTURES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture")
LABELS = ("label", "labels", "fine_label", "cls", "class")


def open_parquet(name: str, files: list[str]) -> Source:
    """Open parquet shards with an image column and an optional label column.

    Columns of :data:`ijepa_viz.data.annotations.ANNOTATIONS` that all shards have are read when they are asked for,
    others never.

    Labels are integers or class names. Shards that name their classes in different orders are matched by name.

    Raises:
        ValueError: a shard without the columns of the first one, or a damaged one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    chunks: list[Any] = []
    labels: list[tuple[np.ndarray, list[str]]] = []
    picture, label = "", None
    annotated = set(ANNOTATIONS)
    for file in files:
        try:
            schema = pq.read_schema(file)
            features = _features(schema.metadata)
            if file == files[0]:
                picture, label = _columns(file, schema, features)
            missing = [c for c in (picture, label) if c is not None and c not in schema.names]
            if missing:
                raise ValueError(
                    f"{file} has no column {missing[0]!r}, which {files[0]} has; it has {schema.names}. "
                    "Open shards of one kind."
                )
            annotated &= set(schema.names)
            table = pq.read_table(file, columns=[c for c in (picture, label) if c is not None])
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{file} cannot be read as parquet: {error}") from error
        chunks += table.column(picture).chunks
        if label is not None:
            names = list(features.get(label, {}).get("names") or [])
            labels.append(as_labels(table.column(label).to_pylist(), names, f"Column {label!r} of {file}"))
    starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])
    if not starts[-1]:
        raise ValueError(f"{name} holds no images: its {len(files)} parquet files have no rows.")

    def read(index: int) -> Any:
        chunk = int(np.searchsorted(starts, index, side="right")) - 1
        return read_image(_encoded(chunks[chunk][int(index - starts[chunk])].as_py(), index))

    def key(index: int) -> str:
        chunk = int(np.searchsorted(starts, index, side="right")) - 1
        cell = chunks[chunk][int(index - starts[chunk])]
        path = cell["path"].as_py() if pa.types.is_struct(cell.type) and cell.is_valid and "path" in cell else None
        return str(path or index)

    numbers, classes = merge_labels(labels) if labels else (None, [])
    return Source(
        name=name,
        read=read,
        count=int(starts[-1]),
        labels=numbers,
        classes=classes,
        stamp=file_stamps(files),
        notes=[] if numbers is None else unlabelled_note(numbers, name),
        key=key,
        annotations={name: partial(_annotation, name, files) for name in sorted(annotated)},
    )


def _annotation(name: str, files: Sequence[str]) -> np.ndarray:
    """A column of ``ANNOTATIONS`` as (count, ...) float64, NaN where it is null.

    Raises:
        ValueError: rows of another shape, or no numbers.
    """
    import pyarrow.parquet as pq

    shape = ANNOTATIONS[name]
    nothing = np.full(shape, np.nan)
    rows = []
    for file in files:
        for index, row in enumerate(pq.read_table(file, columns=[name]).column(name).to_pylist()):
            try:
                values = nothing if row is None else np.array(row, np.float64)
            except (ValueError, TypeError) as error:
                raise ValueError(f"Row {index} of {file}: {name} is not numbers ({error}).") from error
            if values.shape != shape:
                raise ValueError(f"Row {index} of {file}: {name} is {values.shape} numbers, {shape} are expected.")
            rows.append(values)
    return np.stack(rows)


def _encoded(cell: Any, index: int) -> io.BytesIO:
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    if found is None:
        where = (
            f": the file holds its path only ({cell['path']})" if isinstance(cell, dict) and cell.get("path") else ""
        )
        raise ValueError(f"Row {index} holds no image{where}.")
    if not isinstance(found, bytes):
        what = f"the text {found!r}" if isinstance(found, str) else f"{type(found).__name__}"
        raise ValueError(f"Row {index} holds {what:.80}, not the bytes of a picture's file.")
    return io.BytesIO(found)


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Hugging Face's description of the columns, from the schema; empty where there is none."""
    if not metadata or b"huggingface" not in metadata:
        return {}
    try:
        found = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (ValueError, KeyError, TypeError):  # another library's use of the key
        return {}
    return {name: kind for name, kind in found.items() if isinstance(kind, dict)} if isinstance(found, dict) else {}


def _columns(file: str, schema: Any, features: dict[str, Any]) -> tuple[str, str | None]:
    """Names of the image column and of the label column, None without labels.

    Raises:
        ValueError: no image column.
    """
    columns = schema.names

    def choose(usual: tuple[str, ...], kind: str) -> str | None:
        described = [name for name in columns if features.get(name, {}).get("_type") == kind]
        return next((name for name in usual if name in columns), described[0] if len(described) == 1 else None)

    picture = choose(PICTURES, "Image")
    if picture is None:
        raise ValueError(f"{file} has columns {columns}, but no image column ({', '.join(PICTURES)}).")
    return picture, choose(LABELS, "ClassLabel")
