"""Measured peak memory and speed of a few training steps on this machine, to compare with the plan."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass

import torch

from ijepa_viz.models import set_activation_checkpointing
from ijepa_viz.models.attention import choose_kernels
from ijepa_viz.runtime.precision import choose_precision, number_format
from train import objectives
from train.config import TrainConfig, sample_masks
from train.optimizer import adamw


@dataclass(frozen=True)
class Measurement:
    """Peak memory and speed of training steps in one process of this machine.

    Attributes:
        memory: peak bytes beyond those in use before; on a GPU, of torch's allocator.
        images_per_s: median over all steps but the first; reading images is not included.
        device: "cpu" or "cuda".
    """

    memory: float
    images_per_s: float
    device: str


def measure(config: TrainConfig, steps: int = 4) -> Measurement:
    """Run ``steps`` (at least two) optimizer steps of ``config`` on random pixels and measure them.

    The regularizer is included, which the plan leaves out. On the CPU the peak is that of the whole process since its
    start: measure first, before anything else allocates much.

    Raises:
        ValueError: fewer than two steps, a batch that does not divide into its parts, or as
            :func:`train.objectives.build`.
    """
    parts = config.optimization.accumulate
    if not config.optimization.batch_size or config.optimization.batch_size % parts:
        raise ValueError(f"A batch of {config.optimization.batch_size} does not divide into {parts} parts.")
    if steps < 2:
        raise ValueError(f"The first step is a warm-up and is not counted: measure at least 2 steps, not {steps}.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(config.run.precision)
    dtype = number_format(precision)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = peak_memory(device)
    net = objectives.build(config).to(device)
    choose_kernels(net, device, dtype)
    set_activation_checkpointing(net, config.optimization.activation_checkpointing)
    optimizer = adamw(net, config.optimization.lr, device)
    batch = config.optimization.batch_size // parts
    durations = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        started = time.perf_counter()
        for _ in range(parts):
            images = torch.randn(batch, *config.model.input_shape, generator=generator).to(device)
            masks = sample_masks(config, batch, generator).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
                loss = net(images, masks, generator)["loss"]
            (loss / parts).backward()
        optimizer.step()
        optimizer.zero_grad()
        net.after_step(0.996)
        loss.item()  # waits until the GPU has finished
        durations.append(time.perf_counter() - started)
    images_per_s = batch * parts / statistics.median(durations[1:])
    return Measurement(peak_memory(device) - before, images_per_s, device.type)


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in bytes: of torch's allocator on a GPU, of the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource  # late: not available on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
