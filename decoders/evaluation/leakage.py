"""Metric ``leakage``: no context pixel reaches the decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from decoders.decoder import Decoder
from decoders.evaluation.metric import INSTRUMENTS, centre_hole, pictures
from ijepa_viz.data.transforms import denormalise
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import predict
from ijepa_viz.probes.probe import Split


@INSTRUMENTS.register("leakage")
def leakage(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """How far samples move when every context pixel changes and the prediction does not. It must be 0, to the bit."""
    images = pictures(split("test"), model.config.image_size, 4)
    worst = 0.0
    for image in images:
        shown = denormalise(image).clamp(0, 1)
        prediction = predict(model, shown, centre_hole(model))
        reference = decoder.sample(prediction, 2).images
        for other in (1 - shown, torch.rand_like(shown), torch.full_like(shown, float("nan"))):
            moved = (decoder.sample(replace(prediction, image=other), 2).images - reference).abs().max()
            worst = max(worst, float(moved))
    return {"images": len(images), "largest_difference": worst}
