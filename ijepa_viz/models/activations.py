"""Activation functions of the ViT's MLPs, by name; the papers' is the exact GELU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from timm.layers import QuickGELU
from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": QuickGELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}
