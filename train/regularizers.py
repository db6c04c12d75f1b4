"""What keeps a joint-embedding model from collapsing besides its teacher: terms on a batch of features."""

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

# (n, D) features and a source of randomness on the CPU -> the terms; their sum is the regularizer.
Regularizer = Callable[[Tensor, torch.Generator | None], dict[str, Tensor]]
REGULARIZERS: Registry[Regularizer] = Registry("regularizer")


class _Total(torch.autograd.Function):
    """A sum over processes; every process's loss depends on it, so their gradients add up as well."""

    @staticmethod
    def forward(context: Any, sums: Tensor) -> Tensor:
        found = sums.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        found = gradient.clone()
        dist.all_reduce(found)
        return found


def total(sums: Tensor) -> Tensor:
    """The sum over all processes, with its gradient: a statistic of the whole batch and not of one process's share.

    Wrappers that average the gradients of the processes, as DDP does, then give exactly the whole batch's.
    """
    several = dist.is_initialized() and dist.get_world_size() > 1
    return _Total.apply(sums) if several else sums  # type: ignore[no-untyped-call]


@REGULARIZERS.register("none")
def none(features: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """No term: the paper."""
    return {}


@REGULARIZERS.register("variance-covariance")
def variance_covariance(
    features: Tensor, generator: torch.Generator | None = None, epsilon: float = 1e-4
) -> dict[str, Tensor]:
    """VICReg's two terms (Bardes et al. 2022, eq. 1 to 3) on (n, D) features.

    Returns:
        variance: mean over features of max(0, 1 - std); covariance: squared off-diagonal
        covariances, summed and divided by D.
    """
    width = features.shape[1]
    count = total(features.new_tensor(float(len(features))))
    centred = features - total(features.sum(0)) / count
    covariance = total(centred.T @ centred) / (count - 1)
    std = (covariance.diagonal() + epsilon).sqrt()
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return {"variance": F.relu(1 - std).mean(), "covariance": off_diagonal / width}


@REGULARIZERS.register("sigreg")
def sigreg(
    features: Tensor, generator: torch.Generator | None = None, slices: int = 128, knots: int = 17, reach: float = 5.0
) -> dict[str, Tensor]:
    """How far random one-dimensional projections of (n, D) features are from a standard normal.

    The Epps-Pulley statistic, divided by n and averaged over projections, as LeJEPA (Balestriero & LeCun
    2025, arXiv 2511.08544, section 4) regularises with: the squared distance of characteristic functions,
    integrated with the standard normal density as its weight. Unlike variance and covariance it also sees
    the shape of the distribution, and it costs O(n slices) instead of O(n D^2).

    Args:
        generator: draws the projections, new ones every step.
        slices: number of projections.
        knots: of the trapezoidal rule on [0, reach]; the integrand is even.
    """
    width = features.shape[1]
    directions = F.normalize(torch.randn(width, slices, generator=generator), dim=0).to(features)
    t = torch.linspace(0, reach, knots, device=features.device)
    normal = torch.exp(-0.5 * t.square())  # its characteristic function; also, up to a factor, the weight
    weight = normal * (2 * reach / (knots - 1) / math.sqrt(2 * math.pi))
    weight[[0, -1]] /= 2
    angles = (features @ directions)[..., None] * t  # (n, slices, knots)
    count = total(features.new_tensor(float(len(features))))
    real, imaginary = (total(part.sum(0)) / count for part in (angles.cos(), angles.sin()))
    distance = (real - normal).square() + imaginary.square()
    return {"sigreg": (distance @ weight).mean()}


def regularize(config: RegularizerConfig, tokens: Tensor, valid: Tensor, generator: torch.Generator | None) -> dict:
    """The terms of ``config`` on the context encoder's output.

    Args:
        tokens: (B, K, D), padded where ``valid`` (B, K) is False; padding never counts.
        generator: for regularizers that draw.

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
