"""The interface of a data set of clips: a :class:`Source` of pictures, their first frames, that also gives the films.

Pictures are clips of one frame, so that whatever takes a source takes these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ijepa_viz.data.source import Source


@dataclass(frozen=True)
class Clip:
    """A short film.

    Attributes:
        frames: (T, H, W, 3) uint8.
        sentence: what happens, in words; empty where it is not known.
    """

    frames: np.ndarray
    sentence: str = ""

    def __len__(self) -> int:
        return len(self.frames)


def _no_clips(index: int, size: int) -> Clip:
    raise NotImplementedError("A ClipSource needs read_clip.")


@dataclass
class ClipSource(Source):
    """A data set of clips of equal length; as a :class:`Source`, the first frame of each.

    Attributes:
        frames: T, frames of a clip.
        clip_size: height = width of the frames of :meth:`clip`, in pixels.
        read_clip: (index, size) -> clip with frames (T, size, size, 3).
        render_clips: for drawn data, (start, stop, size) -> (stop - start, T, size, size, 3) uint8.
    """

    frames: int = 1
    clip_size: int = 64
    read_clip: Callable[[int, int], Clip] = field(default=_no_clips)
    render_clips: Callable[[int, int, int], np.ndarray] | None = None

    def clip(self, index: int, size: int | None = None) -> Clip:
        """Clip ``index``; ``size`` None is ``clip_size``.

        Raises:
            IndexError: no such clip.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has the clips 0 to {len(self) - 1}, not {index}.")
        return self.read_clip(index, self.clip_size if size is None else size)

    def clips(self, indices: np.ndarray, size: int | None = None) -> np.ndarray:
        """The frames of several clips, (n,) int64 -> (n, T, size, size, 3) uint8."""
        side = self.clip_size if size is None else size
        shape = (len(indices), self.frames, side, side, 3)
        return (
            np.stack([self.clip(int(i), side).frames for i in indices]) if len(indices) else np.empty(shape, np.uint8)
        )

    def subset(self, indices: np.ndarray, reason: str) -> ClipSource:
        """Some of the clips, as :meth:`Source.subset`."""
        indices = np.asarray(indices, dtype=np.int64)
        chosen = super().subset(indices, reason)
        assert isinstance(chosen, ClipSource)
        render = self.render_clips

        def render_some(start: int, stop: int, size: int) -> np.ndarray:
            assert render is not None
            return np.concatenate([render(int(i), int(i) + 1, size) for i in indices[start:stop]])

        return replace(
            chosen,
            read_clip=lambda index, size: self.read_clip(int(indices[index]), size),
            render_clips=None if render is None else render_some,
        )
