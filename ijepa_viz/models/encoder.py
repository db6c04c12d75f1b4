"""The ViT encoder, of whole images or of their context patches only (section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ijepa_viz.models.attention import key_mask, step_mask
from ijepa_viz.models.config import ModelConfig
from ijepa_viz.models.patches import patchify
from ijepa_viz.models.vit import (
    MAX_BUCKETS,
    PatchEmbed,
    checkpointed,
    in_buckets,
    initialise_weights,
    sincos_positions,
    vit_blocks,
)


class Encoder(nn.Module):
    """ViT of the context encoder and, as its EMA, of the target encoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.buckets = MAX_BUCKETS
        self.activation_checkpointing = False
        self.pos_embed = nn.Parameter(self.positions_of(config), requires_grad=False)
        self.patch_embed = PatchEmbed(config.patch_size, config.width, config.tubelet)
        self.blocks = vit_blocks(config.width, config.depth, config.heads, config)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        initialise_weights(self, self.blocks)

    @staticmethod
    def positions_of(config: ModelConfig) -> Tensor:
        """The fixed position embedding (1, N, D); of separate steps that of a picture, again for each of them."""
        if config.encoder_steps == "separate":
            return sincos_positions(config.width, config.grid).repeat(1, config.steps, 1)
        return sincos_positions(config.width, config.grid, config.steps)

    def forward(
        self,
        images: Tensor,
        context: Tensor | None = None,
        valid: Tensor | None = None,
        layers: int = 1,
    ) -> Tensor:
        """Encode whole images, or only some of their patches.

        Args:
            images: (B, 3, H, W), or films (B, T, 3, H, W); normalised with ImageNet's mean and std.
            context: (B, K) int64, patch indices to encode; None encodes all N patches.
            valid: (B, K) bool, False where ``context`` is padding.
            layers: 1 for the last layer; L > 1 concatenates the last L layers' outputs, each
                through the final norm (the paper's last-four-layers protocol).

        Returns:
            (B, K, D), or (B, K, L * D).

        Raises:
            ValueError: images of another size than the model's, or films of another length.
        """
        self._check(images)
        patches = patchify(images, self.config.patch_size, self.config.tubelet)
        positions: Tensor = self.pos_embed
        separate = self.config.steps > 1 and self.config.encoder_steps == "separate"
        if context is None and separate:
            cells = patches.shape[1] // self.config.steps
            apart = patches.unflatten(1, (-1, cells)).flatten(0, 1)
            found = self._layers(apart, positions[:, :cells], None, layers=layers)
            return found.view(len(images), -1, found.shape[-1])
        times: Tensor | None = None
        if context is not None:
            cells = patches.shape[1] // self.config.steps
            times = context // cells if separate else None
            patches = patches.gather(1, context[..., None].expand(-1, -1, patches.shape[-1]))
            positions = positions[0, context]
        if valid is None:
            return self._layers(patches, positions, None, times, layers=layers)
        padded = (patches, positions, valid) if times is None else (patches, positions, valid, times)
        return in_buckets(self._layers, valid, *padded, buckets=self.buckets, layers=layers)

    def _check(self, images: Tensor) -> None:
        (height, width), frames = self.config.height_and_width, self.config.frames
        if frames == 1:
            if images.ndim != 4 or images.shape[1:] != (3, height, width):
                raise ValueError(
                    f"This model takes images (B, 3, {height}, {width}), got {tuple(images.shape)}. "
                    "model.at(height, width) takes others, with the same weights."
                )
        elif images.ndim != 5 or images.shape[1:] != (frames, 3, height, width):
            raise ValueError(
                f"This model takes films (B, {frames}, 3, {height}, {width}), got {tuple(images.shape)}. The number of "
                f"frames, {frames}, is fixed: cut the film to it, or repeat its last frame."
            )

    def _layers(
        self, patches: Tensor, positions: Tensor, valid: Tensor | None, times: Tensor | None = None, layers: int = 1
    ) -> Tensor:
        """(B, K, 3 t p p) -> (B, K, D), or (B, K, L * D); ``times`` (B, K) are the tokens' steps, where separate."""
        x = self.patch_embed(patches) + positions
        mask = None if valid is None else key_mask(valid, 0)
        if times is not None:
            mask = step_mask(times, valid)
        kept = []
        for i, layer in enumerate(self.blocks):
            x = checkpointed(self, layer, x, attn_mask=mask)
            if i >= len(self.blocks) - layers:
                kept.append(self.norm(x))
        return torch.cat(kept, dim=-1)
