"""Image reading, cropping, and conversion to and from normalised tensors.

The only augmentation of the paper is a random resized crop (appendix A); flips are an option.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# ImageNet statistics, as in every published I-JEPA; other statistics silently give wrong tokens.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
_SMALLEST = 8


def read_image(source: Any) -> Image.Image:
    """Read an RGB image from a path, a binary file, a PIL image or an (H, W, 3) uint8 array.

    CMYK, palette, grey, transparent (on white) and 16-bit images are converted; the EXIF orientation is applied.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, damaged, animated, or smaller than 8x8 pixels.
    """
    name = str(source) if isinstance(source, str | Path) else "The image"
    if isinstance(source, Image.Image):
        image = source
    elif isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ValueError(f"An image array is (H, W, 3) uint8, got {source.dtype} {source.shape}.")
        image = Image.fromarray(source)
    else:
        try:
            image = Image.open(source)
        except UnidentifiedImageError as error:
            raise ValueError(f"{name} is not an image that Pillow can read.") from error
        except (Image.DecompressionBombError, IsADirectoryError) as error:
            raise ValueError(f"{name} cannot be read as an image: {error}") from error
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(f"{name} is animated ({frames} frames). Give a still image.")
    if min(image.size) < _SMALLEST:
        raise ValueError(f"{name} is {image.width}x{image.height} pixels; at least {_SMALLEST}x{_SMALLEST} are needed.")
    try:
        return _to_rgb(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips these modes to 255 on conversion, which would lose the range of 16-bit images.
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode != "F" else max(1.0, float(values.max()))
        image = Image.fromarray(np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest centred square and resize it to ``size`` pixels, antialiased."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """Convert the centred square of an image to (3, size, size) float in [0, 1]."""
    array = np.array(square(image, size))
    return torch.from_numpy(array).permute(2, 0, 1).float() / 255


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

    Attributes:
        draws: (5, B) uniform numbers: area, aspect, left, top, flip.
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
        return cls(torch.rand(5, count, generator=generator), **options)

    def __len__(self) -> int:
        return self.draws.shape[1]

    def __getitem__(self, rows: slice) -> Crops:
        """Select the crops of some images of the batch."""
        return replace(self, draws=self.draws[:, rows])

    def boxes(self, shape: float | Tensor = 1.0) -> Tensor:
        """Boxes (B, 4) as (left, top, width, height), relative to images of width / height ``shape``, () or (B,)."""
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * self.draws[0]
        low, high = (float(np.log(r)) for r in self.ratio)
        aspect = torch.exp(low + (high - low) * self.draws[1]) / shape
        width = (area * aspect).sqrt().clamp(max=1)
        height = (area / aspect).sqrt().clamp(max=1)
        return torch.stack([self.draws[2] * (1 - width), self.draws[3] * (1 - height), width, height], 1)

    @property
    def mirrored(self) -> Tensor:
        """(B,) bool."""
        return (self.draws[4] < 0.5) & self.flip


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
