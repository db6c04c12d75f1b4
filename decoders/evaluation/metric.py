"""Metrics of how faithfully samples reflect the predicted tokens: the registry, and functions common to the metrics."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoders.blocks import Blocks, blocks_of
from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import TokenSource
from decoders.networks.ridge import Ridge
from decoders.pipeline import BlockPipeline
from decoders.sampling import grid_noise, sample_tokens
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split
from ijepa_viz.registry import Registry
from ijepa_viz.runtime.progress import track

DecoderMetric = Callable[[IJEPA, Decoder, Split], dict[str, Any]]
DECODER_METRICS: Registry[DecoderMetric] = Registry("decoder metric")

ONE_STAGE = "This decoder has one stage: it samples no tokens. Train one with network.name=token-vit."

# Images among which the right one is ranked; the least number that a metric accepts.
CANDIDATES = 100


def centre_hole(model: IJEPA) -> Masks:
    """Hole for photographs: a block of half the grid's height and width, in the middle."""
    rows, cols = model.grid
    return Masks.from_block(model.grid, rows // 4, cols // 4, rows // 2, cols // 2)


def box_of(hole: Masks) -> tuple[int, int]:
    """Size (rows, cols) of a rectangular hole, in patches."""
    hidden = hole.hidden[0]
    return int(hidden.any(1).sum()), int(hidden.any(0).sum())


def drawn_indices(source: Source, limit: int, seed: int = 0) -> np.ndarray:
    """Indices (n,) of up to ``limit`` pictures, drawn and then in order.

    Raises:
        ValueError: fewer than :data:`CANDIDATES` images.
    """
    if len(source) < CANDIDATES:
        raise ValueError(f"A decoder metric needs at least {CANDIDATES} images, {source.name} has {len(source)}.")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return order[:limit].sort().values.numpy()


def evaluation_images(source: Source, size: ImageSize, limit: int, seed: int = 0) -> Tensor:
    """Draw up to ``limit`` of the source's images, (n, 3, H, W) uint8, without labels: the same at every size.

    Raises:
        ValueError: fewer than :data:`CANDIDATES` images.
    """
    chosen = drawn_indices(source, limit, seed)
    return torch.from_numpy(arrays(source, size)[chosen]).permute(0, 3, 1, 2)


def source_blocks(
    model: IJEPA, source: Source, size: ImageSize, hole: Masks, limit: int, seed: int = 0, start: int = 0
) -> Blocks:
    """Hidden blocks of up to ``limit`` of the source's images, drawn by :func:`evaluation_images`, with one hole.

    Args:
        model: computes the tokens, of images of its own size. size: of the pictures whose pixels are the blocks'.
        start: index of the first image to encode.
    """
    own = model.config.image_size
    images = evaluation_images(source, own, limit, seed)[start:]
    pictures = None if size == own else evaluation_images(source, size, limit, seed)[start:]
    return encode_blocks(model, normalise(images / 255), hole, pictures=pictures)


def encode_blocks(
    model: IJEPA, images: Tensor, masks: Masks, batch: int = 100, pictures: Tensor | None = None
) -> Blocks:
    """Extract the hidden block of every image, with its predicted and target tokens, on the CPU.

    Args:
        model: computes the tokens. images: (n, 3, H, W), normalised.
        masks: one for all images, or one for each.
        batch: images at a time.
        pictures: the same images at the decoder's resolution, as :func:`decoders.blocks.blocks_of` takes them.
    """
    parts = []
    for start in track(range(0, len(images), batch), "encoding blocks", "batch"):
        chunk = images[start : start + batch]
        chunk_masks = masks.repeat(len(chunk)) if len(masks) == 1 else masks[start : start + batch]
        drawn = None if pictures is None else pictures[start : start + batch]
        parts.append(blocks_of(model, chunk, chunk_masks, drawn).to("cpu"))
    names = ("clean", "patch_indices", "predicted", "target")
    return Blocks(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def sample_blocks(
    decoder: Decoder, tokens: Tensor, patch_indices: Tensor, seed: int = 0, batch: int = 64, **options: Any
) -> Tensor:
    """Sample every block once, (n, T, 3 p p) in [-1, 1], on the CPU.

    Args:
        decoder: its default number of steps is used.
        tokens: (n, T, D). patch_indices: (n, T).
        seed: block i uses seed + i. batch: blocks at a time.
        options: of ``BlockPipeline.__call__``, such as ``conditioning``. A number of steps is that of both stages.
    """
    if "num_inference_steps" not in options:
        options = {"num_inference_steps": decoder.config.steps, "token_steps": decoder.config.token_steps, **options}
    options = {"detail": decoder.config.detail, "token_temperature": decoder.config.token_temperature, **options}
    parts = []
    for start in track(range(0, len(tokens), batch), "sampling blocks", "batch"):
        chunk, indices = (t[start : start + batch].to(decoder.device) for t in (tokens, patch_indices))
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(chunk))]
        result = decoder.pipeline(chunk, indices, generator=generators, **options)
        parts.append(result.pixels.float().cpu().clamp(-1, 1))
    return torch.cat(parts)


