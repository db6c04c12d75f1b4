"""Metrics of how faithfully samples reflect the predicted tokens: their registry and what they share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from decoders.blocks import Blocks, blocks_of
from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import PREDICTED, TARGET
from decoders.networks.ridge import Ridge
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split
from ijepa_viz.registry import Registry

Instrument = Callable[[IJEPA, Decoder, Split], dict[str, Any]]

# Images from which the right one is picked: no metric takes fewer.
CANDIDATES = 100
INSTRUMENTS: Registry[Instrument] = Registry("instrument")


def centre_hole(model: IJEPA) -> Masks:
    """The hole that photographs are asked about: half the grid's height and width, in the middle."""
    rows, cols = model.grid
    return Masks.from_block(model.grid, rows // 4, cols // 4, rows // 2, cols // 2)


def box_of(hole: Masks) -> tuple[int, int]:
    """(rows, cols) of patches of a rectangular hole."""
    hidden = hole.hidden[0]
    return int(hidden.any(1).sum()), int(hidden.any(0).sum())


def pictures(source: Source, size: int, limit: int, seed: int = 0) -> Tensor:
    """(n, 3, size, size) normalised, ``limit`` of the source's pictures or all, drawn without labels.

    Raises:
        ValueError: fewer than one set of candidates.
    """
    images = arrays(source, size)
    if len(images) < CANDIDATES:
        raise ValueError(f"This instrument needs at least {CANDIDATES} pictures, {source.name} has {len(images)}.")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:limit].sort().values
    return normalise(torch.from_numpy(images[order.numpy()]).permute(0, 3, 1, 2) / 255)


def see(model: IJEPA, images: Tensor, masks: Masks, batch: int = 100, patch_size: int | None = None) -> Blocks:
    """Every image's hidden block: pixels, prediction and target, on the CPU. ``masks`` are for all, or one for each."""
    parts = []
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        theirs = masks.repeat(len(some)) if len(masks) == 1 else masks[start : start + batch]
        parts.append(blocks_of(model, some, theirs, patch_size).to("cpu"))
    names = ("clean", "places", "predicted", "target")
    return Blocks(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def draw(decoder: Decoder, tokens: Tensor, places: Tensor, seed: int = 0, batch: int = 64, **options: Any) -> Tensor:
    """One sample of every block, (n, T, 3 p p) in [-1, 1].

    Args:
        decoder: of the family.
        tokens: (n, T, D). places: (n, T).
        seed: block i's noise is seed + i's. batch: blocks at a time.
        options: of ``BlockPipeline``, such as ``condition``; the number of steps is the decoder's own.
    """
    options = {"num_inference_steps": decoder.config.steps, **options}
    drawn = []
    for start in range(0, len(tokens), batch):
        some = slice(start, start + batch)
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(tokens[some]))]
        result = decoder.pipeline(
            tokens[some].to(decoder.device), places[some].to(decoder.device), generator=generators, **options
        )
        drawn.append(result.pixels.float().cpu().clamp(-1, 1))
    return torch.cat(drawn)


def closed_form(model: IJEPA, blocks: Blocks) -> Decoder:
    """A ridge decoder fitted on ``blocks``: seconds, for any model, so that models can be compared."""
    sizes = model.config
    network = Ridge(sizes.grid, math.isqrt(blocks.clean.shape[-1] // 3), sizes.width)
    for kind, tokens in ((PREDICTED, blocks.predicted), (TARGET, blocks.target)):
        network.feature_mean[kind] = tokens.flatten(0, 1).mean(0)
        network.feature_std[kind] = tokens.flatten(0, 1).std(0).clamp_min(1e-4)
        network.accumulate(blocks.places, tokens, kind, blocks.clean)
    network.solve()
    return Decoder(network, DecoderConfig(steps=1))
