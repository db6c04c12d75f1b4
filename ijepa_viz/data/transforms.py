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

from ijepa_viz.data.fitting import Placement, as_tensor, centre_crop, place
from ijepa_viz.data.picture_size import ImageSize, height_and_width
from ijepa_viz.data.pixel_arrays import is_array, split_array, to_8_bits
from ijepa_viz.data.reading import read_image as read_image

# ImageNet statistics, as in every published I-JEPA; other statistics silently give wrong tokens.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
_TRIES = 10


def square(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest centred square and resize it to ``size`` pixels, antialiased."""
    return centre_crop(image, size)


def to_tensor(image: Image.Image, size: ImageSize) -> Tensor:
    """Convert the largest centred part of the proportions of ``size`` to (3, H, W) float in [0, 1]."""
    return as_tensor(centre_crop(image, size))


def to_pixels(images: Any, size: ImageSize) -> Tensor:
    """Convert a picture of any kind to a model's pixels (3, H, W), or a batch to (B, 3, H, W).

    Args:
        images: any input of :func:`read_image`; a batch as an array or tensor of four dimensions
            (:mod:`ijepa_viz.data.pixel_arrays`); or a list or tuple of pictures, of any sizes and kinds.
        size: of the result. Arrays of that size keep their precision; everything else becomes 8-bit RGB, of
            which the largest centred part of these proportions is resized, as files are.

    Returns:
        Float in [0, 1], on the CPU.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_image`; an empty batch, or a batch within a batch.
    """
    return fit_pixels(images, size, 1, max(height_and_width(size))).pixels


@dataclass(frozen=True)
class FittedPixels:
    """A picture or a batch as a model reads it.

    Attributes:
        pixels: (3, H, W) or (B, 3, H, W) float in [0, 1], on the CPU.
        originals: the same parts at their own resolution, for figures; one for each image, or none at all where no
            image is larger than the pixels.
        inside: (1, rows, cols) or (B, rows, cols) bool, False for padding; None where there is none.
    """

    pixels: Tensor
    originals: tuple[Image.Image, ...] = ()
    inside: Tensor | None = None


def fit_pixels(
    images: Any, size: ImageSize, patch_size: int, largest: int, fit: str = "crop", patches: int | None = None
) -> FittedPixels:
    """Convert pictures as :func:`to_pixels` does, fitted to a model's grid of patches by :func:`place`.

    Args:
        images: as of :func:`to_pixels`. size, patch_size: of the model, in pixels.
        largest: most pixels of a side of the originals.
        fit, patches: as of :func:`ijepa_viz.data.fitting.place`.

    Raises:
        FileNotFoundError, ValueError: as :func:`to_pixels` and ``place``; pictures of different proportions in a batch
            with the fit "native".
    """
    if isinstance(images, list | tuple):
        found = [fit_pixels(image, size, patch_size, largest, fit, patches) for image in images]
        if not found:
            raise ValueError("The batch is empty: give at least one picture.")
        if any(one.pixels.ndim != 3 for one in found):
            raise ValueError("A list is a batch of single pictures, this one holds batches.")
        return _joined(found, patch_size)

    def of(image: Image.Image) -> FittedPixels:
        return _drawn(image, place((image.height, image.width), size, patch_size, fit, patches), largest)

    if not is_array(images):
        return of(read_image(images))
    arrays, batched = split_array(images)
    found = []
    for array in arrays:
        placement = place(array.shape[:2], size, patch_size, fit, patches)
        if array.shape[:2] != placement.size or array.shape[2] == 4 or array.dtype == np.uint8:
            found.append(of(read_image(to_8_bits(array))))
        else:  # float32 in [0, 1]
            tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
            found.append(FittedPixels(tensor.expand(3, *placement.size).contiguous()))
    return _joined(found, patch_size) if batched else found[0]


def _drawn(image: Image.Image, placement: Placement, largest: int) -> FittedPixels:
    scale = placement.own_scale(image.height, image.width, largest)
    originals = (placement.draw(image, scale),) if scale > 1 else ()
    inside = placement.inside
    return FittedPixels(as_tensor(placement.draw(image)), originals, None if inside is None else inside[None])


def _joined(found: list[FittedPixels], patch_size: int) -> FittedPixels:
    """Single pictures as a batch; with originals, those that have none are their own."""
    sizes = {tuple(one.pixels.shape[1:]): None for one in found}
    if len(sizes) > 1:
        grids = ", ".join(f"{height // patch_size}x{width // patch_size}" for height, width in sizes)
        raise ValueError(
            f"These pictures have grids of {grids} patches, and a batch has one: predict those of one grid together, "
            'or fit them to the model\'s by fit="crop" or "pad".'
        )
    originals: tuple[Image.Image, ...] = ()
    if any(one.originals for one in found):
        originals = tuple(one.originals[0] if one.originals else to_pil(one.pixels) for one in found)
    inside = None
    if any(one.inside is not None for one in found):
        whole = next(torch.ones_like(one.inside) for one in found if one.inside is not None)
        inside = torch.cat([whole if one.inside is None else one.inside for one in found])
    return FittedPixels(torch.stack([one.pixels for one in found]), originals, inside)


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


def crop_and_resize(images: Tensor, size: ImageSize, crops: Crops) -> Tensor:
    """Crop and resize a batch: (B, 3, H, W) uint8 or float in [0, 1] -> (B, 3, h, w) float in [0, 1].

    Bilinear, without antialiasing, for images already near the target size, which is ``size``. A crop's aspect is
    relative to that of the result, so that nothing is stretched by more than the range of :class:`Crops`.
    """
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    rows, cols = height_and_width(size)
    left, top, width, height = crops.boxes(_relative(pixels.shape[-1] / pixels.shape[-2], size)).unbind(1)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = torch.where(crops.mirrored, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = 2 * left + width - 1
    theta[:, 1, 2] = 2 * top + height - 1
    sampling_grid = F.affine_grid(theta.to(pixels.device), [len(images), 3, rows, cols], align_corners=False)
    return F.grid_sample(pixels, sampling_grid, padding_mode="reflection", align_corners=False)


def crop_and_resize_image(image: Image.Image, size: ImageSize, crops: Crops) -> np.ndarray:
    """Crop and resize one image of any size, antialiased, to (H, W, 3) uint8 of ``size``; ``crops`` of one image."""
    left, top, width, height = crops.boxes(_relative(image.width / image.height, size))[0].tolist()
    box = (left * image.width, top * image.height, (left + width) * image.width, (top + height) * image.height)
    rows, cols = height_and_width(size)
    picture = image.resize((cols, rows), Image.Resampling.BICUBIC, box=box)
    return np.asarray(ImageOps.mirror(picture) if bool(crops.mirrored[0]) else picture)


def _relative(shape: float, size: ImageSize) -> float:
    """Width / height ``shape`` of a picture relative to that of ``size``: 1 where the whole picture fits it."""
    rows, cols = height_and_width(size)
    return shape if rows == cols else shape * rows / cols


def random_resized_crop(
    images: Tensor, size: ImageSize, generator: torch.Generator | None = None, **options: Any
) -> Tensor:
    """Random resized crop of each image of a batch (appendix A): :func:`crop_and_resize` of newly drawn :class:`Crops`.

    Args:
        images: (B, 3, H, W) uint8 or float in [0, 1].
        size: of the result.
        generator: a CPU generator.
        options: scale, ratio and flip of :class:`Crops`.

    Returns:
        (B, 3, H, W) float in [0, 1].
    """
    return crop_and_resize(images, size, Crops.draw(len(images), generator, **options))
