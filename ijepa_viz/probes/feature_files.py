"""Files of features, parquet, npz or safetensors by their ending: written batch by batch, completely or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ijepa_viz.runtime.files import replacing
from ijepa_viz.runtime.outputs import ending

ENDINGS = (".parquet", ".npz", ".safetensors")
ABOUT = "ijepa_viz"
"""Key of the JSON text that says what the features are of: in parquet's metadata, in npz, and in safetensors'."""

TEXTS, LABEL = ("name", "split", "class"), "label"

# Rows are written to parquet when as many bytes are together; memory is several times that.
_GROUP_BYTES = 4 * 2**20
_LONGEST_HEADER = 100_000_000  # of safetensors, which refuses to read longer ones
_ALIGNED = 64

Rows = Mapping[str, Any]
"""Column -> the values of some rows: texts as lists, ``label`` (b,) int64, all others (b, ...) float32."""


@dataclass(frozen=True)
class Features:
    """What a file of features holds.

    Attributes:
        about: model, data set, layers, grid and classes, as ``ijepa-viz features`` wrote them.
        names: (n) of the pictures. splits: (n) "train", "test" or "" of a data set of one part.
        classes: (n) names, "" without one. labels: (n,) int64, into ``about["classes"]``, -1 without one.
        values: column such as "layer_12" -> (n, D) float32, or "tokens_12" -> (n, N, D).
    """

    about: dict[str, Any]
    names: list[str]
    splits: list[str]
    classes: list[str]
    labels: np.ndarray
    values: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.names)


def write_features(
    path: Path, rows: Iterator[Rows], shapes: Mapping[str, tuple[int, ...]], about: Mapping[str, Any]
) -> int:
    """Write features as they come; returns the number of rows.

    Memory is that of a batch, and of the names. npz and safetensors collect their columns in temporary files beside
    ``path``, because their arrays lie one behind the other: the disk needs twice the room for a moment.

    Args:
        path: .parquet, .npz or .safetensors.
        rows: batches, with the columns ``name``, ``split``, ``class`` and ``label`` and those of ``shapes``.
        shapes: column -> shape of one row.
        about: what the features are of, in JSON's types.

    Raises:
        ValueError: another ending; names that are too long for safetensors. OSError: as
            :func:`ijepa_viz.runtime.files.replacing`; after any error there is neither a part of the file nor of the
            temporary ones.
    """
    write = _WRITERS[ending(path, ENDINGS)]
    with replacing(path, "What was there before is intact.") as partial:
        return write(partial, rows, shapes, {**about, "shapes": {k: list(v) for k, v in shapes.items()}})


def read_features(path: str | Path) -> Features:
    """Read a file of :func:`write_features` of any kind, as a whole.

    Raises:
        FileNotFoundError: no such file. ValueError: not such a file, or damaged.
    """
    path = Path(path)
    kind = ending(path, ENDINGS)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        return _READERS[kind](path)
    except Exception as error:  # each library raises its own kinds on damaged bytes, and nothing but reading happens
        raise ValueError(f"{path} is no file of features of ijepa-viz, or is damaged: {error}") from error


# ------------------------------------------------------------------------------------------------------------ parquet


def _write_parquet(
    partial: Path, rows: Iterator[Rows], shapes: Mapping[str, tuple[int, ...]], about: dict[str, Any]
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = {name: pa.list_(pa.float32(), int(np.prod(shape))) for name, shape in shapes.items()}
    kinds: list[Any] = [*((name, pa.string()) for name in TEXTS), (LABEL, pa.int64()), *lists.items()]
    schema = pa.schema(kinds, metadata={ABOUT: json.dumps(about)})
    width = sum(int(np.prod(shape)) for shape in shapes.values())
    most = max(1, _GROUP_BYTES // max(1, 4 * width))
    # In place, because many small arrays that stay would keep the allocator from using the room of large ones again.
    texts: dict[str, list[str]] = {name: [] for name in TEXTS}
    numbers = np.empty(most, np.int64)
    columns = {name: np.empty((most, int(np.prod(shape))), np.float32) for name, shape in shapes.items()}
    count = filled = 0
    # Dictionaries pay for words that recur, and never for features.
    with pq.ParquetWriter(partial, schema, use_dictionary=["split", "class"]) as writer:

        def write_group() -> None:
            arrays = [pa.array(values, pa.string()) for values in texts.values()]
            arrays.append(pa.array(numbers[:filled]))
            for name, values in columns.items():
                flat = pa.array(values[:filled].reshape(-1))
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, lists[name].list_size))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            for some in texts.values():
                some.clear()

        for batch in rows:
            for start in range(0, len(batch[LABEL]), most):
                some = {name: values[start : start + most] for name, values in batch.items()}
                own = len(some[LABEL])
                if filled + own > most:
                    write_group()
                    filled = 0
                for name, words in texts.items():
                    words.extend(some[name])
                numbers[filled : filled + own] = some[LABEL]
                for name, values in columns.items():
                    values[filled : filled + own] = np.asarray(some[name]).reshape(own, -1)
                filled, count = filled + own, count + own
        if filled or not count:
            write_group()
    return count


def _read_parquet(path: Path) -> Features:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[ABOUT.encode()])
    values = {
        name: table.column(name).combine_chunks().flatten().to_numpy().reshape(len(table), *shape)
        for name, shape in about["shapes"].items()
    }
    names, splits, classes = (table.column(name).to_pylist() for name in TEXTS)
    return Features(about, names, splits, classes, table.column(LABEL).to_numpy(), values)


# ------------------------------------------------------------------------------------------------- npz and safetensors


class _Columns:
    """Columns that grow in files of their own until all rows are there; texts are kept in memory."""

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[int, ...]], files: ExitStack) -> None:
        self.count = 0
        self.texts: dict[str, list[str]] = {name: [] for name in TEXTS}
        self.shapes: dict[str, tuple[int, ...]] = {LABEL: (), **shapes}
        self.kinds = {name: np.dtype("<i8" if name == LABEL else "<f4") for name in self.shapes}
        self._files = {name: files.enter_context((folder / name).open("w+b")) for name in self.shapes}

    def add(self, batch: Rows) -> None:
        """Append a batch."""
        self.count += len(batch[LABEL])
        for name, texts in self.texts.items():
            texts.extend(batch[name])
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(batch[name], self.kinds[name]).data)

    def shape(self, name: str) -> tuple[int, ...]:
        """(n, ...) of a column."""
        return (self.count, *self.shapes[name])

    def copy(self, name: str, out: Any) -> None:
        """Write a column's bytes to an open file."""
        file = self._files[name]
        file.seek(0)
        shutil.copyfileobj(file, out, 2**20)


