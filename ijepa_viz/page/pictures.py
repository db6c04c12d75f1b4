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
        image: of the model's size. shown: of the size of the decoder's pictures, beside which the page shows it.
        hole: (row, col, height, width) in eighths of the sides, or None.
    """

    id: str
    name: str
    kind: str
    image: Image.Image
    shown: Image.Image
    hole: tuple[int, int, int, int] | None = None

    def hole_text(self, grid: Grid) -> str:
        """The picture's own hole, or its middle, as a text of the painter's, rows one after the other, 1 = hidden."""
        row, col, height, width = self.hole or (2, 2, 4, 4)
        hidden = np.zeros(grid, bool)
        top, left = row * grid[0] // _EIGHTHS, col * grid[1] // _EIGHTHS
        bottom, right = (row + height) * grid[0] // _EIGHTHS, (col + width) * grid[1] // _EIGHTHS
        hidden[top : max(bottom, top + 1), left : max(right, left + 1)] = True
        return "".join("1" if cell else "0" for cell in hidden.ravel())


def page_pictures(size: ImageSize, count: int, shown: ImageSize | None = None) -> list[PagePicture]:
    """``count`` pictures, centred parts of squares: drawn scenes, the photographs after the first of them.

    The photographs are those of scikit-image's wheel that are in the public domain or CC0.

    Args:
        size: of the model's pictures. count: how many.
        shown: size at which the page shows them, scenes drawn at it; None is ``size``.

    Raises:
        ValueError: no picture.
    """
    if count < 1:
        raise ValueError(f"The page needs at least one picture, got {count}.")
    sizes = (size, size if shown is None else shown)
    sides = [max(height_and_width(one)) for one in sizes]

    def crops(images: Sequence[Image.Image]) -> tuple[Image.Image, Image.Image]:
        small, large = (centre_crop(image, to) for image, to in zip(images, sizes, strict=True))
        return small, large

    drawn = zip(*(examples.drawn_scenes(side, _SEED) for side in sides), strict=True)
    chosen = [
        PagePicture(one.name, one.caption, "scene", *crops([one.image, large.image]), one.hole)
        for one, large in list(drawn)[:count]
    ]
    photographs = [
        PagePicture(f"photo-{one.name}", one.caption, "photograph", *crops([one.image] * 2), one.hole)
        for one in examples.photographs()[: max(0, count - _FIRST)]
    ]
    known = {one.image.tobytes() for one in chosen}
    index = 0
    while len(chosen) < count - len(photographs):
        scenes = [menagerie.scene(index, side, _SEED) for side in sides]
        images = crops([Image.fromarray(scene.image) for scene in scenes])
        if images[0].tobytes() not in known:
            subject = scenes[0].subject
            name = f"drawn scene {index}: a {subject.colour} {subject.species}"
            chosen.append(PagePicture(f"scene-{index}", name, "scene", *images))
        index += 1
    return chosen[:_FIRST] + photographs + chosen[_FIRST:]


def write_pictures(pictures: Sequence[PagePicture]) -> dict[str, bytes]:
    """Files of the page: the sheet that the model reads, without loss, that which is shown, and their index.

    Where both are of one size, there is one sheet.
    """
    (width, height), (wide, high) = pictures[0].image.size, pictures[0].shown.size
    index: dict[str, object] = {
        "size": [height, width],
        "shown": [high, wide],
        "columns": _COLUMNS,
        "pictures": [{"id": one.id, "name": one.name, "kind": one.kind} for one in pictures],
    }
    files = {
        "data/pictures.json": json.dumps(index, separators=(",", ":")).encode(),
        "data/pictures.webp": webp(sheet_of([np.asarray(one.image) for one in pictures], _COLUMNS), lossless=True),
    }
    if (high, wide) != (height, width):
        sheet = sheet_of([np.asarray(one.shown) for one in pictures], _COLUMNS)
        files["data/shown.webp"] = webp(sheet, lossless=False)
    return files


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
