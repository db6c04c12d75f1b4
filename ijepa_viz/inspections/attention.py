"""Attention maps of any layer of the encoder and of the predictor, of each head and averaged.

The weights are computed again from what enters each attention layer, so that the networks themselves run as always, by
whichever kernel is fastest. They say where a layer reads, not what the output depends on: for that see the ablation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures.completion import BOX, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput, central_patch
from ijepa_viz.masks import Masks
from ijepa_viz.models import Encoder, Predictor
from ijepa_viz.models.attention import key_mask
from ijepa_viz.probes.layers import layer_numbers


@INSPECTIONS.register("attention")
def inspect_attention(inputs: InspectionInput) -> dict[str, Any]:
    """Attention of the block's central patch in encoder and predictor, by layer and head (needs no predictor)."""
    model, masks = inputs.model, inputs.masks
    pixels = normalise(inputs.image[None].to(model.device).float())
    centre = central_patch(masks)
    rows: list[tuple[str, Tensor, Tensor]] = []  # name, (heads, N) with NaN where nothing is read, entropy of the layer
    layers = _chosen(inputs.layers, model.config.depth)
    for number, found in encoder_attention(model.target_encoder, pixels, layers).items():
        rows.append((f"encoder\nlayer {number}", found[0, :, centre], entropy(found)))
    if model.predictor is not None:
        on_device = masks.to(str(model.device))
        context = model.encode_context(pixels, on_device)
        depth = model.config.predictor_depth
        of_both = _chosen(inputs.layers, depth, most=model.config.depth)
        place = int((masks.targets[0, 0] == centre).nonzero()[0, 0])
        read = torch.cat([on_device.context[0][on_device.valid[0]], on_device.targets[0, 0]])
        valid = torch.cat([on_device.valid[0], torch.ones_like(on_device.targets[0, 0], dtype=torch.bool)])
        for number, found in predictor_attention(model.predictor, context, on_device, of_both).items():
            weights = torch.full((found.shape[2], masks.num_patches), torch.nan, device=found.device)
            weights[:, read] = found[0, 0, :, place, valid]
            rows.append((f"predictor\nlayer {number}", weights, entropy(found)))
    figure = _figure(inputs, rows, centre)
    numbers = {}
    for name, weights, bits in rows:
        keys = int((~weights[0].isnan()).sum())
        key = name.replace("\n", "_").replace(" ", "_")
        numbers[f"{key}_entropy_bits"] = float(bits)
        numbers[f"{key}_uniform_bits"] = float(np.log2(keys))
    return {**numbers, "figure": figure}


