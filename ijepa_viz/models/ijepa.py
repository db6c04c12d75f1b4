"""The three networks of I-JEPA together: context encoder, predictor, EMA target encoder (section 3, figure 3)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models.config import ModelConfig
from ijepa_viz.models.encoder import Encoder
from ijepa_viz.models.patches import cut
from ijepa_viz.models.predictor import Predictor


def set_recompute(net: nn.Module, wanted: bool) -> None:
    """Let the encoders and predictors in ``net`` compute their layers twice instead of keeping what is inside them."""
    for module in net.modules():
        if isinstance(module, Encoder | Predictor):
            module.recompute = wanted


class IJEPA(nn.Module):
    """Context encoder, predictor and EMA target encoder.

    ``predictor`` is None for published encoders that come without one; then predicting raises.
    """

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
        """Where the weights are."""
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
        """The visible patches' tokens, (B, 3, H, W) -> (B, K, D).

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        return self.encoder(images, masks.context, masks.context_valid)

    def predict(self, context: Tensor, masks: Masks) -> Tensor:
        """What the predictor expects in each target block, (B, K, D) -> (B, M, T, D).

        Raises:
            ValueError: masks for another grid or another number of images.
            RuntimeError: this model has no predictor.
        """
        if self.predictor is None:
            raise RuntimeError(
                "This model has an encoder only, so it cannot predict: Hugging Face and timm "
                "publish I-JEPA without its predictor. Use a reference .pth.tar checkpoint."
            )
        self._check(masks, len(context))
        return self.predictor(context, masks)

    @torch.no_grad()
    def encode_target(self, images: Tensor) -> Tensor:
        """The target encoder on whole images, before the loss's LayerNorm, (B, N, D)."""
        return self.target_encoder(images)

    @torch.no_grad()
    def targets(self, images: Tensor, masks: Masks) -> Tensor:
        """What the loss compares predictions with, (B, M, T, D).

        The target encoder's output on the whole image, through a LayerNorm without parameters,
        cut to the target blocks.

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        tokens = self.encode_target(images)
        return cut(F.layer_norm(tokens, tokens.shape[-1:]), masks)
