"""The interface of a data set of images, and the registry of named data sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from ijepa_viz.data.picture_size import ImageSize, height_and_width
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
        split: the part that was opened, "train" or "test"; None where the data set has one part only.
        notes: what was left out on opening, in sentences for the user.
        digests: (count,) uint64 of the content of each image, where they are known without reading it.
        key: index -> name of the image, such as its path in the folder; None where only its index is known.
        annotations: what parquet files tell of places in the pictures, as functions that return (count, ...) float64
            (:mod:`ijepa_viz.data.annotations`).
        cue: index -> the sentence that a predictor with cues is trained with, "" for none: of a film what happens, of a
            picture a creature in it. None where nothing is known in words.
    """

    name: str
    read: Callable[[int], Image.Image]
    count: int
    labels: np.ndarray | None = None
    classes: Sequence[str] = ()
    truths: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    stamp: list[Any] = field(default_factory=list)
    render: Callable[[int, int, int], np.ndarray] | None = None
    split: str | None = None
    notes: Sequence[str] = ()
    digests: Callable[[], np.ndarray] | None = None
    key: Callable[[int], str] | None = None
    annotations: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    cue: Callable[[int], str] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Image.Image:
        return self.read(index)

    def draw(self, start: int, stop: int, size: ImageSize) -> np.ndarray:
        """Drawn images by :attr:`render`, (stop - start, H, W, 3) uint8; a rectangle is the centre of its square."""
        assert self.render is not None
        height, width = height_and_width(size)
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        return self.render(start, stop, side)[:, top : top + height, left : left + width]

    def name_of(self, index: int) -> str:
        """The name of an image: its path in the folder, its key in the shard, or its index."""
        return str(index) if self.key is None else self.key(index)

    def drawn_digests(self) -> np.ndarray:
        """Digests (count,) uint64 of drawn scenes, which are functions of the stamp (their seed) and their index."""
        base = hashlib.blake2b(json.dumps(self.stamp).encode(), digest_size=8).digest()
        rows = (hashlib.blake2b(base + i.to_bytes(8, "little"), digest_size=8) for i in range(len(self)))
        return np.array([int.from_bytes(row.digest(), "little") for row in rows], np.uint64)

    def subset(self, indices: np.ndarray, reason: str) -> Source:
        """Some of the images, with their labels and truths.

        Args:
            indices: (n,) int64, of this source.
            reason: part of the stamp, beside the indices themselves.
        """
        indices = np.asarray(indices, dtype=np.int64)
        render, digests, cue = self.render, self.digests, self.cue
        if render is not None and digests is None:
            digests = self.drawn_digests  # of the whole set: a part's stamp is another

        def chosen(truth: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
            return lambda: truth()[indices]

        def render_some(start: int, stop: int, size: int) -> np.ndarray:
            assert render is not None
            return np.concatenate([render(int(i), int(i) + 1, size) for i in indices[start:stop]])

        return replace(
            self,
            read=lambda index: self.read(int(indices[index])),
            count=len(indices),
            labels=None if self.labels is None else self.labels[indices],
            truths={name: chosen(truth) for name, truth in self.truths.items()},
            annotations={name: chosen(places) for name, places in self.annotations.items()},
            stamp=[*self.stamp, reason, hashlib.sha256(indices.tobytes()).hexdigest()],
            render=None if render is None else render_some,
            digests=None if digests is None else chosen(digests),
            key=lambda index: self.name_of(int(indices[index])),
            cue=None if cue is None else lambda index: cue(int(indices[index])),
        )


Opener = Callable[[str, str], Source]

SOURCES: Registry[Opener] = Registry("data set")

"""``f(options, split) -> Source`` for the string ``name`` or ``name:options``."""

register = SOURCES.register
