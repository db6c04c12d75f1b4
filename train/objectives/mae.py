"""The generative baseline: a masked autoencoder (He et al. 2022, arXiv 2111.06377) on the same encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ijepa_viz.checkpoints import read_into, read_json, write_config, write_tensors
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA, Predictor, cut, patchify
from train.config import TrainConfig
from train.objectives import OBJECTIVES, Objective
from train.objectives.ijepa import follow


@dataclass(frozen=True)
class MAEOptions:
    """normalise_pixels: each patch's pixels to mean 0 and variance 1, the better target in MAE's table 1."""

    normalise_pixels: bool = True


@dataclass(frozen=True)
class _Extra:
    """What ``decoder.json`` records beside the digest of the weights."""

    objective: str = "mae"


@OBJECTIVES.register("mae")
class MAEObjective(Objective):
    """Squared error on the pixels of hidden patches.

    The pixel decoder is I-JEPA's predictor with pixels as its output: ``model.predictor_*`` are its sizes.
    ``model`` is the encoder only; there is no teacher, so its ``target_encoder`` always equals it.

    Raises:
        ValueError: no decoder, or a regularizer, which this objective has no use for.
    """

    Options = MAEOptions

    def __init__(self, config: TrainConfig, options: MAEOptions) -> None:
        super().__init__()
        if not config.model.predictor_width:
            raise ValueError("The objective 'mae' needs a decoder: set model.predictor_width.")
        if config.regularizer.name != "none":
            raise ValueError("The objective 'mae' cannot collapse and takes no regularizer: set regularizer.name=none.")
        self.options = options
        self.model = IJEPA(replace(config.model, predictor_width=0))
        self.model.target_encoder.requires_grad_(False)
        self.decoder = Predictor(config.model, output=3 * config.model.patch_size**2)

    def targets(self, images: Tensor, masks: Masks) -> Tensor:
        """The hidden patches' pixels, (B, M, T, 3 p p)."""
        patches = patchify(images, self.model.config.patch_size)
        if self.options.normalise_pixels:
            mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
            patches = (patches - mean) / (variance + 1e-6).sqrt()
        return cut(patches, masks)

    def forward(self, images: Tensor, masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """As :meth:`Objective.forward`."""
        drawn = self.decoder(self.model.encode_context(images, masks), masks).float()
        return {"loss": (drawn - self.targets(images, masks)).square().mean()}

    def after_step(self, momentum: float) -> None:
        """No teacher: the published copy is the encoder itself."""
        follow(self.model, 0.0)

    def save(self, folder: Path) -> None:
        """The encoder as a model folder, the pixel decoder beside it."""
        super().save(folder)
        digest = write_tensors(folder / "pixel_decoder.safetensors", self.decoder.state_dict())
        write_config(folder / "pixel_decoder.json", _Extra(), digest)

    def load(self, folder: Path) -> None:
        """As :meth:`Objective.load`."""
        super().load(folder)
        digest = str(read_json(folder / "pixel_decoder.json")["weights_sha256"])
        read_into(self.decoder, folder / "pixel_decoder.safetensors", digest)
