"""Targets of films where something moves: a creature covers few tokens, and a random choice mostly misses it."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.masks.masks import Grid, Masks


def motion(films: Tensor, grid: Grid, steps: int) -> Tensor:
    """How far each token's pixels are from those that its place shows most of the time.

    Args:
        films: (B, T, 3, H, W) float. steps: of a film; T is a multiple of it.

    Returns:
        (B, N), mean absolute difference from the median over time, in the films' units, of pixels averaged over half a
        patch. N as of :func:`ijepa_viz.models.patchify`.
    """
    rows, cols = grid
    small = F.adaptive_avg_pool2d(films.flatten(0, 1).float(), (2 * rows, 2 * cols)).unflatten(0, films.shape[:2])
    away = (small - small.median(1, keepdim=True).values).abs().mean(2)  # (B, T, 2 rows, 2 cols)
    return F.avg_pool2d(away.unflatten(1, (steps, -1)).mean(2), 2).flatten(1)


def keep_moving(masks: Masks, motion: Tensor, count: int, draws: Tensor) -> Masks:
    """Keep ``count`` of the target tokens, at random, those that move with greater odds.

    A token's odds are its motion and the mean motion of the film's targets: those without any keep their share.

    Args:
        masks: with one target block, M = 1. motion: (B, N), as of :func:`motion`. count: all are kept where there are
            no more. draws: (B, T) in (0, 1), random numbers, one for each target token.

    Raises:
        ValueError: several target blocks, or a count below 1.
    """
    if masks.targets.shape[1] > 1:
        raise ValueError(
            f"Targets that move are chosen from one target block, not {masks.targets.shape[1]}: use a strategy with "
            "one (tubes, future, mixed)."
        )
    if count < 1:
        raise ValueError(f"mask.moving_targets must be at least 1, got {count}.")
    targets = masks.targets[:, 0]
    if count >= targets.shape[1]:
        return masks
    odds = motion.to(targets.device).gather(1, targets)
    odds = odds + odds.mean(1, keepdim=True) + 1e-6
    # The first to arrive in a race of exponential clocks are a draw without replacement by these odds.
    arrivals = -draws.clamp_min(1e-12).log() / odds
    chosen = arrivals.topk(count, dim=1, largest=False).indices.sort(1).values
    return replace(masks, targets=targets.gather(1, chosen)[:, None])
