"""Tokens as colours and as neighbours: principal components common to several images, and cosine to a chosen patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """Principal directions of tokens.

    Attributes:
        mean: (D,). directions: (k, D), orthonormal, of falling variance; the entry of largest size is positive.
        share: (k,), of the total variance.
        low, high: (k,), the 1st and 99th percentile along each direction, which :meth:`colours` spreads over [0, 1].
    """

    mean: Tensor
    directions: Tensor
    share: Tensor
    low: Tensor
    high: Tensor

    def colours(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., 3) in [0, 1]: the first three components as red, green and blue."""
        along = (tokens.float() - self.mean) @ self.directions[:3].T
        low, high = self.low[:3], self.high[:3]
        return ((along - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)


def common_components(tokens: Sequence[Tensor], count: int = 3) -> Components:
    """Principal components of all tokens together, so that one colour means one thing in every image.

    Args:
        tokens: of each image or block, (n, D) each.
        count: k.

    Raises:
        ValueError: fewer tokens than components.
    """
    everything = torch.cat([t.reshape(-1, t.shape[-1]) for t in tokens]).double()
    if len(everything) <= count:
        raise ValueError(f"{count} components need more than {count} tokens, got {len(everything)}.")
    mean = everything.mean(0)
    _, values, rows = torch.linalg.svd(everything - mean, full_matrices=False)
    directions = rows[:count]
    # The sign of a direction is free: fixed here, so that a picture can be made again.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    along = (everything - mean) @ directions.T
    low, high = torch.quantile(along, torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)
    share = values[:count].square() / values.square().sum().clamp_min(1e-12)
    return Components(*(t.float() for t in (mean, directions, share, low, high)))


def similarity(token: Tensor, tokens: Tensor) -> Tensor:
    """Cosine of one token (D,) with each of (..., D)."""
    return F.cosine_similarity(tokens.float(), token.float().expand_as(tokens), dim=-1)
