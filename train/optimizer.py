"""AdamW as the paper uses it: no weight decay on biases and other one-dimensional parameters (appendix A.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def parameter_groups(net: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: ``decays`` is True for matrices, which take weight decay."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "decays": True},
        {"params": [p for p in trained if p.ndim <= 1], "decays": False},
    ]


def adamw(net: nn.Module, lr: float, device: torch.device) -> torch.optim.AdamW:
    """Fused AdamW over :func:`parameter_groups`."""
    return torch.optim.AdamW(parameter_groups(net), lr=lr, fused=device.type in ("cpu", "cuda"))
