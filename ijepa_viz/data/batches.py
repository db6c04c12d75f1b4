"""Crops of a data set's pictures: from an array of all of them, or decoded as they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import Crops, cut, cut_picture, square

# Above so many bytes of squares, pictures are decoded as they are needed.
ARRAY_LIMIT = 24 * 2**30


Batch = TypeVar("Batch")


class ReadAhead(Generic[Batch]):
    """A step's batch, while a thread makes the next one: what a GPU need not wait for. On a CPU nothing is ahead.

    Args:
        make: step -> its batch, a function of nothing else. device: that computes on the batches.
    """

    def __init__(self, make: Callable[[int], Batch], device: torch.device) -> None:
        self._make = make
        self._reader = ThreadPoolExecutor(1) if device.type != "cpu" else None
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """``make(step)``; what it raised in the thread is raised here."""
        if self._reader is None:
            return self._make(step)
        if self._next is None or self._next[0] != step:
            self._next = (step, self._reader.submit(self._make, step))
        found = self._next[1].result()
        self._next = (step + 1, self._reader.submit(self._make, step + 1))
        return found


class Pictures(Protocol):
    """Where a training's pictures come from."""

    def crops(self, indices: np.ndarray, crops: Crops, device: torch.device) -> Tensor:
        """Crops of some pictures, (b,) -> (b, 3, size, size) float in [0, 1] on ``device``."""
        ...

    def squares(self, count: int) -> Tensor:
        """The first ``count`` pictures, or all where there are fewer, as centred squares: (n, 3, size, size) uint8."""
        ...


class Kept:
    """All pictures as centred squares in one memory-mapped array: the fastest, for small pictures."""

    def __init__(self, source: Source, size: int) -> None:
        self.size, self.array = size, arrays(source, size)

    def crops(self, indices: np.ndarray, crops: Crops, device: torch.device) -> Tensor:
        """As :class:`Pictures`."""
        pixels = torch.from_numpy(self.array[indices]).to(device).permute(0, 3, 1, 2)
        return cut(pixels, self.size, crops)

    def squares(self, count: int) -> Tensor:
        """As :class:`Pictures`."""
        return torch.from_numpy(self.array[:count].copy()).permute(0, 3, 1, 2)


class Streamed:
    """Pictures decoded at their full size, and cropped from that, as in the paper; by threads, as Pillow lets go of
    the interpreter while it decodes.

    Args:
        source: of pictures of any size. size: of the crops.
        workers: threads; None is one a core, shared among this machine's processes.
    """

    def __init__(self, source: Source, size: int, workers: int | None = None) -> None:
        self.source, self.size = source, size
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._workers = ThreadPoolExecutor(workers or max(1, (os.cpu_count() or 1) // here))

    def crops(self, indices: np.ndarray, crops: Crops, device: torch.device) -> Tensor:
        """As :class:`Pictures`."""

        def one(i: int) -> np.ndarray:
            return cut_picture(self.source.read(int(indices[i])), self.size, crops[i : i + 1])

        pixels = np.stack(list(self._workers.map(one, range(len(indices)))))
        return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255

    def squares(self, count: int) -> Tensor:
        """As :class:`Pictures`."""
        some = range(min(count, len(self.source)))
        pixels = np.stack([np.asarray(square(self.source.read(i), self.size)) for i in some])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def open_pictures(source: Source, size: int, keep: bool | None = None, workers: int | None = None) -> Pictures:
    """Where crops of ``size`` pixels come from.

    Args:
        keep: True for an array of all squares, False to decode as needed; None takes the array where it is below
            24 GiB, and always for drawn scenes.
        workers: threads that decode; None is one a core.
    """
    if keep is None:
        keep = source.render is not None or len(source) * size * size * 3 <= ARRAY_LIMIT
    return Kept(source, size) if keep else Streamed(source, size, workers)
