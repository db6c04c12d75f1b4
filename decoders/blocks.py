"""Hidden blocks: clean pixels with the predicted and the target tokens of an I-JEPA."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ijepa_viz.data.transforms import denormalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, gather_targets, patchify


@dataclass(frozen=True)
class Blocks:
    """One batch of hidden blocks.

    Attributes:
        clean: (B, T, 3 p p), of films (B, T, 3 t p p), pixels in [-1, 1]. patch_indices: (B, T) int64, on the grid.
        predicted, target: (B, T, D), tokens.
    """

    clean: Tensor
    patch_indices: Tensor
    predicted: Tensor
    target: Tensor

    def __getitem__(self, rows: slice) -> Blocks:
        return Blocks(*(getattr(self, f.name)[rows] for f in fields(self)))

    def to(self, device: torch.device | str) -> Blocks:
        """Copy to ``device``, floating-point tensors as float32."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return Blocks(**{name: t.float() if t.is_floating_point() else t for name, t in moved.items()})


@torch.no_grad()
def blocks_of(
    ijepa: IJEPA, images: Tensor, masks: Masks, pictures: Tensor | None = None, cues: Tensor | None = None
) -> Blocks:
    """Extract the n M hidden blocks of normalised images (n, 3, H, W), on the model's device.

    Args:
        ijepa: computes the tokens. images: (n, 3, H, W), of films (n, T, 3, H, W). masks: one for each image.
        pictures: (n, 3, H', W') in [0, 1] or uint8, the same images at the resolution of ``clean``; None is the
            images themselves.
        cues: (n, L) int64, word ids of what is to be predicted; None is no cue.

    Raises:
        ValueError: pictures that are no whole number of square patches.
    """
    images, masks = images.to(ijepa.device), masks.to(str(ijepa.device))
    cues = None if cues is None else cues.to(ijepa.device)
    predicted = ijepa.predict(ijepa.encode_context(images, masks), masks, cues)
    target = ijepa.targets(images, masks)
    if pictures is None:
        pictures = denormalise(images)
    rows, cols = ijepa.grid
    height, width = pictures.shape[-2:]
    patch = height // rows
    if (patch * rows, patch * cols) != (height, width):
        raise ValueError(f"Pictures of {height}x{width} px have no whole square patches on a grid of {rows}x{cols}.")
    pixels = pictures.to(ijepa.device) / (255 if pictures.dtype == torch.uint8 else 1)
    clean = gather_targets(patchify(pixels * 2 - 1, patch, ijepa.config.tubelet), masks)
    parts = (clean, masks.targets, predicted.float(), target.float())
    return Blocks(*(part.flatten(0, 1) for part in parts))
