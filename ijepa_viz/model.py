"""The three networks of I-JEPA and their forward passes, nothing else (section 3, figure 3).

Blocks are timm's ViT blocks. Parameter names are those of the reference checkpoints, so that their
state dicts load with ``strict=True``. There is no [CLS] token.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ijepa_viz.attention import attend, key_mask
from ijepa_viz.masks import Grid, Masks

# name: (width, depth, heads, MLP ratio).
SIZES: dict[str, tuple[int, int, int, float]] = {
    "tiny": (192, 12, 3, 4.0),
    "small": (384, 12, 6, 4.0),
    "base": (768, 12, 12, 4.0),
    "large": (1024, 24, 16, 4.0),
    "huge": (1280, 32, 16, 4.0),
    "giant": (1408, 40, 16, 48 / 11),
}


# At most so many buckets, of at least so many images: smaller products would lose more than padding costs. Lengths are
# rounded up, because every new shape costs a slow first call.
_BUCKETS, _BUCKET, _ROUND = 4, 16, 4


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of an I-JEPA.

    Attributes:
        image_size: height = width of the images, in pixels.
        patch_size: height = width of a patch, in pixels.
        width, depth, heads, mlp_ratio: the encoders' ViT.
        predictor_width, predictor_depth, predictor_heads: the predictor; width 0 means none.
        norm_eps: of every LayerNorm.
        predictor_context: "separate" runs the predictor once for each target block, as the paper does; "shared"
            computes the context once for all: targets attend to it and to their own block, and it to itself only.
    """

    image_size: int = 224
    patch_size: int = 14
    width: int = 1280
    depth: int = 32
    heads: int = 16
    mlp_ratio: float = 4.0
    predictor_width: int = 384
    predictor_depth: int = 12
    predictor_heads: int = 16
    norm_eps: float = 1e-6
    predictor_context: str = "separate"

    def __post_init__(self) -> None:
        if self.predictor_context not in ("separate", "shared"):
            raise ValueError(f"predictor_context must be 'separate' or 'shared', got {self.predictor_context!r}.")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}.")
        for name, width, heads in (
            ("width", self.width, self.heads),
            ("predictor_width", self.predictor_width, self.predictor_heads),
        ):
            if width % max(heads, 1):
                raise ValueError(f"{name} {width} must divide by its number of heads, {heads}.")
            if width % 4:
                raise ValueError(f"{name} {width} must divide by 4 for the position embedding.")

    @property
    def grid(self) -> Grid:
        """(rows, cols) of the patch grid."""
        side = self.image_size // self.patch_size
        return side, side

    @classmethod
    def of_size(cls, size: str, **options: Any) -> ModelConfig:
        """The config of a named size; ``options`` override single fields.

        The predictor's heads default to the encoder's (as published) unless given.

        Raises:
            ValueError: an unknown size; the message names the nearest.
        """
        if size not in SIZES:
            near = difflib.get_close_matches(size, SIZES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"No model size {size!r}; there are {', '.join(SIZES)}.{hint}")
        width, depth, heads, ratio = SIZES[size]
        fields = {"width": width, "depth": depth, "heads": heads, "mlp_ratio": ratio}
        return cls(**{**fields, "predictor_heads": heads, **options})


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


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """(B, 3, H, W) -> (B, N, 3 p p): the pixels of each patch, channel first, row-major grid."""
    batch, channels, height, width = images.shape
    rows, cols = height // patch_size, width // patch_size
    x = images.view(batch, channels, rows, patch_size, cols, patch_size)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * cols, -1)


def unpatchify(patches: Tensor, grid: Grid, patch_size: int) -> Tensor:
    """The inverse of :func:`patchify`: (B, N, 3 p p) -> (B, 3, H, W)."""
    rows, cols = grid
    x = patches.view(patches.shape[0], rows, cols, -1, patch_size, patch_size)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(x.shape[0], -1, rows * patch_size, cols * patch_size)