def draw_tokens(
    decoder: Decoder, tokens: Tensor, patch_indices: Tensor, seed: int = 0, batch: int = 64, **options: Any
) -> Tensor:
    """Sample target tokens of every block once, (n, T, D), on the CPU; block i uses seed + i.

    Args:
        decoder: of two stages. tokens: (n, T, D), predicted. patch_indices: (n, T).
        batch: blocks at a time. options: of :func:`decoders.sampling.sample_tokens`.

    Raises:
        ValueError: a decoder of one stage.
    """
    network = decoder.pipeline.token_network
    if network is None:
        raise ValueError(ONE_STAGE)
    own = {"num_inference_steps": decoder.config.token_steps, "temperature": decoder.config.token_temperature}
    options = {**own, **options}
    scheduler = decoder.pipeline.scheduler_of_tokens
    parts = []
    for start in track(range(0, len(tokens), batch), "sampling tokens", "batch"):
        chunk, indices = (t[start : start + batch].to(decoder.device) for t in (tokens, patch_indices))
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(chunk))]
        noise = grid_noise(network, generators, indices)
        drawn = sample_tokens(network, scheduler, noise, indices, chunk, generators=generators, **options)
        parts.append(drawn.float().cpu())
    return torch.cat(parts)


def fit_ridge(model: IJEPA, blocks: Blocks) -> Decoder:
    """Fit a ridge decoder on ``blocks``; it takes seconds, so an untrained model can have one for comparison."""
    sizes = model.config
    network = Ridge(sizes.grid, math.isqrt(blocks.clean.shape[-1] // 3), sizes.width)
    for source, tokens in ((TokenSource.PREDICTED, blocks.predicted), (TokenSource.TARGET, blocks.target)):
        network.feature_mean[source] = tokens.flatten(0, 1).mean(0)
        network.feature_std[source] = tokens.flatten(0, 1).std(0).clamp_min(1e-4)
        network.accumulate(blocks.patch_indices, tokens, source, blocks.clean)
    network.solve()
    return Decoder(network, DecoderConfig(steps=1))


def median_ms(
    pipeline: BlockPipeline, tokens: Tensor, patch_indices: Tensor, steps: int, repeats: int = 5, **options: Any
) -> float:
    """Median milliseconds of sampling all blocks with ``steps`` evaluations a network, after one call as warm-up.

    ``options`` are further ones of the pipeline's call.
    """
    times = []
    generators = [torch.Generator().manual_seed(i) for i in range(len(tokens))]
    for _ in range(repeats + 1):
        started = time.perf_counter()
        drawn = pipeline(tokens, patch_indices, generator=generators, num_inference_steps=steps, **options).pixels
        drawn.flatten()[0].item()  # a GPU is still at work when the call returns
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])
