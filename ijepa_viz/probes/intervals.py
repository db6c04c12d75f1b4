"""95 % confidence intervals of accuracies: Wilson's for a proportion, Student's t for a mean over draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, t

CONFIDENCE = 0.95


def wilson(right: int, total: int) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval for the proportion ``right / total`` (Wilson 1927).

    Raises:
        ValueError: ``total`` below 1, or ``right`` outside 0 to ``total``.
    """
    low, high = binomtest(right, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(low), float(high)


def accuracy_with_interval(right: int, total: int) -> dict[str, float]:
    """Accuracy of ``right`` out of ``total`` with :func:`wilson`: {"accuracy", "low", "high"}."""
    low, high = wilson(right, total)
    return {"accuracy": right / total, "low": low, "high": high}


def mean_with_interval(values: Sequence[float]) -> dict[str, float]:
    """Mean accuracy over draws with the ends of its 95 % t interval: {"accuracy", "low", "high"}.

    Args:
        values: one accuracy a draw, at least two.
    """
    numbers = np.asarray(values, np.float64)
    mean = float(numbers.mean())
    standard_error = float(numbers.std(ddof=1)) / len(numbers) ** 0.5
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(numbers) - 1)) * standard_error
    return {"accuracy": mean, "low": mean - half, "high": mean + half}
