"""Batches of cropped training images, from one array of all images or decoded on demand; prefetching."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.clip_arrays import clip_arrays
from ijepa_viz.data.clips import ClipSource
from ijepa_viz.data.fitting import centre_crop
from ijepa_viz.data.picture_size import ImageSize, height_and_width
from ijepa_viz.data.scan import scan
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import Crops, crop_and_resize, crop_and_resize_image

# Largest array of images, in bytes; larger data sets are decoded on demand.
ARRAY_LIMIT = 24 * 2**30


Batch = TypeVar("Batch")


def evenly(total: int, count: int) -> np.ndarray:
    """At most ``count`` of ``total`` indices, ascending and evenly spaced, (n,) int64.

    The first ones would be of one class in a folder, which lists class after class.

    >>> evenly(10, 3).tolist(), evenly(2, 5).tolist()
    ([1, 5, 8], [0, 1])
    """
    count = min(count, total)
    return (2 * np.arange(count) + 1) * total // (2 * max(1, count))


def identity(source: Source) -> dict[str, Any]:
    """What tells a data set from another: the number of its images, and a hash of their content in their order.

    Where the images lie and when they were written is no part of it.
    """
    drawn = source.render is not None and source.digests is None
    content = json.dumps(source.stamp).encode() if drawn else scan(source).digests.tobytes()
    return {"pictures": len(source), "sha256": hashlib.sha256(content).hexdigest()}


def other_pictures(before: dict[str, Any], now: dict[str, Any], source: str) -> str:
    """In words, how two :func:`identity` of different data sets differ; ``source`` is the name of the one of now."""
    if before["pictures"] == now["pictures"]:
        return f"data.source: {source!r} has other pictures than before, or in another order ({now['pictures']})"
    return f"data.source: {before['pictures']} pictures before, {now['pictures']} now ({source!r})"


class Prefetcher(Generic[Batch]):
    """Prefetch the next batch in a thread while the device computes on the current one; no prefetching on a CPU.

    Args:
        make: step -> its batch, a function of the step only. device: device of the training.
    """

    def __init__(self, make: Callable[[int], Batch], device: torch.device) -> None:
        self._make = make
        self._reader = ThreadPoolExecutor(1) if device.type != "cpu" else None
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """Return ``make(step)``; an exception in the thread is raised here."""
        if self._reader is None:
            return self._make(step)
        if self._next is None or self._next[0] != step:
            self._next = (step, self._reader.submit(self._make, step))
        found = self._next[1].result()
        self._next = (step + 1, self._reader.submit(self._make, step + 1))
        return found


class TrainingImages(Protocol):
    """Source of training crops and of centred ones; squares, or (height, width) of a rectangular size.

    Of films, (b, T, 3, H, W) in the place of (b, 3, H, W).
    """

    def crops(self, indices: np.ndarray, crops: Crops, device: torch.device) -> Tensor:
        """Crop the images with these indices, (b,) -> (b, 3, H, W) float in [0, 1] on ``device``."""
        ...

    def squares(self, count: int) -> Tensor:
        """``count`` images, evenly spaced (or all, if fewer), centred, (n, 3, H, W) uint8."""
        ...


class InMemoryImages:
    """All images, centred, in one memory-mapped array: fastest for small images."""

    def __init__(self, source: Source, size: ImageSize) -> None:
        self.size, self.array = size, arrays(source, size)

    def crops(self, indices: np.ndarray, crops: Crops, device: torch.device) -> Tensor:
        """As :class:`TrainingImages`."""
        pixels = torch.from_numpy(self.array[indices]).to(device).permute(0, 3, 1, 2)
        return crop_and_resize(pixels, self.size, crops)

    def squares(self, count: int) -> Tensor:
        """As :class:`TrainingImages`."""
        return torch.from_numpy(self.array[evenly(len(self.array), count)]).permute(0, 3, 1, 2)


class StreamedImages:
    """Images decoded on demand at full size and then cropped, as in the paper.

    Decoding runs in threads, because Pillow releases the interpreter lock.

    Args:
        source: images of any size. size: of the crops, in pixels.
        workers: number of threads; None is one a core, divided by the processes of this machine.
    """

    def __init__(self, source: Source, size: ImageSize, workers: int | None = None) -> None:
        self.source, self.size = source, size
        self._workers = _decoding_threads(workers)

    def crops(self, indices: np.ndarray, crops: Crops, device: torch.device) -> Tensor:
        """As :class:`TrainingImages`."""

        def one(i: int) -> np.ndarray:
            return crop_and_resize_image(self.source.read(int(indices[i])), self.size, crops[i : i + 1])

        pixels = np.stack(list(self._workers.map(one, range(len(indices)))))
        return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255

    def squares(self, count: int) -> Tensor:
        """As :class:`TrainingImages`."""
        indices = evenly(len(self.source), count)
        pixels = np.stack([np.asarray(centre_crop(self.source.read(int(i)), self.size)) for i in indices])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)


class StreamedClips:
    """Clips decoded batch by batch at the model's size; a clip's frames are cropped alike.

    Args:
        source: of clips. size: height = width of the frames, in pixels. frames: T that the model takes.
        workers: number of threads; None is one a core, divided by the processes of this machine.

    Raises:
        ValueError: pictures, clips of another length, or a rectangular size.
    """

    def __init__(self, source: Source, size: ImageSize, frames: int, workers: int | None = None) -> None:
        if not isinstance(source, ClipSource):
            raise ValueError(f"A model of {frames} frames trains on films, and {source.name} has pictures only.")
        if source.frames != frames:
            raise ValueError(
                f"{source.name} has clips of {source.frames} frames, the model takes {frames}: set model.frames, or "
                "the frames of the data set."
            )
        height, width = height_and_width(size)
        if height != width:
            raise ValueError(f"Films are squares, got model.image_size {height}x{width}.")
        self.source, self.size = source, height
        self._workers = _decoding_threads(workers)

    def crops(self, indices: np.ndarray, crops: Crops, device: torch.device) -> Tensor:
        """As :class:`TrainingImages`, (b, T, 3, H, W)."""
        clips = torch.from_numpy(self.read(indices)).to(device).permute(0, 1, 4, 2, 3)
        flat = crop_and_resize(clips.flatten(1, 2), self.size, crops)
        return flat.unflatten(1, clips.shape[1:3])

    def squares(self, count: int) -> Tensor:
        """As :class:`TrainingImages`, (n, T, 3, H, W) uint8."""
        return torch.from_numpy(self.read(evenly(len(self.source), count))).permute(0, 1, 4, 2, 3)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Whole clips, (n, T, size, size, 3) uint8."""
        return np.stack(list(self._workers.map(lambda i: self.source.clip(int(i), self.size).frames, indices)))


