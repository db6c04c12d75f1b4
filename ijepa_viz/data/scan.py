"""One pass over a data set: which images cannot be read, and a digest of the content of each of the others."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ijepa_viz.data.arrays import cached_file
from ijepa_viz.data.reading import VERSION
from ijepa_viz.data.source import Source
from ijepa_viz.runtime.files import cache_folder, write_file
from ijepa_viz.runtime.progress import track

_DIGEST_BYTES = 8
_SHOWN = 5  # errors that a message has in full


@dataclass(frozen=True)
class Scan:
    """The result of :func:`scan`.

    Attributes:
        errors: index -> message, of the unreadable images.
        digests: (count,) uint64; equal where the decoded pixels are equal, 0 where an image is unreadable.
    """

    errors: dict[int, str]
    digests: np.ndarray


def digest(image: Image.Image) -> int:
    """64-bit digest of an image's size and RGB pixels: the same for a copy in any lossless format."""
    found = hashlib.blake2b(repr(image.size).encode(), digest_size=_DIGEST_BYTES)
    found.update(image.convert("RGB").tobytes())
    return int.from_bytes(found.digest(), "little")


def scan(source: Source) -> Scan:
    """Decode every image once, in threads; the result is cached on disk by the source's stamp.

    Unreadable images are tried again each time.
    Drawn scenes are not read: their digests are of their seed and index.
    """
    if source.digests is not None:
        return Scan({}, source.digests())
    if source.render is not None:
        return Scan({}, source.drawn_digests())
    path = _cache_path(source)
    if path.is_file():
        with cached_file(path), np.load(path, allow_pickle=False) as kept:
            digests, unreadable = kept["digests"], kept["unreadable"].tolist()
        # Once more: a permission, or a decoder that has been installed since, may have mended them.
        errors = _read(source, unreadable, digests)
        if len(errors) == len(unreadable):
            return Scan(errors, digests)
    else:
        digests = np.zeros(len(source), np.uint64)
        errors = _read(source, range(len(source)), digests)
    buffer = io.BytesIO()
    np.savez(buffer, digests=digests, unreadable=np.array(list(errors), np.int64))
    write_file(path, buffer.getvalue())
    return Scan(errors, digests)


def first_few(errors: Mapping[int, str], name_of: Callable[[int], str]) -> str:
    """The first errors by the name of their picture, and how many more there are; ``errors`` as in :class:`Scan`.

    >>> first_few({3: "it is empty", 8: "it is a web page"}, "picture {}".format)
    'picture 3: it is empty; picture 8: it is a web page'
    """
    some = "; ".join(f"{name_of(index)}: {why.rstrip('.')}" for index, why in list(errors.items())[:_SHOWN])
    return f"{some}; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else some


def is_scanned(source: Source) -> bool:
    """Whether :func:`scan` has been done on this machine, or needs no reading of images."""
    return source.digests is not None or source.render is not None or _cache_path(source).is_file()


def _cache_path(source: Source) -> Path:
    key = hashlib.sha256(json.dumps(["scan", VERSION, source.name, source.stamp, len(source)]).encode()).hexdigest()
    return cache_folder() / f"{key[:24]}.npz"


def _read(source: Source, indices: Sequence[int], digests: np.ndarray) -> dict[int, str]:
    """Write the digests of some images into ``digests`` (count,), and return the errors of the unreadable ones."""

    def check(index: int) -> tuple[int, str]:
        try:
            return digest(source.read(index)), ""
        except (ValueError, OSError) as error:
            return 0, str(error) or type(error).__name__

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        found = list(track(workers.map(check, indices), f"checking {source.name}", "img", len(indices)))
    for index, (number, _) in zip(indices, found, strict=True):
        digests[index] = number
    return {index: why for index, (_, why) in zip(indices, found, strict=True) if why}
