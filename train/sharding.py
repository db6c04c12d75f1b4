"""Fully sharded training (FSDP): every process keeps its share of weights, gradients, optimizer state and teacher.

For models whose copies do not fit one device. A layer's weights are gathered when it computes and given up again, so
the arithmetic, the log and the checkpoints are those of an unsharded run, and either can go on from the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ijepa_viz.models import Encoder, Predictor


def shard(net: nn.Module, device: torch.device, processes: int, precision: str = "fp32") -> None:
    """Spread the parameters of ``net`` over ``processes``, layer by layer and in place, onto ``device``.

    With ``precision`` "bf16" the matrices of attention and MLPs are gathered in it, where autocast would keep a copy
    of each that it casts. Everything else, and all shares, stay in float32.
    Parameters become ``DTensor``; every process must from now on call ``net`` at the same steps.

    Raises:
        ValueError: a single process, which has nobody to share with.
    """
    if processes < 2:
        raise ValueError("run.fsdp spreads a model over several processes, and this is one: set run.fsdp=false.")
    # Late: they take seconds to import, and few runs need them.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    for module in net.modules():
        if isinstance(module, Encoder | Predictor):
            module.buckets = 1  # every further pass of a layer would gather its weights once more
    mesh = init_device_mesh(device.type, (processes,))
    low = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for part in parts(net):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    fully_shard(net, mesh=mesh)
    for buffer in net.buffers():
        buffer.data = buffer.to(device)


def parts(net: nn.Module) -> Iterator[nn.Module]:
    """What is gathered for itself: attentions and MLPs. Norms and embeddings, which are small, are the root's."""
    for module in list(net.modules()):
        layers: Any = []
        attending: Any = []
        if isinstance(module, Encoder):
            layers = attending = module.blocks
        # A shared context, and every last layer, use what is inside attentions: those are gathered with the root.
        elif isinstance(module, Predictor) and not module.shared:
            layers, attending = module.predictor_blocks, module.predictor_blocks[:-1]
        yield from (layer.attn for layer in attending)
        yield from (layer.mlp for layer in layers)


def whole(value: Any) -> Any:
    """``value`` with every sharded tensor in its dicts and lists as a whole one on the CPU.

    All processes must call it: each gives its share.
    """
    if _sharded(value):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return {name: whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [whole(part) for part in value]
    return value


def local(parameter: Any) -> Tensor:
    """This process's share of a sharded parameter, sharing its memory; any other as it is."""
    return parameter.to_local() if _sharded(parameter) else parameter


def spread(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A whole optimizer's state as :func:`whole` gives it, sharded as the parameters of ``optimizer`` are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(map(_sharded, parameters)):
        return state
    from torch.distributed.tensor import distribute_tensor

    found = {}
    for number, values in state["state"].items():
        like: Any = parameters[number]
        found[number] = {
            name: distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
            if value.shape == like.shape
            else value
            for name, value in values.items()
        }
    return {**state, "state": found}


def _sharded(value: object) -> bool:
    return hasattr(value, "full_tensor")
