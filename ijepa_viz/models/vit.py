"""Parts that encoder and predictor share: blocks, initialisation, position embedding, bucketed contexts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ijepa_viz.masks import Grid
from ijepa_viz.models.activations import ACTIVATIONS
from ijepa_viz.models.config import ModelConfig

# Most buckets, and fewest images a bucket: smaller products would lose more than padding costs. Lengths are rounded up
# to a multiple, because every new shape costs a slow first call.
MAX_BUCKETS, _MIN_BUCKET_IMAGES, _LENGTH_MULTIPLE = 4, 16, 4


def sincos_positions(width: int, grid: Grid, steps: int = 1) -> Tensor:
    """The fixed position embedding, (1, N, width): first half column, second half row; before them, of films, time.

    Each part, of width w, is [sin, cos] of position / 10000^(k / (w / 2)). Time has about a quarter of the width, and
    column and row share the rest evenly; of a single step there is no time.
    """
    rows, cols = grid
    of_time = -(-width // 16) * 4 if steps > 1 else 0
    step, row, col = torch.meshgrid(torch.arange(steps), torch.arange(rows), torch.arange(cols), indexing="ij")
    parts = []
    for index, own in ((step, of_time), (col, (width - of_time) // 2), (row, (width - of_time) // 2)):
        omega = 10000.0 ** -(torch.arange(own // 2, dtype=torch.float64) / max(own / 2, 1))
        angles = index.flatten()[:, None] * omega
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float()[None]


def interpolate_positions(positions: Tensor, grid: Grid, new: Grid, steps: int = 1) -> Tensor:
    """A position embedding (1, N, width) of ``grid``, resized to the grid ``new`` as a picture: bicubic.

    Of several ``steps``, each by itself. This is what transformers' ``interpolate_pos_encoding`` computes.
    timm's resampling is antialiased besides.
    """
    table = positions.float().view(steps, *grid, -1).permute(0, 3, 1, 2)  # (steps, width, rows, cols)
    resized = F.interpolate(table, size=new, mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2).reshape(1, steps * new[0] * new[1], -1).to(positions.dtype)


def vit_blocks(width: int, depth: int, heads: int, config: ModelConfig) -> nn.ModuleList:
    """The ViT blocks of an encoder or predictor: timm's, with query, key and value biases."""
    norm: Any = partial(nn.LayerNorm, eps=config.norm_eps)
    act: Any = ACTIVATIONS[config.activation]
    return nn.ModuleList(
        Block(width, heads, config.mlp_ratio, qkv_bias=True, norm_layer=norm, act_layer=act) for _ in range(depth)
    )


def initialise_weights(module: nn.Module, blocks: nn.ModuleList) -> None:
    """Truncated normal, std 0.02; the two residual outputs of layer i divided by sqrt(2 i)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        for i, layer in enumerate(blocks, start=1):
            layer.attn.proj.weight /= math.sqrt(2 * i)  # type: ignore[union-attr,operator]
            layer.mlp.fc2.weight /= math.sqrt(2 * i)  # type: ignore[union-attr,operator]


class PatchEmbed(nn.Module):
    """Linear patch embedding, with the parameter names of the reference (``patch_embed.proj``)."""

    def __init__(self, patch_size: int, width: int, tubelet: int = 1) -> None:
        super().__init__()
        size = (tubelet, patch_size, patch_size)
        self.proj: nn.Conv2d | nn.Conv3d
        if tubelet == 1:
            self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)
        else:
            self.proj = nn.Conv3d(3, width, kernel_size=size, stride=size)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches, (B, K, 3 t p p) -> (B, K, D): the convolution as a matrix product."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def checkpointed(owner: Any, run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """``run(*arguments)``, under activation checkpointing where ``owner.activation_checkpointing`` is set."""
    if owner.activation_checkpointing and torch.is_grad_enabled():
        return checkpoint(run, *arguments, use_reentrant=False, **options)
    return run(*arguments, **options)


def in_buckets(
    run: Callable[..., Tensor],
    valid: Tensor,
    *padded: Tensor,
    whole: Tensor | None = None,
    buckets: int = MAX_BUCKETS,
    **options: Any,
) -> Tensor:
    """Apply ``run`` to images grouped by context length, which avoids computation on padding; the result is exact.

    On a CPU with gradients only: a GPU is faster with one large product. Outputs at padded positions are 0.

    Args:
        run: maps (b, k, ...) tensors, ``whole`` as the last one, and ``options`` to (b, k, D), or, with ``whole``, to
            any (b, ...) without padding.
        valid: (B, K) bool, True first in every row. padded: (B, K, ...) each. whole: (B, ...), without padding.
        buckets: most groups.
    """
    count = (
        min(buckets, len(valid) // _MIN_BUCKET_IMAGES) if valid.device.type == "cpu" and torch.is_grad_enabled() else 0
    )
    last = [] if whole is None else [whole]
    if count < 2:
        return run(*padded, *last, **options)
    lengths = valid.sum(1)
    order = lengths.argsort(stable=True)
    parts = []
    for rows in order.chunk(count):
        longest = min(valid.shape[1], -(-int(lengths[rows[-1]]) // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE)
        part = run(*(t[rows, :longest] for t in padded), *(t[rows] for t in last), **options)
        parts.append(part if last else F.pad(part, (0, 0, 0, valid.shape[1] - longest)))
    return torch.cat(parts)[order.argsort()]
