"""Figures one after the other, as the frames of a film; and one beneath the other, in one figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import matplotlib.figure
import numpy as np
from PIL import Image

from ijepa_viz.figures.figure import Figure, png
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.outputs import check_film


def write_film(path: Path, figures: Sequence[matplotlib.figure.Figure], seconds: float = 0.4, dpi: int = 100) -> None:
    """Write figures of one size as an animated GIF or an MP4 video (H.264), with a longer look at the last one.

    Args:
        seconds: of each frame; the last one stays five times as long.

    Raises:
        ValueError: another ending, no figures, figures of several sizes, or a video without PyAV. OSError: as
            :func:`ijepa_viz.runtime.files.write_file`.
    """
    check_film(path)
    if not figures:
        raise ValueError("A film has at least one frame.")
    frames = [Image.open(io.BytesIO(png(figure, dpi))).convert("RGB") for figure in figures]
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"The frames of a film have one size, these have {', '.join(map(str, sorted(sizes)))} pixels.")
    if path.suffix.lower() == ".mp4":
        write_file(path, _video(frames, seconds))
        return
    write_file(path, gif(frames, [round(1000 * seconds)] * (len(frames) - 1) + [round(5000 * seconds)]))


def gif(frames: Sequence[Image.Image], milliseconds: Sequence[int], colours: int = 256) -> bytes:
    """Frames of one size, mode RGB, as an animated GIF that repeats without end.

    Args:
        milliseconds: of each frame. colours: at most 256; fewer make a smaller file.
    """
    # One palette for all frames, of the first, middle and last: with one each, colours would flicker.
    some = [frames[0], frames[len(frames) // 2], frames[-1]]
    together = Image.fromarray(np.concatenate([np.asarray(frame) for frame in some]))
    palette = together.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1)  # keeps rare colours, as the bars' ends
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    out = io.BytesIO()
    drawn[0].save(
        out, "GIF", save_all=True, append_images=drawn[1:], duration=list(milliseconds), loop=0, optimize=False,
        disposal=1,
    )  # fmt: skip
    return out.getvalue()


def _video(frames: Sequence[Image.Image], seconds: float) -> bytes:
    """An MP4 file of the frames, H.264, its sides rounded down to even numbers of pixels as the format wants them."""
    import av

    out = io.BytesIO()
    width, height = (side // 2 * 2 for side in frames[0].size)
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(seconds).limit_denominator(1000) ** -1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in [*frames, *[frames[-1]] * 4]:
            picture = av.VideoFrame.from_image(frame.crop((0, 0, width, height)))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return out.getvalue()


def stacked_figure(figures: Sequence[matplotlib.figure.Figure], names: Sequence[str], dpi: int = 130) -> Figure:
    """Figures beneath each other, each with its name above it, at one scale.

    Raises:
        ValueError: no figures, or another number of names.
    """
    if not figures or len(names) != len(figures):
        raise ValueError(f"There are {len(figures)} figures and {len(names)} names: give one of each, at least.")
    pictures = [np.asarray(Image.open(io.BytesIO(png(figure, dpi))).convert("RGB")) for figure in figures]
    width, title = max(picture.shape[1] for picture in pictures), round(0.3 * dpi)
    height = sum(len(picture) + title for picture in pictures)
    about = getattr(figures[0], "about", "")
    whole = Figure(f"{', '.join(names)}, beneath each other. {about}", figsize=(width / dpi, height / dpi))
    top = height
    for picture, name in zip(pictures, names, strict=True):
        top -= len(picture) + title
        place = (0.0, top / height, picture.shape[1] / width, len(picture) / height)
        axis = whole.add_axes(place)
        axis.imshow(picture, interpolation="nearest", aspect="auto")
        axis.set_axis_off()
        axis.set_title(name, fontsize=10, loc="left", fontweight="bold", pad=3, x=0.01)
    return whole
