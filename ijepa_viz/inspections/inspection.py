"""Input and registry of the inspections of one prediction (``ijepa-viz look --inspection NAME``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, predict
from ijepa_viz.registry import Registry


@dataclass(frozen=True)
class InspectionInput:
    """One image with a mask, and other images for controls and retrieval.

    Attributes:
        model: with a predictor.
        image: (3, H, W) in [0, 1]. masks: of this image, B = 1.
        others: (n, 3, H, W) uint8 at the model's size, without the image itself.
        scenes: number of drawn scenes that the part classifier is fitted on; None is the default of
            :func:`ijepa_viz.inspections.position.fit_part_classifier`.
    """

    model: IJEPA
    image: Tensor
    masks: Masks
    others: Tensor
    scenes: int | None = None

    def predict(self) -> Prediction:
        """Predict the hidden blocks of the image."""
        return predict(self.model, self.image, self.masks)


Inspection = Callable[[InspectionInput], dict[str, Any]]

INSPECTIONS: Registry[Inspection] = Registry("inspection")
"""``f(inputs) -> {name: number, "figure": Figure}`` by name."""
