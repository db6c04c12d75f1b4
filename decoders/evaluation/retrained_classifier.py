"""Metric ``retrained-classifier``: accuracy of classifiers trained on decoded blocks themselves."""

from __future__ import annotations

from typing import Any

from decoders.decoder import Decoder
from decoders.evaluation.classifier import predict_logits
from decoders.evaluation.metric import DECODER_METRICS, sample_blocks
from decoders.evaluation.scenes import (
    SCENE_FACTORS,
    accuracy,
    block_images,
    drawn_test_data,
    scene_blocks,
    train_and_test_scenes,
    train_on_pixels,
)
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import relabelled
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track


@DECODER_METRICS.register("retrained-classifier")
def retrained_classifier_accuracy(
    model: IJEPA, decoder: Decoder, split: Split, train: int = 10000, test: int = 1200, epochs: int = 12
) -> dict[str, Any]:
    """Accuracy of classifiers trained on decoded blocks, one a row, on decoded blocks of held-out scenes.

    It measures the information in the samples even where they do not look real. The classifier of ``ground-truth`` is
    trained on real blocks only, so there poor image quality counts as a loss too.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. epochs: of each classifier.

    Raises:
        ValueError: a data set other than ``menagerie``.
    """
    train_scenes, scenes = train_and_test_scenes(model, split, train, test)
    train_blocks, blocks = (scene_blocks(model, s, decoder.image_size) for s in (train_scenes, scenes))
    rows: dict[str, dict[str, Any] | None] = {
        "real_pixels": None,
        "predicted_tokens": {},
        "predicted_pooled": {"conditioning": "pooled"},
        "blur_of_predicted": {"num_inference_steps": 1},
    }
    truth = {name: relabelled(scenes, train_scenes, name) for name in SCENE_FACTORS}
    table: dict[str, dict[str, Any]] = {}
    for row, options in track(rows.items(), "classifiers", "classifier"):
        train_pixels, pixels = train_blocks.clean, blocks.clean
        if options is not None:
            # Other noise than the test's, or the classifier could learn it.
            tokens, indices = train_blocks.predicted, train_blocks.patch_indices
            train_pixels = sample_blocks(decoder, tokens, indices, seed=test, **options)
            pixels = sample_blocks(decoder, blocks.predicted, blocks.patch_indices, **options)
        classifier = train_on_pixels(model, train_pixels, train_scenes, epochs)
        logits = predict_logits(classifier, block_images(model, pixels))
        table[row] = {name: accuracy(logits[name].argmax(1) == truth[name]) for name in SCENE_FACTORS}
    return {"test_data": drawn_test_data(train_scenes, scenes), **table}
