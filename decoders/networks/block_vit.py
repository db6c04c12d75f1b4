"""Plain ViTs over the patches of one hole: a denoiser in the manner of DiT (arXiv 2212.09748), and the same network
trained by squared error, the deterministic baseline.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from decoders.networks.network import NETWORKS, BlockNetwork, Conditioning
from ijepa_viz.masks import Grid
from ijepa_viz.models import patchify, sincos_positions, unpatchify
from ijepa_viz.models.attention import attend


class _Layer(nn.Module):
    """Attention and MLP, modulated by a vector common to all layers plus a learned offset of its own (adaLN-single)."""

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
        """Tokens ``x`` (B, T, W), shared modulation (B, 6, W) -> (B, T, W)."""
        batch, length, width = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = (shared + self.modulation)[:, :, None].unbind(1)
        h = self.norm1(x) * (1 + scale1) + shift1
        q, k, v = self.qkv(h).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        h = attend(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + gate1 * self.proj(h)
        h = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.fc2(F.gelu(self.fc1(h), approximate="tanh"))


class SeamRefiner(nn.Module):
    """Convolutions over the hole as one picture, which remove seams between patches.

    The picture is the hole's bounding box, so the cost grows with the hole. Every layer is zero outside the hole, so
    the result depends neither on the box nor on the other holes of the batch. With
    ``cell`` the convolutions are over cells of several pixels each (pixel unshuffling), and cost that much less.

    Of films, the picture of each step has the frames of the step as further channels.

    Args:
        columns: of the grid. patch_size: in pixels. width: W, of the conditioning vector.
        channels: of the convolutions. cell: height and width of a cell, in pixels.
        rows: of the grid, of films: where a step ends. None is one step. tubelet: frames of a step.
    """

    def __init__(
        self,
        columns: int,
        patch_size: int,
        width: int,
        channels: int,
        cell: int = 1,
        rows: int | None = None,
        tubelet: int = 1,
    ) -> None:
        super().__init__()
        self.columns, self.patch_size = columns, patch_size
        self.cell, self.rows, self.tubelet = cell, rows, tubelet
        pixels = 3 * tubelet * self.cell**2
        self.first = nn.Conv2d(2 * pixels + 1, channels, 3, padding=1)  # estimate, noisy pixels, and the hole's mask
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, pixels, 3, padding=1)
        self.modulate = nn.Linear(width, 2 * channels)
        for parameter in (*self.last.parameters(), *self.modulate.parameters()):  # zero output at initialisation
            nn.init.zeros_(parameter)

    def forward(self, estimate: Tensor, noisy: Tensor, patch_indices: Tensor, vector: Tensor) -> Tensor:
        """Residual of ``estimate``: (B, T, 3 t p p), (B, T, 3 t p p), (B, T), (B, W) -> (B, T, 3 t p p)."""
        row, col = patch_indices // self.columns, patch_indices % self.columns
        step = torch.zeros_like(row)
        if self.rows is not None:
            step, row = row // self.rows, row % self.rows
        step, row, col = (index - index.amin(1, keepdim=True) for index in (step, row, col))
        # On the meta device (decoders.training.plan) the extent is unknown; a strip of T patches costs the same.
        box = (1, patch_indices.shape[1]) if patch_indices.is_meta else (int(row.max()) + 1, int(col.max()) + 1)
        steps = 1 if self.rows is None or step.is_meta else int(step.max()) + 1
        return self.in_box(estimate, noisy, (step * box[0] + row) * box[1] + col, box, vector, steps)

    def in_box(
        self, estimate: Tensor, noisy: Tensor, index: Tensor, box: Grid, vector: Tensor, steps: int = 1
    ) -> Tensor:
        """As :meth:`forward`, of patches at ``index`` (B, T) of ``steps`` boxes of (rows, cols) patches, in a row."""
        inside = torch.ones_like(noisy[..., : self.patch_size**2])
        parts = torch.cat([estimate.to(noisy), noisy, inside], dim=-1)  # (B, T, (6 t + 1) p p)
        canvas = parts.new_zeros(parts.shape[0], steps * box[0] * box[1], parts.shape[-1])
        canvas = canvas.scatter(1, index[..., None].expand_as(parts), parts)
        image = unpatchify(canvas.view(-1, box[0] * box[1], parts.shape[-1]), box, self.patch_size)  # (B steps, ...)
        scale, shift = self.modulate(vector)[:, :, None, None].repeat_interleave(steps, 0).chunk(2, dim=1)
        known = 6 * self.tubelet
        hole = image[:, known:, :: self.cell, :: self.cell]
        cells = torch.cat([F.pixel_unshuffle(image[:, :known], self.cell), hole], 1)
        h = F.silu(self.first(cells.contiguous(memory_format=torch.channels_last)) * (1 + scale) + shift) * hole
        h = F.silu(self.second(h)) * hole
        drawn = patchify(F.pixel_shuffle(self.last(h), self.cell), self.patch_size)
        drawn = drawn.reshape(parts.shape[0], canvas.shape[1], -1)
        return drawn.gather(1, index[..., None].expand(-1, -1, drawn.shape[-1]))


@NETWORKS.register("block-vit")
class BlockViT(BlockNetwork):
    """Denoising ViT, the primary decoder: clean pixels of hidden patches from noisy ones, holes of any shape.

    Args:
        grid: (rows, cols), patch_size: in pixels, feature_width: D, of the I-JEPA.
        width, depth, heads: of the ViT.
        refine: channels of the :class:`SeamRefiner`; 0 omits it.
        split: the ViT reads and draws each patch as ``split`` x ``split`` smaller ones, each given the patch's token.
        time_width: sines and cosines of the noise level.
        cell: of the refiner; 2 for patches of 16 px costs what patches of 8 px do.
        steps, tubelet: of an I-JEPA of films, steps of time and frames of each: a patch is a tubelet of 3 t p p
            numbers, and positions have a time. 1 of pictures.

    Raises:
        ValueError: patches that do not divide into ``split`` x ``split``, or into cells, or an odd ``time_width``.
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
        split: int = 1,
        time_width: int = 128,
        cell: int = 1,
        steps: int = 1,
        tubelet: int = 1,
    ) -> None:
        super().__init__(feature_width)
        if not isinstance(cell, int) or cell < 1 or patch_size % cell:
            raise ValueError(f"Patches of {patch_size} px do not divide into cells of {cell} px: choose another cell.")
        if not isinstance(split, int) or split < 1 or patch_size % split:
            raise ValueError(f"Patches of {patch_size} px do not divide into {split} x {split}: choose another split.")
        self.split = split
        channels = self.channels_of(patch_size // split, feature_width, tubelet)
        self._build(grid, channels, feature_width, width, depth, heads, time_width, steps)
        rows = None if steps == 1 else grid[0]
        self.smooth = SeamRefiner(grid[1], patch_size, width, refine, cell, rows, tubelet) if refine else None

    def _build(
        self,
        grid: Grid,
        channels: int,
        feature_width: int,
        width: int,
        depth: int,
        heads: int,
        time_width: int,
        steps: int,
    ) -> None:
        """Build the ViT, of ``channels`` numbers a patch."""
        self.positions: Tensor
        fine = grid[0] * self.split, grid[1] * self.split
        self.register_buffer("positions", sincos_positions(width, fine, steps)[0], persistent=False)
        self.pixels_in = nn.Linear(channels, width)
        self.tokens_in = nn.Linear(feature_width, width)
        self.pooled_in = nn.Linear(feature_width, width)
        # Named as in the weights saved so far: of conditioning, and of the tokens' source.
        self.mode = nn.Embedding(3, width)
        self.kind = nn.Embedding(2, width)
        if not isinstance(time_width, int) or time_width < 2 or time_width % 2:
            raise ValueError(f"time_width is of as many sines as cosines, an even number, got {time_width}.")
        self._time_width = time_width
        self.time = nn.Sequential(nn.Linear(time_width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulate = nn.Linear(width, 6 * width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.last = nn.Linear(width, 2 * width)
        self.pixels_out = nn.Linear(width, channels)
        for module in (self.modulate, self.last, self.pixels_out):  # AdaLN-Zero
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        nn.init.normal_(self.mode.weight, std=0.02)
        nn.init.normal_(self.kind.weight, std=0.02)

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
        features = self.standardise(tokens, token_source)
        by_token = self.tokens_in(features) * (conditioning == Conditioning.TOKENS)[:, None, None]
        pooled = self.pooled_in(features.mean(1)) * (conditioning != Conditioning.NULL)[:, None]
        vector = self.time(_time_features(sigma, self._time_width)) + pooled + self.mode(conditioning)
        vector = vector + self.kind(token_source) * (conditioning != Conditioning.NULL)[:, None]
        vector = F.silu(vector)
        places = self._smaller_places(patch_indices)
        x = self.pixels_in(self._smaller(noisy)) + self.positions[places]
        x = x + by_token.repeat_interleave(self.split**2, 1)
        shared = self.modulate(vector).unflatten(-1, (6, -1))
        for layer in self.layers:
            x = layer(x, shared)
        shift, scale = self.last(vector)[:, None].chunk(2, dim=-1)
        estimate = self._whole(self.pixels_out(self.norm(x) * (1 + scale) + shift))
        return estimate if self.smooth is None else estimate + self.smooth(estimate, noisy, patch_indices, vector)

    def _smaller_places(self, patch_indices: Tensor) -> Tensor:
        """Indices (B, T s s) of the smaller patches on their finer grid, of patches (B, T)."""
        if self.split == 1:
            return patch_indices
        columns = self.grid[1]
        inner = torch.arange(self.split, device=patch_indices.device)
        row, col = patch_indices // columns * self.split, patch_indices % columns * self.split
        rows, cols = row[..., None, None] + inner[:, None], col[..., None, None] + inner
        return (rows * (columns * self.split) + cols).flatten(1)

    def _smaller(self, pixels: Tensor) -> Tensor:
        """Divide the pixels of patches, (B, T, 3 p p) -> (B, T s s, 3 p p / s s), in the order of their places."""
        if self.split == 1:
            return pixels
        patch = self.config.patch_size
        parts = patchify(unpatchify(pixels.flatten(0, 1)[:, None], (1, 1), patch), patch // self.split)
        return parts.view(pixels.shape[0], -1, parts.shape[-1])

    def _whole(self, parts: Tensor) -> Tensor:
        """The inverse of :meth:`_smaller`."""
        if self.split == 1:
            return parts
        patch = self.config.patch_size
        inner = parts.view(-1, self.split**2, parts.shape[-1])
        whole = patchify(unpatchify(inner, (self.split, self.split), patch // self.split), patch)
        return whole.view(parts.shape[0], -1, whole.shape[-1])


@NETWORKS.register("token-vit")
class TokenViT(BlockViT):
    """The same network in token space: clean *target tokens* from noisy ones, given the predicted ones.

    What a prediction leaves open is decided here, and a second network draws what was decided (in the spirit of RCG,
    arXiv 2312.03701). Tokens are standardised, feature by feature.
    """

    draws = "tokens"

    @register_to_config
    def __init__(
        self,
        grid: Grid,
        patch_size: int,
        feature_width: int,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        time_width: int = 128,
        steps: int = 1,
        tubelet: int = 1,
    ) -> None:
        BlockNetwork.__init__(self, feature_width)
        self.split = 1
        channels = self.channels_of(patch_size, feature_width)
        self._build(grid, channels, feature_width, width, depth, heads, time_width, steps)
        self.smooth = None

    @staticmethod
    def channels_of(patch_size: int, feature_width: int, tubelet: int = 1) -> int:
        """D: a noisy "pixel" is a noisy token."""
        return feature_width


@NETWORKS.register("squared-error")
class SquaredErrorViT(BlockViT):
    """The same network without noise, trained by squared error: the conditional mean, which is blurred."""

    stochastic = False

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        patch_indices: Tensor,
        tokens: Tensor,
        conditioning: Tensor,
        token_source: Tensor,
    ) -> Tensor:
        """Implement :meth:`BlockNetwork.forward`; ``noisy`` and ``sigma`` are not read."""
        zeros, ones = torch.zeros_like(noisy), torch.ones_like(sigma)
        return super().forward(zeros, ones, patch_indices, tokens, conditioning, token_source)


def _time_features(sigma: Tensor, count: int) -> Tensor:
    """Sines and cosines of the noise level, (B,) -> (B, count)."""
    frequency = torch.exp(torch.linspace(0, math.log(1000.0), count // 2, device=sigma.device))
    angle = sigma[:, None] * frequency * 2 * math.pi / 10
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
