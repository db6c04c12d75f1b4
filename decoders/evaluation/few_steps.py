"""Metric ``few-steps``: distance from the exact samples and spread, against evaluations of the network."""

from __future__ import annotations

from typing import Any

import torch

from decoders.decoder import Decoder
from decoders.evaluation.metric import DECODER_METRICS, centre_hole, median_ms, source_blocks
from decoders.pipeline import BlockPipeline
from decoders.sampling import SOLVERS, draws_fresh_noise
from ijepa_viz.figures import few_steps_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

# The knee: the fewest milliseconds with at most this error and at least this spread, relative to exact samples.
CLOSE, VARIED = 0.1, 0.95

_IMAGES, _SAMPLES, _EXACT = 16, 8, 128


@DECODER_METRICS.register("few-steps")
def few_steps(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Compare every solver at every number of evaluations with the exact solution from the same noise.

    Of solvers that draw fresh noise in every step there is no such solution: they are not compared.

    ``error`` is the root mean square distance from samples of 128 Euler steps, over the standard deviation between
    samples; ``spread`` is that deviation over the exact one. ``ms`` is the median time of six samples of the centre
    hole. One step is the conditional mean, without spread. Of a decoder of two stages it is the stage that draws, given
    target tokens.
    """
    source = "predicted" if decoder.pipeline.token_network is None else "target"
    blocks = source_blocks(model, split("test"), model.config.image_size, centre_hole(model), 100)[:_IMAGES]
    device = decoder.device
    tokens, patch_indices = (
        t.repeat_interleave(_SAMPLES, 0).to(device) for t in (getattr(blocks, source), blocks.patch_indices)
    )
    generators = [torch.Generator().manual_seed(i) for i in range(len(tokens))]
    latents = decoder.pipeline.noise(generators, patch_indices)

    def solve(pipeline: BlockPipeline, steps: int) -> torch.Tensor:
        parts = [
            pipeline(t, p, latents=z, num_inference_steps=steps, source=source).pixels
            for t, p, z in track(
                list(zip(tokens.split(64), patch_indices.split(64), latents.split(64), strict=True)),
                f"sampling with {steps} steps",
                "batch",
            )
        ]
        return torch.cat(parts).clamp(-1, 1).unflatten(0, (_IMAGES, _SAMPLES))

    exact = solve(BlockPipeline(decoder.network, SOLVERS["euler"]()), _EXACT)
    deviation = exact.var(1).mean().sqrt()
    table: dict[str, Any] = {}
    curves: dict[str, list[tuple[int, float, float, float]]] = {}
    for name, make in SOLVERS.items():
        if draws_fresh_noise(make()):
            continue
        pipeline = BlockPipeline(decoder.network, make())
        for steps in STEPS:
            if name == "heun" and steps > 1:
                steps -= 1 - steps % 2  # Heun takes an odd number of evaluations
                if any(steps == point[0] for point in curves[name]):
                    continue
            found = solve(pipeline, steps)
            error = float((found - exact).square().mean().sqrt() / deviation)
            spread = float(found.var(1).mean().sqrt() / deviation)
            cost = median_ms(pipeline, tokens[:6], patch_indices[:6], steps)
            curves.setdefault(name, []).append((steps, cost, error, spread))
            table[f"{name} {steps}"] = {"ms": cost, "error": error, "spread": spread}
    good = [(cost, name, steps) for name, points in curves.items() for steps, cost, error, spread in points
            if error <= CLOSE and spread >= VARIED]  # fmt: skip
    knee = min(good, default=None)  # fine grain may need more evaluations than these
    return {**table, "figure": few_steps_figure(curves, knee and knee[1:])}
