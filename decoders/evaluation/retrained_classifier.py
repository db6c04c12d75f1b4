"""Metric ``retrained-classifier``: what a classifier trained on decoded blocks reads from them."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from decoders.decoder import Decoder
from decoders.evaluation.ground_truth import _MANY, QUESTIONS, SHAPE, _eye, _scenes, _share
from decoders.evaluation.metric import INSTRUMENTS, draw, see
from decoders.evaluation.recogniser import as_images, read_out
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import renumbered
from ijepa_viz.probes.probe import Split


@INSTRUMENTS.register("own-eye")
def own_eye(
    model: IJEPA, decoder: Decoder, split: Split, train: int = 10000, test: int = 1200, epochs: int = 12
) -> dict[str, dict[str, Any]]:
    """What decoded blocks of held-out scenes hold, however unlike real ones they look.

    ``ground-truth`` asks a recogniser that has seen real blocks only, so it counts poor drawing as a loss. Here each
    row has a recogniser of its own, trained on blocks decoded in the same way.

    Raises:
        ValueError: pictures without known truth.
    """
    learned, asked = _scenes(model, split, train, test)
    patch = decoder.network.config.patch_size
    known, seen = (see(model, normalise(q.images / 255), q.masks, patch_size=patch) for q in (learned, asked))
    ways: dict[str, dict[str, Any] | None] = {
        "real_pixels": None,
        "predicted_tokens": {},
        "predicted_pooled": {"condition": "pooled"},
        "blur_of_predicted": {"num_inference_steps": 1},
    }
    truth = {name: renumbered(asked, learned, name) for name in QUESTIONS}
    table: dict[str, dict[str, Any]] = {}
    for row, way in tqdm(ways.items(), desc="eyes", unit="eye", disable=train < _MANY):
        first, second = known.clean, seen.clean
        if way is not None:
            # Other noise than the test's, or the eye could learn it.
            first = draw(decoder, known.predicted, known.places, seed=test, **way)
            second = draw(decoder, seen.predicted, seen.places, **way)
        said = read_out(_eye(first, learned, epochs), as_images(second, SHAPE))
        table[row] = {name: _share(said[name].argmax(1) == truth[name]) for name in QUESTIONS}
    return table
