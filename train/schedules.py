"""Learning rate, weight decay and teacher momentum as functions of the step (appendix A.1).

Steps count from 0, the first update. As in the published loop, learning rate and weight decay are advanced before an
update, so that the first one has the schedule's value at 1 and the last one its end; the momentum is advanced after it.
"""

from __future__ import annotations

import math

from train.config import OptimizationConfig


def span(config: OptimizationConfig) -> int:
    """Number of steps that the schedules span."""
    return config.schedule_steps or config.steps


def learning_rate(step: int, config: OptimizationConfig) -> float:
    """Linear warm-up from start_lr to lr, then cosine decay, or a plateau and linear decay, to final_lr.

    Update ``warmup - 1`` is the first with lr, update ``span - 1`` the first with final_lr.

    Raises:
        ValueError: an unknown schedule.
    """
    place = step + 1
    if place < config.warmup:
        return config.start_lr + (config.lr - config.start_lr) * place / config.warmup
    if config.schedule == "cosine":
        share = (place - config.warmup) / max(1, span(config) - config.warmup)
        left = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    elif config.schedule == "stable":
        left = min(1.0, max(0.0, (span(config) - place) / max(1, config.cooldown)))
    else:
        raise ValueError(f"optimization.schedule must be 'cosine' or 'stable', got {config.schedule!r}.")
    return config.final_lr + (config.lr - config.final_lr) * left


def weight_decay(step: int, config: OptimizationConfig) -> float:
    """Cosine from weight_decay to final_weight_decay, which update ``span - 1`` is the first to have."""
    share = min(1.0, (step + 1) / max(1, span(config)))
    gap = config.weight_decay - config.final_weight_decay
    return config.final_weight_decay + gap * 0.5 * (1 + math.cos(math.pi * share))


def momentum(step: int, config: OptimizationConfig) -> float:
    """EMA momentum of the teacher after this update, linear from the first to the second value of ``ema``.

    The first update has the first value.
    """
    start, end = config.ema
    return start + (end - start) * min(1.0, step / max(1, span(config)))
