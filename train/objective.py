"""The I-JEPA loss on one batch (section 3, "Loss"), with an optional variance-covariance term."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA
from train.config import RegularizerConfig


def variance_covariance(tokens: Tensor, epsilon: float = 1e-4) -> tuple[Tensor, Tensor]:
    """VICReg's two terms (Bardes et al. 2022, eq. 1 to 3) on (n, D) features.

    Returns:
        variance: mean over features of max(0, 1 - std); covariance: squared off-diagonal
        covariances, summed and divided by D.
    """
    centred = tokens - tokens.mean(0)
    count, width = centred.shape
    std = (centred.square().sum(0) / (count - 1) + epsilon).sqrt()
    covariance = centred.T @ centred / (count - 1)
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return F.relu(1 - std).mean(), off_diagonal / width


class Objective(nn.Module):
    """The whole forward pass of a step, so that wrappers such as DDP see one module."""

    def __init__(self, model: IJEPA, regularizer: RegularizerConfig) -> None:
        super().__init__()
        if regularizer.name not in ("none", "variance-covariance"):
            raise ValueError(f"regularizer.name must be 'none' or 'variance-covariance', got {regularizer.name!r}.")
        if regularizer.level not in ("tokens", "pooled"):
            raise ValueError(f"regularizer.level must be 'tokens' or 'pooled', got {regularizer.level!r}.")
        self.model = model
        self.regularizer = regularizer

    def forward(self, images: Tensor, masks: Masks) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised images -> loss (to minimise) and what the log shows, scalars."""
        target = self.model.targets(images, masks).float()
        context = self.model.encode_context(images, masks)
        predicted = self.model.predict(context, masks).float()
        prediction = F.smooth_l1_loss(predicted, target)
        loss = prediction
        report = {"prediction_loss": prediction.detach()}
        if self.regularizer.name != "none":
            features = context.float()[masks.valid]
            if self.regularizer.level == "pooled":
                shares = masks.valid / masks.valid.sum(1, keepdim=True)
                features = (context.float() * shares[..., None]).sum(1)
            variance, covariance = variance_covariance(features)
            loss = loss + self.regularizer.weight * (variance + covariance)
            report |= {"variance": variance.detach(), "covariance": covariance.detach()}
        with torch.no_grad():
            right = F.cosine_similarity(predicted, target, dim=-1).mean()
            # The control: the same places in another image's target.
            wrong = F.cosine_similarity(predicted, target.roll(1, 0), dim=-1).mean()
            spread = target.flatten(0, 2).std(0).mean()
        return {"loss": loss, **report, "cosine": right, "cosine_other": wrong, "target_std": spread}
