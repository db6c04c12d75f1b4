"""Metric ``drawing-steps``: what samples show against evaluations of the network that draws, for ``steps``."""

from __future__ import annotations

from typing import Any

from decoders.decoder import Decoder
from decoders.evaluation.metric import DECODER_METRICS
from decoders.evaluation.scenes import SCENE_FACTORS
from decoders.evaluation.single_samples import SingleSamples
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
    grain that the network has not learned. Columns are those of
    :meth:`decoders.evaluation.single_samples.SingleSamples.row`; ``real_pixels``, of held-out scenes, says how far real
    is.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. samples: of each block, for the spread. epochs: of the classifier.
        steps: to compare, of the decoder's solver.

    Raises:
        ValueError: a data set other than ``menagerie``, or a decoder that is not stochastic.
    """
    if not decoder.network.stochastic:
        raise ValueError("This decoder is deterministic: it draws in one step.")
    readings = SingleSamples(model, decoder, split, train, test, samples, epochs)
    table = {
        f"{source} tokens, steps {count}": readings.row(
            source, num_inference_steps=count, token_steps=decoder.config.token_steps
        )
        for source in ("predicted", "target")
        for count in steps
    }
    table["real_pixels"] = readings.real_row()
    figure = drawing_steps_figure(steps, table, SCENE_FACTORS)
    return {"test_data": readings.reader.test_data, **table, "figure": figure}
