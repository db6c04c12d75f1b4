"""k-nearest-neighbour accuracy of frozen features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.models import IJEPA
from ijepa_viz.probes.features import FeatureBank, standardise
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.runtime.progress import track


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 20) -> float:
    """Top-1 accuracy of a majority vote among the k nearest neighbours by cosine; ties go to the smaller label.

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
    for start in track(range(0, len(test), 1024), "nearest neighbours", "batch"):
        near = (test[start : start + 1024] @ train.T).topk(k, dim=1).indices
        votes = F.one_hot(train_labels[near], classes).sum(1)
        right += int((votes.argmax(1) == test_labels[start : start + 1024]).sum())
    return right / len(test)


@PROBES.register("knn")
def knn_table(model: IJEPA, split: Split, limit: int | None = None) -> dict[str, float | int]:
    """kNN-20 accuracy of average-pooled target encoder features, beside baselines.

    Raises:
        ValueError: as :meth:`ijepa_viz.probes.features.FeatureBank.table`.
    """
    return FeatureBank(model, split, limit).table(knn_accuracy)
