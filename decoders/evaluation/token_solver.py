"""Metric ``token-solver``: what samples show by the tokens' solver, its steps and its noise, for ``token_solver``."""

from __future__ import annotations

import itertools
from typing import Any

from decoders.decoder import Decoder
from decoders.evaluation.metric import DECODER_METRICS, ONE_STAGE
from decoders.evaluation.single_samples import SingleSamples
from decoders.sampling import SOLVERS
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split


@DECODER_METRICS.register("token-solver")
def token_solver(
    model: IJEPA,
    decoder: Decoder,
    split: Split,
    train: int = 10000,
    test: int = 600,
    samples: int = 4,
    epochs: int = 12,
    solvers: tuple[str, ...] = ("dpm++", "sde-dpm++"),
    steps: tuple[int, ...] = (6, 12, 24),
    temperatures: tuple[float, ...] = (1.0, 1.2),
) -> dict[str, Any]:
    """Factors classified from single samples of held-out scenes, by the solver of the token network.

    A solver that draws fresh noise in every step corrects what earlier steps got wrong. Columns are those of
    :meth:`decoders.evaluation.single_samples.SingleSamples.row`; the drawing's steps are the decoder's.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. samples: of each block, for the spread. epochs: of the classifier.
        solvers: names in ``decoders.sampling.SOLVERS``. steps: evaluations of the token network. temperatures: scales
            of its noise. All combinations are compared.

    Raises:
        ValueError: a data set other than ``menagerie``, a decoder of one stage, or an unknown solver.
    """
    network = decoder.pipeline.token_network
    if network is None:
        raise ValueError(ONE_STAGE)
    own = {name: Decoder(decoder.network, decoder.config, decoder.pipeline.scheduler, network, SOLVERS[name]())
           for name in solvers}  # fmt: skip
    readings = SingleSamples(model, decoder, split, train, test, samples, epochs)
    drawing = {"num_inference_steps": decoder.config.steps}
    table = {
        f"{name}, {count} steps, temperature {scale:g}": readings.row(
            "predicted", own[name], token_steps=count, token_temperature=scale, **drawing
        )
        for name, count, scale in itertools.product(solvers, steps, temperatures)
    }
    return {"test_data": readings.reader.test_data, **table}
