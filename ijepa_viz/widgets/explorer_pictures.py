"""Pictures of the explorer: those of a model's own kind, to choose from and for the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ijepa_viz import checkpoints, examples
from ijepa_viz.data.fitting import centre_crop
from ijepa_viz.data.menagerie.framing import framed_scene
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.data.transforms import read_image, square
from ijepa_viz.examples import BIRDS, CATS, PHOTOGRAPHS
from ijepa_viz.prediction import Sampler

_SCENES = 24
# Pictures of one kind in the row, where none are given.
_ROW = 5
# Crops of each photograph for a mean of many images: left, top and side as shares of the picture's.
_CROPS = ((0.0, 0.0, 0.6), (0.4, 0.0, 0.6), (0.0, 0.4, 0.6), (0.4, 0.4, 0.6))


@dataclass(frozen=True)
class Entry:
    """A picture of the row; ``kind`` "" is unknown, and fits every model."""

    name: str
    image: Image.Image
    kind: str = ""


@dataclass(frozen=True)
class OtherImage:
    """An image for the controls: ``parts`` (n, 3, H, W) uint8 are the image, then crops of it."""

    name: str
    image: Image.Image
    parts: Tensor


def kind_of(decoder: Sampler) -> str:
    """Kind of the pictures that a decoder's model learned from, by its name; "" of a model of your own."""
    name = str(decoder.config.ijepa)
    return examples.kind_of(name) or (PHOTOGRAPHS if name in checkpoints.PUBLISHED else "")


def fits(one: str, other: str) -> bool:
    """Whether a model of one kind may be shown a picture of the other: equal, or one of them unknown."""
    return one == other or not one or not other


def read_others(other: Any, kind: str, size: ImageSize) -> list[OtherImage]:
    """Images for the controls.

    Args:
        other: one or several images, of any input of :func:`ijepa_viz.data.transforms.read_image`; None takes
            cats' faces for a model of these, photographs for one of photographs or birds, drawn scenes for others.
        kind: of the model. size: of its input, in pixels.
    """
    if other is not None:
        several = other if isinstance(other, Sequence) and not isinstance(other, str) else [other]
        images = [(f"other picture {i}", read_image(one), 1) for i, one in enumerate(several, start=1)]
    elif kind == CATS:
        cats = {id(example.image): example for example in examples.cats()}  # several are of one and the same picture
        images = [(example.name, example.image, 1) for example in cats.values()]
    elif kind in (PHOTOGRAPHS, BIRDS):
        images = [(example.name, example.image, 1 + len(_CROPS)) for example in examples.photographs()]
    else:
        drawn = (framed_scene(i, size, seed=1).image for i in range(_SCENES))
        images = [(f"drawn scene {i}", Image.fromarray(one), 1) for i, one in enumerate(drawn, start=1)]
    return [OtherImage(name, image, _parts(image, size)[:count]) for name, image, count in images]


def read_gallery(first: Image.Image, gallery: Any, others: Sequence[OtherImage], kind: str) -> list[Entry]:
    """The row of pictures to choose from: the first one, then those given, or else the first of ``others``."""
    row = [Entry("the first picture", first, kind)]
    if gallery is None:
        return row + entries(others, kind, first)
    if isinstance(gallery, Mapping):
        return row + [Entry(str(name), read_image(one), kind) for name, one in gallery.items()]
    return row + [Entry(f"picture {i}", read_image(one), kind) for i, one in enumerate(gallery, start=2)]


def entries(others: Sequence[OtherImage], kind: str, shown: Image.Image | None = None) -> list[Entry]:
    """Entries of the row for the first of ``others``, without the image that is shown already."""
    known = None if shown is None or not others else to_uint8(shown, _size_of(others[0].parts))
    new = [one for one in others if known is None or not torch.equal(one.parts[0], known)]
    return [Entry(one.name, one.image, kind) for one in new[:_ROW]]


def control_images(others: Sequence[OtherImage], shown: Image.Image, first: Image.Image) -> Tensor:
    """Images that are not the one shown, nor crops of it, (n, 3, H, W) uint8: a control of itself is none.

    Args:
        first: of the row, taken if all others are the one shown.

    Raises:
        ValueError: there is no other.
    """
    size = _size_of(others[0].parts)
    known, fallback = to_uint8(shown, size), to_uint8(first, size)
    found = [one.parts for one in others if not (one.parts == known).flatten(1).all(1).any()]
    if not found and not torch.equal(fallback, known):
        found = [fallback[None]]
    if not found:
        raise ValueError("This control needs another image than the one shown: give one as `other`.")
    wholes, crops = [parts[:1] for parts in found], [parts[1:] for parts in found]
    return torch.cat(wholes + crops)


def several(images: Tensor, row: Sequence[Entry], shown: Image.Image) -> Tensor:
    """Images for a mean, (n, 3, H, W) uint8: those of the row too where only one was given.

    Raises:
        ValueError: there is only one, of which the mean is itself.
    """
    if len(images) == 1:
        size = _size_of(images)
        candidates = torch.stack([to_uint8(entry.image, size) for entry in row])
        known = torch.cat([images, to_uint8(shown, size)[None]])
        images = torch.cat([images, candidates[[bool((known != one).flatten(1).any(1).all()) for one in candidates]]])
    if len(images) == 1:
        raise ValueError("A mean prediction needs several other images: give a list as `other`, or a gallery.")
    return images


def to_uint8(image: Image.Image, size: ImageSize) -> Tensor:
    """(3, H, W) uint8, of the largest centred part of these proportions."""
    return torch.from_numpy(np.array(centre_crop(image, size))).permute(2, 0, 1)


def _size_of(images: Tensor) -> tuple[int, int]:
    """(height, width) of (..., H, W)."""
    return images.shape[-2], images.shape[-1]


def _parts(image: Image.Image, size: ImageSize) -> Tensor:
    side = min(image.size)
    whole = square(image, side)
    crops = [
        whole.crop((round(left * side), round(top * side), round((left + share) * side), round((top + share) * side)))
        for left, top, share in _CROPS
    ]
    return torch.stack([to_uint8(one, size) for one in (image, *crops)])
