"""From tokens to pixels: the sampling loop, as a diffusers pipeline with any scheduler that fits.

``save_pretrained`` is diffusers' own. ``from_pretrained`` is ours: diffusers' does not load networks that it does
not ship, and lets weights be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from diffusers.utils import BaseOutput
from torch import Tensor

from decoders.networks.network import KINDS, MODES, NULL, BlockNetwork, read_network
from ijepa_viz.registry import Registry
from ijepa_viz.runtime.files import read_json

SOLVERS: Registry[Callable[[], Any]] = Registry("solver")
SOLVERS.register("euler")(FlowMatchEulerDiscreteScheduler)
SOLVERS.register("heun")(FlowMatchHeunDiscreteScheduler)


@SOLVERS.register("dpm++")
def _dpm() -> DPMSolverMultistepScheduler:
    """DPM-Solver++(2M) on the straight path of flow matching."""
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)


# At the knee of quality against milliseconds: off the exact samples by 0.09 (wild-tiny) and 0.11 (menagerie-tiny) of
# their spread, which is 0.96 and 0.98 of the exact one (``ijepa-viz evaluate NAME --decoder --probe few-steps``).
DEFAULT_SOLVER, DEFAULT_STEPS = "dpm++", 12


@dataclass
class Drawn(BaseOutput):
    """``pixels``: (B, T, 3 p p) in [-1, 1], or beyond where the network overshoots."""

    pixels: Tensor


def with_steps(scheduler: Any, steps: int, device: torch.device | str = "cpu") -> Any:
    """A copy of ``scheduler`` set to take ``steps`` evaluations of the network, from pure noise to none.

    diffusers' own spacings spend one step on the last thousandth of the path; these do not. Heun evaluates
    twice a step except the last, so an even number is lowered by one.
    """
    if isinstance(scheduler, FlowMatchHeunDiscreteScheduler):
        count = (steps + 1) // 2
        # Its smallest noise level is one over this number.
        ready = type(scheduler).from_config(scheduler.config, num_train_timesteps=count)
        ready.set_timesteps(count, device=device)
    else:
        ready = type(scheduler).from_config(scheduler.config)
        if isinstance(ready, FlowMatchEulerDiscreteScheduler):
            ready.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=device)
        else:
            ready.set_timesteps(steps, device=device)
    ready.set_begin_index(0)
    return ready


class BlockPipeline(DiffusionPipeline):
    """A network of the family and a scheduler.

    Args:
        network: of :mod:`decoders.networks`.
        scheduler: one of :data:`SOLVERS`, or any that takes flow predictions and keeps ``sigmas``.
    """

    def __init__(self, network: BlockNetwork, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(network=network, scheduler=scheduler)
        self._interrupt = False

    @classmethod
    def from_pretrained(cls, source: str | Path) -> BlockPipeline:
        """A saved pipeline, from a folder or an id on the Hugging Face hub; read as :func:`read_pipeline` does."""
        return read_pipeline(Path(source) if Path(source).is_dir() else Path(cls.download(str(source))))

    def noise(self, generators: list[torch.Generator], places: Tensor) -> Tensor:
        """(B, T, 3 p p), one generator a block, drawn for the whole grid: a patch keeps its noise as a hole grows."""
        config = self.network.config
        shape = (config.grid[0] * config.grid[1], 3 * config.patch_size**2)
        pairs = zip(generators, places.cpu(), strict=True)
        return torch.stack([torch.randn(shape, generator=g)[where] for g, where in pairs]).to(places.device)

    @torch.no_grad()
    def __call__(
        self,
        tokens: Tensor,
        places: Tensor,
        *,
        condition: str = "tokens",
        source: str = "predicted",
        generator: list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = 1.0,
        callback_on_step_end: Callable[[BlockPipeline, int, Any, dict[str, Tensor]], Any] | None = None,
    ) -> Drawn:
        """Draw blocks.

        Args:
            tokens: (B, T, D). places: (B, T) int64, patch indices on the grid.
            condition: "tokens", "pooled" (the paper's setting: the block's average) or "null" (nothing).
            source: "predicted" or "target": which representation ``tokens`` are.
            generator: one for each block. latents: (B, T, 3 p p), the noise itself, instead.
            num_inference_steps: evaluations of the network.
            guidance_scale: 1.0 is none, and costs half.
            callback_on_step_end: ``f(pipeline, step, timestep, {"latents", "clean"})``; ``clean`` is what the
                network expects now. Setting ``pipeline._interrupt`` or raising ends the sampling after the step.

        Raises:
            ValueError: neither or both of ``generator`` and ``latents``.
        """
        if (generator is None) == (latents is None):
            raise ValueError("Give either a generator for each block or latents.")
        noisy = self.noise(generator or [], places) if latents is None else latents
        network, self._interrupt = self.network, False
        mode = torch.full((len(places),), MODES[condition], device=places.device)
        kind = torch.full_like(mode, KINDS[source])
        if not network.stochastic:
            sigma = torch.ones(len(places), device=places.device)
            clean = network(torch.zeros_like(noisy), sigma, places, tokens, mode, kind)
            if callback_on_step_end is not None:
                callback_on_step_end(self, 0, 0, {"latents": clean, "clean": clean})
            return Drawn(pixels=clean)

        scheduler = with_steps(self.scheduler, num_inference_steps, places.device)
        for i, timestep in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[i].to(noisy).expand(len(noisy))
            flow = velocity(network, noisy, sigma, places, tokens, mode, kind)
            if guidance_scale != 1.0:
                free = velocity(network, noisy, sigma, places, tokens, torch.full_like(mode, NULL), kind)
                flow = free + guidance_scale * (flow - free)
            before, noisy = noisy, scheduler.step(flow, timestep, noisy).prev_sample
            if callback_on_step_end is not None:
                clean = before - sigma[:, None, None] * flow
                callback_on_step_end(self, i, timestep, {"latents": noisy, "clean": clean})
            if self._interrupt:
                break
        return Drawn(pixels=noisy)


def read_pipeline(folder: Path, digest: str | None = None) -> BlockPipeline:
    """A pipeline from the folder that ``save_pretrained`` or ``save_decoder`` wrote, strictly.

    Args:
        folder: with ``network/`` and ``scheduler/``.
        digest: the sha256 of the network's weights, where it is known.

    Raises:
        FileNotFoundError: a file is missing. ValueError: a damaged file, or names and shapes that do not fit.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_json(path)
    kind: Any = getattr(diffusers, str(config.get("_class_name")), None)
    known = isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)
    if not known:
        raise ValueError(f"{path} names no scheduler of diffusers: {config.get('_class_name')!r}.")
    return BlockPipeline(read_network(folder / "network", digest), kind.from_config(config))


def velocity(
    network: BlockNetwork,
    noisy: Tensor,
    sigma: Tensor,
    places: Tensor,
    condition: Tensor,
    mode: Tensor,
    kind: Tensor,
) -> Tensor:
    """D noisy / d sigma on the straight path from pixels to noise, from the network's clean pixels."""
    clean = network(noisy, sigma, places, condition, mode, kind)
    return (noisy - clean) / sigma[:, None, None]
