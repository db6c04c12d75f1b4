"""Tokens of any layers of an encoder from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.models import Encoder


def layer_numbers(layers: str | Sequence[int | str], depth: int) -> tuple[int, ...]:
    """Numbers of layers, 1 to ``depth``, in the given order and each once.

    Args:
        layers: numbers or "last", as a list or joined by commas.

    Raises:
        ValueError: no number, or one beyond the model's depth.

    >>> layer_numbers("1,4,last", 12)
    (1, 4, 12)
    """
    words = layers.split(",") if isinstance(layers, str) else layers
    found = []
    for word in words:
        text = str(word).strip().lower()
        number = depth if text == "last" else int(text) if text.isascii() and text.isdigit() else 0
        if not 1 <= number <= depth:
            raise ValueError(f"There is no layer {str(word).strip()!r}: this model's are 1 to {depth}, or last.")
        found.append(number)
    if not found:
        raise ValueError(f"Name at least one layer, 1 to {depth}, or last.")
    return tuple(dict.fromkeys(found))


@torch.no_grad()
def layer_tokens(encoder: Encoder, images: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
    """Tokens of whole images after each of these layers and the final norm, number -> (B, N, D).

    The norm is the encoder's own, of its last layer, as in the paper's protocol of the last four layers: the tokens of
    the last layer are the encoder's output.

    Args:
        images: (B, 3, H, W), normalised.
        layers: of :func:`layer_numbers`.
    """
    kept: dict[int, list[Tensor]] = {}  # parts of the batch, where the network computes in parts

    def keeper(number: int) -> Any:
        def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
            kept.setdefault(number, []).append(encoder.norm(output))

        return keep

    depth = len(encoder.blocks)
    hooks = [encoder.blocks[n - 1].register_forward_hook(keeper(n)) for n in layers if n != depth]
    try:
        last = encoder(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {number: last if number == depth else torch.cat(kept[number]).to(last.dtype) for number in layers}
