"""Pictures of the live page: drawn scenes of the held-out seed, and photographs that may be shipped, on one sheet."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ijepa_viz import examples
from ijepa_viz.data import menagerie
from ijepa_viz.data.fitting import centre_crop
from ijepa_viz.data.picture_size import ImageSize, height_and_width
from ijepa_viz.masks import Grid

# Of the drawn scenes; the models learned from seed 0.
_SEED = 1
_COLUMNS = 16
# Drawn scenes before the photographs: what the row shows first.
_FIRST = 8
_EIGHTHS = 8


@dataclass(frozen=True)
class PagePicture:
    """A picture of the page.

    Attributes:
        id: in addresses that people share, so it never changes. name: in words. kind: "scene" or "photograph".
        image: of the model's size. hole: (row, col, height, width) in eighths of the sides, or None.
    """

    id: str
    name: str
    kind: str
    image: Image.Image
    hole: tuple[int, int, int, int] | None = None

    def hole_text(self, grid: Grid) -> str:
        """The picture's own hole, or its middle, as a text of the painter's, rows one after the other, 1 = hidden."""
        row, col, height, width = self.hole or (2, 2, 4, 4)
        hidden = np.zeros(grid, bool)
        top, left = row * grid[0] // _EIGHTHS, col * grid[1] // _EIGHTHS
        bottom, right = (row + height) * grid[0] // _EIGHTHS, (col + width) * grid[1] // _EIGHTHS
        hidden[top : max(bottom, top + 1), left : max(right, left + 1)] = True
        return "".join("1" if cell else "0" for cell in hidden.ravel())


def page_pictures(size: ImageSize, count: int) -> list[PagePicture]:
    """``count`` pictures of ``size``, centred parts of squares: drawn scenes, the photographs after the first of them.

    The photographs are those of scikit-image's wheel that are in the public domain or CC0.

    Raises:
        ValueError: no picture.
    """
    if count < 1:
        raise ValueError(f"The page needs at least one picture, got {count}.")
    side = max(height_and_width(size))
    chosen = [
        PagePicture(one.name, one.caption, "scene", centre_crop(one.image, size), one.hole)
        for one in examples.drawn_scenes(side, _SEED)[:count]
    ]
    photographs = [
        PagePicture(f"photo-{one.name}", one.caption, "photograph", centre_crop(one.image, size), one.hole)
        for one in examples.photographs()[: max(0, count - _FIRST)]
    ]
    known = {one.image.tobytes() for one in chosen}
    index = 0
    while len(chosen) < count - len(photographs):
        scene = menagerie.scene(index, side, _SEED)
        image = centre_crop(Image.fromarray(scene.image), size)
        if image.tobytes() not in known:
            subject = scene.subject
            name = f"drawn scene {index}: a {subject.colour} {subject.species}"
            chosen.append(PagePicture(f"scene-{index}", name, "scene", image))
        index += 1
    return chosen[:_FIRST] + photographs + chosen[_FIRST:]


def write_pictures(pictures: Sequence[PagePicture], size: ImageSize) -> dict[str, bytes]:
    """Files of the page: the sheet, lossless, so that the model sees the very pixels, and its index."""
    index = {
        "size": list(height_and_width(size)),
        "columns": _COLUMNS,
        "pictures": [{"id": one.id, "name": one.name, "kind": one.kind} for one in pictures],
    }
    sheet = sheet_of([np.asarray(one.image) for one in pictures], _COLUMNS)
    return {
        "data/pictures.json": json.dumps(index, separators=(",", ":")).encode(),
        "data/pictures.webp": webp(sheet, lossless=True),
    }


def sheet_of(tiles: Sequence[np.ndarray], columns: int) -> Image.Image:
    """Tiles (height, width, 3) uint8, all of one size, in rows of ``columns``."""
    height, width, _ = tiles[0].shape
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = tile
    return Image.fromarray(sheet)


def webp(image: Image.Image, lossless: bool) -> bytes:
    """Encode as WebP, without loss or at a quality without visible loss."""
    out = io.BytesIO()
    image.save(out, "webp", lossless=lossless, quality=90, method=6)
    return out.getvalue()
