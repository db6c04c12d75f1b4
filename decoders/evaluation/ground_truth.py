"""Metric ``ground-truth``: factors classified from decoded blocks of drawn scenes, whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.classifier import predict_logits
from decoders.evaluation.metric import DECODER_METRICS, encode_blocks, fit_ridge, sample_blocks
from decoders.evaluation.scenes import (
    SCENE_FACTORS,
    accuracy,
    block_images,
    drawn_test_data,
    scene_blocks,
    train_and_test_scenes,
    train_on_pixels,
)
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import (
    JOINT,
    class_map,
    linear_probe_probabilities,
    relabelled,
)
from ijepa_viz.probes.features import standardise
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.probe import Split

# Hidden parts of the three cases that the I-JEPA announcement shows.
CASES = {"head": ("head",), "legs": ("leg",), "building": ("wall", "roof")}


@DECODER_METRICS.register("ground-truth")
def ground_truth(
    model: IJEPA, decoder: Decoder, split: Split, train: int = 10000, test: int = 1200, epochs: int = 12
) -> dict[str, Any]:
    """Accuracy of a classifier of real blocks on single decoded samples of held-out scenes.

    Rows are the decoded tokens, columns the factors. ``real_pixels`` is the classifier's accuracy on real blocks.
    ``another_image`` decodes the prediction of the next scene in this scene's hole: scored by this scene's truth it
    should be at chance, scored by the other scene's (``..._its_own_truth``) as high as ``predicted_tokens``.
    ``predicted_guidance_2`` has guidance, which reduces the variance between samples.
    ``read_from_tokens`` has no decoder: it is the most probable class of a linear probe of the same predicted tokens,
    and ``drawn_from_tokens`` one class drawn from its probabilities. Samples of an ideal decoder would be as accurate
    as the latter; the difference is lost by the decoder.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. epochs: of the classifier.

    Raises:
        ValueError: a data set other than ``menagerie``.
    """
    train_scenes, scenes = train_and_test_scenes(model, split, train, test)
    size = decoder.image_size
    torch.manual_seed(0)
    untrained = IJEPA(model.config).to(model.device).eval()
    blocks, train_blocks = (scene_blocks(model, s, size) for s in (scenes, train_scenes))
    untrained_blocks = scene_blocks(untrained, scenes)
    classifier = train_on_pixels(model, train_blocks.clean, train_scenes, epochs)
    few = slice(0, 4000)
    fit_images, fit_masks = normalise(train_scenes.images[few] / 255), train_scenes.masks[few]
    fit_blocks = replace(encode_blocks(untrained, fit_images, fit_masks), clean=train_blocks.clean[few])
    ridge, random_ridge = fit_ridge(model, train_blocks[few]), fit_ridge(untrained, fit_blocks)
    tokens, patch_indices = blocks.predicted, blocks.patch_indices
    other = sample_blocks(decoder, tokens.roll(-1, 0), patch_indices)
    decoded = {
        "real_pixels": blocks.clean,
        "target_tokens": sample_blocks(decoder, blocks.target, patch_indices, source="target"),
        "predicted_tokens": sample_blocks(decoder, tokens, patch_indices),
        "predicted_guidance_2": sample_blocks(decoder, tokens, patch_indices, guidance_scale=2.0),
        "predicted_pooled": sample_blocks(decoder, tokens, patch_indices, conditioning="pooled"),
        "blur_of_predicted": sample_blocks(decoder, tokens, patch_indices, num_inference_steps=1),
        "ridge_predicted": sample_blocks(ridge, tokens, patch_indices),
        "ridge_random_init": sample_blocks(random_ridge, untrained_blocks.predicted, patch_indices),
        "mean_prediction": sample_blocks(decoder, tokens.mean(0, keepdim=True).expand_as(tokens), patch_indices),
        "another_image": other,
        "another_image_its_own_truth": other,
        "null": sample_blocks(decoder, tokens, patch_indices, conditioning="null"),
    }
    answers = {
        row: {name: x.argmax(1) for name, x in predict_logits(classifier, block_images(model, pixels)).items()}
        for row, pixels in decoded.items()
    }
    answers |= linear_probe_answers(train_blocks.predicted.flatten(1), train_scenes.labels, tokens.flatten(1))
    truth = {name: relabelled(scenes, train_scenes, name) for name in SCENE_FACTORS}
    hidden = [scenes.classes["part"][int(i)] for i in scenes.labels["part"]]
    cases = {case: torch.tensor([part in parts for part in hidden]) for case, parts in CASES.items()}
    cases = {case: in_case for case, in_case in cases.items() if in_case.any()}
    table = {}
    for row, predicted in answers.items():
        labels = {n: t.roll(-1) for n, t in truth.items()} if row.endswith("own_truth") else truth
        right = {name: predicted[name] == labels[name] for name in SCENE_FACTORS}
        table[row] = {name: accuracy(right[name]) for name in SCENE_FACTORS}
        for case, in_case in cases.items():
            of_row = in_case.roll(-1) if row.endswith("own_truth") else in_case
            table[row][f"{case}: all three"] = accuracy((right["species"] & right["part"] & right["facing"])[of_row])
    frequent = {name: truth[name].mode().values for name in SCENE_FACTORS}
    is_frequent = {name: truth[name] == frequent[name] for name in SCENE_FACTORS}
    baseline = {name: accuracy(is_frequent[name]) for name in SCENE_FACTORS}
    for case, in_case in cases.items():
        joint = torch.stack([truth[name] for name in ("species", "part", "facing")], 1)[in_case]
        counts = joint.unique(dim=0, return_counts=True)[1]
        baseline[f"{case}: all three"] = accuracy_with_interval(int(counts.max()), len(joint))
    table["most_frequent_answer"] = baseline
    return {"test_data": drawn_test_data(train_scenes, scenes), **table}


def linear_probe_answers(tokens: Tensor, labels: Mapping[str, Tensor], test: Tensor) -> dict[str, dict[str, Tensor]]:
    """Most probable class, and one drawn by probability, by linear probes: fit on (n, D), tested on (m, D)."""
    tokens, test = standardise(tokens, test)
    rows: dict[str, dict[str, Tensor]] = {"read_from_tokens": {}, "drawn_from_tokens": {}}
    generator = torch.Generator().manual_seed(0)
    for factor, names in (("joint", JOINT), ("colour", ("colour",))):
        probabilities = linear_probe_probabilities(tokens, labels[factor], test)
        chosen = probabilities.argmax(1), probabilities.multinomial(1, generator=generator)[:, 0]
        for row, choice in zip(rows.values(), chosen, strict=True):
            row |= {name: class_map(labels[factor], labels[name])[choice] for name in names}
    return rows