class ClipImages(StreamedClips):
    """All clips in one memory-mapped array."""

    def __init__(self, source: Source, size: ImageSize, frames: int) -> None:
        super().__init__(source, size, frames)
        self.array = clip_arrays(self.source, self.size)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """As :class:`StreamedClips`."""
        return self.array[indices]


def _decoding_threads(workers: int | None) -> ThreadPoolExecutor:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return ThreadPoolExecutor(workers or max(1, (os.cpu_count() or 1) // here))


def open_images(
    source: Source, size: ImageSize, keep: bool | None = None, workers: int | None = None, frames: int = 1
) -> TrainingImages:
    """Open a data set for training crops of ``size`` pixels.

    Args:
        keep: True for :class:`InMemoryImages`, False for :class:`StreamedImages`; None chooses the array if it is
            below 24 GiB, and always for drawn scenes.
        workers: number of decoding threads; None is one a core.
        frames: that the model takes: more than 1 is :class:`ClipImages` or :class:`StreamedClips`.
    """
    if keep is None:
        pixels = len(source) * frames * math.prod(height_and_width(size))
        keep = source.render is not None or pixels * 3 <= ARRAY_LIMIT
    if frames > 1:
        return ClipImages(source, size, frames) if keep else StreamedClips(source, size, frames, workers)
    return InMemoryImages(source, size) if keep else StreamedImages(source, size, workers)
