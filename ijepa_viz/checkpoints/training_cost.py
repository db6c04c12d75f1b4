"""What a model's training cost: pictures, hours and arithmetic, as ``training.json`` beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ijepa_viz.checkpoints.folders import folder_of
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_file

FILE = "training.json"


@dataclass(frozen=True)
class Training:
    """One model's training.

    Attributes:
        objective: what it minimised.
        images: pictures seen, each as often as it was seen.
        hours: device-hours, of ``hardware``; 0 is not known.
        flops: floating point operations in all, forward and backward, of the networks' matrix products.
        hardware: what the hours are of.
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
    "ijepa-vith14-in1k": Training("ijepa", _EPOCHS_OF_IMAGENET, 1200.0, 6.786e11 * _EPOCHS_OF_IMAGENET, "A100 80 GB")
}


def write_training(folder: Path, training: Training) -> None:
    """Write ``training.json``; raises OSError as :func:`ijepa_viz.runtime.files.write_file`."""
    write_file(folder / FILE, (json.dumps(asdict(training), indent=2) + "\n").encode())


def training_of(source: str | Path) -> Training | None:
    """What the training of ``source`` (as ``load_model`` takes it) cost, or None where nobody wrote it down.

    Raises:
        ValueError: a damaged ``training.json``.
    """
    if str(source) in KNOWN:
        return KNOWN[str(source)]
    path = folder_of(source) / FILE
    return config_files.build(Training, read_json(path), str(path)) if path.is_file() else None
