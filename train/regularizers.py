"""Anti-collapse regularizers on a batch of features: variance-covariance (VICReg) and SIGReg (LeJEPA)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.registry import Registry
from train.config import RegularizerConfig

# (n, D) features and a CPU generator -> named terms; their sum is the regularizer.
Regularizer = Callable[[Tensor, torch.Generator | None], dict[str, Tensor]]
REGULARIZERS: Registry[Regularizer] = Registry("regularizer")


class _AllReduceSum(torch.autograd.Function):
    """All-reduce sum whose backward all-reduces the gradients, because every process's loss depends on it."""

    @staticmethod
    def forward(context: Any, sums: Tensor) -> Tensor:
        summed = sums.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed


def all_reduce_sum(sums: Tensor) -> Tensor:
    """Differentiable sum over all processes: a statistic of the whole batch, not of one process's part.

    Averaging gradients over processes, as DDP does, then gives exactly the gradient of the whole batch.
    """
    several = dist.is_initialized() and dist.get_world_size() > 1
    return _AllReduceSum.apply(sums) if several else sums  # type: ignore[no-untyped-call]


@REGULARIZERS.register("none")
def none(features: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """No regularizer, as in the paper."""
    return {}


@REGULARIZERS.register("variance-covariance")
def variance_covariance(
    features: Tensor, generator: torch.Generator | None = None, epsilon: float = 1e-4
) -> dict[str, Tensor]:
    """Variance and covariance terms of VICReg (Bardes et al. 2022, arXiv 2105.04906, eq. 1 to 3) on (n, D) features.

    Returns:
        variance: mean over features of max(0, 1 - std); covariance: squared off-diagonal
        covariances, summed and divided by D.
    """
    width = features.shape[1]
    count = all_reduce_sum(features.new_tensor(float(len(features))))
    centred = features - all_reduce_sum(features.sum(0)) / count
    covariance = all_reduce_sum(centred.T @ centred) / (count - 1)
    std = (covariance.diagonal() + epsilon).sqrt()
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return {"variance": F.relu(1 - std).mean(), "covariance": off_diagonal / width}


@REGULARIZERS.register("sigreg")
def sigreg(
    features: Tensor, generator: torch.Generator | None = None, slices: int = 128, knots: int = 17, reach: float = 5.0
) -> dict[str, Tensor]:
    """SIGReg: distance of random one-dimensional projections of (n, D) features from a standard normal.

    The regularizer of LeJEPA (Balestriero & LeCun 2025, arXiv 2511.08544, section 4): the Epps-Pulley statistic,
    divided by n and averaged over projections, which is the squared distance of characteristic functions integrated
    with the standard normal density as weight. Unlike variance and covariance it depends on the shape of the
    distribution, and it costs O(n slices) instead of O(n D^2).

    Args:
        generator: draws the projections, new in every step.
        slices: number of projections.
        knots: nodes of the trapezoidal rule on [0, reach]; the integrand is even.
    """
    width = features.shape[1]
    directions = F.normalize(torch.randn(width, slices, generator=generator), dim=0).to(features)
    t = torch.linspace(0, reach, knots, device=features.device)
    normal = torch.exp(-0.5 * t.square())  # characteristic function of N(0, 1); up to a factor, also the weight
    weight = normal * (2 * reach / (knots - 1) / math.sqrt(2 * math.pi))
    weight[[0, -1]] /= 2
    angles = (features @ directions)[..., None] * t  # (n, slices, knots)
    count = all_reduce_sum(features.new_tensor(float(len(features))))
    real, imaginary = (all_reduce_sum(part.sum(0)) / count for part in (angles.cos(), angles.sin()))
    distance = (real - normal).square() + imaginary.square()
    return {"sigreg": (distance @ weight).mean()}


def regularize(config: RegularizerConfig, tokens: Tensor, valid: Tensor, generator: torch.Generator | None) -> dict:
    """Named terms of the regularizer in ``config``, on the context encoder's output.

    Args:
        tokens: (B, K, D), padded where ``valid`` (B, K) is False; padding is left out.
        generator: for regularizers with random projections.

    Raises:
        ValueError: an unknown ``level``.
    """
    if REGULARIZERS[config.name] is none:
        return {}
    tokens = tokens.float()
    if config.level == "tokens":
        features = tokens[valid]
    elif config.level == "pooled":
        shares = valid / valid.sum(1, keepdim=True)
        features = (tokens * shares[..., None]).sum(1)
    else:
        raise ValueError(f"regularizer.level must be 'tokens' or 'pooled', got {config.level!r}.")
    return REGULARIZERS[config.name](features, generator)
