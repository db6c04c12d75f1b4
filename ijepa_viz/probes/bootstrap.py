"""Bootstrap intervals over pictures or films: of a mean, and of the area under a receiver's operating curve."""

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