def _chosen(layers: str | None, depth: int, most: int | None = None) -> tuple[int, ...]:
    """Layers of one network, first, middle and last where nobody chose; of a shallower one those that it has."""
    if layers is None:
        return tuple(dict.fromkeys((1, (depth + 1) // 2, depth)))
    words = [word.strip() for word in layers.split(",")]
    if most is not None:
        layer_numbers(words, most)
        words = [word for word in words if not word.isdigit() or int(word) <= depth]
    return layer_numbers(words, depth) if words else ()


def _figure(inputs: InspectionInput, rows: Sequence[tuple[str, Tensor, Tensor]], centre: int) -> Figure:
    shape = inputs.masks.grid
    heads = max(len(weights) for _, weights, _ in rows)
    wide, high = panel_size(1.05, shape)
    figure = Figure(
        "Attention of one patch to all patches it reads, a row a layer: the mean of the heads, and each head.",
        figsize=(wide * (heads + 2) + 1.3, (high + 0.15) * len(rows) + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(len(rows), heads + 2, squeeze=False)
    size = inputs.model.config.patch_size
    for line, (name, weights, _) in zip(axes, rows, strict=True):
        picture = inputs.image.permute(1, 2, 0).cpu().numpy().copy()
        if name.startswith("predictor"):
            picture[inputs.masks.hidden_pixels(size)[0].cpu().numpy()] = 0.82
            outline(line[0], inputs.masks, size, BOX["predicted"], 1.5)
        show(line[0], picture)
        row, col = divmod(centre, shape[1])
        line[0].plot((col + 0.5) * size - 0.5, (row + 0.5) * size - 0.5, "o", markersize=4, color=BOX["control"])
        line[0].set_ylabel(name, fontsize=8)
        keys = int((~weights[0].isnan()).sum())
        maps = (torch.cat([weights.mean(0, keepdim=True), weights]) * keys).float().cpu().numpy()
        most = max(float(np.nanmax(maps)), 1.0)
        for i, axis in enumerate(line[1:]):
            axis.set_xticks([])
            axis.set_yticks([])
            if i >= len(maps):
                axis.set_axis_off()
                continue
            drawn = axis.imshow(maps[i].reshape(shape), vmin=0, vmax=most, cmap="viridis")
            axis.plot(col, row, "o", markersize=3, color=BOX["control"])
        bar = figure.colorbar(drawn, ax=line.tolist(), pad=0.01, aspect=10)
        bar.set_label("times uniform", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    axes[0, 0].set_title("patch", fontsize=8)
    for i, axis in enumerate(axes[0, 1:]):
        axis.set_title("mean of heads" if i == 0 else f"head {i}", fontsize=8)
    return figure


@torch.no_grad()
def encoder_attention(
    encoder: Encoder,
    images: Tensor,
    layers: Sequence[int],
    context: Tensor | None = None,
    valid: Tensor | None = None,
) -> dict[int, Tensor]:
    """Attention weights of an encoder, number of the layer -> (B, heads, K, K), rows the patches that read.

    Args:
        images: (B, 3, H, W), normalised.
        layers: of :func:`ijepa_viz.probes.layers.layer_numbers`, from 1.
        context: (B, K) int64, patches that are encoded; None is all N.
        valid: (B, K) bool, False where ``context`` is padding, which is never read.
    """
    with _entering(encoder.blocks, layers) as entered:
        encoder(images, context, valid)
    mask = None if valid is None else key_mask(valid, 0)
    found = {}
    for number in layers:
        attention: Any = encoder.blocks[number - 1].attn
        queries, keys = _queries_and_keys(attention, entered[number][0])
        found[number] = _weights(queries, keys, mask)
    return found


@torch.no_grad()
def predictor_attention(
    predictor: Predictor, context: Tensor, masks: Masks, layers: Sequence[int]
) -> dict[int, Tensor]:
    """Attention weights of the predictor's mask tokens, number of the layer -> (B, M, heads, T, K + T).

    Keys are the context patches in the order of ``masks.context``, then the block's own. What context tokens read is
    left out: no prediction is made at them.

    Args:
        context: (B, K, D), of :meth:`ijepa_viz.models.IJEPA.encode_context` with the same masks.
        masks: on the predictor's device.
        layers: from 1.
    """
    with _entering(predictor.predictor_blocks, layers) as entered:
        predictor(context, masks)
    blocks, patches = masks.targets.shape[1:]
    mask = None
    if masks.context_valid is not None:
        mask = key_mask(masks.context_valid, patches).repeat_interleave(blocks, dim=0)
    found = {}
    for number in layers:
        attention: Any = predictor.predictor_blocks[number - 1].attn
        parts = [_queries_and_keys(attention, x) for x in entered[number]]
        queries, keys = parts[-1]
        if len(parts) == 2:  # of a shared context, which enters once for all blocks
            keys = torch.cat([parts[0][1].repeat_interleave(blocks, dim=0), keys], dim=2)
        weights = _weights(queries[:, :, -patches:], keys, mask)  # (B M, heads, T, K + T)
        found[number] = weights.unflatten(0, (len(context), blocks))
    return found


def entropy(weights: Tensor) -> Tensor:
    """Mean entropy in bits of attention weights (..., keys); log2 of the number of keys is uniform attention."""
    return -(weights * weights.clamp_min(1e-12).log2()).sum(-1).mean()


@contextmanager
def _entering(blocks: nn.ModuleList, layers: Sequence[int]) -> Iterator[dict[int, list[Tensor]]]:
    """What enters the attention of these layers while the context is open: number -> one tensor a call."""
    entered: dict[int, list[Tensor]] = {number: [] for number in layers}

    def keeper(number: int) -> Any:
        return lambda _module, _inputs, output: entered[number].append(output)

    # The norm before it, because the predictor's layers call parts of the attention themselves.
    hooks = [blocks[n - 1].norm1.register_forward_hook(keeper(n)) for n in layers]  # type: ignore[union-attr,operator]
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def _queries_and_keys(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, P) -> queries and keys (B, heads, T, d)."""
    queries, keys, _ = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return queries, keys


def _weights(queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    scores = (queries.float() * queries.shape[-1] ** -0.5) @ keys.float().transpose(-2, -1)
    return (scores if mask is None else scores + mask.float()).softmax(-1)
