"""Metric ``sheet``: completions of the first held-out images by index, not selected, with every control."""

from __future__ import annotations

from typing import Any

import numpy as np
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
from ijepa_viz.probes.bootstrap import mean
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track

ROWS, SAMPLES = 48, 3


def first_images(source: Source, size: ImageSize, count: int) -> Tensor:
    """First ``count`` images of the source, (n, 3, H, W) in [0, 1]; no others are read or drawn."""
    some = source.subset(np.arange(min(count, len(source))), f"first {count}")
    return torch.from_numpy(arrays(some, size).copy()).permute(0, 3, 1, 2) / 255


def nearest(block: Tensor, train: Tensor) -> tuple[int, float]:
    """Index of the nearest of ``train`` (n, P) to ``block`` (P,), and the root mean square difference of the two."""
    away = (train - block).square().mean(1)
    index = int(away.argmin())
    return index, float(away[index].sqrt())


def columns(
    decoder: Decoder, own: Prediction, other: Prediction, train: Tensor
) -> tuple[dict[str, tuple[str, Tensor]], dict[str, float]]:
    """Columns of one row, and how far its hole is from the nearest training picture's.

    Args:
        train: (n, 3, H, W) in [0, 1], training pictures at the decoder's resolution.

    Returns:
        Title -> (kind of :data:`ijepa_viz.figures.completion.BOX`, picture (3, H, W)), and the root mean square
        difference of "sample" (the first one) and of "real" to the nearest training picture's pixels in the same hole.
    """
    samples = decoder.sample(own, SAMPLES)
    whole = own.picture(samples.images.shape[-2])
    drawn = {f"sample {i + 1}": ("predicted", picture) for i, picture in enumerate(samples.on(whole))}
    holes = train[:, :, samples.inside].flatten(1)
    index, away = nearest(drawn["sample 1"][1][:, samples.inside].flatten(), holes)
    far = {"sample": away, "real": nearest(whole[:, samples.inside].flatten(), holes)[1]}
    drawn["nearest training"] = ("control", torch.where(samples.inside, train[index], whole))
    drawn["its average"] = ("predicted", decoder.sample(own, 1, conditioning="pooled").on(whole)[0])
    drawn["one step"] = ("predicted", decoder.sample(own, 1, steps=1).on(whole)[0])
    swapped = own.replaced(other.predicted)
    drawn["next image's"] = ("control", decoder.sample(swapped, 1).on(whole)[0])
    drawn["nothing"] = ("control", decoder.sample(own, 1, conditioning="null").on(whole)[0])
    drawn["target"] = ("target", decoder.sample(own, 1, source="target").on(whole)[0])
    return drawn, far


@DECODER_METRICS.register("sheet")
def sheet(model: IJEPA, decoder: Decoder, split: Split, train: int = 2000) -> dict[str, Any]:
    """Complete the centre of the first 48 test images; ``--figure FILE`` writes the sheet.

    Beside the samples is the training picture whose pixels in the hole are nearest to the first one's, to see whether
    the decoder repeats what it learned from: ``nearest_training`` is the root mean square difference of the two, of
    pixels from 0 to 1, and beside it that of the *real* content of the hole. Samples that are much nearer than real
    pictures are would be memorised. Training pictures are those of the training part of the data that the command
    names; whether the decoder has seen these is for its card to say.

    Args:
        train: number of training pictures among which the nearest is looked for.
    """
    images = first_images(split("test"), decoder.image_size, ROWS)
    learned = first_images(split("train"), decoder.image_size, train)
    hole = centre_hole(model)
    predictions = [predict(model, image, hole) for image in images]
    following = [*predictions[1:], predictions[0]]
    drawn = [
        columns(decoder, own, other, learned)
        for own, other in track(list(zip(predictions, following, strict=True)), "sampling", "image")
    ]
    rows = [(own, pictures) for own, (pictures, _) in zip(predictions, drawn, strict=True)]
    cosine = torch.stack([p.cosine.mean() for p in predictions])
    return {
        "images": len(rows),
        "mean_cosine": float(cosine.mean()),
        "nearest_training": {kind: mean(torch.tensor([far[kind] for _, far in drawn])) for kind in ("sample", "real")},
        "figure": sheet_figure(rows, decoder.config.detail),
    }
