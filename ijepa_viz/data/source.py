"""The interface of a data set of images, and the registry of named data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ijepa_viz.registry import Registry


@dataclass
class Source:
    """A data set of images.

    Attributes:
        name: for messages and the cache.
        read: index -> RGB image.
        count: number of images.
        labels: (count,) int64 class labels, or None.
        classes: names of the labels.
        truths: further labels by name ("count", "distance"), as functions that return (count,) int64.
        stamp: identity of the content for the cache key (files, sizes, dates, seeds).
        render: for drawn data, (start, stop, size) -> (stop - start, size, size, 3) uint8.
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
