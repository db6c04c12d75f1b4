"""Damaged pictures of every format that is read: only documented errors, bounded memory and time, no crash.

The pictures are read in a process of their own (``python tests/test_damaged_pictures.py COUNT SEED``), so that a crash of a
decoder written in C fails the test instead of ending it, and the peak of the memory is theirs.
"""

from __future__ import annotations

import io
import json
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ijepa_viz.data.formats import SUFFIXES, register_heif
from ijepa_viz.data.transforms import read_image

# Endings and the formats of Pillow that they stand for.
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".jp2", ".j2k", ".jpx"), "JPEG2000"),
    **dict.fromkeys((".heic", ".heif"), "HEIF"),
    **{".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".mpo": "MPO", ".avif": "AVIF"},
}
PIXEL_LIMIT = 2**19
MEMORY = 200 * 2**20
SECONDS = 5.0
EXPECTED = ("is not an image", "is damaged", "is too large", "holds ", "pixels; at least", "has NaN", "CIELAB")


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def whole_pictures() -> list[tuple[str, bytes]]:
    """(format, file) of small pictures that can be read, in several modes and compressions of each format."""
    register_heif()  # reading does this at the first picture, and here pictures are written first
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(20), 2 * np.arange(24))[..., None] * np.array([1, 2, 3]) % 256
    rgb = Image.fromarray((smooth + rng.integers(0, 9, smooth.shape)).clip(0, 255).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a phone"
    wide = np.linspace(0, 65535, 480).reshape(20, 24)
    found = [
        ("JPEG", encoded(rgb, "JPEG", exif=exif)),
        ("JPEG", encoded(rgb, "JPEG", progressive=True, comment=b"hello")),
        ("JPEG", encoded(rgb.convert("CMYK"), "JPEG")),
        ("JPEG", encoded(rgb.convert("L"), "JPEG")),
        ("MPO", encoded(rgb, "MPO", save_all=True, append_images=[rgba.convert("RGB")], exif=exif)),
        ("PNG", encoded(rgb, "PNG", exif=exif)),
        ("PNG", encoded(rgba, "PNG")),
        ("PNG", encoded(rgb.quantize(16), "PNG", transparency=3)),
        ("PNG", encoded(Image.fromarray(wide.astype(np.uint16)), "PNG")),
        ("PNG", encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)])),
        ("WEBP", encoded(rgb, "WEBP", exif=exif)),
        ("WEBP", encoded(rgba, "WEBP", lossless=True)),
        ("BMP", encoded(rgb, "BMP")),
        ("BMP", encoded(rgb.quantize(16), "BMP")),
        ("TIFF", encoded(rgb, "TIFF")),
        *[("TIFF", encoded(rgb, "TIFF", compression=c)) for c in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")],
        ("TIFF", encoded(rgb.convert("1"), "TIFF", compression="group4")),
        ("TIFF", encoded(Image.fromarray((wide / 65535).astype(np.float32)), "TIFF")),
        ("TIFF", encoded(Image.fromarray(wide.astype(np.uint16)), "TIFF")),
        ("TIFF", encoded(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(90)])),
        *[("PPM", encoded(rgb.convert(mode), "PPM")) for mode in ("RGB", "L", "1")],
        ("PPM", b"P3 8 8 255\n" + b"12 200 3 " * 64),
        ("PPM", encoded(Image.fromarray((wide / 65535).astype(np.float32)), "PPM")),
        ("AVIF", encoded(rgb, "AVIF", exif=exif)),
        ("AVIF", encoded(rgba, "AVIF", quality=90)),
        ("JPEG2000", encoded(rgb, "JPEG2000")),
        ("JPEG2000", encoded(rgba, "JPEG2000", irreversible=True, no_jp2=True)),
        ("HEIF", encoded(rgb, "HEIF", exif=exif) if ".heic" in SUFFIXES else b""),
        ("HEIF", encoded(rgba, "HEIF") if ".heic" in SUFFIXES else b""),
    ]
    readable = {FORMATS[suffix] for suffix in SUFFIXES}
    return [(kind, data) for kind, data in found if kind in readable]


class PeakMemory:
    """Bytes by which the peak of the process's memory rises after this was made."""

    def __init__(self) -> None:
        # Linux forgets the peak that the imports left; elsewhere only what lies above that is seen.
        if (reset := Path("/proc/self/clear_refs")).exists():
            reset.write_text("5")
        self._start = self._peak()

    def _peak(self) -> int:
        if (status := Path("/proc/self/status")).exists():
            return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def grown(self) -> int:
        return self._peak() - self._start


