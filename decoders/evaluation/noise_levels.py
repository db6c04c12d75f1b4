"""Metric ``noise-levels``: what the expected picture shows at every noise level of the sampling, for ``detail``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.calibration import dispersion
from decoders.evaluation.classifier import as_images
from decoders.evaluation.metric import DECODER_METRICS
from decoders.evaluation.scenes import BLOCK_SHAPE, SCENE_FACTORS, SceneReader
from decoders.pipeline import BlockPipeline
from decoders.sampling import with_steps
from ijepa_viz.figures import noise_levels_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track


def expected_pictures(
    decoder: Decoder, tokens: Tensor, patch_indices: Tensor, seed: int = 0, batch: int = 64, **options: Any
) -> tuple[list[float], Tensor]:
    """The network's estimate of the clean pixels at each step of the default sampling.

    Args:
        decoder: its default number of steps is used.
        tokens: (n, T, D). patch_indices: (n, T).
        seed: block i uses seed + i. batch: blocks at a time. options: of ``BlockPipeline.__call__``.

    Returns:
        The noise levels, falling from 1, and pixels (levels, n, T, 3 p p) in [-1, 1], on the CPU: what sampling with
        ``detail`` of that level draws.
    """
    found: list[Tensor] = []
    for start in track(range(0, len(tokens), batch), "sampling blocks", "batch"):
        chunk, indices = (t[start : start + batch].to(decoder.device) for t in (tokens, patch_indices))
        clean: list[Tensor] = []

        def keep(
            pipeline: BlockPipeline, step: int, timestep: Any, state: dict[str, Tensor], into: Any = clean
        ) -> None:
            into.append(state["clean"].float().cpu().clamp(-1, 1))

        decoder.pipeline(
            chunk,
            indices,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(chunk))],
            num_inference_steps=decoder.config.steps,
            token_steps=decoder.config.token_steps,
            token_temperature=decoder.config.token_temperature,
            callback_on_step_end=keep,
            **options,
        )
        found.append(torch.stack(clean))
    sigmas = with_steps(decoder.pipeline.scheduler, decoder.config.steps).sigmas
    return [float(sigma) for sigma in sigmas[: len(found[0])]], torch.cat(found, 1)


@DECODER_METRICS.register("noise-levels")
def noise_levels(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    train: int = 10000,
    test: int = 1200,
    samples: int = 4,
    epochs: int = 12,
) -> dict[str, Any]:
    """Factors classified from the expected picture at each noise level, of single samples of held-out scenes.

    The first row, noise level 1, is the mean of all that could be there (of two stages: given the
    sampled tokens), and the last is the finished sample; sampling
    with ``detail`` ends at one between. ``spread_over_error`` is the calibration metric's, of ``samples`` samples.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. samples: of each block, for the spread. epochs: of the classifier.

    Raises:
        ValueError: a data set other than ``menagerie``, or a decoder that is not stochastic.
    """
    if not decoder.network.stochastic:
        raise ValueError("This decoder is deterministic: it is evaluated at one noise level only.")
    reader = SceneReader(model, decoder.image_size, split, train, test, epochs)
    blocks = reader.blocks
    levels, first = expected_pictures(decoder, blocks.predicted, blocks.patch_indices)
    few = slice(0, min(test, 160))
    tokens, indices = (t[few].repeat_interleave(samples, 0) for t in (blocks.predicted, blocks.patch_indices))
    _, several = expected_pictures(decoder, tokens, indices, seed=test)
    real = as_images(blocks.clean[few], BLOCK_SHAPE)
    table: dict[str, Any] = {}
    for level, one, many in zip(levels, first, several, strict=True):
        spread = dispersion(as_images(many, BLOCK_SHAPE).unflatten(0, (len(real), samples)), real)
        table[f"noise level {level:.2f}"] = {
            **reader.read(one),
            "spread_over_error": spread.ratio,
        }
    table["real_pixels"] = reader.read(blocks.clean)
    figure = noise_levels_figure(levels, list(table.values()), SCENE_FACTORS)
    return {"test_data": reader.test_data, **table, "figure": figure}
