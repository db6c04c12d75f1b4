"""Which kernel computes attention: torch's fused one, or the two matrix products it replaces.

On a CPU in bfloat16 the fused kernel with its gradient was measured more than 4 times slower than plain products, for
the lengths a small I-JEPA has; in float32 the two were about alike (``make benchmark``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor, nn


def fused_pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether to use the fused kernel: always, but where it is known to be slow."""
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


def key_mask(valid: Tensor, extra: int) -> Tensor:
    """What is added to attention scores: 0 where a key may be attended to, minus infinity where not.

    Args:
        valid: (B, K) bool, at least one True a row.
        extra: further keys behind them that always count.

    Returns:
        (B, 1, 1, K + extra) in the number format that attention is computed in; timm's plain path adds it, so a
        bool mask would do nothing there.
    """
    kind = valid.device.type
    lowered = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if lowered else torch.get_default_dtype()
    keep = F.pad(valid, (0, extra), value=True)[:, None, None, :]
    return torch.zeros(keep.shape, dtype=dtype, device=valid.device).masked_fill_(~keep, float("-inf"))
