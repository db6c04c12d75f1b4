"""Choice of the attention kernel: torch's fused one, or two matrix products.

Measured (``make benchmark``): on a CPU in bfloat16 the fused kernel with its gradient is more than 4 times slower than
the products at the sequence lengths of a small I-JEPA; in float32 both take about the same time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor, nn


def fused_pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the fused kernel is the faster one: everywhere except in bfloat16 on a CPU."""
    return not (device.type == "cpu" and dtype == torch.bfloat16)


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention by the faster kernel, each (B, heads, T, d); ``mask`` is added to the scores."""
    if fused_pays(queries.device, queries.dtype):
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return plain(queries, keys, values, mask)


def plain(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention as two matrix products, each (B, heads, T, d); ``mask`` is added to the scores."""
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    return (scores if mask is None else scores + mask).softmax(-1) @ values


def choose_kernels(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Set timm's attention layers in ``module`` to the faster kernel for training on ``device`` in ``dtype``."""
    for layer in module.modules():
        if isinstance(layer, Attention):
            layer.fused_attn = fused_pays(device, dtype)  # type: ignore[misc]  # final for TorchScript only


def step_mask(steps: Tensor, valid: Tensor | None) -> Tensor:
    """Additive attention mask that lets a token attend to valid tokens of its own step only.

    Args:
        steps: (B, K) int64, step of each token. valid: (B, K) bool, as of :func:`key_mask`; None is all.

    Returns:
        (B, 1, K, K), as of :func:`key_mask`.
    """
    others = steps[:, None, :, None] != steps[:, None, None, :]
    mask = key_mask(torch.ones_like(steps, dtype=torch.bool) if valid is None else valid, 0)
    return mask.expand(others.shape).masked_fill(others, float("-inf"))


def key_mask(valid: Tensor, extra: int) -> Tensor:
    """Additive attention mask: 0 for valid keys, minus infinity for padding.

    Args:
        valid: (B, K) bool, at least one True a row.
        extra: number of further keys behind them, always valid.

    Returns:
        (B, 1, 1, K + extra) in the dtype of the attention. Not bool, because timm's unfused path adds the mask.
    """
    kind = valid.device.type
    lowered = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if lowered else torch.get_default_dtype()
    keep = F.pad(valid, (0, extra), value=True)[:, None, None, :]
    return torch.zeros(keep.shape, dtype=dtype, device=valid.device).masked_fill_(~keep, float("-inf"))
