"""The narrow ViT predictor: context tokens and target positions to predicted tokens (section 3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.masks import Masks
from ijepa_viz.models.attention import attend, key_mask
from ijepa_viz.models.config import ModelConfig
from ijepa_viz.models.cues import CueEmbedding
from ijepa_viz.models.vit import MAX_BUCKETS, checkpointed, in_buckets, initialise_weights, sincos_positions, vit_blocks


class Predictor(nn.Module):
    """Narrow ViT that predicts the tokens of target blocks from context tokens and position embeddings.

    Args:
        config: sizes of the model.
        output: width of the predicted tokens; None is the encoder's.
    """

    def __init__(self, config: ModelConfig, output: int | None = None) -> None:
        super().__init__()
        width = config.predictor_width
        self.shared = config.predictor_context == "shared"
        self.buckets = MAX_BUCKETS
        self.activation_checkpointing = False
        self.predictor_embed = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.predictor_pos_embed = nn.Parameter(self.positions_of(config), requires_grad=False)
        self.predictor_blocks = vit_blocks(width, config.predictor_depth, config.predictor_heads, config)
        self.predictor_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.predictor_proj = nn.Linear(width, output or config.width)
        initialise_weights(self, self.predictor_blocks)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.cues = CueEmbedding(config.cue_tokens, config.cue_vocabulary, width) if config.cue_tokens else None

    @staticmethod
    def positions_of(config: ModelConfig) -> Tensor:
        """The fixed position embedding (1, N, P)."""
        return sincos_positions(config.predictor_width, config.grid, config.steps)

    def forward(self, context: Tensor, masks: Masks, cues: Tensor | None = None) -> Tensor:
        """Predict each target block separately, (B, K, D) context tokens -> (B, M, T, D).

        Args:
            cues: (B, L) int64 word ids, 0 is padding; None, or a row of zeros, is no cue.

        Raises:
            ValueError: cues for a predictor without them, or other than :class:`CueEmbedding` takes.
        """
        positions = self.predictor_pos_embed[0]
        context_tokens = self.predictor_embed(context) + positions[masks.context]  # (B, K, P)
        targets = (self.mask_token[0] + positions[masks.targets]).to(context_tokens.dtype)  # (B, M, T, P)
        valid = masks.context_valid
        if self.cues is not None:
            words = self.cues(cues, len(context)).to(context_tokens.dtype)
            # Before the context: validity is True first.
            context_tokens = torch.cat([words, context_tokens], dim=1)
            valid = None if valid is None else F.pad(valid, (words.shape[1], 0), value=True)
        elif cues is not None:
            raise ValueError(
                "This model takes no cues: it was trained without them (cue_tokens is 0 in its config). "
                "Predict without cues, or load a model that was trained with them (model.cue_tokens above 0)."
            )
        run = self._with_shared_context if self.shared else self._with_own_context
        if valid is None:
            x = run(context_tokens, None, targets)
        else:
            x = in_buckets(run, valid, context_tokens, valid, whole=targets, buckets=self.buckets)
        return self.predictor_proj(self.predictor_norm(x))

    def _with_own_context(self, context_tokens: Tensor, valid: Tensor | None, targets: Tensor) -> Tensor:
        """Run the layers once for each block: (B, K, P) and (B, M, T, P) -> (B, M, T, P), P the predictor's width."""
        batch, blocks, patches, width = targets.shape
        x = torch.cat([context_tokens[:, None].expand(-1, blocks, -1, -1), targets], dim=2).flatten(
            0, 1
        )  # (B M, K + T, P)
        mask = None if valid is None else key_mask(valid, patches).repeat_interleave(blocks, dim=0)
        layers: Any = self.predictor_blocks
        for layer in layers[:-1]:
            x = checkpointed(self, layer, x, attn_mask=mask)
        for layer in layers[-1:]:
            # The last layer's context outputs are unused.
            x = checkpointed(self, _layer_of_targets, layer, x, context_tokens.shape[1], mask)
        return x[:, -patches:].reshape(batch, blocks, patches, width)

    def _with_shared_context(self, context_tokens: Tensor, valid: Tensor | None, targets: Tensor) -> Tensor:
        """As :meth:`_with_own_context`, but the context is computed once for all blocks."""
        batch, blocks, patches, width = targets.shape
        around, own = None, None
        if valid is not None:
            around = key_mask(valid, 0)
            own = key_mask(valid, patches).repeat_interleave(blocks, dim=0)
        targets = targets.flatten(0, 1)  # (B M, T, P)
        layers: Any = self.predictor_blocks
        for layer in layers:
            # The last layer's context outputs are unused.
            context_tokens, targets = checkpointed(
                self, _shared_layer, layer, context_tokens, targets, around, own, last=layer is layers[-1]
            )
        return targets.view(batch, blocks, patches, width)


def _layer_of_targets(layer: Any, x: Tensor, context: int, mask: Tensor | None) -> Tensor:
    """One ViT block on (B, K + T, P), with the outputs after the first ``context`` = K tokens only, (B, T, P)."""
    attention, width = layer.attn, x.shape[-1]
    normed, targets = layer.norm1(x), x[:, context:]
    # In the order of the one projection: queries, then keys and values.
    weights, biases = ((t[:width], t[width:]) for t in (attention.qkv.weight, attention.qkv.bias))
    queries = F.linear(normed[:, context:], weights[0], biases[0])
    keys, values = F.linear(normed, weights[1], biases[1]).chunk(2, dim=-1)
    queries, keys, values = (
        t.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for t in (queries, keys, values)
    )
    targets = targets + attention.proj(_merged(attend(queries, keys, values, mask)))
    return targets + layer.mlp(layer.norm2(targets))


def _shared_layer(
    layer: Any, context_tokens: Tensor, targets: Tensor, around: Tensor | None, own: Tensor | None, last: bool
) -> tuple[Tensor, Tensor]:
    """One ViT block on the context (B, K, P) and on the targets (B M, T, P) that attend to it and to themselves."""
    blocks = targets.shape[0] // context_tokens.shape[0]
    queries, keys, values = _heads(layer.attn, layer.norm1(context_tokens))
    target_queries, more_keys, more_values = _heads(layer.attn, layer.norm1(targets))
    keys_of_both, values_of_both = (
        torch.cat([old.repeat_interleave(blocks, dim=0), new], dim=2)
        for old, new in ((keys, more_keys), (values, more_values))
    )
    targets = targets + layer.attn.proj(_merged(attend(target_queries, keys_of_both, values_of_both, own)))
    targets = targets + layer.mlp(layer.norm2(targets))
    if not last:
        context_tokens = context_tokens + layer.attn.proj(_merged(attend(queries, keys, values, around)))
        context_tokens = context_tokens + layer.mlp(layer.norm2(context_tokens))
    return context_tokens, targets


def _heads(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, P) -> queries, keys and values, (B, heads, T, d) each."""
    queries, keys, values = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return queries, keys, values


def _merged(x: Tensor) -> Tensor:
    """(B, heads, T, d) -> (B, T, heads d)."""
    return x.transpose(1, 2).flatten(2)
