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
from ijepa_viz.models.config import ModelConfig

# At most so many buckets, of at least so many images: smaller products would lose more than padding costs. Lengths are
# rounded up, because every new shape costs a slow first call.
_BUCKETS, _BUCKET, _ROUND = 4, 16, 4


def sincos_positions(width: int, grid: Grid) -> Tensor:
    """The fixed 2-D position embedding, (1, N, width): first half column, second half row.

    Each half is [sin, cos] of position / 10000^(k / (width / 4)).
    """
    rows, cols = grid
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    angles = [place.flatten()[:, None] * omega for place in (col, row)]
    halves = [part for angle in angles for part in (angle.sin(), angle.cos())]
    return torch.cat(halves, dim=1).float()[None]


def _blocks(width: int, depth: int, heads: int, config: ModelConfig) -> nn.ModuleList:
    norm: Any = partial(nn.LayerNorm, eps=config.norm_eps)
    return nn.ModuleList(Block(width, heads, config.mlp_ratio, qkv_bias=True, norm_layer=norm) for _ in range(depth))


def _initialise(module: nn.Module, blocks: nn.ModuleList) -> None:
    """Truncated normal, std 0.02; the two residual outputs of layer i divided by sqrt(2 i)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        for i, layer in enumerate(blocks, start=1):
            layer.attn.proj.weight /= math.sqrt(2 * i)  # type: ignore[union-attr,operator]
            layer.mlp.fc2.weight /= math.sqrt(2 * i)  # type: ignore[union-attr,operator]


class _Patchify(nn.Module):
    """Holds the patch projection under the reference's name ``patch_embed.proj``."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, K, 3 p p) -> (B, K, D): the convolution as a matrix product on chosen patches."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def recomputed(owner: Any, run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """``run`` it; with ``owner.recompute`` keep only what goes in and compute the rest again for the gradient."""
    if owner.recompute and torch.is_grad_enabled():
        return checkpoint(run, *arguments, use_reentrant=False, **options)
    return run(*arguments, **options)


def in_buckets(
    run: Callable[..., Tensor],
    valid: Tensor,
    *padded: Tensor,
    whole: Tensor | None = None,
    buckets: int = _BUCKETS,
    **options: Any,
) -> Tensor:
    """``run`` on images of like context length together, so that little is computed on padding: exact, and faster.

    On a CPU only, and with gradients: a GPU is faster with one large product. What stands at padded places is 0.

    Args:
        run: (b, k, ...) tensors, ``whole`` as the last one, and ``options`` -> (b, k, D); or, where ``whole`` is given,
            anything (b, ...), which has no padding.
        valid: (B, K) bool, True first in every row. padded: (B, K, ...) each. whole: (B, ...), not padded.
    """
    count = min(buckets, len(valid) // _BUCKET) if valid.device.type == "cpu" and torch.is_grad_enabled() else 0
    last = [] if whole is None else [whole]
    if count < 2:
        return run(*padded, *last, **options)
    lengths = valid.sum(1)
    order = lengths.argsort(stable=True)
    parts = []
    for rows in order.chunk(count):
        longest = min(valid.shape[1], -(-int(lengths[rows[-1]]) // _ROUND) * _ROUND)
        part = run(*(t[rows, :longest] for t in padded), *(t[rows] for t in last), **options)
        parts.append(part if last else F.pad(part, (0, 0, 0, valid.shape[1] - longest)))
    return torch.cat(parts)[order.argsort()]
