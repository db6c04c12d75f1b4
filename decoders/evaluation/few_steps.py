"""Metric ``few-steps``: quality and variety against evaluations of the network."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from decoders.decoder import Decoder
from decoders.evaluation.metric import INSTRUMENTS, centre_hole, pictures, see
from decoders.pipeline import SOLVERS, BlockPipeline
from ijepa_viz.figures import few_steps_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

# The knee: the fewest milliseconds whose samples are this close to the exact ones, and vary as much.
CLOSE, VARIED = 0.1, 0.95

_IMAGES, _SAMPLES, _EXACT = 16, 8, 128


def _median_ms(
    pipeline: BlockPipeline, tokens: torch.Tensor, places: torch.Tensor, steps: int, repeats: int = 5
) -> float:
    times = []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        latents = torch.randn(len(places), places.shape[1], 3 * pipeline.network.config.patch_size**2)
        pipeline(tokens, places, latents=latents.to(tokens), num_inference_steps=steps)
        if repeat:  # the first one warms up
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


@INSTRUMENTS.register("few-steps")
def few_steps(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Every solver at every number of evaluations, against the exact solution from the same noise.

    ``error`` is the root mean square distance of a sample from the one that 128 Euler steps reach, over the standard
    deviation between samples; ``spread`` is that deviation over the exact one. ``ms`` is the median time of six
    samples of the centre hole. One step is the squared-error blur: no spread at all.
    """
    seen = see(model, pictures(split("test"), model.config.image_size, 100)[:_IMAGES], centre_hole(model))
    device = decoder.device
    tokens, places = (t.repeat_interleave(_SAMPLES, 0).to(device) for t in (seen.predicted, seen.places))
    generators = [torch.Generator().manual_seed(i) for i in range(len(tokens))]
    latents = decoder.pipeline.noise(generators, places)

    def solve(pipeline: BlockPipeline, steps: int) -> torch.Tensor:
        drawn = [
            pipeline(t, p, latents=z, num_inference_steps=steps).pixels
            for t, p, z in zip(tokens.split(64), places.split(64), latents.split(64), strict=True)
        ]
        return torch.cat(drawn).clamp(-1, 1).unflatten(0, (_IMAGES, _SAMPLES))

    exact = solve(BlockPipeline(decoder.network, SOLVERS["euler"]()), _EXACT)
    deviation = exact.var(1).mean().sqrt()
    table: dict[str, Any] = {}
    curves: dict[str, list[tuple[int, float, float, float]]] = {}
    for name, make in SOLVERS.items():
        pipeline = BlockPipeline(decoder.network, make())
        for steps in STEPS:
            if name == "heun" and steps > 1:
                steps -= 1 - steps % 2  # it takes an odd number of evaluations
                if any(steps == point[0] for point in curves[name]):
                    continue
            drawn = solve(pipeline, steps)
            error = float((drawn - exact).square().mean().sqrt() / deviation)
            spread = float(drawn.var(1).mean().sqrt() / deviation)
            cost = _median_ms(pipeline, tokens[:6], places[:6], steps)
            curves.setdefault(name, []).append((steps, cost, error, spread))
            table[f"{name} {steps}"] = {"ms": cost, "error": error, "spread": spread}
    good = [(cost, name, steps) for name, points in curves.items() for steps, cost, error, spread in points
            if error <= CLOSE and spread >= VARIED]  # fmt: skip
    # A network that was never trained may have no knee.
    _, solver, evaluations = min(good, default=(0.0, "euler", max(STEPS)))
    return {**table, "figure": few_steps_figure(curves, (solver, evaluations))}
