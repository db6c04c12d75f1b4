"""k-nearest-neighbour accuracy of frozen features, and the two baselines that belong beside it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.sources import Source, arrays
from ijepa_viz.data.transforms import normalise
from ijepa_viz.model import IJEPA, Encoder


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


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 20) -> float:
    """Top-1 accuracy of a majority vote among the k nearest by cosine, ties to the smaller label.

    Args:
        train, test: (n, D) and (m, D) features, standardised here.
        train_labels, test_labels: (n,) and (m,) int64.

    Raises:
        ValueError: fewer than k training images.
    """
    if len(train) < k:
        raise ValueError(f"kNN with k={k} needs at least {k} training images, got {len(train)}.")
    train, test = (F.normalize(x, dim=1) for x in standardise(train, test))
    classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    right = 0
    for start in range(0, len(test), 1024):
        near = (test[start : start + 1024] @ train.T).topk(k, dim=1).indices
        votes = F.one_hot(train_labels[near], classes).sum(1)
        right += int((votes.argmax(1) == test_labels[start : start + 1024]).sum())
    return right / len(test)


def knn_table(model: IJEPA, train: Source, test: Source, limit: int | None = None) -> dict[str, float | int]:
    """kNN-20 of the target encoder, its random init, and the colour thumbnail, on the same pictures.

    Args:
        model: whose target encoder is probed.
        train, test: labelled; at most ``limit`` pictures of each, evenly spaced.

    Raises:
        ValueError: pictures without labels, or fewer than 20.
    """
    (x, y), (a, b) = (labelled(source, model.config.image_size, limit) for source in (train, test))
    torch.manual_seed(0)
    random_init = Encoder(model.config)
    table: dict[str, float | int] = {"train_images": len(x), "test_images": len(a)}
    table["chance"] = 1 / (int(y.max()) + 1)
    table["colour_thumbnail_8x8"] = knn_accuracy(thumbnail_features(x), y, thumbnail_features(a), b)
    for name, encoder in (("random_init", random_init), ("target_encoder", model.target_encoder)):
        table[name] = knn_accuracy(pooled_features(encoder, x), y, pooled_features(encoder, a), b)
    return table


def labelled(source: Source, size: int, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """(n, 3, size, size) uint8 pictures and (n,) labels, at most ``limit``, evenly spaced.

    Raises:
        ValueError: the data set has no labels.
    """
    if source.labels is None:
        raise ValueError(f"kNN needs labels, and {source.name} has none.")
    count = min(limit or len(source), len(source))
    index = np.unique(np.linspace(0, len(source) - 1, count).astype(int))
    pixels = torch.from_numpy(arrays(source, size)[index]).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[index])
