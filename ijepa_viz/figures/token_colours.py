"""Principal components of tokens as colours, by one projection for everything that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """Principal components of tokens.

    Attributes:
        mean: (D,). directions: (k, D), orthonormal, by decreasing variance; the entry of largest magnitude is positive.
        share: (k,), explained share of the variance.
        low, high: (k,), the 1st and 99th percentile along each direction, which :meth:`colours` spreads over [0, 1].
    """

    mean: Tensor
    directions: Tensor
    share: Tensor
    low: Tensor
    high: Tensor

    def colours(self, tokens: Tensor) -> Tensor:
        """Map tokens to RGB by the first three components, (..., D) -> (..., 3) in [0, 1].

        A component that is missing or along which the tokens do not vary is 0.5 everywhere.
        """
        along = (tokens.float() - self.mean) @ self.directions[:3].T
        low, width = self.low[:3], (self.high - self.low)[:3]
        varies = width > 1e-5 * self.mean.norm().clamp_min(1e-3)
        shares = ((along - low) / torch.where(varies, width, 1.0)).clamp(0, 1)
        return F.pad(torch.where(varies, shares, 0.5), (0, 3 - len(low)), value=0.5)


def common_components(tokens: Sequence[Tensor], count: int = 3) -> Components:
    """Principal components of all tokens together, so that colours are comparable across images.

    Args:
        tokens: of each image or block, (n, D) each.
        count: k, number of components.

    Raises:
        ValueError: fewer tokens than components.
    """
    # On the CPU, because not every device has float64.
    pooled = torch.cat([t.reshape(-1, t.shape[-1]) for t in tokens]).cpu().double()
    if len(pooled) <= count:
        raise ValueError(f"{count} components need more than {count} tokens, got {len(pooled)}.")
    mean = pooled.mean(0)
    _, values, rows = torch.linalg.svd(pooled - mean, full_matrices=False)
    directions = rows[:count]
    # The sign of a direction is arbitrary: fixed here for reproducible colours.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    along = (pooled - mean) @ directions.T
    low, high = torch.quantile(along, torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)
    share = values[:count].square() / values.square().sum().clamp_min(1e-12)
    return Components(*(t.float().to(tokens[0].device) for t in (mean, directions, share, low, high)))
