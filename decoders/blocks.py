"""Hidden blocks of pixels beside the tokens that an I-JEPA predicts and sees there."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.transforms import denormalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, cut, patchify


@dataclass(frozen=True)
class Blocks:
    """One batch of hidden blocks.

    Attributes:
        clean: (B, T, 3 p p), pixels in [-1, 1]. places: (B, T) int64.
        predicted, target: (B, T, D).
    """

    clean: Tensor
    places: Tensor
    predicted: Tensor
    target: Tensor

    def __getitem__(self, some: slice) -> Blocks:
        return Blocks(*(getattr(self, f.name)[some] for f in fields(self)))

    def to(self, device: torch.device | str) -> Blocks:
        """A copy on ``device``, in float32 where it holds numbers."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return Blocks(**{name: t.float() if t.is_floating_point() else t for name, t in moved.items()})


@torch.no_grad()
def blocks_of(ijepa: IJEPA, images: Tensor, masks: Masks, patch_size: int | None = None) -> Blocks:
    """The hidden blocks of normalised images (n, 3, H, W), n M of them, on the model's device.

    ``patch_size`` is that of the pixels, which are resized from what the model sees; None is the model's own.
    """
    images, masks = images.to(ijepa.device), masks.to(str(ijepa.device))
    predicted = ijepa.predict(ijepa.encode_context(images, masks), masks)
    target = ijepa.targets(images, masks)
    pixels = denormalise(images) * 2 - 1
    patch = patch_size or ijepa.config.patch_size
    if patch != ijepa.config.patch_size:
        side = [cells * patch for cells in ijepa.grid]
        pixels = F.interpolate(pixels, side, mode="bilinear", antialias=True)
    parts = (cut(patchify(pixels, patch), masks), masks.targets, predicted.float(), target.float())
    return Blocks(*(part.flatten(0, 1) for part in parts))
