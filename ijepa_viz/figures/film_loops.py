"""Films as loops that run side by side, in one animated picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ijepa_viz.data.transforms import to_pil
from ijepa_viz.figures.completion import BOX
from ijepa_viz.figures.film import gif
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.outputs import ending

LOOP_ENDINGS = (".gif", ".webp")
_BORDER, _GAP, _FONT, _LINES = 2, 8, 11, 3
_PAPER, _INK, _LINE = "#ffffff", "#222222", "#d0d0d0"


@dataclass(frozen=True)
class Panel:
    """One film of a loop.

    Attributes:
        frames: (T, 3, H, W) in [0, 1]. words: beneath it. predicted: of each frame, whether a model predicted it and
            it gets a coloured border; empty where it did none.
    """

    frames: Tensor
    words: str
    predicted: tuple[bool, ...] = ()


def loop_frames(rows: Sequence[Sequence[Panel]], scale: int | None = None) -> list[Image.Image]:
    """The frames of a picture in which all films run at once, rows of panels from left to right.

    Args:
        scale: by which each pixel of a film is enlarged; None is 2 for films of 64 px, 1 for larger ones.

    Raises:
        ValueError: no panels, rows of several lengths, films of several sizes or lengths, or a scale below 1.
    """
    shapes = {tuple(panel.frames.shape) for row in rows for panel in row}
    if scale is None:
        scale = max(1, 128 // max((shape[-1] for shape in shapes), default=128))
    if len(shapes) != 1 or len({len(row) for row in rows}) != 1 or scale < 1:
        raise ValueError("A loop needs rows of one length, films of one size and length, and a scale of 1 or more.")
    count, _, height, width = next(iter(shapes))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _FONT)
    wide, high = width * scale + 2 * _BORDER, height * scale + 2 * _BORDER
    letters = max(8, int(wide / font.getlength("n")))
    words = [[wrap(panel.words, letters)[:_LINES] for panel in row] for row in rows]
    line = _FONT + 3
    heights = [high + line * max(len(lines) for lines in row) + _GAP for row in words]
    size = (len(rows[0]) * (wide + _GAP) + _GAP, sum(heights) + _GAP)
    paper = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(paper)
    corners = []
    top = _GAP
    for row, tall in zip(words, heights, strict=True):
        corners.append([(_GAP + i * (wide + _GAP), top) for i in range(len(row))])
        for (left, _), lines in zip(corners[-1], row, strict=True):
            for i, text in enumerate(lines):
                pen.text((left, top + high + 1 + i * line), text, fill=_INK, font=font)
        top += tall
    found = []
    for number in range(count):
        frame = paper.copy()
        pen = ImageDraw.Draw(frame)
        for panels, places in zip(rows, corners, strict=True):
            for panel, (left, top) in zip(panels, places, strict=True):
                colour = BOX["predicted"] if panel.predicted and panel.predicted[number] else _LINE
                pen.rectangle((left, top, left + wide - 1, top + high - 1), fill=colour)
                picture = to_pil(panel.frames[number]).resize((width * scale, height * scale), Image.Resampling.NEAREST)
                frame.paste(picture, (left + _BORDER, top + _BORDER))
        found.append(frame)
    return found


def encoded_loop(
    frames: Sequence[Image.Image], kind: str = ".webp", milliseconds: int = 180, colours: int = 64
) -> bytes:
    """Frames as an animated WebP or GIF that repeats without end; a last frame stays four times as long.

    Args:
        kind: one of :data:`LOOP_ENDINGS`. colours: of a GIF, at most 256; fewer make a smaller file.

    Raises:
        ValueError: no frames, or another kind.
    """
    if not frames or kind not in LOOP_ENDINGS:
        raise ValueError(f"A loop has frames, and ends in {' or '.join(LOOP_ENDINGS)}; got {len(frames)} and {kind!r}.")
    durations = [milliseconds] * (len(frames) - 1) + [4 * milliseconds]
    if kind == ".gif":
        return gif(frames, durations, colours)
    out = io.BytesIO()
    frames[0].save(
        out, "webp", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=70, method=4
    )
    return out.getvalue()


def write_loop(path: Path, frames: Sequence[Image.Image], milliseconds: int = 180) -> None:
    """Write frames as an animated picture, .gif or .webp.

    Raises:
        ValueError: as :func:`encoded_loop`. OSError: as :func:`ijepa_viz.runtime.files.write_file`.
    """
    write_file(path, encoded_loop(frames, ending(path, LOOP_ENDINGS), milliseconds))
