"""Sampling loop of flow matching: from noise and tokens to pixels of hidden blocks, with schedulers of diffusers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from torch import Tensor

from decoders.networks.network import BlockNetwork, Conditioning, TokenSource
from ijepa_viz.registry import Registry

SOLVERS: Registry[Callable[[], Any]] = Registry("solver")
SOLVERS.register("euler")(FlowMatchEulerDiscreteScheduler)
SOLVERS.register("heun")(FlowMatchHeunDiscreteScheduler)


@SOLVERS.register("dpm++")
def _dpm() -> DPMSolverMultistepScheduler:
    """DPM-Solver++(2M) on the straight path of flow matching."""
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)


@SOLVERS.register("sde-dpm++")
def _stochastic_dpm() -> DPMSolverMultistepScheduler:
    """SDE-DPM-Solver++(2M): fresh noise in every step, of which more are at high noise levels (shift 2, as SD3)."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0, algorithm_type="sde-dpmsolver++"
    )


# Their steps take a generator too, and with the settings that are not refused draw nothing from it.
_WITHOUT_NOISE = (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
)


def draws_fresh_noise(scheduler: Any) -> bool:
    """Whether a scheduler adds noise in every step, so that samples are not a function of the starting noise.

    Raises:
        ValueError: it draws that noise itself, so that no seed decides it.
    """
    takes = inspect.signature(scheduler.step).parameters
    sde = str(scheduler.config.get("algorithm_type", "")).startswith("sde-")
    if sde and "variance_noise" in takes:
        return True
    its_own = "generator" in takes and not isinstance(scheduler, _WITHOUT_NOISE)
    if sde or its_own or scheduler.config.get("stochastic_sampling", False):
        raise ValueError(
            f"{type(scheduler).__name__} with these settings draws noise that no seed decides. For fresh noise in "
            'every step take decoders.sampling.SOLVERS["sde-dpm++"].'
        )
    return False


def same_scheduler(one: Any, other: Any) -> bool:
    """Whether two schedulers are of one kind with the same settings."""
    settings = [{name: value for name, value in s.config.items() if not name.startswith("_")} for s in (one, other)]
    return type(one) is type(other) and settings[0] == settings[1]


# At the knee of quality against milliseconds: off the exact samples by 0.09 (wild-tiny) and 0.11 (menagerie-tiny) of
# their spread, which is 0.96 and 0.98 of the exact one (``ijepa-viz evaluate NAME --decoder --probe few-steps``).
DEFAULT_SOLVER, DEFAULT_STEPS = "dpm++", 12


@dataclass(frozen=True)
class SamplingStep:
    """State after one step of :func:`sample_loop`.

    Attributes:
        index: from 0.
        timestep: of the scheduler.
        latents: (B, T, 3 p p), the noisy pixels after the step.
        clean: (B, T, 3 p p), the network's estimate of the clean pixels before it.
    """

    index: int
    timestep: Any
    latents: Tensor
    clean: Tensor


def check_detail(detail: float) -> None:
    """Check a noise level at which sampling ends.

    Raises:
        ValueError: not from 0 to 1.
    """
    if not 0 <= detail <= 1:
        raise ValueError(f"detail is a noise level from 0 to 1, got {detail}.")


def check_temperature(temperature: float) -> None:
    """Check a scale of the tokens' noise.

    Raises:
        ValueError: not a positive, finite number.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"token_temperature is a positive number, 1 is the noise of training, got {temperature}.")


@torch.no_grad()
def sample_loop(
    network: BlockNetwork,
    scheduler: Any,
    latents: Tensor,
    patch_indices: Tensor,
    tokens: Tensor,
    *,
    conditioning: Conditioning = Conditioning.TOKENS,
    token_source: TokenSource = TokenSource.PREDICTED,
    num_inference_steps: int = DEFAULT_STEPS,
    guidance_scale: float = 1.0,
    detail: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    temperature: float = 1.0,
    callback: Callable[[SamplingStep], Any] | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE from noise to pixels, with classifier-free guidance (arXiv 2207.12598).

    Or the SDE of the same distributions, with a scheduler that draws fresh noise in every step.

    A network that is not stochastic is evaluated once, and neither scheduler nor guidance is used.

    Args:
        network: of :mod:`decoders.networks`.
        scheduler: one of :data:`SOLVERS`, or any that takes flow predictions and keeps ``sigmas``; it is not changed.
        latents: (B, T, 3 p p), the noise.
        patch_indices: (B, T) int64, on the grid.
        tokens: (B, T, D).
        conditioning: how the tokens condition the network.
        token_source: network that the tokens come from.
        num_inference_steps: evaluations of the network (twice as many with guidance).
        guidance_scale: 1.0 is no guidance.
        detail: noise level, 0 to 1, at which sampling ends; the result is the network's estimate of the clean pixels at
            the first step whose level is not above it. What is coarser is sampled, what is finer is averaged.
        generators: one a block, of the fresh noise; needed where the scheduler draws it. temperature: its scale.
        callback: called after each step; returning True ends the loop.

    Returns:
        Pixels (B, T, 3 p p), in [-1, 1] or beyond where the network overshoots.

    Raises:
        ValueError: a ``detail`` that is not from 0 to 1, no generators where noise is to be drawn, or a scheduler
            whose noise no seed decides.
    """
    check_detail(detail)
    mode = torch.full((len(patch_indices),), conditioning, device=patch_indices.device)
    null, source = torch.full_like(mode, Conditioning.NULL), torch.full_like(mode, token_source)
    if not network.stochastic:
        sigma = torch.ones(len(patch_indices), device=patch_indices.device)
        clean = network(torch.zeros_like(latents), sigma, patch_indices, tokens, mode, source)
        if callback is not None:
            callback(SamplingStep(0, 0, clean, clean))
        return clean

    scheduler = with_steps(scheduler, num_inference_steps, patch_indices.device)
    fresh = draws_fresh_noise(scheduler)
    if fresh and generators is None:
        raise ValueError("This solver draws noise in every step: give a generator for each block instead of latents.")
    for i, timestep in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[i].to(latents).expand(len(latents))
        prediction = conditional = velocity(network, latents, sigma, patch_indices, tokens, mode, source)
        if guidance_scale != 1.0:
            unconditional = velocity(network, latents, sigma, patch_indices, tokens, null, source)
            prediction = unconditional + guidance_scale * (conditional - unconditional)
        more: dict[str, Any] = {}
        if fresh:
            more["variance_noise"] = temperature * grid_noise(network, generators or [], patch_indices)
        noisy, latents = latents, scheduler.step(prediction, timestep, latents, **more).prev_sample
        ends = float(scheduler.sigmas[i]) <= detail + 1e-6
        clean = noisy - sigma[:, None, None] * prediction if ends or callback is not None else noisy
        if ends:
            latents = clean
        if callback is not None and callback(SamplingStep(i, timestep, latents, clean)) is True:
            break
        if ends:
            break
    return latents


