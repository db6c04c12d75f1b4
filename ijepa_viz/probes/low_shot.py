"""Low-shot classification, object counting and depth: the paper's evaluation beyond linear probing (tables 2, 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ijepa_viz.models import IJEPA
from ijepa_viz.probes.features import FeatureBank, standardise
from ijepa_viz.probes.intervals import mean_with_interval
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.probes.linear import fit_linear, linear_accuracy
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.runtime.progress import track

SHOTS = (1, 2, 5, 12)
DRAWS = 5


def draw_labels(labels: Tensor, per_class: int | float, generator: torch.Generator) -> Tensor:
    """Indices of a class-balanced labelled subset, drawn at random.

    Args:
        labels: (n,) int64.
        per_class: number of examples of each class, or, below 1, that fraction of each class, at least one example.

    Raises:
        ValueError: a class with fewer examples.
    """
    chosen = []
    for c in labels.unique():
        members = (labels == c).nonzero().flatten()
        wanted = max(1, round(per_class * len(members))) if per_class < 1 else int(per_class)
        if wanted > len(members):
            raise ValueError(f"{wanted} labels a class were requested, but class {int(c)} has {len(members)} images.")
        chosen.append(members[torch.randperm(len(members), generator=generator)[:wanted]])
    return torch.cat(chosen)


def low_shot_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    per_class: int | float,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[float]:
    """Top-1 accuracy of logistic regression on few labels, one value a draw.

    Features are standardised by all of ``train``, whose images are available without labels. The penalty on the
    weights is 1 / n for n labels, scikit-learn's default (C = 1).

    Args:
        train, test: (n, D) and (m, D). train_labels, test_labels: (n,) and (m,) int64.
        per_class: as :func:`draw_labels`.
    """
    return _standardised_low_shot_accuracy(*standardise(train, test), train_labels, test_labels, per_class, draws, seed)


def _standardised_low_shot_accuracy(
    train: Tensor,
    test: Tensor,
    train_labels: Tensor,
    test_labels: Tensor,
    per_class: int | float,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[float]:
    """:func:`low_shot_accuracy` of features that are standardised already."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        some = draw_labels(train_labels, per_class, generator)
        weights, bias = fit_linear(train[some], train_labels[some], penalty=1 / len(some))
        found.append(float(((test @ weights + bias).argmax(1) == test_labels).float().mean()))
    return found


def low_shot_sections(bank: FeatureBank) -> dict[str, dict[str, dict[str, float]]]:
    """Tables for 1 % of the labels and for each of :data:`SHOTS`: features -> mean accuracy with its interval."""
    y, b = bank.labels()
    smallest = int(y.bincount()[y.unique()].min())
    shots = {"1 % of the labels": 0.01} | {f"{n} a class": n for n in SHOTS if n <= smallest}
    features = {name: standardise(*both) for name, both in bank.features.items()}
    return {
        title: {
            name: mean_with_interval(_standardised_low_shot_accuracy(*both, y, b, shot))
            for name, both in features.items()
        }
        for title, shot in track(shots.items(), "low-shot probes", "number of labels")
    }


@PROBES.register("low-shot")
def low_shot_table(model: IJEPA, split: Split, limit: int | None = None) -> dict[str, Any]:
    """Low-shot accuracy by logistic regression on 1 % or 1 to 12 labels a class, mean and 95 % interval of 5 draws."""
    return low_shot_sections(FeatureBank(model, split, limit))


@PROBES.register("count")
def count_table(model: IJEPA, split: Split, limit: int | None = None) -> dict[str, float | int]:
    """Linear accuracy for the number of objects, on the menagerie or a CLEVR folder (Clevr/Count of table 4)."""
    return FeatureBank(model, split, limit).table(linear_accuracy, "count")


@PROBES.register("distance")
def distance_table(model: IJEPA, split: Split, limit: int | None = None) -> dict[str, float | int]:
    """Linear accuracy for the nearest object's distance in six classes, likewise (Clevr/Dist of table 4)."""
    return FeatureBank(model, split, limit).table(linear_accuracy, "distance")


@PROBES.register("all")
def all_tables(model: IJEPA, split: Split, limit: int | None = None) -> dict[str, Any]:
    """kNN, linear and low-shot accuracy, and probes of all other labels (count, facing, distance), from one pass.

    Raises:
        ValueError: a data set without any labels.
    """
    bank = FeatureBank(model, split, limit)
    tables: dict[str, Any] = {}
    if bank.sources["train"].labels is not None:
        tables["knn"] = bank.table(knn_accuracy)
        tables["linear"] = bank.table(linear_accuracy)
    for truth in bank.sources["train"].truths:
        tables[truth] = bank.table(linear_accuracy, truth)
    if not tables:
        raise ValueError(f"{bank.sources['train'].name} has no labels, so there is nothing to probe.")
    first = next(iter(tables.values()))
    common = ("train_images", "test_images", "classes_without_test_images")
    counts = {name: first[name] for name in common if name in first}
    for table in tables.values():
        for name in common:
            table.pop(name, None)
    if bank.sources["train"].labels is not None:
        tables |= low_shot_sections(bank)
    return {**counts, **tables}
