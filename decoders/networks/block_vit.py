"""Plain ViTs over the patches of one hole: a denoiser (in the spirit of DiT, arXiv 2212.09748), and its
deterministic twin, which shows what a squared error cannot.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from decoders.networks.network import NETWORKS, NULL, TOKENS, BlockNetwork
from ijepa_viz.masks import Grid
from ijepa_viz.models import patchify, sincos_positions, unpatchify
from ijepa_viz.models.attention import attend


class _Layer(nn.Module):
    """Attention and MLP, modulated by a vector that all layers share plus one of their own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.modulation = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        """X (B, T, W), shared (B, 6, W) -> (B, T, W)."""
        batch, length, width = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = (shared + self.modulation)[:, :, None].unbind(1)
        h = self.norm1(x) * (1 + scale1) + shift1
        q, k, v = self.qkv(h).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        h = attend(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + gate1 * self.proj(h)
        h = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.fc2(F.gelu(self.fc1(h), approximate="tanh"))


class _Refine(nn.Module):
    """Convolutions over the hole as one picture, so that patches agree across their borders.

    The picture is the hole's bounding box, and its cost grows with the hole. Outside the hole every layer is zero, so
    a hole is drawn alike whatever its shape and whatever else is in the batch.
    """

    def __init__(self, columns: int, patch_size: int, width: int, channels: int) -> None:
        super().__init__()
        self.columns, self.patch_size = columns, patch_size
        self.first = nn.Conv2d(7, channels, 3, padding=1)  # guess, noisy pixels, and which are in the hole
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, 3, 3, padding=1)
        self.modulate = nn.Linear(width, 2 * channels)
        for parameter in (*self.last.parameters(), *self.modulate.parameters()):  # it begins by changing nothing
            nn.init.zeros_(parameter)

    def forward(self, guess: Tensor, noisy: Tensor, places: Tensor, vector: Tensor) -> Tensor:
        """What to add to ``guess``: (B, T, 3 p p) twice, (B, T), (B, W) -> (B, T, 3 p p)."""
        row, col = places // self.columns, places % self.columns
        row, col = row - row.amin(1, keepdim=True), col - col.amin(1, keepdim=True)
        # With shapes alone (decoders.training.plan), a strip of T patches costs what a rectangle of them does.
        box = (1, places.shape[1]) if places.is_meta else (int(row.max()) + 1, int(col.max()) + 1)
        index = row * box[1] + col
        inside = torch.ones_like(noisy[..., : self.patch_size**2])
        parts = torch.cat([guess.to(noisy), noisy, inside], dim=-1)  # (B, T, 7 p p)
        canvas = parts.new_zeros(len(parts), box[0] * box[1], parts.shape[-1])
        canvas = canvas.scatter(1, index[..., None].expand_as(parts), parts)
        image = unpatchify(canvas, box, self.patch_size).contiguous(memory_format=torch.channels_last)
        scale, shift = self.modulate(vector)[:, :, None, None].chunk(2, dim=1)
        hole = image[:, 6:]
        h = F.silu(self.first(image) * (1 + scale) + shift) * hole
        h = F.silu(self.second(h)) * hole
        drawn = patchify(self.last(h), self.patch_size)
        return drawn.gather(1, index[..., None].expand(-1, -1, drawn.shape[-1]))


@NETWORKS.register("block-vit")
class BlockViT(BlockNetwork):
    """The primary decoder: predicts the clean pixels of hidden patches from noisy ones, holes of any shape.

    Args:
        grid: (rows, cols), patch_size: in pixels, feature_width: D, of the I-JEPA it reads.
        width, depth, heads: the denoiser's ViT.
        refine: channels of the convolutions that smooth the borders between patches; 0 leaves them out.
    """

    @register_to_config
    def __init__(
        self,
        grid: Grid,
        patch_size: int,
        feature_width: int,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        refine: int = 32,
    ) -> None:
        super().__init__(feature_width)
        pixels = 3 * patch_size**2
        self.positions: Tensor
        self.register_buffer("positions", sincos_positions(width, grid)[0], persistent=False)
        self.pixels_in = nn.Linear(pixels, width)
        self.tokens_in = nn.Linear(feature_width, width)
        self.pooled_in = nn.Linear(feature_width, width)
        self.mode = nn.Embedding(3, width)
        self.kind = nn.Embedding(2, width)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.modulate = nn.Linear(width, 6 * width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.last = nn.Linear(width, 2 * width)
        self.pixels_out = nn.Linear(width, pixels)
        for module in (self.modulate, self.last, self.pixels_out):  # AdaLN-Zero
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        self.smooth = _Refine(grid[1], patch_size, width, refine) if refine else None
        nn.init.normal_(self.mode.weight, std=0.02)
        nn.init.normal_(self.kind.weight, std=0.02)

    def forward(
        self, noisy: Tensor, sigma: Tensor, places: Tensor, condition: Tensor, mode: Tensor, kind: Tensor
    ) -> Tensor:
        """One denoising step: as :meth:`BlockNetwork.forward`."""
        features = self.standardise(condition, kind)
        by_token = self.tokens_in(features) * (mode == TOKENS)[:, None, None]
        pooled = self.pooled_in(features.mean(1)) * (mode != NULL)[:, None]
        vector = self.time(_time_features(sigma)) + pooled + self.mode(mode)
        vector = vector + self.kind(kind) * (mode != NULL)[:, None]
        vector = F.silu(vector)
        x = self.pixels_in(noisy) + self.positions[places] + by_token
        shared = self.modulate(vector).view(len(x), 6, -1)
        for layer in self.layers:
            x = layer(x, shared)
        shift, scale = self.last(vector)[:, None].chunk(2, dim=-1)
        guess = self.pixels_out(self.norm(x) * (1 + scale) + shift)
        return guess if self.smooth is None else guess + self.smooth(guess, noisy, places, vector)


@NETWORKS.register("squared-error")
class SquaredErrorViT(BlockViT):
    """The same network without noise, trained by squared error: the mean of all that fits, which is a blur."""

    stochastic = False

    def forward(
        self, noisy: Tensor, sigma: Tensor, places: Tensor, condition: Tensor, mode: Tensor, kind: Tensor
    ) -> Tensor:
        """As :meth:`BlockNetwork.forward`; ``noisy`` and ``sigma`` are not read."""
        blank, most = torch.zeros_like(noisy), torch.ones_like(sigma)
        return super().forward(blank, most, places, condition, mode, kind)


def _time_features(sigma: Tensor) -> Tensor:
    """(B,) -> (B, 128) sines and cosines of the noise level."""
    frequency = torch.exp(torch.linspace(0, math.log(1000.0), 64, device=sigma.device))
    angle = sigma[:, None] * frequency * 2 * math.pi / 10
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