def velocity(
    network: BlockNetwork,
    noisy: Tensor,
    sigma: Tensor,
    patch_indices: Tensor,
    tokens: Tensor,
    conditioning: Tensor,
    token_source: Tensor,
) -> Tensor:
    """Velocity d noisy / d sigma on the straight path from pixels to noise, (B, T, 3 p p).

    Arguments as of :meth:`BlockNetwork.forward`, whose estimate of the clean pixels it is computed from.
    """
    clean = network(noisy, sigma, patch_indices, tokens, conditioning, token_source)
    return (noisy - clean) / sigma[:, None, None]


def with_steps(scheduler: Any, steps: int, device: torch.device | str = "cpu") -> Any:
    """Copy ``scheduler``, set to ``steps`` evaluations of the network, from pure noise to none.

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


@torch.no_grad()
def sample_tokens(
    network: BlockNetwork,
    scheduler: Any,
    latents: Tensor,
    patch_indices: Tensor,
    tokens: Tensor,
    *,
    conditioning: Conditioning = Conditioning.TOKENS,
    num_inference_steps: int = DEFAULT_STEPS,
    temperature: float = 1.0,
    guidance_scale: float = 1.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """Sample target tokens (B, T, D) given predicted ones, by :func:`sample_loop` in the space of standardised tokens.

    Args:
        network: of the kind that draws tokens (``token-vit``).
        scheduler, patch_indices, tokens, conditioning, num_inference_steps, guidance_scale, generators: as of
            ``sample_loop``.
        latents: (B, T, D), the noise.
        temperature: scale of that noise, and of fresh noise. A network whose samples vary less than the truth does is
            calibrated by one above 1. A single step, the mean, is of noise as in training.

    Raises:
        ValueError: a temperature that is not positive.
    """
    check_temperature(temperature)
    drawn = sample_loop(
        network,
        scheduler,
        latents if num_inference_steps == 1 else temperature * latents,
        patch_indices,
        tokens,
        conditioning=conditioning,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        generators=generators,
        temperature=temperature,
    )
    return drawn * network.feature_std[TokenSource.TARGET] + network.feature_mean[TokenSource.TARGET]


@torch.no_grad()
def resample_tokens(
    network: BlockNetwork,
    noise: Tensor,
    levels: Tensor,
    patch_indices: Tensor,
    predicted: Tensor,
    target: Tensor,
    steps: int = 8,
) -> Tensor:
    """Sample target tokens anew from a noise level on, (B, T, D): what is coarser than the level stays.

    Real tokens are noised to their level and denoised, by Euler steps (SDEdit, arXiv 2108.01073).

    Args:
        network: of the kind that draws tokens.
        noise: (B, T, D). levels: (B,) in [0, 1]; 0 returns the tokens themselves, 1 samples them from noise.
        patch_indices: (B, T) int64. predicted, target: (B, T, D), tokens of the same blocks.
        steps: evaluations of the network.
    """
    mean, std = network.feature_mean[TokenSource.TARGET], network.feature_std[TokenSource.TARGET]
    conditioning = torch.full((len(target),), Conditioning.TOKENS, device=target.device)
    source = torch.full_like(conditioning, TokenSource.PREDICTED)
    level = levels[:, None, None]
    latents = (1 - level) * (target - mean) / std + level * noise
    for i in range(steps):
        sigma = levels * (1 - i / steps)
        flow = velocity(network, latents, sigma.clamp_min(1e-4), patch_indices, predicted, conditioning, source)
        latents = latents - level / steps * flow
    return latents * std + mean


def grid_noise(network: BlockNetwork, generators: Sequence[torch.Generator], patch_indices: Tensor) -> Tensor:
    """Noise (B, T, C), C = 3 p p or D, at ``patch_indices`` (B, T), from one generator a block.

    It is drawn for the whole grid, so a patch keeps its noise as the hole grows.
    """
    pairs = zip(generators, patch_indices.cpu(), strict=True)
    return torch.stack([network.grid_noise(g)[own] for g, own in pairs]).to(patch_indices.device)
