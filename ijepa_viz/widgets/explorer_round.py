"""A round of *Predict, then reveal*: the hidden block among blocks of other pictures, and samples without names."""

from __future__ import annotations

import secrets
from typing import Any

import torch
from PIL import Image
from torch import Tensor

# Blocks of other pictures among which the true one stands.
OTHERS = 4


def candidates(truth: Tensor, others: Tensor, hidden: Tensor) -> tuple[list[Image.Image], int]:
    """Blocks to pick from in random order, as RGBA pictures without what is visible, and which of them is the truth's.

    Args:
        truth: (3, H, W) uint8. others: (n, 3, H, W) uint8, other pictures of its kind; at most four are drawn, and
            blocks equal to the truth's or to one another are left out: two right answers would be no question.
        hidden: (1, H, W) bool, the pixels of the hole.
    """
    rows, cols = hidden[0].any(1).nonzero().flatten(), hidden[0].any(0).nonzero().flatten()
    part = (slice(None), slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1))
    alpha = hidden[part].to(torch.uint8) * 255
    blocks = [torch.cat([truth[part] * (alpha > 0), alpha])]
    for i in _order(len(others)):
        block = torch.cat([others[i][part] * (alpha > 0), alpha])
        if len(blocks) <= OTHERS and not any(torch.equal(block, known) for known in blocks):
            blocks.append(block)
    order = _order(len(blocks))
    return [Image.fromarray(blocks[i].permute(1, 2, 0).numpy()) for i in order], order.index(0)


def shuffled(sides: list[list[str]]) -> dict[str, Any]:
    """Pictures of the model and of a control, as "sides" in random order; "model" is the model's place."""
    first = secrets.randbelow(2)  # a side that could be learned would be no test
    return {"sides": sides[::-1] if first else sides, "model": first}


def _order(count: int) -> list[int]:
    """0 to ``count`` - 1, shuffled by chance that no seed repeats: an order that could be learned would be no test."""
    return secrets.SystemRandom().sample(range(count), count)
