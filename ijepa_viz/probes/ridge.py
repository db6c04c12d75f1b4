"""Ridge regression whose penalty is chosen for each target on held-out training rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Of standardised features: from hardly any to one that leaves next to nothing of the weights.
PENALTIES = (10.0, 100.0, 1e3, 1e4, 1e5)


@dataclass(frozen=True)
class Ridge:
    """A linear map of features.

    Attributes:
        weights: (D, F). offset: (F,).
        penalties: (F,), those chosen.
    """

    weights: Tensor
    offset: Tensor
    penalties: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features (n, D) to readings (n, F)."""
        return features @ self.weights + self.offset


def fit_ridge(features: Tensor, targets: Tensor, held_out: Tensor, weights: Tensor | None = None) -> Ridge:
    """Fit on the rows that are not held out, choose each target's penalty on those that are, fit on all with it.

    Args:
        features: (n, D), standardised here. targets: (n, F).
        held_out: (n,) bool. weights: (n,), of the rows' squared errors; None is the same for all.

    Raises:
        ValueError: no row, or every row, is held out.
    """
    if held_out.all() or not held_out.any():
        raise ValueError(f"The penalty is chosen on some of the rows: {int(held_out.sum())} of {len(held_out)} are.")
    x, y = features.float(), targets.float()
    w = torch.ones(len(x)) if weights is None else weights.float() / weights.float().mean()
    middle, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - middle) / scale
    fit = ~held_out
    some = _Normal(x[fit], y[fit], w[fit])
    errors = []
    for penalty in PENALTIES:
        slope, offset = some.solve(penalty)
        error = (x[held_out] @ slope + offset - y[held_out]).square()
        errors.append((error * w[held_out, None]).sum(0))
    chosen = torch.stack(errors).argmin(0)  # (F,)
    every = _Normal(x, y, w)
    slope, offset = torch.empty(x.shape[1], y.shape[1]), torch.empty(y.shape[1])
    for index in chosen.unique().tolist():
        own = chosen == index
        some_slope, some_offset = every.solve(PENALTIES[index])
        slope[:, own], offset[own] = some_slope[:, own], some_offset[own]
    slope = slope / scale[:, None]
    return Ridge(slope, offset - middle @ slope, torch.tensor(PENALTIES)[chosen])


class _Normal:
    """Normal equations of weighted rows, about their weighted means."""

    def __init__(self, x: Tensor, y: Tensor, w: Tensor) -> None:
        self.x_mean, self.y_mean = ((w[:, None] * t).sum(0) / w.sum() for t in (x, y))
        x, y = x - self.x_mean, y - self.y_mean
        self.gram, self.moments = (x * w[:, None]).T @ x, (x * w[:, None]).T @ y

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Slope (D, F) and offset (F,)."""
        slope = torch.linalg.solve(self.gram + penalty * torch.eye(len(self.gram)), self.moments)
        return slope, self.y_mean - self.x_mean @ slope
