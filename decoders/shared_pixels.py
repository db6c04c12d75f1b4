"""Which decoder of pictures may draw another model's tokens: of a film step by step, or of pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from decoders.decoder import Decoder
from decoders.loading import load_decoder
from decoders.networks.by_step import ByStep
from ijepa_viz.checkpoints import bundled_names, load_model
from ijepa_viz.models import IJEPA
from ijepa_viz.models.inflation import inflated
from ijepa_viz.runtime.tensors import fingerprint

_TARGET = "target_encoder."

# Largest difference of two encoders' weights that are the same but for half precision, of weights below 4.
_ROUNDED = 2e-3


def by_step(pictures: str | Path, ijepa: IJEPA) -> ByStep:
    """The network that draws the target tokens of ``ijepa`` by the decoder of another model, of pictures.

    Args:
        pictures: a bundled model's name or the folder of a decoder of pictures.
        ijepa: of films with separate steps, or of pictures; with the target encoder of the model of pictures that this
            decoder belongs to.

    Raises:
        FileNotFoundError, ValueError: as ``load_decoder``; other tokens than the decoder's.
    """
    decoder = load_decoder(pictures)
    config: Any = ijepa.config
    films = config.steps > 1
    cure = f"train one: python -m decoders --fname decoders/configs/{'film-joint' if films else 'wild-tiny'}.yaml"
    if films and config.encoder_steps != "separate":
        raise ValueError(
            f"{pictures} draws pictures, and this I-JEPA encodes the steps of a film jointly: its tokens are no "
            f"picture's. Name a decoder of films, or {cure}."
        )
    own = load_model(decoder.config.ijepa)
    if own.config.width != config.width or fingerprint(own) != decoder.config.ijepa_sha256:
        raise ValueError(
            f"{pictures} draws the tokens of {decoder.config.ijepa!r}, and the model of this name is another one or "
            "has another width. Name a decoder of the model of pictures that this one began from."
        )
    if not has_target_encoder_of(own, ijepa):
        raise ValueError(
            f"{pictures} draws the tokens of {decoder.config.ijepa!r}, and this I-JEPA's target encoder is another "
            f"one. Name a decoder of the model of pictures that it began from, or {cure}."
        )
    network: Any = decoder.network
    return ByStep(
        network.grid,
        network.config.patch_size,
        network.config.feature_width,
        str(pictures),
        fingerprint(network),
        steps=config.steps,
        tubelet=config.tubelet,
    )


def borrowed(pictures: str | Path, ijepa: IJEPA, name: str) -> Decoder:
    """The decoder of another model, of pictures, as one of ``ijepa``: its network is named, and not saved again.

    It draws predicted tokens in one stage, as it learned to from the other model's predictor.

    Args:
        pictures: as of :func:`by_step`. ijepa: of pictures. name: of ``ijepa``.

    Raises:
        FileNotFoundError, ValueError: as :func:`by_step`; a decoder of two stages, whose first one is of the other
            model's predictions alone.
    """
    decoder = load_decoder(pictures)
    if decoder.pipeline.token_network is not None:
        raise ValueError(
            f"The decoder {pictures} has two stages, and the first samples from {decoder.config.ijepa!r}'s predictions "
            f"alone. Train one for this model: python -m decoders with network.name=token-vit pixel_decoder={pictures}."
        )
    config = replace(decoder.config, ijepa=name, ijepa_sha256=fingerprint(ijepa))
    return Decoder(by_step(pictures, ijepa), config, decoder.pipeline.scheduler)


def is_of_a_relative(decoder: Decoder, ijepa: IJEPA) -> bool:
    """Whether a decoder of pictures belongs to a bundled model with the target encoder of ``ijepa``, and not to it."""
    name = decoder.config.ijepa
    if fingerprint(ijepa) == decoder.config.ijepa_sha256 or name not in bundled_names():
        return False
    return has_target_encoder_of(load_model(name), ijepa)


def has_target_encoder_of(pictures: IJEPA, ijepa: IJEPA) -> bool:
    """Whether the target encoder of ``ijepa`` is that of a model of pictures, inflated where it is of films."""
    sizes: Any = {key: getattr(ijepa.config, key) for key in ("frames", "tubelet", "encoder_steps")}
    expected = {
        name.removeprefix(_TARGET): value
        for name, value in inflated(pictures.state_dict(), IJEPA(replace(pictures.config, **sizes))).items()
        if name.startswith(_TARGET)
    }
    found = ijepa.target_encoder.state_dict()
    return found.keys() == expected.keys() and all(
        found[name].shape == value.shape and torch.allclose(found[name].float().cpu(), value, atol=_ROUNDED)
        for name, value in expected.items()
    )
