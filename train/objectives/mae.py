"""Generative baseline: a masked autoencoder, MAE (He et al. 2022, arXiv 2111.06377), on the same encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, Predictor, gather_targets, patchify
from train.config import TrainConfig
from train.ema import ema_update
from train.objectives.objective import OBJECTIVES, Objective


@dataclass(frozen=True)
class MAEOptions:
    """Options of the MAE objective.

    Attributes:
        normalise_pixels: normalise each patch's pixels to mean 0 and variance 1, the better target in MAE's table 1.
    """

    normalise_pixels: bool = True


@OBJECTIVES.register("mae")
class MAEObjective(Objective):
    """Squared error on the pixels of masked patches (section 3 of the MAE paper).

    The pixel decoder is I-JEPA's predictor with pixels as output; ``model.predictor_*`` are its sizes. ``model`` has
    no predictor, and there is no teacher: ``target_encoder`` is a copy of the encoder.

    Raises:
        ValueError: no decoder (``model.predictor_width`` 0), or a regularizer.
    """

    Options = MAEOptions

    def __init__(self, config: TrainConfig, options: MAEOptions) -> None:
        super().__init__(config)
        if not config.model.predictor_width:
            raise ValueError("The objective 'mae' needs a decoder: set model.predictor_width.")
        if config.regularizer.name != "none":
            raise ValueError("The objective 'mae' cannot collapse and takes no regularizer: set regularizer.name=none.")
        self.options = options
        if config.model.cue_tokens:
            raise ValueError("The objective 'mae' takes no cues: set model.cue_tokens=0 and model.cue_vocabulary=0.")
        self.model = IJEPA(replace(config.model, predictor_width=0))
        self.model.target_encoder.requires_grad_(False)
        self.decoder = self.extra = Predictor(
            config.model, output=3 * config.model.tubelet * config.model.patch_size**2
        )

    def targets(self, images: Tensor, masks: Masks) -> Tensor:
        """Pixels of the masked patches, (B, M, T, 3 p p), normalised if so configured."""
        patches = patchify(images, self.model.config.patch_size, self.model.config.tubelet)
        if self.options.normalise_pixels:
            mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
            patches = (patches - mean) / (variance + 1e-6).sqrt()
        return gather_targets(patches, masks)

    def forward(self, images: Tensor, masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """As :meth:`Objective.forward`."""
        predicted = self.decoder(self.model.encode_context(images, masks), masks).float()
        return {"loss": (predicted - self.targets(images, masks)).square().mean()}

    @torch.no_grad()
    def energy(self, images: Tensor, masks: Masks, candidates: Tensor) -> Tensor:
        """Squared error between predicted and candidate pixels, as :meth:`Objective.energy`."""
        predicted = self.decoder(self.model.encode_context(images, masks), masks).float()
        return (predicted - self.targets(candidates, masks)).square().mean((1, 2, 3))

    @torch.no_grad()
    def reconstruct(self, images: Tensor, masks: Masks) -> Tensor:
        """Reconstruct the masked patches, (B, M, T, 3 p p), in the normalisation of the images.

        A decoder of normalised patches does not predict a patch's mean and variance. They are then taken from
        ``images``, as in the MAE paper's figures, so that only the pattern within each patch is predicted.
        """
        predicted = self.decoder(self.model.encode_context(images, masks), masks).float()
        if self.options.normalise_pixels:
            patches = gather_targets(patchify(images, self.model.config.patch_size, self.model.config.tubelet), masks)
            predicted = predicted * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
        return predicted

    def after_step(self, momentum: float) -> None:
        """Copy the encoder into ``target_encoder``: there is no teacher."""
        ema_update(self.model, 0.0)
