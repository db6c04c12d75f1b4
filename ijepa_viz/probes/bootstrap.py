"""Bootstrap intervals over pictures or films: of a mean, correlation, balanced accuracy, area under an ROC curve."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DRAWS = 1000
_ENDS = torch.tensor([0.025, 0.975])


def interval(statistic: Callable[[Tensor], Tensor], count: int, seed: int = 0) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of a statistic over resampled pictures.

    Args:
        statistic: from indices (draws, count) int64 of the pictures to the statistic of each draw, (draws,); NaN where
            a draw has none.
        count: number of pictures. seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    found = statistic(torch.randint(count, (DRAWS, count), generator=generator)).float()
    low, high = found.nanquantile(_ENDS).tolist()
    return low, high


def mean(values: Tensor) -> dict[str, float]:
    """Mean of one value a picture, (n,), with its interval: {"mean", "low", "high"}."""
    values = values.float()
    low, high = interval(lambda draw: values[draw].mean(1), len(values))
    return {"mean": float(values.mean()), "low": low, "high": high}


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Correlations along the last dimension, (..., n) -> (...); 0 where one side is constant."""
    x, y = (t.double() - t.double().mean(-1, keepdim=True) for t in (x, y))
    scale = x.norm(dim=-1) * y.norm(dim=-1)
    return torch.where(scale > 1e-9, (x * y).sum(-1) / scale.clamp_min(1e-9), torch.zeros_like(scale)).float()


def correlation(x: Tensor, y: Tensor) -> dict[str, float]:
    """Correlation of two readings of the same pictures with its interval: {"r", "low", "high"}.

    Args:
        x, y: (n, F); of several features, the mean of their correlations. A constant feature counts as 0.
    """
    x, y = x.T, y.T  # (F, n)

    def of(draw: Tensor) -> Tensor:
        return torch.stack([pearson(a[draw], b[draw]) for a, b in zip(x, y, strict=True)]).mean(0)

    low, high = interval(of, x.shape[1])
    return {"r": float(pearson(x, y).mean()), "low": low, "high": high}


def balanced_accuracy(answers: Tensor, truth: Tensor, pictures: Tensor | None = None) -> dict[str, float]:
    """Mean of the shares of right answers where the truth is yes and where it is no; a constant answer has 0.5.

    Args:
        answers, truth: (n,) bool, both truths present.
        pictures: (n,) int64, the picture of each answer; answers of one picture are resampled together. None is one
            answer a picture.

    Raises:
        ValueError: one truth only.
    """
    if truth.all() or not truth.any():
        raise ValueError("A balanced accuracy needs both answers among the truths.")
    own = torch.arange(len(truth)) if pictures is None else pictures.unique(return_inverse=True)[1]
    count = int(own.max()) + 1
    right = answers == truth
    # Of each picture: right answers where the truth is yes, all of these, and the same where it is no.
    sums = torch.stack([right & truth, truth, right & ~truth, ~truth]).double()  # (4, n)
    sums = torch.zeros(4, count, dtype=torch.float64).index_add(1, own, sums)

    def of(draw: Tensor) -> Tensor:
        yes_right, yes, no_right, no = sums[:, draw].sum(-1)
        return (yes_right / yes + no_right / no) / 2  # 0 / 0 is NaN: a draw of one truth has no balanced accuracy

    low, high = interval(of, count)
    return {"accuracy": float(of(torch.arange(count)[None])), "low": low, "high": high}


def share_of_pictures(values: Tensor, pictures: Tensor) -> dict[str, float]:
    """Share of values (n,) bool that are true; those of one picture, (n,) int64, are resampled together."""
    own = pictures.unique(return_inverse=True)[1]
    count = int(own.max()) + 1
    sums = torch.zeros(2, count).index_add(1, own, torch.stack([values, torch.ones_like(values)]).float())

    def of(draw: Tensor) -> Tensor:
        right, total = sums[:, draw].sum(-1)
        return right / total

    low, high = interval(of, count)
    return {"accuracy": float(values.float().mean()), "low": low, "high": high}


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive's score is above a negative's, ties counted half: the area under the curve.

    Args:
        positive, negative: (..., n) and (..., m) scores.

    >>> auroc(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.8]))
    0.875
    """
    return float(_auroc(positive, negative))


def auroc_of_pairs(positive: Tensor, negative: Tensor) -> dict[str, float]:
    """:func:`auroc` of scores of the same films, (n,) each, with its interval over films: {"auroc", "low", "high"}.

    ``pairs``: share of the films whose positive is above their own negative, ties counted half.
    """
    low, high = interval(lambda draw: _auroc(positive[draw], negative[draw]), len(positive))
    own = ((positive > negative).double() + 0.5 * (positive == negative)).mean()
    return {"auroc": auroc(positive, negative), "low": low, "high": high, "pairs": float(own)}


def _auroc(positive: Tensor, negative: Tensor) -> Tensor:
    """(..., n), (..., m) -> (...): from how many negatives each positive is above, and below."""
    ordered = negative.double().sort(-1).values
    positive = positive.double().contiguous()
    below = torch.searchsorted(ordered, positive)
    not_above = torch.searchsorted(ordered, positive, right=True)
    return (below + not_above).double().mean(-1) / 2 / negative.shape[-1]
