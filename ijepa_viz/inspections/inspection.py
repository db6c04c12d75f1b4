"""Inspections of one prediction: their input and their registry. ``ijepa-viz look`` finds each by name."""

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
class Question:
    """One image with a hole, and other images to compare with.

    Attributes:
        model: with a predictor.
        image: (3, H, W) in [0, 1]. masks: of it, B = 1.
        others: (n, 3, H, W) uint8 at the model's size, not holding the image.
        scenes: how many drawn scenes a reader of parts is fitted on; None is :func:`position.part_reader`'s own.
    """

    model: IJEPA
    image: Tensor
    masks: Masks
    others: Tensor
    scenes: int | None = None

    def predict(self) -> Prediction:
        """The model's prediction for the hole."""
        return predict(self.model, self.image, self.masks)


Look = Callable[[Question], dict[str, Any]]

LOOKS: Registry[Look] = Registry("look")

"""``f(question) -> {number: value, "figure": Figure}``; ``ijepa-viz look --probe NAME`` finds it."""
