"""Frozen features of labelled images and of their baselines, for the kNN and linear probes (appendix A.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.batches import evenly
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.data.source import Source
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA, Encoder
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.computation import compute_like
from ijepa_viz.runtime.progress import track

# train features, train labels, test features, test labels -> accuracy.
Accuracy = Callable[[Tensor, Tensor, Tensor, Tensor], float]
LAST = 4  # the paper's protocol: the last layer, or the last four concatenated (appendix A.2)


@torch.no_grad()
def pooled_features(encoder: Encoder, images: Tensor, batch: int = 128, layers: int = 1) -> Tensor:
    """Average-pooled tokens of whole images, (n, 3, H, W) uint8 -> (n, layers * D) float32."""
    device = encoder.pos_embed.device
    parts = []
    for chunk in track(images.split(batch), "encoding images", "batch"):
        tokens = encoder(normalise(chunk.to(device).float() / 255), layers=layers)
        parts.append(tokens.mean(dim=1).float().cpu())
    return torch.cat(parts)


def thumbnail_features(images: Tensor, side: int = 8) -> Tensor:
    """Mean colours on a ``side`` x ``side`` grid, (n, 3, H, W) uint8 -> (n, 3 side side).

    The baseline without learning: a colour layout.
    """
    return torch.cat([F.adaptive_avg_pool2d(c.float(), side).flatten(1) for c in images.split(512)])


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Standardise both sets, (n, D) and (m, D), by the training set's mean and standard deviation of each feature."""
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    return (train - mean) / std, (test - mean) / std


def labelled(source: Source, size: ImageSize, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Labelled images (n, 3, H, W) uint8 and their labels (n,), at most ``limit``, evenly spaced.

    Images with the label -1 (STL-10's unlabelled ones) are excluded.

    Raises:
        ValueError: the data set has no labels.
    """
    if source.labels is None:
        raise ValueError(f"This probe needs labels, and {source.name} has none.")
    index = _labelled_indices(source, limit)
    if not len(index):
        raise ValueError(f"This probe needs labels, and none of the {len(source)} pictures of {source.name} has one.")
    pixels = torch.from_numpy(arrays(source, size)[index]).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[index])


class FeatureBank:
    """Features of a model and of its baselines on the same images, computed once and shared by several probes.

    Attributes:
        sources: "train" and "test", with classes matched by name.
        missing: classes that no test image has.

    Args:
        model: its target encoder is probed, average-pooled: last layer, and last four layers concatenated.
        split: opens "train" and "test".
        limit: most images of each split, evenly spaced.

    Raises:
        ValueError: as :func:`ijepa_viz.data.splits.train_and_test`.
    """

    def __init__(self, model: IJEPA, split: Split, limit: int | None = None) -> None:
        self.model = model
        pair = train_and_test(split)
        self.sources, self.missing = {"train": pair.train, "test": pair.test}, pair.missing
        self._index = {name: _labelled_indices(source, limit) for name, source in self.sources.items()}

    def labels(self, truth: str = "class") -> tuple[Tensor, Tensor]:
        """Training and test labels, (n,) and (m,) int64: "class", or one of the sources' ``truths``.

        They are numbered without gaps, in their order, since a classifier has one output for each number.

        Raises:
            ValueError: a data set without such labels.
        """
        found = []
        for name, source in self.sources.items():
            names = list(source.truths) if source.labels is None else ["class", *source.truths]
            if truth not in names:
                there = f"it has {', '.join(names)}" if names else "it has no labels at all"
                if truth == "class" and not names:
                    there += ". Put the pictures of each class into a folder of its own, or take --probe pixels"
                raise ValueError(f"This probe needs labels of {truth!r}, and {source.name} has none: {there}.")
            labels = source.labels if truth == "class" else source.truths[truth]()
            assert labels is not None
            if not len(self._index[name]):
                raise ValueError(
                    f"This probe needs labels of {truth!r}, and none of the {len(source)} pictures of {source.name} "
                    "has one. Give labelled --test-data, or hold out a --test-share."
                )
            found.append(labels[self._index[name]])
        numbers = torch.from_numpy(np.unique(np.concatenate(found), return_inverse=True)[1].reshape(-1))
        train, test = numbers.split([len(found[0]), len(found[1])])
        return train, test

    def class_names(self) -> list[str]:
        """Names of the numbers that :meth:`labels` gives the classes; the data set's numbers, where it has none."""
        found = [source.labels[self._index[name]] for name, source in self.sources.items() if source.labels is not None]
        classes = self.sources["train"].classes
        return [classes[label] if len(classes) else str(label) for label in np.unique(np.concatenate(found))]

    @cached_property
    def features(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Name -> (n, F) and (m, F): colour thumbnail; last layer and last four layers of random init and the model."""
        size = self.model.config.image_size
        x, a = (
            torch.from_numpy(arrays(source, size)[self._index[name]]).permute(0, 3, 1, 2)
            for name, source in self.sources.items()
        )
        found = {"colour_thumbnail_8x8": (thumbnail_features(x), thumbnail_features(a))}
        torch.manual_seed(0)
        random_init = Encoder(self.model.config).to(self.model.device).eval()
        compute_like(random_init, self.model.target_encoder)
        last, width = min(LAST, self.model.config.depth), self.model.config.width
        for name, encoder in (("random_init", random_init), ("target_encoder", self.model.target_encoder)):
            train, test = (pooled_features(encoder, images, layers=last) for images in (x, a))
            found[name] = (train[:, -width:], test[:, -width:])
            found[f"{name}_last_{last}_layers"] = (train, test)
        return found

    def table(self, accuracy: Accuracy, truth: str = "class", only: Collection[str] | None = None) -> dict[str, Any]:
        """``accuracy`` of each of :attr:`features`, or of those in ``only``, beside two label-only baselines.

        The baselines are ``chance``, 1 / C for the C classes that the training images have, and ``most_frequent``,
        the test accuracy of the training set's most frequent class.

        Raises:
            ValueError: images without such labels, or too few.
        """
        y, b = self.labels(truth)
        table: dict[str, Any] = {"train_images": len(y), "test_images": len(b)}
        classes = len(y.unique())
        if classes < 2:
            raise ValueError(f"A probe needs two classes, and {self.sources['train'].name} has one: {self._hint()}")
        if self.missing and truth == "class":
            table["classes_without_test_images"] = ", ".join(self.missing)
        table["chance"] = 1 / classes
        table["most_frequent"] = float((b == y.mode().values).float().mean())
        chosen = {name: pair for name, pair in self.features.items() if only is None or name in only}
        for name, (train, test) in track(chosen.items(), f"probes of {truth}", "representation"):
            table[name] = accuracy(train, y, test, b)
        return table

    def _hint(self) -> str:
        classes = self.sources["train"].classes
        return (
            f"{classes[0]!r}. Do the class folders lie one folder further down?" if len(classes) else "a single label."
        )


def _labelled_indices(source: Source, limit: int | None) -> np.ndarray:
    """Indices of at most ``limit`` images, evenly spaced among those with a label (-1 is none)."""
    candidates = np.arange(len(source)) if source.labels is None else np.flatnonzero(source.labels >= 0)
    return candidates[evenly(len(candidates), limit or len(candidates))]
