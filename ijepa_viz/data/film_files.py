"""Frames of one film on disk: a video file (by PyAV), a GIF (by Pillow), or a folder of frames."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from PIL import Image

from ijepa_viz.data.transforms import read_image

T = TypeVar("T")

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts"),
)

GIF_SUFFIXES = (".gif",)

NO_PYAV = "PyAV reads videos: pip install 'ijepa-viz[video]'"


class FilmFile(ABC):
    """One film on disk.

    Attributes:
        path: of the file, or of the folder.
        files: all files whose content is the film's.
    """

    def __init__(self, path: str, files: Sequence[str]) -> None:
        self.path, self.files = path, list(files)

    @abstractmethod
    def count(self) -> int:
        """Number of frames.

        Raises:
            ValueError: a file that cannot be read, with its name and the cause.
        """

    @abstractmethod
    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        """The frames with these ascending indices, RGB, of the film's own size.

        Raises:
            ValueError: a frame that cannot be read, with the file's name and the cause.
        """


class FrameFolder(FilmFile):
    """Pictures of one folder, in the order of the numbers in their names."""

    def __init__(self, path: str, files: Sequence[str]) -> None:
        super().__init__(path, sorted(files, key=_by_number))

    def count(self) -> int:
        """As :class:`FilmFile`."""
        return len(self.files)

    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        """As :class:`FilmFile`."""
        return [read_image(self.files[i]) for i in indices]


class GifFile(FilmFile):
    """An animated GIF; its frames' durations are not looked at."""

    def count(self) -> int:
        """As :class:`FilmFile`."""
        return self._with_image(lambda image: getattr(image, "n_frames", 1))

    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        """As :class:`FilmFile`."""

        def frames(image: Image.Image) -> list[Image.Image]:
            found = []
            for i in indices:
                image.seek(i)
                found.append(image.convert("RGB"))
            return found

        return self._with_image(frames)

    def _with_image(self, ask: Callable[[Image.Image], T]) -> T:
        try:
            with Image.open(self.path) as image:
                return ask(image)
        except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{self.path} cannot be read as GIF: {error}") from error


class VideoFile(FilmFile):
    """A video, by PyAV; of several video streams, the first. Turned as its metadata say, with square pixels."""

    def count(self) -> int:
        """As :class:`FilmFile`; found from the packets, without decoding them, where they have times."""
        times = self._times()
        return times if isinstance(times, int) else len(times)

    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        """As :class:`FilmFile`; decodes from the key frame before the first of them."""
        times = self._times()
        if isinstance(times, int):
            found = self._decode(set(indices), None, lambda number, frame: number)
            keys = list(indices)
        else:
            keys = [times[i] for i in indices]
            found = self._decode(set(keys), keys[0], lambda number, frame: frame.pts)
            if len(found) < len(set(keys)):  # some indices of files lead past the key frame
                found = self._decode(set(keys), None, lambda number, frame: frame.pts)
        lost = [i for i, key in zip(indices, keys, strict=True) if key not in found]
        if lost:
            raise ValueError(f"Frame {lost[0]} of {self.path} cannot be decoded: the file is damaged.")
        return [found[key] for key in keys]

    def _times(self) -> tuple[int, ...] | int:
        """Presentation times of all frames, ascending; their number where the file holds no times."""
        try:
            state = os.stat(self.path)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read as a video: {error}") from error
        return _presentation_times(self.path, state.st_size, state.st_mtime_ns)

    def _decode(self, wanted: set[int], start: int | None, key_of: Callable[[int, Any], int]) -> dict[int, Image.Image]:
        """Frames by their keys, from the key frame before the time ``start``, or from the beginning."""
        found: dict[int, Image.Image] = {}
        with _opened(self.path) as (container, stream):
            if start is not None:
                container.seek(start, stream=stream)
            for number, frame in enumerate(container.decode(stream)):
                key = key_of(number, frame)
                if key in wanted:
                    found[key] = _upright(frame, stream)
                if len(found) == len(wanted) or (key is not None and key > max(wanted)):
                    break
        return found


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    """(container, video stream) of a video file; all errors of FFmpeg name it."""
    if not has_pyav():
        raise ValueError(f"{path} is a video. {NO_PYAV}.")
    import av

    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no pictures: it has no video stream.")
            yield container, container.streams.video[0]
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error


@lru_cache(maxsize=256)
def _presentation_times(path: str, size: int, modified: int) -> tuple[int, ...] | int:
    """As :meth:`VideoFile._times`; ``size`` and ``modified`` tell a file from another of its name."""
    with _opened(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        times = {packet.pts for packet in packets}
        if None not in times and len(times) == len(packets):
            return tuple(sorted(times))
    with _opened(path) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def _upright(frame: Any, stream: Any) -> Image.Image:
    """The frame as a camera held it, with square pixels."""
    image = frame.to_image()
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        image = image.resize((max(1, round(image.width * float(aspect))), image.height), Image.Resampling.BICUBIC)
    turned = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    angle = round(frame.rotation) % 360
    return image.transpose(turned[angle]) if angle in turned else image


def has_pyav() -> bool:
    """Whether PyAV, the extra ``video``, is installed."""
    return importlib.util.find_spec("av") is not None


def _by_number(path: str) -> list[tuple[int, str]]:
    """Key that puts frame10 after frame9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", os.path.basename(path))]