def damage(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """One to three kinds of damage that files suffer: bytes and numbers changed, parts cut, repeated or exchanged."""
    for _ in range(rng.integers(1, 4)):
        changed = bytearray(data)
        # The first bytes are where sizes and offsets are.
        place = int(rng.integers(0, min(len(data), 96 if rng.random() < 0.5 else len(data)) or 1))
        length = int(rng.integers(1, 40))
        kind = rng.integers(0, 6)
        if kind == 0:
            changed[place : place + length] = rng.bytes(length)
        elif kind == 1:
            for where in rng.integers(0, len(data) or 1, int(rng.integers(1, 8))):
                changed[where : where + 1] = rng.bytes(1)
        elif kind == 2:
            number = int(rng.choice([0, 1, 255, 32767, 65535, 2**24, 2**31 - 1, 2**32 - 1]))
            order = "<" if rng.random() < 0.5 else ">"
            number_bytes = struct.pack(f"{order}I", number) if number > 65535 else struct.pack(f"{order}H", number)
            changed[place : place + len(number_bytes)] = number_bytes
        elif kind == 3:
            del changed[place : len(data) if rng.random() < 0.6 else place + length]
        elif kind == 4:
            changed[place:place] = data[place : place + length] * int(rng.integers(1, 30))
        else:
            other = others[int(rng.integers(len(others)))]
            changed[place:] = other[place:]
        data = bytes(changed)
    return data


def read_damaged(count: int, seed: int) -> dict:
    """Read ``count`` damaged pictures; an error that is not documented is raised, with the file kept for it."""
    Image.MAX_IMAGE_PIXELS = PIXEL_LIMIT
    whole = whole_pictures()
    formats = sorted({kind for kind, _ in whole})
    of_format = {kind: [data for found, data in whole if found == kind] for kind in formats}
    for _, data in whole:
        try:
            read_image(io.BytesIO(data))
        except ValueError as error:
            if "frames" not in str(error):
                raise
    memory = PeakMemory()
    outcomes: dict[str, Counter] = {kind: Counter() for kind in formats}
    slowest = 0.0
    folder = Path(tempfile.mkdtemp())
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        kind = formats[index % len(formats)]
        data = damage(of_format[kind][int(rng.integers(len(of_format[kind])))], of_format[kind], rng)
        source: Path | io.BytesIO = io.BytesIO(data)
        if index % 10 == 0:
            source = folder / "picture.jpg"
            source.write_bytes(data)
        started = time.perf_counter()
        try:
            image = read_image(source)
            outcome = "read" if image.mode == "RGB" and min(image.size) >= 8 and image.tobytes() else "wrong"
        except ValueError as error:
            outcome = "refused" if type(error) is ValueError and any(e in str(error) for e in EXPECTED) else repr(error)
        except BaseException:
            kept = folder / f"damaged-{seed}-{index}"
            kept.write_bytes(data)
            print(f"A {kind} ends in an error that is not documented: {kept}", file=sys.stderr)
            raise
        slowest = max(slowest, time.perf_counter() - started)
        outcomes[kind][outcome] += 1
    return {"outcomes": outcomes, "grown": memory.grown(), "slowest": slowest}


def check_damaged(count: int, seed: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(count), str(seed)], capture_output=True, text=True
    )
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-3000:])
    found = json.loads(ran.stdout)
    for kind, outcomes in found["outcomes"].items():
        assert set(outcomes) <= {"read", "refused"}, (kind, outcomes)
        assert outcomes["refused"] >= 0.1 * sum(outcomes.values()), (kind, outcomes)
    assert set(found["outcomes"]) == {FORMATS[suffix] for suffix in SUFFIXES}
    assert sum(sum(outcomes.values()) for outcomes in found["outcomes"].values()) == count
    assert found["grown"] < MEMORY
    assert found["slowest"] < SECONDS


def test_a_thousand_damaged_pictures_are_read_or_refused():
    check_damaged(1000, 0)


@pytest.mark.slow
def test_twenty_thousand_damaged_pictures_are_read_or_refused():
    check_damaged(20_000, 1)


def test_a_picture_that_claims_to_be_huge_is_refused_before_its_pixels_are_made(monkeypatch):
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "BMP"))
    data[18:26] = struct.pack("<ii", 30_000, 30_000)  # 2.7 GB in 822 bytes
    memory = PeakMemory()
    with pytest.raises(ValueError, match=r"too large.*900000000 pixels.*MAX_IMAGE_PIXELS"):
        read_image(io.BytesIO(data))
    assert memory.grown() < 10 * 2**20


if __name__ == "__main__":
    backstop = 16 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (backstop, backstop))
    print(json.dumps(read_damaged(int(sys.argv[1]), int(sys.argv[2]))))
