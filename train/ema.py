"""Target encoder weights: an exponential moving average (EMA) of the context encoder's (section 3)."""

from __future__ import annotations

import torch

from ijepa_viz.models import IJEPA
from train.sharding import local_shard


def ema_update(model: IJEPA, momentum: float) -> None:
    """One EMA step of the target encoder (the teacher) toward the context encoder (the student), in place.

    teacher <- momentum * teacher + (1 - momentum) * student, for every parameter (section 3; its schedule is
    :func:`train.schedules.momentum`, appendix A.1). Momentum 0 copies the student.

    Args:
        model: its parameters may be sharded (FSDP); each process then updates its local shards.
        momentum: 0 to 1.
    """
    with torch.no_grad():
        torch._foreach_lerp_(
            [local_shard(p) for p in model.target_encoder.parameters()],
            [local_shard(p.detach()) for p in model.encoder.parameters()],
            1 - momentum,
        )
