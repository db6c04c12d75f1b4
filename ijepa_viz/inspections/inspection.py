"""Input and registry of the inspections of one prediction (``ijepa-viz look --inspection NAME``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, predict
from ijepa_viz.registry import Registry

WITHOUT_PREDICTOR = ("attention", "components", "retrieval")
"""Inspections of an encoder's own tokens, for models without a predictor too."""


_LARGEST_DIFFERENCE = 16.0  # mean square in levels of 255, of a picture and its copy


@dataclass(frozen=True)
class InspectionInput:
    """One image with a mask, and other images for controls and retrieval.

    Attributes:
        model: with a predictor, or for those of :data:`WITHOUT_PREDICTOR` an encoder only.
        image: (3, H, W) in [0, 1]. masks: of this image, B = 1.
        others: (n, 3, H, W) uint8 at the model's size. Copies of the image itself are removed, since a control or a
            retrieval that contains the answer means nothing.
        excluded: number of the removed copies.
        scenes: number of drawn scenes that the part classifier is fitted on; None is the default of
            :func:`ijepa_viz.inspections.position.fit_part_classifier`.
        layers: of which attention is shown, numbers or "last" joined by commas; None is the first, middle and last.
    """

    model: IJEPA
    image: Tensor
    masks: Masks
    others: Tensor
    scenes: int | None = None
    layers: str | None = None
    excluded: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Remove copies of the image.

        Raises:
            ValueError: no other image is left.
        """
        kept = ~copies_of(self.image, self.others)
        if not kept.any():
            raise ValueError("The other images are all copies of the image itself: give more --data.")
        object.__setattr__(self, "excluded", int((~kept).sum()))
        if self.excluded:
            object.__setattr__(self, "others", self.others[kept])

    def predict(self) -> Prediction:
        """Predict the hidden blocks of the image.

        Raises:
            RuntimeError: the model has no predictor; the message names the inspections that need none.
        """
        if self.model.predictor is None:
            raise RuntimeError(
                f"This model has an encoder only, so there is no prediction to inspect. {self.model.why_no_predictor} "
                f"These inspections need none: {', '.join(WITHOUT_PREDICTOR)}."
            )
        return predict(self.model, self.image, self.masks)


def central_patch(masks: Masks) -> int:
    """Index of the patch of the first target block that is nearest to the block's centre."""
    patch_indices, cols = masks.targets[0, 0].cpu(), masks.grid[1]
    at = torch.stack([patch_indices // cols, patch_indices % cols], 1).float()
    return int(patch_indices[(at - at.mean(0)).norm(dim=1).argmin()])


def copies_of(image: Tensor, others: Tensor, batch: int = 256) -> Tensor:
    """Which of ``others`` (n, 3, H, W) uint8 show the same as ``image`` (3, H, W) in [0, 1]: (n,) bool.

    Equal pixels, or a root mean square difference below four of 255 levels and a tenth of the image's own standard
    deviation: a copy with some JPEG loss counts, and another dark or nearly empty picture does not.
    """
    own = (image.detach().cpu() * 255).round()
    limit = min(_LARGEST_DIFFERENCE, 0.01 * float(own.var(dim=(1, 2)).mean()))
    found = []
    for chunk in others.split(batch):
        difference = (chunk.float() - own).square().mean(dim=(1, 2, 3))
        found.append((difference == 0) | (difference < limit))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)


def copies_between(images: Tensor, others: Tensor) -> Tensor:
    """:func:`copies_of` for each of ``images`` (b, 3, H, W) uint8, at a small part of its cost: (b, n) bool.

    Every fourth row and column is compared first. Where these alone differ by more than whole copies may, the pair is
    none; the other pairs, few, are compared pixel by pixel.
    """
    found = torch.zeros(len(images), len(others), dtype=torch.bool)
    some, shown = (x[..., ::4, ::4].float().flatten(1) for x in (images, others))
    difference = (some[:, None] - shown).square().sum(-1) / others[0].numel()  # at most that of all pixels
    near = difference < _LARGEST_DIFFERENCE
    for i in near.any(1).nonzero()[:, 0].tolist():
        found[i, near[i]] = copies_of(images[i] / 255, others[near[i]])
    return found


Inspection = Callable[[InspectionInput], dict[str, Any]]

INSPECTIONS: Registry[Inspection] = Registry("inspection")
"""``f(inputs) -> {name: number, "figure": Figure}`` by name."""