class Encoder(nn.Module):
    """The ViT that is the context encoder, and, averaged over time, the target encoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.buckets = _BUCKETS
        self.recompute = False
        self.pos_embed = nn.Parameter(sincos_positions(config.width, config.grid), requires_grad=False)
        self.patch_embed = _Patchify(config.patch_size, config.width)
        self.blocks = _blocks(config.width, config.depth, config.heads, config)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        _initialise(self, self.blocks)

    def forward(
        self,
        images: Tensor,
        context: Tensor | None = None,
        valid: Tensor | None = None,
        layers: int = 1,
    ) -> Tensor:
        """Encode whole images, or only some of their patches.

        Args:
            images: (B, 3, H, W), normalised with ImageNet's mean and std.
            context: (B, K) int64, patches to encode; no other patch is computed on. None: all.
            valid: (B, K) bool, False where ``context`` is padding.
            layers: 1 for the last layer; L > 1 concatenates the last L layers' outputs, each
                through the final norm (the paper's last-four-layers protocol).

        Returns:
            (B, K, D), or (B, K, L * D).

        Raises:
            ValueError: images of another size than the model's.
        """
        size = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(f"This model takes images (B, 3, {size}, {size}), got {tuple(images.shape)}.")
        patches = patchify(images, self.config.patch_size)
        positions: Tensor = self.pos_embed
        if context is not None:
            patches = patches.gather(1, context[..., None].expand(-1, -1, patches.shape[-1]))
            positions = positions[0, context]
        if valid is None:
            return self._layers(patches, positions, None, layers)
        return in_buckets(self._layers, valid, patches, positions, valid, buckets=self.buckets, layers=layers)

    def _layers(self, patches: Tensor, positions: Tensor, valid: Tensor | None, layers: int) -> Tensor:
        """(B, K, 3 p p) -> (B, K, D), or (B, K, L * D)."""
        x = self.patch_embed(patches) + positions
        mask = None if valid is None else key_mask(valid, 0)
        kept = []
        for i, layer in enumerate(self.blocks):
            x = recomputed(self, layer, x, attn_mask=mask)
            if i >= len(self.blocks) - layers:
                kept.append(self.norm(x))
        return torch.cat(kept, dim=-1)


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


def _heads(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, P) -> queries, keys and values, (B, heads, T, d) each."""
    queries, keys, values = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return queries, keys, values


def _merged(x: Tensor) -> Tensor:
    """(B, heads, T, d) -> (B, T, heads d)."""
    return x.transpose(1, 2).flatten(2)


def set_recompute(net: nn.Module, wanted: bool) -> None:
    """Let the encoders and predictors in ``net`` compute their layers twice instead of keeping what is inside them."""
    for module in net.modules():
        if isinstance(module, Encoder | Predictor):
            module.recompute = wanted


class IJEPA(nn.Module):
    """Context encoder, predictor and EMA target encoder.

    ``predictor`` is None for published encoders that come without one; then predicting raises.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.predictor = Predictor(config) if config.predictor_width else None
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    @property
    def grid(self) -> Grid:
        """(rows, cols) of the patch grid."""
        return self.config.grid

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.encoder.pos_embed.device

    def _check(self, masks: Masks, batch: int) -> None:
        if masks.grid != self.grid:
            raise ValueError(
                f"The mask is for a {masks.grid[0]}x{masks.grid[1]} grid, this model's is "
                f"{self.grid[0]}x{self.grid[1]}."
            )
        if len(masks) != batch:
            raise ValueError(f"Masks for {len(masks)} images, but there are {batch} images.")

    def encode_context(self, images: Tensor, masks: Masks) -> Tensor:
        """The visible patches' tokens, (B, 3, H, W) -> (B, K, D).

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        return self.encoder(images, masks.context, masks.context_valid)

    def predict(self, context: Tensor, masks: Masks) -> Tensor:
        """What the predictor expects in each target block, (B, K, D) -> (B, M, T, D).

        Raises:
            ValueError: masks for another grid or another number of images.
            RuntimeError: this model has no predictor.
        """
        if self.predictor is None:
            raise RuntimeError(
                "This model has an encoder only, so it cannot predict: Hugging Face and timm "
                "publish I-JEPA without its predictor. Use a reference .pth.tar checkpoint."
            )
        self._check(masks, len(context))
        return self.predictor(context, masks)

    @torch.no_grad()
    def encode_target(self, images: Tensor) -> Tensor:
        """The target encoder on whole images, before the loss's LayerNorm, (B, N, D)."""
        return self.target_encoder(images)

    @torch.no_grad()
    def targets(self, images: Tensor, masks: Masks) -> Tensor:
        """What the loss compares predictions with, (B, M, T, D).

        The target encoder's output on the whole image, through a LayerNorm without parameters,
        cut to the target blocks.

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        tokens = self.encode_target(images)
        return cut(F.layer_norm(tokens, tokens.shape[-1:]), masks)

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` to ``folder``, atomically.

        Raises:
            OSError: the disk refuses; what the folder held before is still there.
        """
        from ijepa_viz import checkpoints  # imported late: checkpoints builds on this module

        checkpoints.save_folder(self, folder)


def cut(tokens: Tensor, masks: Masks) -> Tensor:
    """The tokens of each target block: (B, N, D) -> (B, M, T, D)."""
    batch, blocks, patches = masks.targets.shape
    index = masks.targets.flatten(1)[..., None].expand(-1, -1, tokens.shape[-1])
    return tokens.gather(1, index).view(batch, blocks, patches, -1)
