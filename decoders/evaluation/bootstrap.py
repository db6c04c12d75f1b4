"""Bootstrap intervals over pictures: of a mean, of a correlation, of a balanced accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from ijepa_viz.probes.bootstrap import interval, mean

__all__ = ["balanced_accuracy", "correlation", "interval", "mean", "pearson"]


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
