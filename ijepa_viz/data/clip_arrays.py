"""A data set of clips as one memory-mapped array, cached on disk."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.lib.format import open_memmap

from ijepa_viz.data.arrays import cached_file
from ijepa_viz.data.clips import ClipSource
from ijepa_viz.data.reading import VERSION
from ijepa_viz.runtime.files import cache_folder, replacing
from ijepa_viz.runtime.progress import Progress

# Clips that are drawn or read between two writes: enough for several drawing processes.
_CHUNK = 480


def clip_arrays(source: ClipSource, size: int) -> np.ndarray:
    """All clips of a data set at one size, written once and memory-mapped afterwards.

    Args:
        size: height = width of the frames, in pixels.

    Returns:
        (count, T, size, size, 3) uint8. The cache file is written under a temporary name and renamed, so that an
        interrupted run leaves no partial cache.

    Raises:
        ValueError: a damaged file of the cache; it names the file.
    """
    key = hashlib.sha256(
        json.dumps([VERSION, source.name, source.stamp, len(source), "clips", source.frames, size]).encode()
    )
    path = cache_folder() / f"{key.hexdigest()[:24]}.npy"
    if not path.exists():
        with replacing(path) as partial, Progress(f"reading {source.name}", len(source), "clip") as bar:
            out = open_memmap(partial, "w+", np.uint8, (len(source), source.frames, size, size, 3))
            for start in range(0, len(source), _CHUNK):
                stop = min(start + _CHUNK, len(source))
                if source.render_clips is not None:
                    out[start:stop] = source.render_clips(start, stop, size)
                else:
                    out[start:stop] = source.clips(np.arange(start, stop), size)
                bar.update(stop - start)
            out.flush()
    with cached_file(path):
        return np.load(path, mmap_mode="r")
