"""Encoder-only models, published without a predictor: what Hugging Face's and timm's have in common."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from ijepa_viz.checkpoints.filling import fill
from ijepa_viz.data.picture_size import ImageSize, image_size
from ijepa_viz.data.transforms import MEAN, STD
from ijepa_viz.models import IJEPA, ModelConfig

# Where tensors are mapped from their file they should begin as allocated ones do: products round by it.
_ALIGNED = 64


def encoder_only(config: ModelConfig, encoder: dict[str, Tensor], where: str, why: str) -> IJEPA:
    """Build a model of one encoder; the target encoder is a copy of it.

    Args:
        config: with ``predictor_width`` 0. encoder: its state dict. where: opens the messages.
        why: a sentence on why there is no predictor.

    Raises:
        ValueError: tensors that do not fit the config.
    """
    positions = encoder["pos_embed"].shape
    count = config.grid[0] * config.grid[1]
    if len(positions) != 3 or positions[1] != count:
        raise ValueError(
            f"{where} has position embeddings {list(positions)}, but image_size {config.image_size} and patch_size "
            f"{config.patch_size} make a {config.grid[0]}x{config.grid[1]} grid, {count} patches: they belong to "
            "another image size, or were not interpolated when that was changed."
        )
    with torch.device("meta"):
        model = IJEPA(config)
    full = {name: value.float() for name, value in encoder.items()}
    fill(model.encoder, {k: v.clone() if v.data_ptr() % _ALIGNED else v for k, v in full.items()}, where)
    fill(model.target_encoder, {k: v.clone() for k, v in full.items()}, where)
    model.why_no_predictor = why
    return model


def size_of(value: object, name: str, where: str) -> ImageSize:
    """A size that is one number or two, height first, such as ``image_size: [64, 96]``.

    Raises:
        ValueError: no size.
    """
    try:
        return image_size(value)
    except ValueError as error:
        raise ValueError(f"{where}: {name} must be a positive number of pixels or two, got {value!r}.") from error


def square(value: object, name: str, where: str) -> int:
    """The side of a size that is one number or a pair of equal ones, such as ``patch_size: [8, 8]``.

    Raises:
        ValueError: a rectangle, or no size.
    """
    size = size_of(value, name, where)
    if not isinstance(size, int):
        raise ValueError(f"{where}: {name} is {value!r}; only square ones are supported.")
    return size


def note_normalisation(mean: object, std: object, where: str) -> None:
    """Say on stderr where pixels were normalised otherwise than this toolkit does, by ImageNet's mean and std."""
    try:
        given = [torch.tensor(v, dtype=torch.float32).expand(3) for v in (mean, std)]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{where}: mean {mean!r} and std {std!r} are not three numbers each.") from error
    if not all(torch.allclose(a, b.flatten(), atol=1e-3) for a, b in zip(given, (MEAN, STD), strict=True)):
        say(
            f"{where} names the mean {mean} and std {std} of its pixels. They are normalised by ImageNet's here, with "
            "which I-JEPA was trained: a model that was fine-tuned with the former gives other features."
        )


def say(note: str) -> None:
    """Write a line about what was loaded on stderr."""
    print(note, file=sys.stderr)
