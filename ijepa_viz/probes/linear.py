"""Linear probing: multinomial logistic regression on frozen features (appendix A.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.models import IJEPA
from ijepa_viz.probes.features import FeatureBank, standardise
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.runtime.progress import Progress

# On 43 200 photographs with 128 to 512 features the penalty hardly matters below 1e-3.
PENALTY = 1e-4


def fit_linear(
    features: Tensor, labels: Tensor, penalty: float = PENALTY, iterations: int = 100
) -> tuple[Tensor, Tensor]:
    """Minimise mean cross-entropy + penalty / 2 |weights|^2 by L-BFGS; the bias carries no penalty.

    Args:
        features: (n, D), best standardised.
        labels: (n,) int64, 0 to C - 1.

    Returns:
        weights (D, C) and bias (C,).
    """
    classes = int(labels.max()) + 1
    weights = torch.zeros(features.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights, bias], max_iter=iterations, history_size=10, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(features @ weights + bias, labels) + 0.5 * penalty * weights.square().sum()
        value.backward()
        bar.update()
        return value

    with Progress("fitting a linear classifier", unit="evaluation") as bar:
        solver.step(loss)
    return weights.detach(), bias.detach()


def linear_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, penalty: float = PENALTY
) -> float:
    """Top-1 accuracy of :func:`fit_linear` on the test set.

    Args:
        train, test: (n, D) and (m, D) features, standardised here.
        train_labels, test_labels: (n,) and (m,) int64.
    """
    train, test = standardise(train, test)
    weights, bias = fit_linear(train, train_labels, penalty)
    return float(((test @ weights + bias).argmax(1) == test_labels).float().mean())


@PROBES.register("linear")
def linear_table(model: IJEPA, split: Split, limit: int | None = None) -> dict[str, float | int]:
    """Linear probing accuracy of average-pooled target encoder features, beside baselines (appendix A.2).

    Raises:
        ValueError: as :meth:`ijepa_viz.probes.features.FeatureBank.table`.
    """
    return FeatureBank(model, split, limit).table(linear_accuracy)
