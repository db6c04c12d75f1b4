"""The generative baseline: a masked autoencoder (He et al. 2022, arXiv 2111.06377) on the same encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, Predictor, cut, patchify
from train.config import TrainConfig
from train.ema import follow
from train.objectives.objective import OBJECTIVES, Objective


@dataclass(frozen=True)
class MAEOptions:
    """normalise_pixels: each patch's pixels to mean 0 and variance 1, the better target in MAE's table 1."""

    normalise_pixels: bool = True


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
        super().__init__(config)
        if not config.model.predictor_width:
            raise ValueError("The objective 'mae' needs a decoder: set model.predictor_width.")
        if config.regularizer.name != "none":
            raise ValueError("The objective 'mae' cannot collapse and takes no regularizer: set regularizer.name=none.")
        self.options = options
        self.model = IJEPA(replace(config.model, predictor_width=0))
        self.model.target_encoder.requires_grad_(False)
        self.decoder = self.extra = Predictor(config.model, output=3 * config.model.patch_size**2)

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

    @torch.no_grad()
    def energy(self, images: Tensor, masks: Masks, candidates: Tensor) -> Tensor:
        """The squared error of the drawn pixels; as :meth:`Objective.energy`."""
        drawn = self.decoder(self.model.encode_context(images, masks), masks).float()
        return (drawn - self.targets(candidates, masks)).square().mean((1, 2, 3))

    @torch.no_grad()
    def draw(self, images: Tensor, masks: Masks) -> Tensor:
        """What it draws in the hidden blocks, (B, M, T, 3 p p), normalised as images are.

        A decoder of normalised patches says nothing of a patch's mean and variance; they are then taken from
        ``images``, as MAE's authors do for their pictures, so only the pattern inside each patch is its own.
        """
        drawn = self.decoder(self.model.encode_context(images, masks), masks).float()
        if self.options.normalise_pixels:
            patches = cut(patchify(images, self.model.config.patch_size), masks)
            drawn = drawn * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
        return drawn

    def after_step(self, momentum: float) -> None:
        """No teacher: the published copy is the encoder itself."""
        follow(self.model, 0.0)
