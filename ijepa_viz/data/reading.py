"""Reading of one picture, from a file or from memory, to RGB."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ijepa_viz.data.formats import KNOWN_BUT_UNREADABLE, register_heif
from ijepa_viz.data.pixel_arrays import SMALLEST, ValueRange, is_array, split_array, standard_values, to_8_bits

# Of what read_image makes of a file: raised when its pixels change, for keys of caches.
VERSION = 2

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SUBFILE_TYPE, _REDUCED_OR_MASK = 254, 0b101
# Premultiplied transparency, which Pillow converts to RGB only by way of these.
_PLAIN = {"RGBa": "RGBA", "La": "LA"}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def read_image(source: Any, value_range: ValueRange | None = None) -> Image.Image:
    """Read one picture as RGB, from a path, a binary file, a PIL image, a NumPy array or a torch tensor.

    CMYK, palette, grey and transparent (on white) pictures are converted, and the EXIF orientation is applied. Values
    of more than 8 bits, in files, PIL images and arrays alike, are converted by one rule: uint16 is 0 to 65535, floats
    are 0 to 1, and every other type needs ``value_range``. Of a file with several pictures the first is read where the
    others belong to it (phones' MPO and HEIC, thumbnails and masks in TIFF); animations and pages are refused. The
    layouts of arrays are those of :mod:`ijepa_viz.data.pixel_arrays`; a batch is no picture.

    Args:
        value_range: the values of black and white, of pictures with more than 8 bits and of arrays.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, damaged, animated, smaller than 8x8 pixels, larger than Pillow's guard
            against decompression bombs (PIL.Image.MAX_IMAGE_PIXELS, doubled), or values without a known range.
    """
    if is_array(source):
        pictures, batched = split_array(source, value_range)
        if batched:
            raise ValueError(f"One picture is needed, got a batch {tuple(source.shape)}.")
        return _flat(Image.fromarray(to_8_bits(pictures[0].squeeze(-1) if pictures[0].shape[2] == 1 else pictures[0])))
    name = str(source) if isinstance(source, str | Path) else "The image"
    opened = not isinstance(source, Image.Image)
    image = _open(source, name) if opened else source
    try:
        with image if opened else nullcontext():
            _check(image, name)
            image.load()
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            # A mode of 16-bit files in some versions of Pillow.
            wide = image.mode == "I" and image.format in ("PNG", "PPM")
            rgb = _to_rgb(image if turn is None else image.transpose(turn), wide, name, value_range)
    except _Refused as refusal:
        raise ValueError(str(refusal)) from refusal.__cause__
    except MemoryError as error:
        raise ValueError(f"{name} ({image.width}x{image.height} pixels) does not fit into the memory.") from error
    except Exception as error:  # decoders raise many kinds on damaged data, and nothing but decoding happens here
        raise ValueError(f"{name} is damaged: {str(error) or type(error).__name__}") from error
    return rgb


class _Refused(Exception):
    """Message of a picture that is refused for a reason that is known, unlike what a decoder raises."""


def _open(source: Any, name: str) -> Image.Image:
    if isinstance(source, bytes | bytearray | memoryview):
        raise ValueError("The bytes of a file are read by read_image(io.BytesIO(data)).")
    if not isinstance(source, str | Path) and not hasattr(source, "read"):
        kinds = "a path, a binary file, a PIL image, a NumPy array or a torch tensor"
        raise ValueError(f"A picture is {kinds}, not {type(source).__name__}.")
    if isinstance(source, io.TextIOBase):
        raise ValueError("A picture's file is opened in binary mode: open(path, 'rb').")
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        raise ValueError(f"{name} is an address. Download the picture and give its file.")
    register_heif()
    try:
        return Image.open(source)
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not an image that Pillow can read{_advice(source)}.") from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} is too large: {error} Make it smaller or, if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except Exception as error:  # as in read_image
        if isinstance(error, OSError) and error.errno is not None:  # a folder, or no permission
            raise ValueError(f"{name} cannot be read as an image: {error}") from error
        why = str(error) or type(error).__name__
        raise ValueError(f"{name} is damaged, or of a kind that Pillow does not read: {why}") from error


def _advice(source: Any) -> str:
    """What an unreadable file may be, by its first bytes and its ending, and what to do."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            head = file.read(64)
    elif source.seekable():
        source.seek(0)
        head = source.read(64)
    else:
        return ""
    if not head:
        return ": it is empty"
    if head.startswith(b"version https://git-lfs"):
        return ": it is a Git LFS pointer; fetch the file itself (git lfs pull)"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return ": it is a web page; download the picture itself"
    ending = Path(source).suffix.lower() if isinstance(source, str | Path) else ""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        ending = ".heic"
    if ending in KNOWN_BUT_UNREADABLE:
        return f": {KNOWN_BUT_UNREADABLE[ending]}"
    return ": if another program opens it, save it there as PNG or JPEG"


def _check(image: Image.Image, name: str) -> None:
    """Refuse animations, pages, and pictures that are too small."""
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception as error:  # as in read_image: TIFF and GIF are read through to count
        raise _Refused(f"{name} is damaged: its pages or frames cannot be counted ({error}).") from error
    if frames > 1 and not _belong_together(image, frames):
        raise _Refused(
            f"{name} holds {frames} frames: it is animated, or has pages or layers. Save the one that is wanted as a "
            "picture of its own."
        )
    if min(image.size) < SMALLEST:
        raise _Refused(f"{name} is {image.width}x{image.height} pixels; at least {SMALLEST}x{SMALLEST} are needed.")


def _belong_together(image: Image.Image, frames: int) -> bool:
    """Whether all frames but the first are that picture's depth, gain map, thumbnails or mask."""
    if image.format in ("MPO", "HEIF"):
        return True
    if image.format != "TIFF" or image.tell() != 0:
        return False
    try:
        kinds = []
        for frame in range(1, frames):
            image.seek(frame)
            kinds.append(int(image.tag_v2.get(_SUBFILE_TYPE, 0)))  # type: ignore[attr-defined]
    finally:
        image.seek(0)
    return all(kind & _REDUCED_OR_MASK for kind in kinds)


def _to_rgb(image: Image.Image, wide: bool, name: str, value_range: ValueRange | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips these modes to 255 on conversion.
        values = np.asarray(image)
        try:
            values = standard_values(values.astype(np.uint16) if wide else values, name, value_range)
        except ValueError as error:
            raise _Refused(str(error)) from error
        image = Image.fromarray(to_8_bits(values))
    elif value_range is not None:
        raise _Refused(f"{name} has 8 bits a channel, which are 0 to 255; value_range is for those with more.")
    return _flat(image)


def _flat(image: Image.Image) -> Image.Image:
    """RGB of an 8-bit image, on white."""
    if image.mode in _PLAIN:
        image = image.convert(_PLAIN[image.mode])
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "LAB":
        raise _Refused("A picture in CIELAB colours is not read. Save it in RGB.")
    return image.convert("RGB")
