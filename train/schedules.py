"""Learning rate, weight decay and teacher momentum as functions of the step (appendix A.1)."""

from __future__ import annotations

import math

from train.config import OptimizationConfig


def learning_rate(step: int, config: OptimizationConfig) -> float:
    """Linear warm-up from start_lr to lr, then a cosine to final_lr at the last step."""
    if step < config.warmup:
        return config.start_lr + (config.lr - config.start_lr) * step / config.warmup
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.final_lr + (config.lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def weight_decay(step: int, config: OptimizationConfig) -> float:
    """A cosine from weight_decay to final_weight_decay."""
    share = min(1.0, step / max(1, config.steps))
    gap = config.weight_decay - config.final_weight_decay
    return config.final_weight_decay + gap * 0.5 * (1 + math.cos(math.pi * share))


def momentum(step: int, config: OptimizationConfig) -> float:
    """The teacher's, linear from the first to the second value of ``ema``."""
    start, end = config.ema
    return start + (end - start) * min(1.0, step / max(1, config.steps))
