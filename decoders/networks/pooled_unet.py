"""Small version of the decoder of the paper's figure 6: an RCDM-like U-Net conditioned on one vector for the block.

As in RCDM (Bordes et al. 2022, section 3), a linear map of the representation is added to the time embedding of a
convolutional U-Net. Unlike RCDM it generates the block only, not the whole image, and is given the block's position.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from decoders.networks.network import NETWORKS, BlockNetwork, Conditioning
from ijepa_viz.masks import Grid
from ijepa_viz.models import sincos_positions


@NETWORKS.register("pooled-unet")
class PooledUNet(BlockNetwork):
    """U-Net over the hole's bounding box; tokens are averaged, so ``TOKENS`` and ``POOLED`` are the same.

    Args:
        grid: (rows, cols), patch_size: in pixels, feature_width: D, of the I-JEPA.
        channels: of each resolution, each half the one before; the box is padded to be divisible.
        layers: residual blocks a resolution.
    """

    @register_to_config
    def __init__(
        self,
        grid: Grid,
        patch_size: int,
        feature_width: int,
        channels: tuple[int, ...] = (64, 128, 192),
        layers: int = 2,
    ) -> None:
        super().__init__(feature_width)
        vector = 4 * channels[0]
        self.positions: Tensor
        self.register_buffer("positions", sincos_positions(vector, grid)[0], persistent=False)
        self.pooled_in = nn.Linear(feature_width, vector)
        self.null = nn.Parameter(torch.zeros(vector))
        self.kind = nn.Embedding(2, vector)  # of the tokens' source; named as in the weights saved so far
        down = ["DownBlock2D"] * (len(channels) - 1) + ["AttnDownBlock2D"]
        self.unet = UNet2DModel(
            in_channels=3,
            out_channels=3,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple(down),
            up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
            norm_num_groups=16,
            attn_norm_num_groups=16,
            attention_head_dim=32,
            class_embed_type="identity",
            resnet_time_scale_shift="scale_shift",
        )

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        patch_indices: Tensor,
        tokens: Tensor,
        conditioning: Tensor,
        token_source: Tensor,
    ) -> Tensor:
        """Implement :meth:`BlockNetwork.forward`."""
        conditional = (conditioning != Conditioning.NULL)[:, None]
        pooled = self.standardise(tokens, token_source).mean(1)
        vector = torch.where(conditional, self.pooled_in(pooled) + self.kind(token_source), self.null)
        vector = vector + self.positions[patch_indices].mean(1)
        cells, shape = self._box(patch_indices)
        patch = self.config.patch_size
        canvas = noisy.new_zeros(len(noisy), shape[0] * shape[1], noisy.shape[-1])
        canvas = canvas.scatter(1, cells[..., None].expand_as(noisy), noisy)
        image = canvas.view(-1, *shape, 3, patch, patch).permute(0, 3, 1, 4, 2, 5)
        image = image.reshape(-1, 3, shape[0] * patch, shape[1] * patch)
        drawn = self.unet(image, 1000 * sigma, class_labels=vector).sample
        drawn = drawn.view(-1, 3, shape[0], patch, shape[1], patch).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)
        return drawn.gather(1, cells[..., None].expand_as(noisy))

    def _box(self, patch_indices: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Index of each patch in the smallest box that holds every hole of the batch, (B, T), and its (rows, cols)."""
        rows, cols = patch_indices // self.grid[1], patch_indices % self.grid[1]
        rows, cols = rows - rows.amin(1, keepdim=True), cols - cols.amin(1, keepdim=True)
        # The U-Net's strides must divide the box's sides in pixels.
        divisor = 2 ** (len(self.config.channels) - 1)
        step = next(k for k in range(1, divisor + 1) if k * self.config.patch_size % divisor == 0)
        shape = [-(-(int(side.max()) + 1) // step) * step for side in (rows, cols)]
        return rows * shape[1] + cols, (shape[0], shape[1])
