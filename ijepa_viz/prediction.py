"""Predicted and target tokens of one image's hidden blocks by a frozen model (section 3)."""

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
    """Predicted and target tokens of the target blocks of one image.

    Attributes:
        predicted: (M, T, D), the predictor's output.
        target: (M, T, D), the target encoder's output after the loss's LayerNorm.
        masks: of this image (B = 1).
        image: (3, H, W) in [0, 1], the model's input. For figures only; decoders must not read it.
        patch_size: in pixels.
    """

    predicted: Tensor
    target: Tensor
    masks: Masks
    image: Tensor
    patch_size: int

    @property
    def cosine(self) -> Tensor:
        """Cosine similarity of each predicted token to its target token, (M, T)."""
        return F.cosine_similarity(self.predicted, self.target, dim=-1)

    def replaced(self, tokens: Tensor) -> Prediction:
        """Replace the predicted tokens by others, (M, T, D), such as a control's.

        Raises:
            ValueError: tokens of another shape.
        """
        if tokens.shape != self.predicted.shape:
            raise ValueError(f"The target blocks need tokens {tuple(self.predicted.shape)}, got {tuple(tokens.shape)}.")
        return replace(self, predicted=tokens)


class DrawnSamples(Protocol):
    """Interface of a decoder's samples for figures and widgets."""

    @property
    def images(self) -> Tensor:
        """Samples (S, 3, H, W) in [0, 1]."""
        ...

    def on(self, image: Tensor) -> Tensor:
        """Paste the hidden region of each sample onto ``image`` (3, H, W): (S, 3, H, W)."""
        ...


class Sampler(Protocol):
    """Interface of a decoder for the demo and the widgets, implemented by ``decoders.Decoder``."""

    @property
    def config(self) -> Any:
        """Config with ``ijepa``, ``ijepa_sha256`` and ``steps``."""
        ...

    def sample(self, prediction: Prediction, samples: int = 6, *args: Any, **kwargs: Any) -> Any:
        """Draw ``samples`` images conditioned on the predicted tokens."""
        ...


@torch.inference_mode()
def predict(model: IJEPA, image: Any, masks: Masks) -> Prediction:
    """Predict the tokens of one image's target blocks (section 3; figure 6 decodes such predictions).

    Args:
        model: with a predictor; set to eval mode.
        image: any input of :func:`ijepa_viz.data.transforms.read_image`, cropped to its centred square and resized; or
            a (3, H, W) tensor in [0, 1] of the model's size.
        masks: of one image, on the model's grid.

    Returns:
        Predicted and target tokens (M, T, D) in float32.

    Raises:
        ValueError: an unreadable image, or masks of another grid or several images.
        RuntimeError: the model has no predictor.

    >>> from ijepa_viz.checkpoints import load_model
    >>> from ijepa_viz.data import menagerie
    >>> model = load_model("menagerie-tiny")
    >>> masks = Masks.from_block(model.grid, row=2, col=2, height=3, width=3)
    >>> prediction = predict(model, menagerie.scene(0).image, masks)
    >>> prediction.cosine.shape  # (M, T)
    torch.Size([1, 9])
    >>> bool(prediction.cosine.mean() > 0.5)
    True
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
    """Check that ``decoder`` was trained on this model's predictions, by the fingerprint of the weights.

    Raises:
        ValueError: a decoder of another model.
    """
    if decoder.config.ijepa_sha256 != fingerprint(model):
        raise ValueError(
            f"This decoder was trained on other weights ({decoder.config.ijepa!r}) than this model's: its "
            "samples would be meaningless. Train one with `python -m decoders`."
        )
