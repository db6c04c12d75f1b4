"""Fully sharded data parallel training (FSDP): weights, gradients, optimizer state and teacher are sharded.

For models of which a device cannot hold a copy. A layer's weights are gathered for its forward and backward pass and
freed afterwards. Arithmetic, log and checkpoints are those of an unsharded run; either can resume from the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ijepa_viz.models import Encoder, Predictor


def shard(net: nn.Module, device: torch.device, processes: int, precision: str = "fp32") -> None:
    """Shard the parameters of ``net`` over ``processes``, layer by layer and in place, onto ``device``.

    With ``precision`` "bf16" the matrices of attention and MLPs are gathered in bfloat16, where autocast would keep a
    cast copy of each. All shards, and all other parameters, stay in float32. Parameters become ``DTensor``; from then
    on all processes must call ``net`` at the same steps.

    Raises:
        ValueError: a single process: FSDP requires at least two.
    """
    if processes < 2:
        raise ValueError("FSDP requires at least two processes, and this is one: set run.fsdp=false.")
    # Late: these imports take seconds, and few runs need them.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    for module in net.modules():
        if isinstance(module, Encoder | Predictor):
            module.buckets = 1  # each further pass of a layer would gather its weights again
    mesh = init_device_mesh(device.type, (processes,))
    low = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for part in fsdp_units(net):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    fully_shard(net, mesh=mesh)
    for buffer in net.buffers():
        buffer.data = buffer.to(device)


def fsdp_units(net: nn.Module) -> Iterator[nn.Module]:
    """FSDP units: attentions and MLPs, gathered one at a time. Norms and embeddings, being small, are the root's."""
    for module in list(net.modules()):
        layers: Any = []
        attending: Any = []
        if isinstance(module, Encoder):
            layers = attending = module.blocks
        # A shared context, and every last layer, use an attention's projections: these are the root's.
        elif isinstance(module, Predictor) and not module.shared:
            layers, attending = module.predictor_blocks, module.predictor_blocks[:-1]
        yield from (layer.attn for layer in attending)
        yield from (layer.mlp for layer in layers)


def full_tensors(value: Any) -> Any:
    """``value`` with every sharded tensor in its dicts and lists gathered to a full tensor on the CPU.

    A collective operation: all processes must call it.
    """
    if _sharded(value):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return {name: full_tensors(part) for name, part in value.items()}
    if isinstance(value, list):
        return [full_tensors(part) for part in value]
    return value


def local_shard(parameter: Any) -> Tensor:
    """Local shard of a sharded parameter, sharing its memory; any other parameter unchanged."""
    return parameter.to_local() if _sharded(parameter) else parameter


def shard_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's full state, as :func:`full_tensors` returns it, sharded as the parameters of ``optimizer`` are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(map(_sharded, parameters)):
        return state
    from torch.distributed.tensor import distribute_tensor

    sharded = {}
    for number, values in state["state"].items():
        like: Any = parameters[number]
        sharded[number] = {
            name: distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
            if value.shape == like.shape
            else value
            for name, value in values.items()
        }
    return {**state, "state": sharded}


def _sharded(value: object) -> bool:
    return hasattr(value, "full_tensor")
