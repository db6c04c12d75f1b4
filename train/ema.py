"""The exponential moving average that makes the target encoder (section 3, "Target-encoder")."""

from __future__ import annotations

import torch

from ijepa_viz.models import IJEPA
from train.sharding import local


def follow(model: IJEPA, momentum: float) -> None:
    """One step of the exponential moving average: teacher += (1 - momentum) (student - teacher)."""
    with torch.no_grad():
        torch._foreach_lerp_(
            [local(p) for p in model.target_encoder.parameters()],
            [local(p.detach()) for p in model.encoder.parameters()],
            1 - momentum,
        )
