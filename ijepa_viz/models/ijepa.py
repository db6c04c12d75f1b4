"""The three networks of I-JEPA together: context encoder, predictor, EMA target encoder (section 3, figure 3)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models.config import ModelConfig
from ijepa_viz.models.encoder import Encoder
from ijepa_viz.models.patches import gather_targets
from ijepa_viz.models.predictor import Predictor


def set_activation_checkpointing(net: nn.Module, enabled: bool) -> None:
    """Enable or disable activation checkpointing in the encoders and predictors of ``net``."""
    for module in net.modules():
        if isinstance(module, Encoder | Predictor):
            module.activation_checkpointing = enabled


def target_layer_norm(tokens: Tensor) -> Tensor:
    """Parameter-free LayerNorm over the features of target tokens, (..., D) -> (..., D).

    The loss's targets are normalised so in the reference code (section 3, "Loss"): every token has mean 0 and
    variance 1 over its D features.
    """
    return F.layer_norm(tokens, tokens.shape[-1:])


class IJEPA(nn.Module):
    """Context encoder, predictor and EMA target encoder.

    ``predictor`` is None for encoder-only checkpoints; :meth:`predict` then raises, and says ``why_no_predictor``,
    which whoever loads the model sets.
    """

    why_no_predictor = "Its config has predictor_width 0."

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.predictor = Predictor(config) if config.predictor_width else None
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    @property
    def grid(self) -> Grid:
        """(rows, cols) of the patch grid."""
        return self.config.grid

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.encoder.pos_embed.device

    def _check(self, masks: Masks, batch: int) -> None:
        if masks.grid != self.grid:
            raise ValueError(
                f"The mask is for a {masks.grid[0]}x{masks.grid[1]} grid, this model's is "
                f"{self.grid[0]}x{self.grid[1]}."
            )
        if len(masks) != batch:
            raise ValueError(f"Masks for {len(masks)} images, but there are {batch} images.")

    def encode_context(self, images: Tensor, masks: Masks) -> Tensor:
        """Encode the context patches, (B, 3, H, W) -> (B, K, D).

        Args:
            images: normalised by ImageNet's mean and standard deviation. masks: of these images.

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        return self.encoder(images, masks.context, masks.context_valid)

    def predict(self, context: Tensor, masks: Masks) -> Tensor:
        """Predict the tokens of each target block, (B, K, D) -> (B, M, T, D).

        Args:
            context: of :meth:`encode_context` with the same masks.

        Raises:
            ValueError: masks for another grid or another number of images.
            RuntimeError: this model has no predictor.
        """
        if self.predictor is None:
            raise RuntimeError(f"This model has an encoder only, so it cannot predict. {self.why_no_predictor}")
        self._check(masks, len(context))
        return self.predictor(context, masks)

    @torch.no_grad()
    def encode_target(self, images: Tensor) -> Tensor:
        """Encode whole images by the target encoder, (B, 3, H, W) -> (B, N, D), before the loss's LayerNorm."""
        return self.target_encoder(images)

    @torch.no_grad()
    def targets(self, images: Tensor, masks: Masks) -> Tensor:
        """Target tokens of the loss, (B, 3, H, W) -> (B, M, T, D).

        The target encoder's output on the whole image, through :func:`target_layer_norm`, gathered at the target
        blocks.

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        tokens = self.encode_target(images)
        return gather_targets(target_layer_norm(tokens), masks)
