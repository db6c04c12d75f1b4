"""Folders of image files, flat or with one sub-folder a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def open_folder(path: Path) -> Source:
    """Open a folder of images, searched recursively; sub-folders are the classes.

    Raises:
        ValueError: a folder without images.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(f"{path} holds no images ({', '.join(_SUFFIXES)}) and no parquet files.")
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
