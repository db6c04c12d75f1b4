"""Metric ``sheet``: completions of the first held-out images by index, not selected, with every control."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.metric import DECODER_METRICS, centre_hole
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.data.source import Source
from ijepa_viz.figures import sheet_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, predict
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track

ROWS, SAMPLES = 48, 3


def first_images(source: Source, size: ImageSize, count: int) -> Tensor:
    """First ``count`` images of the source, (n, 3, H, W) in [0, 1]."""
    return torch.from_numpy(arrays(source, size)[:count].copy()).permute(0, 3, 1, 2) / 255


def columns(decoder: Decoder, own: Prediction, other: Prediction) -> dict[str, tuple[str, Tensor]]:
    """Columns of one row: title -> (kind of :data:`ijepa_viz.figures.completion.BOX`, picture (3, H, W))."""
    samples = decoder.sample(own, SAMPLES)
    whole = own.picture(samples.images.shape[-2])
    drawn = {f"sample {i + 1}": ("predicted", picture) for i, picture in enumerate(samples.on(whole))}
    drawn["its average"] = ("predicted", decoder.sample(own, 1, conditioning="pooled").on(whole)[0])
    drawn["one step"] = ("predicted", decoder.sample(own, 1, steps=1).on(whole)[0])
    swapped = own.replaced(other.predicted)
    drawn["next image's"] = ("control", decoder.sample(swapped, 1).on(whole)[0])
    drawn["nothing"] = ("control", decoder.sample(own, 1, conditioning="null").on(whole)[0])
    drawn["target"] = ("target", decoder.sample(own, 1, source="target").on(whole)[0])
    return drawn


@DECODER_METRICS.register("sheet")
def sheet(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Complete the centre of the first 48 test images; ``--figure FILE`` writes the sheet."""
    images = first_images(split("test"), decoder.image_size, ROWS)
    hole = centre_hole(model)
    predictions = [predict(model, image, hole) for image in images]
    following = [*predictions[1:], predictions[0]]
    rows = [
        (own, columns(decoder, own, other))
        for own, other in track(list(zip(predictions, following, strict=True)), "sampling", "image")
    ]
    cosine = torch.stack([p.cosine.mean() for p in predictions])
    return {
        "images": len(rows),
        "mean_cosine": float(cosine.mean()),
        "figure": sheet_figure(rows, decoder.config.detail),
    }
