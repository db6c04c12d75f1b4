"""Metric ``drawing-steps``: what samples show against evaluations of the network that draws, for ``steps``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.calibration import dispersion
from decoders.evaluation.classifier import as_images, classifier_features
from decoders.evaluation.metric import DECODER_METRICS, sample_blocks
from decoders.evaluation.realism import two_sample_test
from decoders.evaluation.scenes import BLOCK_SHAPE, SCENE_FACTORS, SceneReader, block_images
from ijepa_viz.figures import drawing_steps_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split

STEPS = (1, 2, 3, 4, 6, 8, 12)


@DECODER_METRICS.register("drawing-steps")
def drawing_steps(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    train: int = 10000,
    test: int = 600,
    samples: int = 4,
    epochs: int = 12,
    steps: tuple[int, ...] = STEPS,
) -> dict[str, Any]:
    """Factors classified from single samples of held-out scenes, by evaluations of the network that draws.

    A row each for predicted and target tokens. Of two stages the tokens are sampled by the decoder's default number of
    steps in every row, so that only the drawing differs: given sampled tokens little is left open, and steps add the
    grain that the network has not learned. ``spread_over_error`` is the calibration metric's. ``distance_x_1000`` is
    the kernel distance to real blocks that the same classifier was trained on, in its features, and not comparable with
    ``realism``'s, whose classifier and holes are others; ``real_pixels``, of held-out scenes, says how far real is.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. samples: of each block, for the spread. epochs: of the classifier.
        steps: to compare, of the decoder's solver.

    Raises:
        ValueError: a data set other than ``menagerie``, or a decoder that is not stochastic.
    """
    if not decoder.network.stochastic:
        raise ValueError("This decoder is deterministic: it draws in one step.")
    reader = SceneReader(model, decoder.image_size, split, train, test, epochs)
    blocks = reader.blocks
    # Of other scenes than those tested.
    reference = classifier_features(reader.classifier, block_images(model, reader.train_blocks.clean[-test:]))
    few = slice(0, min(test, 160))
    real = as_images(blocks.clean[few], BLOCK_SHAPE)
    repeated = blocks.patch_indices[few].repeat_interleave(samples, 0)

    def row(pixels: Tensor) -> dict[str, Any]:
        features = classifier_features(reader.classifier, block_images(model, pixels))
        distance, _ = two_sample_test(reference, features, permutations=1)
        return {**reader.read(pixels), "distance_x_1000": 1000 * distance}

    table: dict[str, Any] = {}
    for source in ("predicted", "target"):
        tokens = getattr(blocks, source)
        many = tokens[few].repeat_interleave(samples, 0)
        for count in steps:
            options: dict[str, Any] = {"source": source, "num_inference_steps": count}
            options["token_steps"] = decoder.config.token_steps
            drawn = as_images(sample_blocks(decoder, many, repeated, seed=test, **options), BLOCK_SHAPE)
            spread = dispersion(drawn.unflatten(0, (len(real), samples)), real).ratio
            found = row(sample_blocks(decoder, tokens, blocks.patch_indices, **options))
            table[f"{source} tokens, steps {count}"] = {**found, "spread_over_error": spread}
    table["real_pixels"] = row(blocks.clean)
    figure = drawing_steps_figure(steps, table, SCENE_FACTORS)
    return {"test_data": reader.test_data, **table, "figure": figure}
