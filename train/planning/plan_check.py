"""A plan against what happens: a few real steps on this machine, their peak memory and their speed."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass

import torch

from ijepa_viz.models import set_recompute
from ijepa_viz.models.attention import choose_kernels
from ijepa_viz.runtime.precision import choose_precision, number_format
from train import objectives
from train.config import TrainConfig, sample_masks
from train.optimizer import adamw


@dataclass(frozen=True)
class Measured:
    """What steps took on one process of this machine.

    Attributes:
        memory: bytes at the peak beyond what the process held before; on a GPU, what torch allocated.
        images_per_s: median over the steps, the first left out; reading pictures is not in it.
        device: "cpu" or "cuda".
    """

    memory: float
    images_per_s: float
    device: str


def measure(config: TrainConfig, steps: int = 4) -> Measured:
    """Take ``steps`` (at least two) optimizer steps of ``config`` on random pixels and throw them away.

    The regularizer is computed too, which the plan leaves out. On the CPU the peak is the process's: call it early,
    before anything large came and went.

    Raises:
        ValueError: fewer than two steps, a batch that does not divide into its parts, or as
            :func:`train.objectives.build`.
    """
    parts, size = config.optimization.accumulate, config.model.image_size
    if not config.optimization.batch_size or config.optimization.batch_size % parts:
        raise ValueError(f"A batch of {config.optimization.batch_size} does not divide into {parts} parts.")
    if steps < 2:
        raise ValueError(f"The first step warms up and is not counted: measure at least 2 steps, not {steps}.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(config.run.precision)
    kind = number_format(precision)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = peak_memory(device)
    net = objectives.build(config).to(device)
    choose_kernels(net, device, kind)
    set_recompute(net, config.optimization.recompute)
    optimizer = adamw(net, config.optimization.lr, device)
    batch = config.optimization.batch_size // parts
    taken = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        started = time.perf_counter()
        for _ in range(parts):
            images = torch.randn(batch, 3, size, size, generator=generator).to(device)
            masks = sample_masks(config, batch, generator).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=kind is torch.bfloat16):
                loss = net(images, masks, generator)["loss"]
            (loss / parts).backward()
        optimizer.step()
        optimizer.zero_grad()
        net.after_step(0.996)
        loss.item()  # a GPU has finished then
        taken.append(time.perf_counter() - started)
    speed = batch * parts / statistics.median(taken[1:])
    return Measured(peak_memory(device) - before, speed, device.type)


def peak_memory(device: torch.device) -> float:
    """Bytes at the peak so far: on a GPU what torch allocated, on the CPU the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource  # not on every system, and training imports this file

    unit = 1 if sys.platform == "darwin" else 1024  # of getrusage
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
