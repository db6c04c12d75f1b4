"""Frozen features of labelled pictures: what the kNN and linear probes compare, and their baselines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.sources import Source, arrays
from ijepa_viz.data.transforms import normalise
from ijepa_viz.model import IJEPA, Encoder
from ijepa_viz.probes import Split

# train features, train labels, test features, test labels -> accuracy.
Accuracy = Callable[[Tensor, Tensor, Tensor, Tensor], float]
LAST = 4  # the paper's protocol: the last layer, or the last four side by side (appendix A.2)


@torch.no_grad()
def pooled_features(encoder: Encoder, images: Tensor, batch: int = 128, layers: int = 1) -> Tensor:
    """Average-pooled tokens of whole images, (n, 3, H, W) uint8 -> (n, layers * D) float32."""
    device = encoder.pos_embed.device
    parts = []
    for chunk in images.split(batch):
        tokens = encoder(normalise(chunk.to(device).float() / 255), layers=layers)
        parts.append(tokens.mean(dim=1).float().cpu())
    return torch.cat(parts)


def thumbnail_features(images: Tensor, side: int = 8) -> Tensor:
    """Mean colours on a ``side`` x ``side`` grid, (n, 3, H, W) uint8 -> (n, 3 side side).

    What can be known without any learning: where which colour is.
    """
    return torch.cat([F.adaptive_avg_pool2d(c.float(), side).flatten(1) for c in images.split(512)])


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets shifted and scaled by the training set's statistics, feature by feature."""
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    return (train - mean) / std, (test - mean) / std


def labelled(source: Source, size: int, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """(n, 3, size, size) uint8 pictures and (n,) labels, at most ``limit``, evenly spaced.

    Pictures with the label -1 (STL-10's unlabelled ones) are left out.

    Raises:
        ValueError: the data set has no labels.
    """
    if source.labels is None:
        raise ValueError(f"This probe needs labels, and {source.name} has none.")
    known = np.flatnonzero(source.labels >= 0)
    count = min(limit or len(known), len(known))
    index = known[np.unique(np.linspace(0, len(known) - 1, count).astype(int))]
    pixels = torch.from_numpy(arrays(source, size)[index]).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[index])


def accuracy_table(model: IJEPA, split: Split, accuracy: Accuracy, limit: int | None = None) -> dict[str, float | int]:
    """``accuracy`` of the target encoder, of its random init, and of the colour thumbnail, on the same pictures.

    Args:
        model: whose target encoder is probed, average-pooled: its last layer, and its last four.
        split: opens "train" and "test"; both labelled.
        limit: at most so many pictures of each, evenly spaced.

    Raises:
        ValueError: pictures without labels, or too few.
    """
    (x, y), (a, b) = (labelled(split(name), model.config.image_size, limit) for name in ("train", "test"))
    torch.manual_seed(0)
    random_init = Encoder(model.config).to(model.device)
    table: dict[str, float | int] = {"train_images": len(x), "test_images": len(a)}
    table["chance"] = 1 / (int(y.max()) + 1)
    table["colour_thumbnail_8x8"] = accuracy(thumbnail_features(x), y, thumbnail_features(a), b)
    last = min(LAST, model.config.depth)
    for name, encoder in (("random_init", random_init), ("target_encoder", model.target_encoder)):
        train, test = (pooled_features(encoder, images, layers=last) for images in (x, a))
        width = model.config.width
        table[name] = accuracy(train[:, -width:], y, test[:, -width:], b)
        table[f"{name}_last_{last}_layers"] = accuracy(train, y, test, b)
    return table
