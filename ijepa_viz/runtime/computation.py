"""How a network computes, whoever calls it: its number format, and how many images at once."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ijepa_viz.runtime.precision import number_format


def compute_in(network: nn.Module, precision: str = "fp32", batch: int | None = None) -> None:
    """Have a network compute in another number format, and in parts, from now on; weights and results stay float32.

    Args:
        network: called with tensors, or masks, whose first dimension is the batch's, and returns one tensor.
        precision: "fp32" or "bf16", which is autocast.
        batch: most images at once; None is as many as it is called with.

    Raises:
        ValueError: a batch of less than one image.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"A batch has at least one picture, got {batch}.")
    if precision == "fp32" and batch is None:
        return
    given = network.forward
    own = getattr(given, "__func__", None) if getattr(given, "__self__", None) is network else None
    # A forward pass that somebody has replaced, by a function or another network's, is called as it is.
    whole: Callable[..., Tensor] = own or (lambda _, *arguments, **options: given(*arguments, **options))

    def lowered(self: nn.Module, *arguments: Any, **options: Any) -> Tensor:
        if precision == "fp32":
            return whole(self, *arguments, **options)
        device = next(t.device.type for t in (*self.parameters(), *self.buffers()))
        with torch.autocast(device, number_format(precision)):
            return whole(self, *arguments, **options).float()

    @functools.wraps(whole)
    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Tensor:
        count = len(arguments[0])
        if batch is None or count <= batch:
            return lowered(self, *arguments, **options)
        parts = []
        for start in range(0, count, batch):
            rows = slice(start, start + batch)
            some = (_rows(value, rows, count) for value in arguments)
            parts.append(lowered(self, *some, **{name: _rows(value, rows, count) for name, value in options.items()}))
        return torch.cat(parts)

    network.computes_in = (precision, batch)  # type: ignore[assignment]
    # A method, which a copy of the network binds to itself: a function would go on computing with this one.
    network.forward = types.MethodType(forward, network)  # type: ignore[method-assign]


def compute_like(network: nn.Module, other: nn.Module) -> None:
    """Have a network compute as :func:`compute_in` has made ``other`` compute, so that the two can be compared."""
    compute_in(network, *getattr(other, "computes_in", ("fp32", None)))


def _rows(value: Any, rows: slice, count: int) -> Any:
    """Some rows of what has one for each image, a tensor or masks; anything else as it is."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and len(value) == count else value
    return value[rows] if hasattr(value, "context_valid") else value
