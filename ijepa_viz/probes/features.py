"""Frozen features of labelled pictures: what the kNN and linear probes compare, and their baselines."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA, Encoder
from ijepa_viz.probes.probe import Split

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
    index = _chosen(source, limit)
    pixels = torch.from_numpy(arrays(source, size)[index]).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[index])


class FeatureBank:
    """Features of a model and of its baselines for the same pictures, computed once, whatever is asked of them.

    Attributes:
        sources: "train" and "test".

    Args:
        model: whose target encoder is probed, average-pooled: its last layer, and its last four.
        split: opens "train" and "test".
        limit: at most so many pictures of each, evenly spaced.
    """

    def __init__(self, model: IJEPA, split: Split, limit: int | None = None) -> None:
        self.model = model
        self.sources = {name: split(name) for name in ("train", "test")}
        self._index = {name: _chosen(source, limit) for name, source in self.sources.items()}

    def labels(self, truth: str = "class") -> tuple[Tensor, Tensor]:
        """(n,) and (m,) int64: what is to be told, "class" or one of the sources' ``truths``.

        Raises:
            ValueError: a data set that does not know it.
        """
        found = []
        for name, source in self.sources.items():
            known = list(source.truths) if source.labels is None else ["class", *source.truths]
            if truth not in known:
                what = f"it knows {', '.join(known)}" if known else "it has none at all"
                raise ValueError(f"This probe needs labels of {truth!r}, and {source.name} has none: {what}.")
            labels = source.labels if truth == "class" else source.truths[truth]()
            assert labels is not None
            found.append(torch.from_numpy(labels[self._index[name]]))
        return found[0], found[1]

    @cached_property
    def features(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Name -> (n, F) and (m, F): the thumbnail, and last and last four layers of random init and the model."""
        size = self.model.config.image_size
        x, a = (
            torch.from_numpy(arrays(source, size)[self._index[name]]).permute(0, 3, 1, 2)
            for name, source in self.sources.items()
        )
        found = {"colour_thumbnail_8x8": (thumbnail_features(x), thumbnail_features(a))}
        torch.manual_seed(0)
        random_init = Encoder(self.model.config).to(self.model.device)
        last, width = min(LAST, self.model.config.depth), self.model.config.width
        for name, encoder in (("random_init", random_init), ("target_encoder", self.model.target_encoder)):
            train, test = (pooled_features(encoder, images, layers=last) for images in (x, a))
            found[name] = (train[:, -width:], test[:, -width:])
            found[f"{name}_last_{last}_layers"] = (train, test)
        return found

    def table(
        self, accuracy: Accuracy, truth: str = "class", only: Collection[str] | None = None
    ) -> dict[str, float | int]:
        """``accuracy`` of each of :attr:`features`, or of those named in ``only``, and of knowing nothing.

        Raises:
            ValueError: pictures without such labels, or too few.
        """
        y, b = self.labels(truth)
        table: dict[str, float | int] = {"train_images": len(y), "test_images": len(b)}
        table["chance"] = 1 / (int(y.max()) + 1)
        table["most_frequent"] = float((b == y.mode().values).float().mean())
        asked = {name: pair for name, pair in self.features.items() if only is None or name in only}
        return {**table, **{name: accuracy(train, y, test, b) for name, (train, test) in asked.items()}}


def _chosen(source: Source, limit: int | None) -> np.ndarray:
    """Indices of at most ``limit`` pictures, evenly spaced among those with a label (-1 is none)."""
    known = np.arange(len(source)) if source.labels is None else np.flatnonzero(source.labels >= 0)
    count = min(limit or len(known), len(known))
    return known[np.unique(np.linspace(0, len(known) - 1, count).astype(int))]
