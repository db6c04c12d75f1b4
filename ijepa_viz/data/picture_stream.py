"""Pictures of a data set in batches at a model's size, decoded ahead in threads: memory is that of a few batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.fitting import centre_crop
from ijepa_viz.data.picture_size import ImageSize, height_and_width
from ijepa_viz.data.scan import digest, first_few
from ijepa_viz.data.source import Source

_AHEAD = 2  # batches that are decoded while another one is computed on


@dataclass(frozen=True)
class PictureBatch:
    """Some pictures of a data set.

    Attributes:
        indices: (b,) int64, of the data set.
        pixels: (b, 3, H, W) uint8, the largest centred parts of the size's proportions.
        digests: (b,) uint64, by content as :class:`ijepa_viz.data.scan.Scan` has them; zeros where nobody asked.
    """

    indices: np.ndarray
    pixels: Tensor
    digests: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


@dataclass
class PictureStream:
    """Every readable picture of a data set once and in order, as an iterable of :class:`PictureBatch`.

    Attributes:
        source: the data set. size: in pixels, one number or (height, width).
        batch: pictures a batch, of the readable ones.
        with_digests: also compute their digests.
        strict: raise on the first unreadable picture instead of leaving it out.
        errors: index -> message of those left out so far.
    """

    source: Source
    size: ImageSize
    batch: int = 32
    with_digests: bool = False
    strict: bool = False
    errors: dict[int, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"A batch has at least one picture, got {self.batch}.")

    def __iter__(self) -> Iterator[PictureBatch]:
        """Read the pictures.

        Raises:
            ValueError: an unreadable picture and ``strict``, or none that is readable.
        """
        self.errors.clear()
        found = self._drawn() if self.source.render is not None else self._read()
        count = 0
        for batch in found:
            count += len(batch)
            if len(batch):
                yield batch
        if not count:
            raise ValueError(f"No picture of {self.source.name} can be read. {self.note()}".rstrip())

    def note(self) -> str:
        """A sentence on the pictures that were left out; empty where all could be read."""
        if not self.errors:
            return ""
        some = first_few(self.errors, self.source.name_of)
        left_out = f"Left out {len(self.errors)} of {len(self.source)} pictures of {self.source.name}"
        return f"{left_out}, which cannot be read ({some})."

    def _drawn(self) -> Iterator[PictureBatch]:
        source, total = self.source, len(self.source)
        known = (source.digests or source.drawn_digests)() if self.with_digests else np.zeros(total, np.uint64)
        for start in range(0, total, self.batch):
            stop = min(start + self.batch, total)
            pixels = torch.from_numpy(source.draw(start, stop, self.size)).permute(0, 3, 1, 2)
            yield PictureBatch(np.arange(start, stop), pixels, known[start:stop])

    def _read(self) -> Iterator[PictureBatch]:
        starts: Iterator[int] = iter(range(0, len(self.source), self.batch))
        with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as workers:
            waiting: deque[list[Future[_Picture]]] = deque()

            def begin() -> None:
                start = next(starts, None)
                if start is not None:
                    stop = min(start + self.batch, len(self.source))
                    waiting.append([workers.submit(self._one, index) for index in range(start, stop)])

            try:
                for _ in range(1 + _AHEAD):
                    begin()
                while waiting:
                    pictures = [future.result() for future in waiting.popleft()]
                    begin()
                    yield self._joined(pictures)
            finally:
                workers.shutdown(wait=True, cancel_futures=True)

    def _one(self, index: int) -> _Picture:
        try:
            image = self.source.read(index)
            return index, np.asarray(centre_crop(image, self.size)), digest(image) if self.with_digests else 0, ""
        except (ValueError, OSError) as error:
            return index, None, 0, str(error) or type(error).__name__

    def _joined(self, pictures: list[_Picture]) -> PictureBatch:
        for index, pixels, _, why in pictures:
            if pixels is None:
                if self.strict:
                    name = self.source.name_of(index)
                    raise ValueError(f"{name} of {self.source.name} cannot be read: {why}")
                self.errors[index] = why
        good = [(index, pixels, number) for index, pixels, number, _ in pictures if pixels is not None]
        if not good:
            nothing = torch.zeros(0, 3, *height_and_width(self.size), dtype=torch.uint8)
            return PictureBatch(np.zeros(0, np.int64), nothing, np.zeros(0, np.uint64))
        indices, arrays, numbers = zip(*good, strict=True)
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
        return PictureBatch(np.array(indices, np.int64), pixels, np.array(numbers, np.uint64))


# Index, (H, W, 3) uint8 or None, digest, and why it cannot be read.
_Picture = tuple[int, Any, int, str]
