"""Cropping of images, and conversion to and from normalised tensors; reading is in :mod:`ijepa_viz.data.reading`.

The only augmentation of the paper is a random resized crop (appendix A); flips are an option.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ijepa_viz.data.pixel_arrays import is_array, split_array, to_8_bits
from ijepa_viz.data.reading import read_image as read_image

# ImageNet statistics, as in every published I-JEPA; other statistics silently give wrong tokens.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
_TRIES = 10


def square(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest centred square and resize it to ``size`` pixels, antialiased."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """Convert the centred square of an image to (3, size, size) float in [0, 1]."""
    array = np.array(square(image, size))
    return torch.from_numpy(array).permute(2, 0, 1).float() / 255


def to_pixels(images: Any, size: int) -> Tensor:
    """Convert a picture of any kind to a model's pixels (3, size, size), or a batch to (B, 3, size, size).

    Args:
        images: any input of :func:`read_image`; a batch as an array or tensor of four dimensions
            (:mod:`ijepa_viz.data.pixel_arrays`); or a list or tuple of pictures, of any sizes and kinds.
        size: of the result. Arrays of that size keep their precision; everything else becomes 8-bit RGB, of
            which the centred square is resized, as files are.

    Returns:
        Float in [0, 1], on the CPU.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_image`; an empty batch, or a batch within a batch.
    """
    return to_pixels_and_originals(images, size, size)[0]


def to_pixels_and_originals(images: Any, size: int, largest: int) -> tuple[Tensor, tuple[Image.Image, ...]]:
    """:func:`to_pixels`, and the same squares at their own resolution, at most ``largest`` px, for figures.

    There is one original for each image, or none at all where no image is larger than ``size``.
    """
    if isinstance(images, list | tuple):
        found = [to_pixels_and_originals(image, size, largest) for image in images]
        if not found:
            raise ValueError("The batch is empty: give at least one picture.")
        if any(pixels.ndim != 3 for pixels, _ in found):
            raise ValueError("A list is a batch of single pictures, this one holds batches.")
        return torch.stack([pixels for pixels, _ in found]), _all_or_none(found)
    if not is_array(images):
        return _resized(read_image(images), size, largest)
    arrays, batched = split_array(images)
    found = [_array_pixels(array, size, largest) for array in arrays]
    if not batched:
        return found[0]
    return torch.stack([pixels for pixels, _ in found]), _all_or_none(found)


_Found = tuple[Tensor, tuple[Image.Image, ...]]


def _all_or_none(found: list[_Found]) -> tuple[Image.Image, ...]:
    """The original of every picture, or its pixels where it has none; empty if none has one."""
    if not any(originals for _, originals in found):
        return ()
    return tuple(originals[0] if originals else to_pil(pixels) for pixels, originals in found)


def _resized(image: Image.Image, size: int, largest: int) -> _Found:
    own = min(*image.size, largest)
    return to_tensor(image, size), (square(image, own),) if own > size else ()


def _array_pixels(array: np.ndarray, size: int, largest: int) -> _Found:
    """(H, W, C), uint8 or float32 in [0, 1], to (3, size, size)."""
    if array.shape[:2] != (size, size) or array.shape[2] == 4 or array.dtype == np.uint8:
        return _resized(read_image(to_8_bits(array)), size, largest)
    return torch.from_numpy(array.copy()).permute(2, 0, 1).expand(3, size, size).contiguous(), ()


def normalise(images: Tensor) -> Tensor:
    """Normalise images (..., 3, H, W) in [0, 1] by ImageNet's mean and standard deviation."""
    return (images - MEAN.to(images.device)) / STD.to(images.device)


def denormalise(images: Tensor) -> Tensor:
    """The inverse of :func:`normalise`."""
    return images * STD.to(images.device) + MEAN.to(images.device)


def to_pil(image: Tensor) -> Image.Image:
    """Convert (3, H, W) in [0, 1] to a PIL image."""
    array = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(array)


@dataclass(frozen=True)
class Crops:
    """Random resized crops of a batch, drawn independently of the images' sizes.

    The rule is that of torchvision's ``RandomResizedCrop``: of ten tries for an area and an aspect the first that fits
    into the image, or, if none does, the largest centred box with an aspect within the range.

    Attributes:
        draws: (23, B) uniform numbers: ten areas, ten aspects, left, top, flip.
        scale: range of the crop's share of the area. ratio: range of its width / height, log-uniform.
        flip: mirror half of the images.
    """

    draws: Tensor
    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False

    @classmethod
    def draw(cls, count: int, generator: torch.Generator | None, **options: Any) -> Crops:
        """Draw crops for ``count`` images; ``options`` are the other attributes."""
        return cls(torch.rand(2 * _TRIES + 3, count, generator=generator), **options)

    def __len__(self) -> int:
        return self.draws.shape[1]

    def __getitem__(self, rows: slice | Tensor) -> Crops:
        """Select the crops of some images of the batch."""
        return replace(self, draws=self.draws[:, rows])

    def boxes(self, shape: float | Tensor = 1.0) -> Tensor:
        """Boxes (B, 4) as (left, top, width, height), relative to images of width / height ``shape``, () or (B,)."""
        areas, aspects = self.draws[:_TRIES], self.draws[_TRIES : 2 * _TRIES]  # (10, B)
        left, top = self.draws[2 * _TRIES : 2 * _TRIES + 2]
        shape = torch.as_tensor(shape, dtype=self.draws.dtype).expand(len(self))
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * areas
        low, high = (float(np.log(r)) for r in self.ratio)
        aspect = torch.exp(low + (high - low) * aspects) / shape
        # (10, B, 2), relative to the image's own width and height.
        tries = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 2)
        fits = (tries <= 1 + 1e-6).all(2)
        first = fits.int().argmax(0)
        chosen = tries[first, torch.arange(len(self))].clamp(max=1)
        nearest = shape.clamp(*self.ratio)
        centred = torch.stack([(nearest / shape).clamp(max=1), (shape / nearest).clamp(max=1)], 1)
        any_fits = fits.any(0)
        width, height = torch.where(any_fits[:, None], chosen, centred).unbind(1)
        left, top = (torch.where(any_fits, place, 0.5) for place in (left, top))
        return torch.stack([left * (1 - width), top * (1 - height), width, height], 1)

    @property
    def mirrored(self) -> Tensor:
        """(B,) bool."""
        return (self.draws[-1] < 0.5) & self.flip


def crop_and_resize(images: Tensor, size: int, crops: Crops) -> Tensor:
    """Crop and resize a batch: (B, 3, H, W) uint8 or float in [0, 1] -> (B, 3, size, size) float in [0, 1].

    Bilinear, without antialiasing, for images already near the target size.
    """
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    left, top, width, height = crops.boxes().unbind(1)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = torch.where(crops.mirrored, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = 2 * left + width - 1
    theta[:, 1, 2] = 2 * top + height - 1
    sampling_grid = F.affine_grid(theta.to(pixels.device), [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(pixels, sampling_grid, padding_mode="reflection", align_corners=False)


def crop_and_resize_image(image: Image.Image, size: int, crops: Crops) -> np.ndarray:
    """Crop and resize one image of any size, antialiased: (size, size, 3) uint8; ``crops`` of one image."""
    left, top, width, height = crops.boxes(image.width / image.height)[0].tolist()
    box = (left * image.width, top * image.height, (left + width) * image.width, (top + height) * image.height)
    picture = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(ImageOps.mirror(picture) if bool(crops.mirrored[0]) else picture)


def random_resized_crop(images: Tensor, size: int, generator: torch.Generator | None = None, **options: Any) -> Tensor:
    """Random resized crop of each image of a batch (appendix A): :func:`crop_and_resize` of newly drawn :class:`Crops`.

    Args:
        images: (B, 3, H, W) uint8 or float in [0, 1].
        size: height = width of the result.
        generator: a CPU generator.
        options: scale, ratio and flip of :class:`Crops`.

    Returns:
        (B, 3, size, size) float in [0, 1].
    """
    return crop_and_resize(images, size, Crops.draw(len(images), generator, **options))
