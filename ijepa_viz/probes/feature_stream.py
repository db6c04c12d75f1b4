"""Features of the pictures of a data set, batch by batch: averages of tokens, or the tokens, of any layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.picture_stream import PictureBatch
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import Encoder
from ijepa_viz.probes.layers import layer_tokens


@dataclass(frozen=True)
class FeatureBatch:
    """Features of some pictures, on the CPU.

    Attributes:
        pictures: where they are in the data set, and their pixels.
        pooled: layer -> (b, D) float32, the mean of each picture's tokens.
        tokens: layer -> (b, N, D) float32, row-major on the grid; empty where nobody asked.
    """

    pictures: PictureBatch
    pooled: dict[int, np.ndarray]
    tokens: dict[int, np.ndarray]


@torch.no_grad()
def stream_features(
    encoder: Encoder,
    pictures: Iterable[PictureBatch],
    layers: Sequence[int],
    tokens: bool = False,
) -> Iterator[FeatureBatch]:
    """Features of one batch after the other: nothing is kept.

    Args:
        encoder: in evaluation mode. pictures: a :class:`ijepa_viz.data.picture_stream.PictureStream`.
        layers: of :func:`ijepa_viz.probes.layers.layer_numbers`.
        tokens: also give the tokens themselves.
    """
    device = encoder.pos_embed.device
    for batch in pictures:
        images = normalise(batch.pixels.to(device).float() / 255)
        found = {number: value.float() for number, value in layer_tokens(encoder, images, layers).items()}
        pooled = {number: _array(value.mean(1)) for number, value in found.items()}
        yield FeatureBatch(batch, pooled, {n: _array(value) for n, value in found.items()} if tokens else {})


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
