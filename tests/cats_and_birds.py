"""Small imitations of photographs of cats and birds: crops of scikit-image's cat, and drawn birds with their parts."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw
from skimage.data import chelsea
from skimage.transform import warp

from ijepa_viz.data.annotations import PARTS
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.source import Source

# Eyes of scikit-image's cat in its picture, and of aligned faces as shares of the picture's side.
EYES = (172 + 116j, 318 + 137j)
ALIGNED = (0.28 + 0.41j, 0.72 + 0.41j)


def cat_face(size: int = 64, shift: complex = 0) -> Image.Image:
    """The cat's face turned so that its eyes are level and where aligned faces have them, but for ``shift`` pixels."""
    theirs = [size * eye + shift for eye in ALIGNED]
    turn = (EYES[1] - EYES[0]) / (theirs[1] - theirs[0])
    move = EYES[0] - turn * theirs[0]
    matrix = np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag], [0, 0, 1]])
    pixels = warp(chelsea(), matrix, output_shape=(size, size), mode="edge", order=3)
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def cat_faces(count: int, seed: int) -> Source:
    """The same cat's face, moved and lit a little differently in each picture."""
    rng = np.random.default_rng(seed)

    def face() -> Image.Image:
        pixels = np.asarray(cat_face(64, complex(*rng.uniform(-2, 2, 2)))) * rng.uniform(0.8, 1.1)
        return Image.fromarray(np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8))

    faces = [face() for _ in range(count)]
    return Source(f"faces-{seed}", faces.__getitem__, count, stamp=["faces", seed, count])


def drawn_bird(rng: np.random.Generator, size: int = 64) -> tuple[Image.Image, list[list[float]]]:
    """A bird in a few strokes, and its fifteen parts as [x, y, visible]."""
    image = Image.fromarray(rng.integers(150, 200, (size, size, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    x, y = rng.integers(26, 38, 2).tolist()
    parts = {name: [0.0, 0.0, 0.0] for name in PARTS}
    for name, dx in (("left leg", -4), ("right leg", 4)):
        draw.line([(x + dx, y + 8), (x + dx, y + 18)], fill=(230, 90, 20), width=2)
        parts[name] = [x + dx, y + 14.0, 1.0]
    draw.polygon([(x - 10, y - 4), (x - 24, y - 8), (x - 24, y + 2)], fill=(30, 60, 200))
    parts["tail"] = [x - 20.0, y - 3.0, 1.0]
    draw.ellipse([x - 12, y - 8, x + 12, y + 8], fill=(110, 80, 60))
    draw.ellipse([x + 7, y - 16, x + 19, y - 4], fill=(110, 80, 60))
    draw.polygon([(x + 18, y - 12), (x + 26, y - 10), (x + 18, y - 7)], fill=(250, 220, 40))
    parts["beak"] = [x + 21.0, y - 10.0, 1.0]
    draw.ellipse([x + 12, y - 13, x + 15, y - 10], fill=(0, 0, 0))
    parts["right eye"] = [x + 13.5, y - 11.5, 1.0]
    return image, [parts[name] for name in PARTS]


def write_parquet(path: Path, images: list[Image.Image], **columns: list) -> Path:
    """Pictures and further columns as the Hugging Face hub's data sets have them."""
    cells = []
    for image in images:
        file = io.BytesIO()
        image.save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    pq.write_table(pa.table({"image": cells, **columns}), path)
    return path


def birds(folder: Path, count: int, seed: int) -> Source:
    rng = np.random.default_rng(seed)
    images, parts = zip(*(drawn_bird(rng) for _ in range(count)), strict=True)
    return open_source(str(write_parquet(folder / f"birds-{seed}.parquet", list(images), parts=list(parts))))