def _collected(write: Callable[[BinaryIO, _Columns, dict[str, Any]], None]) -> Callable[..., int]:
    """A writer of a whole file from columns that are collected first."""

    def run(partial: Path, rows: Iterator[Rows], shapes: Mapping[str, tuple[int, ...]], about: dict[str, Any]) -> int:
        with ExitStack() as files:
            folder = Path(files.enter_context(tempfile.TemporaryDirectory(dir=partial.parent, prefix=".features-")))
            columns = _Columns(folder, shapes, files)
            for batch in rows:
                columns.add(batch)
            out = files.enter_context(partial.open("wb"))
            write(out, columns, about)
            out.flush()
            os.fsync(out.fileno())
        return columns.count

    return run


def _write_npz(out: BinaryIO, columns: _Columns, about: dict[str, Any]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        texts: dict[str, Any] = {ABOUT: json.dumps(about), **columns.texts}
        for name, value in texts.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.array(value, dtype=np.str_), allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())
        for name in columns.shapes:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {
                    "descr": columns.kinds[name].str,
                    "fortran_order": False,
                    "shape": columns.shape(name),
                }
                np.lib.format.write_array_header_1_0(member, header)
                columns.copy(name, member)


def _read_npz(path: Path) -> Features:
    with np.load(path, allow_pickle=False) as data:
        about = json.loads(str(data[ABOUT]))
        names, splits, classes = ([str(text) for text in data[name]] for name in TEXTS)
        return Features(about, names, splits, classes, data[LABEL], {name: data[name] for name in about["shapes"]})


def _write_safetensors(out: BinaryIO, columns: _Columns, about: dict[str, Any]) -> None:
    texts = {name: json.dumps(values, ensure_ascii=False) for name, values in columns.texts.items()}
    header: dict[str, Any] = {"__metadata__": {ABOUT: json.dumps(about), **texts}}
    end = 0
    for name in columns.shapes:
        shape, kind = columns.shape(name), columns.kinds[name]
        start, end = end, end + int(np.prod(shape)) * kind.itemsize
        letters = "I64" if name == LABEL else "F32"
        header[name] = {"dtype": letters, "shape": list(shape), "data_offsets": [start, end]}
    words = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    words += b" " * (-(len(words) + 8) % _ALIGNED)
    if len(words) > _LONGEST_HEADER:
        raise ValueError(
            f"The names of {columns.count} pictures do not fit into the header of a safetensors file: write .parquet."
        )
    out.write(len(words).to_bytes(8, "little"))
    out.write(words)
    for name in columns.shapes:
        columns.copy(name, out)


def _read_safetensors(path: Path) -> Features:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        about = json.loads(metadata[ABOUT])
        names, splits, classes = (json.loads(metadata[name]) for name in TEXTS)
        values = {name: file.get_tensor(name) for name in about["shapes"]}
        return Features(about, names, splits, classes, file.get_tensor(LABEL), values)


_WRITERS: dict[str, Callable[..., int]] = {
    ".parquet": _write_parquet,
    ".npz": _collected(_write_npz),
    ".safetensors": _collected(_write_safetensors),
}
_READERS: dict[str, Callable[[Path], Features]] = {
    ".parquet": _read_parquet,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
