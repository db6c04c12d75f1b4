"""The narrow ViT predictor: context tokens and target positions to predicted tokens (section 3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.masks import Masks
from ijepa_viz.models.attention import attend, key_mask
from ijepa_viz.models.config import ModelConfig
from ijepa_viz.models.vit import _BUCKETS, _blocks, _initialise, in_buckets, recomputed, sincos_positions


class Predictor(nn.Module):
    """The narrow ViT that fills in target blocks, given context tokens and positions.

    Args:
        output: width of what it predicts; None is the encoder's.
    """

    def __init__(self, config: ModelConfig, output: int | None = None) -> None:
        super().__init__()
        width = config.predictor_width
        self.shared = config.predictor_context == "shared"
        self.buckets = _BUCKETS
        self.recompute = False
        self.predictor_embed = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.predictor_pos_embed = nn.Parameter(sincos_positions(width, config.grid), requires_grad=False)
        self.predictor_blocks = _blocks(width, config.predictor_depth, config.predictor_heads, config)
        self.predictor_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.predictor_proj = nn.Linear(width, output or config.width)
        _initialise(self, self.predictor_blocks)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, context: Tensor, masks: Masks) -> Tensor:
        """(B, K, D) context tokens -> (B, M, T, D), each block predicted on its own."""
        positions = self.predictor_pos_embed[0]
        seen = self.predictor_embed(context) + positions[masks.context]  # (B, K, P)
        asked = (self.mask_token[0] + positions[masks.targets]).to(seen.dtype)  # (B, M, T, P)
        run = self._with_shared_context if self.shared else self._with_own_context
        if masks.context_valid is None:
            x = run(seen, None, asked)
        else:
            x = in_buckets(run, masks.context_valid, seen, masks.context_valid, whole=asked, buckets=self.buckets)
        return self.predictor_proj(self.predictor_norm(x))

    def _with_own_context(self, seen: Tensor, valid: Tensor | None, asked: Tensor) -> Tensor:
        """(B, K, P) and (B, M, T, P) -> (B, M, T, P): what the layers make of the targets, each block on its own."""
        batch, blocks, patches, width = asked.shape
        x = torch.cat([seen[:, None].expand(-1, blocks, -1, -1), asked], dim=2).flatten(0, 1)  # (B M, K + T, P)
        mask = None if valid is None else key_mask(valid, patches).repeat_interleave(blocks, dim=0)
        layers: Any = self.predictor_blocks
        for layer in layers[:-1]:
            x = recomputed(self, layer, x, attn_mask=mask)
        for layer in layers[-1:]:
            # Nobody looks at the last layer's context.
            x = recomputed(self, _layer_of_targets, layer, x, seen.shape[1], mask)
        return x[:, -patches:].reshape(batch, blocks, patches, width)

    def _with_shared_context(self, seen: Tensor, valid: Tensor | None, asked: Tensor) -> Tensor:
        """As :meth:`_with_own_context`, the context computed once for all blocks."""
        batch, blocks, patches, width = asked.shape
        around, own = None, None
        if valid is not None:
            around = key_mask(valid, 0)
            own = key_mask(valid, patches).repeat_interleave(blocks, dim=0)
        asked = asked.flatten(0, 1)  # (B M, T, P)
        layers: Any = self.predictor_blocks
        for layer in layers:
            # Nobody looks at the last layer's context.
            seen, asked = recomputed(self, _shared_layer, layer, seen, asked, around, own, last=layer is layers[-1])
        return asked.view(batch, blocks, patches, width)


def _layer_of_targets(layer: Any, x: Tensor, context: int, mask: Tensor | None) -> Tensor:
    """One ViT block on (B, K + T, P) that gives only what follows the first ``context`` = K tokens, (B, T, P)."""
    attention, width = layer.attn, x.shape[-1]
    normed, asked = layer.norm1(x), x[:, context:]
    # In the order of the one projection: queries, then keys and values.
    weights, biases = ((t[:width], t[width:]) for t in (attention.qkv.weight, attention.qkv.bias))
    queries = F.linear(normed[:, context:], weights[0], biases[0])
    keys, values = F.linear(normed, weights[1], biases[1]).chunk(2, dim=-1)
    queries, keys, values = (
        t.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for t in (queries, keys, values)
    )
    asked = asked + attention.proj(_merged(attend(queries, keys, values, mask)))
    return asked + layer.mlp(layer.norm2(asked))


def _shared_layer(
    layer: Any, seen: Tensor, asked: Tensor, around: Tensor | None, own: Tensor | None, last: bool
) -> tuple[Tensor, Tensor]:
    """One ViT block on the context (B, K, P) and on the targets (B M, T, P) that attend to it and to themselves."""
    blocks = len(asked) // len(seen)
    queries, keys, values = _heads(layer.attn, layer.norm1(seen))
    asking, more_keys, more_values = _heads(layer.attn, layer.norm1(asked))
    keys_of_both, values_of_both = (
        torch.cat([old.repeat_interleave(blocks, dim=0), new], dim=2)
        for old, new in ((keys, more_keys), (values, more_values))
    )
    asked = asked + layer.attn.proj(_merged(attend(asking, keys_of_both, values_of_both, own)))
    asked = asked + layer.mlp(layer.norm2(asked))
    if not last:
        seen = seen + layer.attn.proj(_merged(attend(queries, keys, values, around)))
        seen = seen + layer.mlp(layer.norm2(seen))
    return seen, asked


def _heads(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, P) -> queries, keys and values, (B, heads, T, d) each."""
    queries, keys, values = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return queries, keys, values


def _merged(x: Tensor) -> Tensor:
    """(B, heads, T, d) -> (B, T, heads d)."""
    return x.transpose(1, 2).flatten(2)
