"""Metric ``leakage``: no context pixel reaches the decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from decoders.decoder import Decoder
from decoders.evaluation.metric import DECODER_METRICS, centre_hole, evaluation_images
from ijepa_viz.data.transforms import to_pil
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import predict
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track


@DECODER_METRICS.register("leakage")
def leakage(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Largest change of the samples when all context pixels change and the prediction does not; must be exactly 0."""
    images = evaluation_images(split("test"), model.config.image_size, 4) / 255
    worst = 0.0
    for image in track(images, "changing the context", "image"):
        prediction = predict(model, image, centre_hole(model))
        reference = decoder.sample(prediction, 2).images
        for other in (1 - image, torch.rand_like(image), torch.full_like(image, float("nan"))):
            changed = replace(prediction, image=other, originals=(to_pil(other.nan_to_num()),))
            change = (decoder.sample(changed, 2).images - reference).abs().max()
            worst = max(worst, float(change))
    return {"images": len(images), "largest_difference": worst}
