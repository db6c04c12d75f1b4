"""A data set as one memory-mapped array of images of one size, cached on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import open_memmap

from ijepa_viz.data.fitting import centre_crop
from ijepa_viz.data.picture_size import ImageSize, height_and_width
from ijepa_viz.data.reading import VERSION
from ijepa_viz.data.source import Source
from ijepa_viz.runtime.files import cache_folder, replacing
from ijepa_viz.runtime.progress import Progress


def arrays(source: Source, size: ImageSize, cache: bool = True) -> np.ndarray:
    """All images of a data set at one size, cropped to it, in one array, written once and memory-mapped afterwards.

    Args:
        size: in pixels: one number for centred squares, or (height, width) for centred parts of these proportions.
        cache: False keeps the array in memory instead of the cache folder.

    Returns:
        (count, H, W, 3) uint8. The cache file is written under a temporary name and renamed, so that an
        interrupted run leaves no partial cache.

    Raises:
        ValueError: an unreadable image, with its index.
    """
    shape = (len(source), *height_and_width(size), 3)
    if not cache:
        out = np.empty(shape, np.uint8)
        _fill(out, source, size)
        return out
    key = hashlib.sha256(json.dumps([VERSION, source.name, source.stamp, len(source), size]).encode())
    path = cache_folder() / f"{key.hexdigest()[:24]}.npy"
    if not path.exists():
        with replacing(path) as partial:
            out = open_memmap(partial, "w+", np.uint8, shape)
            _fill(out, source, size)
            out.flush()
    with cached_file(path):
        return np.load(path, mmap_mode="r")


@contextlib.contextmanager
def cached_file(path: Path) -> Iterator[None]:
    """Name the file in errors of reading it.

    Raises:
        ValueError: a file of the cache that is damaged, as a crash of the machine or a full disk may leave it.
    """
    try:
        yield
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}, a file of the cache, is damaged ({error}). Delete it: it is made anew.") from error


def _fill(out: np.ndarray, source: Source, size: ImageSize) -> None:
    step = 64 if source.render is None else 4096
    what = "reading" if source.render is None else "drawing"
    alone = source.render is not None and len(source) <= step  # one call, which shows its own progress
    with Progress(f"{what} {source.name}", len(source), "img", disable=alone) as bar:
        for start in range(0, len(source), step):
            stop = min(start + step, len(source))
            if source.render is not None:
                try:
                    out[start:stop] = source.draw(start, stop, size)
                except OSError as error:  # of the data, not of the cache that they are written to
                    which = f"Images {start} to {stop - 1} of {source.name}"
                    raise ValueError(f"{which} cannot be drawn: {error}") from error
            else:
                for i in range(start, stop):
                    try:
                        out[i] = np.asarray(centre_crop(source[i], size))
                    except (ValueError, OSError) as error:
                        raise ValueError(f"Image {i} of {source.name} cannot be read: {error}") from error
            bar.update(stop - start)
