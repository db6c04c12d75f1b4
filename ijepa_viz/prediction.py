"""One image and its masks through the frozen model: what it expects, and what is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.transforms import normalise, read_image, to_tensor
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.tensors import fingerprint


@dataclass(frozen=True)
class Prediction:
    """What a model expects in the hidden blocks of one image.

    Attributes:
        predicted: (M, T, D), the predictor's output.
        target: (M, T, D), the target encoder's, after the loss's LayerNorm.
        masks: of this one image (B = 1).
        image: (3, H, W) in [0, 1], as the model saw it. Only figures use it; decoders must not.
        patch_size: in pixels.
    """

    predicted: Tensor
    target: Tensor
    masks: Masks
    image: Tensor
    patch_size: int

    @property
    def cosine(self) -> Tensor:
        """(M, T), between each predicted and its target token."""
        return F.cosine_similarity(self.predicted, self.target, dim=-1)

    def replaced(self, tokens: Tensor) -> Prediction:
        """The same hole with other tokens (M, T, D) in it: the way to every control.

        Raises:
            ValueError: tokens of another shape.
        """
        if tokens.shape != self.predicted.shape:
            raise ValueError(f"The hole needs tokens {tuple(self.predicted.shape)}, got {tuple(tokens.shape)}.")
        return replace(self, predicted=tokens)


class DrawnSamples(Protocol):
    """What figures and widgets need of a decoder's result."""

    @property
    def images(self) -> Tensor:
        """(S, 3, H, W) in [0, 1]."""
        ...

    def on(self, image: Tensor) -> Tensor:
        """The samples in their hole on ``image`` (3, H, W): (S, 3, H, W)."""
        ...


class Sampler(Protocol):
    """What demo and widgets need of a decoder; ``decoders.Decoder`` is one."""

    @property
    def config(self) -> Any:
        """With ``ijepa``, ``ijepa_sha256`` and ``steps``."""
        ...

    def sample(self, prediction: Prediction, samples: int = 6, *args: Any, **kwargs: Any) -> Any:
        """Draw the predicted tokens ``samples`` times."""
        ...


@torch.inference_mode()
def predict(model: IJEPA, image: Any, masks: Masks) -> Prediction:
    """Predict the hidden blocks of one image (section 3; figure 6 decodes the result).

    Args:
        model: with a predictor.
        image: whatever ``data.transforms.read_image`` takes, cut to its centred square and resized;
            or a (3, H, W) tensor in [0, 1] of the model's size.
        masks: of one image, on the model's grid.

    Raises:
        ValueError: a picture that cannot be used, or masks of another grid or number.
        RuntimeError: the model has no predictor.
    """
    size = model.config.image_size
    pixels = image if isinstance(image, Tensor) else to_tensor(read_image(image), size)
    if pixels.shape != (3, size, size):
        raise ValueError(f"An image tensor must be (3, {size}, {size}), got {tuple(pixels.shape)}.")
    model.eval()
    batch = normalise(pixels.to(model.device).float())[None]
    on_device = masks.to(str(model.device))
    predicted = model.predict(model.encode_context(batch, on_device), on_device)
    target = model.targets(batch, on_device)
    return Prediction(predicted[0].float(), target[0].float(), masks, pixels, model.config.patch_size)


def check_pair(model: IJEPA, decoder: Sampler) -> None:
    """Raise ValueError unless ``decoder`` was trained on this very model's predictions."""
    if decoder.config.ijepa_sha256 != fingerprint(model):
        raise ValueError(
            f"This decoder was trained on other weights ({decoder.config.ijepa!r}) than this model's: its "
            "pictures would mean nothing. Train one with `python -m decoders`."
        )
