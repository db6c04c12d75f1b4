"""A data set of pictures as the library sees it, and the registry of those with a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ijepa_viz.registry import Registry


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
