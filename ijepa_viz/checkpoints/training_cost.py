"""Training cost of a model (images, hours, arithmetic), as ``training.json`` beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ijepa_viz.checkpoints.folders import folder_of
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_file

FILE = "training.json"


@dataclass(frozen=True)
class TrainingCost:
    """Cost of one model's training.

    Attributes:
        objective: name of the training objective.
        images: number of images processed, repetitions included.
        hours: device-hours on ``hardware``; 0 where unknown.
        flops: total floating point operations of the networks' matrix products, forward and backward.
        hardware: device that the hours refer to.
    """

    objective: str
    images: int
    hours: float
    flops: float
    hardware: str


# The paper: "less than 1200 GPU hours" for ViT-H/14, 300 epochs of 1 281 167 pictures. The operations are those of
# `python -m train.planning.cost --fname train/configs/imagenet1k-vith14.yaml`, an image.
_EPOCHS_OF_IMAGENET = 300 * 1_281_167

KNOWN = {
    "ijepa-vith14-in1k": TrainingCost(
        "ijepa", _EPOCHS_OF_IMAGENET, 1200.0, 6.786e11 * _EPOCHS_OF_IMAGENET, "A100 80 GB"
    )
}


def write_training(folder: Path, training: TrainingCost) -> None:
    """Write ``training.json``; raises OSError as :func:`ijepa_viz.runtime.files.write_file`."""
    write_file(folder / FILE, (json.dumps(asdict(training), indent=2) + "\n").encode())


def training_of(source: str | Path) -> TrainingCost | None:
    """Training cost of ``source``, any source of ``load_model``, or None where it was not recorded.

    Raises:
        ValueError: a damaged ``training.json``.
    """
    if str(source) in KNOWN:
        return KNOWN[str(source)]
    path = folder_of(source) / FILE
    return config_files.build(TrainingCost, read_json(path), str(path)) if path.is_file() else None
