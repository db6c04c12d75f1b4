"""Every data set by one string, and its cache of small arrays.

``open_source("menagerie")``, ``("menagerie:seed=3,count=2000")``, ``("photos/")``,
``("shards/train-0000[0-8]*.parquet")``, ``("zh-plus/tiny-imagenet")``, ``("cifar10")``, ``("stl10")``,
``("imagenette")``, ``("clevr:CLEVR_v1.0")``.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image
from tqdm import tqdm

from ijepa_viz.data.transforms import read_image, square
from ijepa_viz.registry import Registry

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


@dataclass
class Source:
    """A data set of pictures.

    Attributes:
        name: what was asked for.
        read: index -> an RGB picture.
        count: number of pictures.
        labels: (count,) int64, or None where the data set has none.
        classes: names of the labels.
        truths: what else is known of every picture, by name ("count", "distance"): functions to (count,) int64.
        stamp: what the cache depends on (files, sizes, dates, seeds).
        render: for drawn data: (start, stop, size) -> (stop - start, size, size, 3) uint8.
    """

    name: str
    read: Callable[[int], Image.Image]
    count: int
    labels: np.ndarray | None = None
    classes: Sequence[str] = ()
    truths: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    stamp: list[Any] = field(default_factory=list)
    render: Callable[[int, int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Image.Image:
        return self.read(index)


Opener = Callable[[str, str], Source]
SOURCES: Registry[Opener] = Registry("data set")
"""``f(options, split) -> Source`` for the string ``name`` or ``name:options``."""
register = SOURCES.register


def open_source(spec: str, split: str = "train") -> Source:
    """Open a data set.

    Args:
        spec: a registered name, optionally ``name:key=value,...``; an image folder (one sub-folder
            a class, or flat); a parquet file, a pattern of them, or a folder of them; a Hugging
            Face data set id ``owner/name``.
        split: "train" or "test", where the data set has both.

    Raises:
        FileNotFoundError: nothing of that name; the message names the nearest registered one.
        ValueError: there, but not pictures.
    """
    from ijepa_viz.data import clevr, menagerie, torchvision_sets  # noqa: F401  (they register themselves)

    name, _, options = spec.partition(":")
    if name in SOURCES:
        return SOURCES[name](options, split)
    path = Path(os.path.expanduser(spec))
    if path.is_dir():
        shards = sorted(str(p) for p in path.glob("*.parquet"))
        return _from_parquet(spec, shards) if shards else _from_folder(path)
    files = sorted(glob.glob(str(path)))
    if files and all(f.endswith(".parquet") for f in files):
        return _from_parquet(spec, files)
    if spec.count("/") == 1 and not spec.startswith((".", "/", "~")) and not path.suffix:
        return _from_hub(spec, split)
    near = difflib.get_close_matches(name, SOURCES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise FileNotFoundError(
        f"No data set {spec!r}: not one of {', '.join(sorted(SOURCES))}, and no such folder or parquet file.{hint}"
    )


def _from_folder(path: Path) -> Source:
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(f"{path} holds no pictures ({', '.join(_SUFFIXES)}) and no parquet files.")
    folders = sorted({p.parent.relative_to(path).as_posix() for p in files})
    labels = None
    if len(folders) > 1:
        index = {name: i for i, name in enumerate(folders)}
        labels = np.array([index[p.parent.relative_to(path).as_posix()] for p in files])
    return Source(
        name=str(path),
        read=lambda i: read_image(files[i]),
        count=len(files),
        labels=labels,
        classes=folders if labels is not None else (),
        stamp=[[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in files],
    )


def _column_bytes(cell: Any) -> bytes:
    return cell["bytes"] if isinstance(cell, dict) else cell


def _from_parquet(name: str, files: list[str]) -> Source:
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
    """Names of a ClassLabel column, from the note that Hugging Face leaves in the schema."""
    if not metadata or b"huggingface" not in metadata or label is None:
        return []
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    return list(features[label].get("names", []))


def _from_hub(spec: str, split: str) -> Source:
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


def cache_folder() -> Path:
    """Where arrays are cached: $IJEPA_VIZ_CACHE, or ``~/.cache/ijepa_viz``."""
    return Path(os.environ.get("IJEPA_VIZ_CACHE", "~/.cache/ijepa_viz")).expanduser()


def arrays(source: Source, size: int, cache: bool = True) -> np.ndarray:
    """The whole data set as one array of centred squares, made once and memory-mapped after.

    Returns:
        (count, size, size, 3) uint8. Written to a temporary name and renamed, so an interrupted
        run leaves no half cache.

    Raises:
        ValueError: a picture that cannot be read, with its index.
    """
    if not cache:
        out = np.empty((len(source), size, size, 3), np.uint8)
        _fill(out, source, size)
        return out
    key = hashlib.sha256(json.dumps([source.name, source.stamp, len(source), size]).encode())
    path = cache_folder() / f"{key.hexdigest()[:24]}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npy")
        try:
            out = open_memmap(partial, "w+", np.uint8, (len(source), size, size, 3))
            _fill(out, source, size)
            out.flush()
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def _fill(out: np.ndarray, source: Source, size: int) -> None:
    step = 64 if source.render is None else 4096
    bar = tqdm(total=len(source), desc=f"reading {source.name}", unit="img", disable=len(source) < 4096)
    for start in range(0, len(source), step):
        stop = min(start + step, len(source))
        if source.render is not None:
            out[start:stop] = source.render(start, stop, size)
        else:
            for i in range(start, stop):
                try:
                    out[i] = np.asarray(square(source[i], size))
                except (ValueError, OSError) as error:
                    raise ValueError(f"Picture {i} of {source.name} cannot be used: {error}") from error
        bar.update(stop - start)
    bar.close()
