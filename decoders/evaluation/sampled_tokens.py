"""Metric ``sampled-tokens``: what the target tokens hold that a two-stage decoder samples, read without any picture."""

from __future__ import annotations

from typing import Any

import torch

from decoders.decoder import Decoder
from decoders.evaluation.calibration import token_dispersion
from decoders.evaluation.ground_truth import linear_probe_answers
from decoders.evaluation.metric import DECODER_METRICS, ONE_STAGE, draw_tokens
from decoders.evaluation.scenes import (
    BLOCK_SHAPE,
    SCENE_FACTORS,
    accuracy,
    drawn_test_data,
    scene_blocks,
    train_and_test_scenes,
)
from decoders.networks.network import Conditioning
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import relabelled
from ijepa_viz.probes.probe import Split

_SAMPLES = 8


@DECODER_METRICS.register("sampled-tokens")
def sampled_tokens(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    train: int = 8000,
    test: int = 1200,
    samples: int = _SAMPLES,
) -> dict[str, Any]:
    """Species, part, facing and colour read from single sampled target tokens by a linear probe of real target tokens.

    ``target_tokens`` is the probe's accuracy on real ones. ``read_from_tokens`` and ``drawn_from_tokens`` are, as in
    ``ground-truth``, of a probe of the predicted tokens: samples of an ideal first stage would be as accurate as the
    latter. ``another_image`` has the prediction of the next scene, scored by this scene's truth and by its own.
    ``agree`` is the share of a block's samples in the most frequent class, ``right`` that class's accuracy: equal if
    calibrated. ``spread_over_error`` is the same in token space, 1 if calibrated.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. samples: of each block, for the calibration.

    Raises:
        ValueError: a decoder of one stage, or a data set other than ``menagerie``.
    """
    if decoder.pipeline.token_network is None:  # before scenes are drawn
        raise ValueError(ONE_STAGE)
    train_scenes, scenes = train_and_test_scenes(model, split, train, test)
    known, blocks = (scene_blocks(model, s) for s in (train_scenes, scenes))
    predicted, indices = blocks.predicted, blocks.patch_indices
    other = draw_tokens(decoder, predicted.roll(-1, 0), indices)
    every = torch.stack([draw_tokens(decoder, predicted, indices, seed=test * i) for i in range(samples)], 1)
    tokens = {
        "target_tokens": blocks.target,
        "sampled_tokens": every[:, 0],
        "one_step": draw_tokens(decoder, predicted, indices, num_inference_steps=1),
        "from_pooled": draw_tokens(decoder, predicted, indices, conditioning=Conditioning.POOLED),
        "another_image": other,
        "another_image_its_own_truth": other,
        "null": draw_tokens(decoder, predicted, indices, conditioning=Conditioning.NULL),
    }
    flat = torch.cat([*tokens.values(), every.flatten(0, 1)])
    labels = train_scenes.labels
    read = linear_probe_answers(known.target.flatten(1), labels, flat.flatten(1))["read_from_tokens"]
    rows = {row: {n: a[i * test : (i + 1) * test] for n, a in read.items()} for i, row in enumerate(tokens)}
    rows |= linear_probe_answers(known.predicted.flatten(1), labels, predicted.flatten(1))
    truth = {name: relabelled(scenes, train_scenes, name) for name in SCENE_FACTORS}
    table: dict[str, Any] = {}
    for row, found in rows.items():
        wanted = {n: t.roll(-1) for n, t in truth.items()} if row.endswith("own_truth") else truth
        table[row] = {name: accuracy(found[name] == wanted[name]) for name in SCENE_FACTORS}
    agreement = {}
    for name in SCENE_FACTORS:
        votes = read[name][len(tokens) * test :].view(test, samples)
        most = votes.mode(1).values
        agreement[f"{name}_agree"] = float((votes == most[:, None]).float().mean())
        agreement[f"{name}_right"] = float((most == truth[name]).float().mean())
    spread = token_dispersion(every, blocks.target, BLOCK_SHAPE)
    about = {"test_data": drawn_test_data(train_scenes, scenes), "spread_over_error": spread.ratio}
    return {**about, **agreement, **table}
