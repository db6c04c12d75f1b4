"""Example images without a download: menagerie scenes, and photographs from scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import PART
from ijepa_viz.masks import Grid, Masks

# Kinds of pictures, in words, and the beginnings of the names of the bundled models that learned from each.
SCENES, PHOTOGRAPHS, CATS, BIRDS = "drawn scenes", "photographs", "cats' faces", "birds"
_MODELS = {"menagerie-": SCENES, "wild-": PHOTOGRAPHS, "cats-": CATS, "birds-": BIRDS}

# Photographs in scikit-image's wheel: file, the crop (left, top, side), and the target block in eighths of the side as
# row, column, height, width.
_PHOTOGRAPHS = {
    "cat": ("chelsea.png", (75, 0, 300), (1, 3, 4, 4)),
    "astronaut": ("astronaut.png", (60, 0, 330), (1, 2, 4, 4)),
    "rocket": ("rocket.jpg", (120, 0, 427), (2, 2, 4, 4)),
    "coffee": ("coffee.png", (120, 0, 400), (2, 2, 4, 4)),
}
# The largest square of scikit-image's cat whose eyes are where aligned faces have them, and four target blocks.
_CAT = (95, 0, 300)
_CAT_BLOCKS = {
    "an eye": (2, 1, 3, 3),
    "nose and mouth": (5, 3, 3, 3),
    "the forehead": (0, 2, 2, 4),
    "an ear": (0, 5, 3, 3),
}
_HEADS_CREDIT = "Cats' heads: Oxford-IIIT Pet data set, Parkhi et al. 2012, cut out; CC BY-SA 4.0, as is this figure."
# Heads in photographs/: file, the crop with the eyes in the same places, the cat, what is hidden, and the target block.
_HEADS = (
    ("ragdoll-205", (20, 20, 55), "black and white cat", "nose and mouth", (4, 2, 4, 4)),
    ("maine-coon-30", (17, 16, 65), "white and grey cat", "eyes and nose", (2, 1, 4, 6)),
    ("russian-blue-173", (20, 16, 55), "blue cat", "an eye", (2, 1, 3, 3)),
    ("abyssinian-98", (18, 17, 61), "golden cat", "nose and mouth", (4, 2, 4, 4)),
    ("british-shorthair-172", (21, 21, 52), "grey cat", "eyes and nose", (2, 1, 4, 6)),
    ("maine-coon-28", (12, 13, 72), "tabby", "an eye", (2, 1, 3, 3)),
    ("ragdoll-255", (16, 27, 58), "cream cat", "eyes and nose", (2, 1, 4, 6)),
    ("maine-coon-144", (17, 17, 62), "ginger cat", "eyes and nose", (2, 1, 4, 6)),
)


@dataclass(frozen=True)
class Example:
    """An image with a target block.

    Attributes:
        name: unique among the examples. image: RGB, square.
        hole: (row, col, height, width) in eighths of the side.
        caption: description of the hidden part. credit: what has to stand beside the image, or figures made of it.
    """

    name: str
    image: Image.Image
    hole: tuple[int, int, int, int]
    caption: str
    credit: str = ""

    def masks(self, grid: Grid) -> Masks:
        """Masks with the target block on a model's grid."""
        row, col, height, width = (round(v * side / 8) for v, side in zip(self.hole, (*grid, *grid), strict=True))
        return Masks.from_block(grid, row, col, max(1, height), max(1, width))


def kind_of(model: str) -> str:
    """Kind of the pictures that a bundled model learned from, by its name; "" of other models."""
    return next((kind for beginning, kind in _MODELS.items() if model.startswith(beginning)), "")


def of_kind(kind: str, size: int = 64) -> list[Example]:
    """Examples of a kind: scenes drawn at ``size`` px, cats, or photographs; none of birds, which may not be shipped.

    Raises:
        ValueError: no such kind.
    """
    makers = {SCENES: lambda: drawn_scenes(size), PHOTOGRAPHS: photographs, CATS: cats, BIRDS: list}
    if kind not in makers:
        raise ValueError(f"There are examples of {', '.join(makers)}, not of {kind!r}.")
    return makers[kind]()


def photographs() -> list[Example]:
    """Four photographs: a cat, an astronaut, a rocket, a cup of coffee."""
    return [
        Example(name, _from_scikit_image(file, crop), hole, f"the {name}, photograph")
        for name, (file, crop, hole) in _PHOTOGRAPHS.items()
    ]


def cats() -> list[Example]:
    """Cats' faces: four target blocks of scikit-image's cat, then one of each of eight heads of Oxford-IIIT Pet.

    The heads are under CC BY-SA 4.0, as ``photographs/README.md`` says.
    """
    cat = _from_scikit_image("chelsea.png", _CAT)
    examples = [Example(f"cat-{part.split()[-1]}", cat, hole, f"{part} of a cat") for part, hole in _CAT_BLOCKS.items()]
    folder = Path(__file__).parent / "photographs"
    for name, (left, top, side), who, part, hole in _HEADS:
        with Image.open(folder / f"{name}.jpg") as image:
            face = image.convert("RGB").crop((left, top, left + side, top + side))
        examples.append(Example(name, face, hole, f"{part} of a {who}", _HEADS_CREDIT))
    return examples


def _from_scikit_image(file: str, crop: tuple[int, int, int]) -> Image.Image:
    import skimage

    left, top, side = crop
    with Image.open(Path(skimage.__file__).parent / "data" / file) as image:
        return image.convert("RGB").crop((left, top, left + side, top + side))


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
