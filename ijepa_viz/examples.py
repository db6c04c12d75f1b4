"""Example images without a download: menagerie scenes, and photographs from scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import PART
from ijepa_viz.masks import Grid, Masks

# Photographs in scikit-image's wheel: file, and the crop (left, top, side).
_PHOTOGRAPHS = {
    "cat": ("chelsea.png", (75, 0, 300)),
    "astronaut": ("astronaut.png", (60, 0, 330)),
    "rocket": ("rocket.jpg", (120, 0, 427)),
    "coffee": ("coffee.png", (120, 0, 400)),
}
# Target block of each photograph in eighths of the side: row, column, height, width.
_PHOTOGRAPH_HOLES = {
    "cat": (1, 3, 4, 4),
    "astronaut": (1, 2, 4, 4),
    "rocket": (2, 2, 4, 4),
    "coffee": (2, 2, 4, 4),
}


@dataclass(frozen=True)
class Example:
    """An image with a target block.

    Attributes:
        name: unique among the examples. image: RGB, square.
        hole: (row, col, height, width) in eighths of the side.
        caption: description of the hidden part.
    """

    name: str
    image: Image.Image
    hole: tuple[int, int, int, int]
    caption: str

    def masks(self, grid: Grid) -> Masks:
        """Masks with the target block on a model's grid."""
        row, col, height, width = (round(v * side / 8) for v, side in zip(self.hole, (*grid, *grid), strict=True))
        return Masks.from_block(grid, row, col, max(1, height), max(1, width))


def photographs() -> list[Example]:
    """Four photographs: a cat, an astronaut, a rocket, a cup of coffee."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    examples = []
    for name, (file, (left, top, side)) in _PHOTOGRAPHS.items():
        with Image.open(folder / file) as image:
            square = image.convert("RGB").crop((left, top, left + side, top + side))
        examples.append(Example(name, square, _PHOTOGRAPH_HOLES[name], f"the {name}, photograph"))
    return examples


# Species, part to hide, and pose of the drawn scenes.
_SCENE_CRITERIA = (
    ("dog", "head", "stand"),
    ("bird", "leg", "stand"),
    ("wolf", "leg", "walk"),
    ("building", "roof", "gable"),
    ("cat", "head", "sit"),
)


def drawn_scenes(size: int = 64, seed: int = 1) -> list[Example]:
    """Drawn scenes with a hidden dog's head, bird's leg, wolf's legs, building's roof, and cat's head.

    The first scenes of the test seed that meet the criteria (one large subject of the species and pose), uncurated.
    """
    examples = []
    for species, part, pose in _SCENE_CRITERIA:
        index = next(i for i in range(100_000) if _meets_criteria(i, seed, species, pose))
        scene = menagerie.scene(index, size, seed)
        hole = _block_over(scene.parts == PART[part])
        caption = f"a {scene.subject.colour} {species}'s {part}, drawn"
        examples.append(Example(f"{species}-{part}", Image.fromarray(scene.image), hole, caption))
    return examples


def _meets_criteria(index: int, seed: int, species: str, pose: str) -> bool:
    things = menagerie.things(index, seed)
    return len(things) == 1 and things[0].species == species and things[0].pose == pose and things[0].size > 0.4


def _block_over(shown: np.ndarray, side: int = 4) -> tuple[int, int, int, int]:
    """The ``side`` x ``side`` block of an 8x8 grid that covers most of a part, ties to the centre."""
    size = shown.shape[0]
    cells = shown[: size // 8 * 8, : size // 8 * 8].reshape(8, size // 8, 8, size // 8).sum((1, 3))
    covered = {
        (r, c): cells[r : r + side, c : c + side].sum() - 0.01 * ((r + side / 2 - 4) ** 2 + (c + side / 2 - 4) ** 2)
        for r in range(9 - side)
        for c in range(9 - side)
    }
    row, col = max(covered, key=lambda corner: covered[corner])
    return row, col, side, side
