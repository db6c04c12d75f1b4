"""Metric ``token-temperature``: what samples show against the scale of the tokens' noise, for ``token_temperature``."""

from __future__ import annotations

from typing import Any

from decoders.decoder import Decoder
from decoders.evaluation.metric import DECODER_METRICS, ONE_STAGE
from decoders.evaluation.single_samples import SingleSamples
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split

TEMPERATURES = (0.7, 0.85, 1.0, 1.15, 1.3, 1.45)


@DECODER_METRICS.register("token-temperature")
def token_temperature(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    train: int = 10000,
    test: int = 600,
    samples: int = 4,
    epochs: int = 12,
    temperatures: tuple[float, ...] = TEMPERATURES,
) -> dict[str, Any]:
    """Factors classified from single samples of held-out scenes, by the scale of the tokens' noise.

    With less noise samples read better and vary less, until they vary less than they are wrong: ``spread_over_error``
    below 1 says so. Columns are those of :meth:`decoders.evaluation.single_samples.SingleSamples.row`; steps are the
    decoder's defaults.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. samples: of each block, for the spread. epochs: of the classifier.
        temperatures: to compare.

    Raises:
        ValueError: a data set other than ``menagerie``, or a decoder of one stage.
    """
    if decoder.pipeline.token_network is None:
        raise ValueError(ONE_STAGE)
    readings = SingleSamples(model, decoder, split, train, test, samples, epochs)
    table = {f"temperature {scale:g}": readings.row("predicted", token_temperature=scale) for scale in temperatures}
    return {"test_data": readings.reader.test_data, **table}
