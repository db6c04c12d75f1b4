"""Model folders: ``config.json`` and ``model.safetensors``, bundled with the package or anywhere on disk."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import torch
from torch import nn

from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_config, write_file
from ijepa_viz.runtime.tensors import _check_digest, _names, read_into, read_tensors, write_tensors

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

# What an objective of ``train/`` keeps beside its model, where it has more to keep.
OBJECTIVE, OBJECTIVE_WEIGHTS = "objective.json", "objective.safetensors"

BUNDLED = Path(__file__).parent.parent / "weights"


def bundled_names() -> list[str]:
    """Models that come with the package."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}"))


def find_bundled(name: str) -> Path:
    """The folder of a bundled model.

    Raises:
        FileNotFoundError: no such name; the message names the nearest.
    """
    if name not in bundled_names():
        raise FileNotFoundError(_unknown(name, bundled_names()))
    return BUNDLED / name


def folder_of(source: str | Path) -> Path:
    """The folder that a bundled name or a path stands for; it need not exist."""
    return BUNDLED / str(source) if str(source) in bundled_names() else Path(source)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"No model {name!r}: no such file or folder, and not one of {', '.join(known)}.{hint}"


def save_folder(model: IJEPA, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``; ``dtype`` float16 halves the file.

    A model without a teacher of its own, whose two encoders are one, is written with one of them.

    Raises:
        OSError: the disk refuses; what the folder held before is intact.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = _one_encoder(model) if model.predictor is None and _has_no_teacher(model) else model
    digest = write_tensors(folder / WEIGHTS, whole.state_dict(), dtype)
    write_config(folder / CONFIG, model.config, digest)


def _one_encoder(model: IJEPA) -> nn.Module:
    """The context encoder under the name it has in ``model``."""
    return nn.ModuleDict({"encoder": model.encoder})


def _has_no_teacher(model: IJEPA) -> bool:
    pairs = zip(model.encoder.state_dict().values(), model.target_encoder.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def load_folder(folder: str | Path) -> IJEPA:
    """Read what :func:`save_folder` wrote, in float32; raises as :func:`load_model` does."""
    folder = Path(folder)
    data = read_json(folder / CONFIG)
    digest = str(data.pop("weights_sha256", ""))
    config = config_files.build(ModelConfig, data, str(folder / CONFIG))
    with torch.device("meta"):  # the weights come from the file: no second set beside them
        model = IJEPA(config)
    if model.predictor is None and not any(n.startswith("target_encoder.") for n in _names(folder / WEIGHTS)):
        read_into(_one_encoder(model), folder / WEIGHTS, digest, mapped=True)
        copied = {name: value.clone() for name, value in model.encoder.state_dict().items()}
        model.target_encoder.load_state_dict(copied, assign=True)
    else:
        read_into(model, folder / WEIGHTS, digest, mapped=True)
    return model


def copy_objective(source: str | Path, folder: Path, dtype: torch.dtype | None = None) -> bool:
    """Copy what training kept beside a model, such as the pixel decoder of a masked autoencoder, if there is any.

    Args:
        source: a model's folder, or anything else that :func:`load_model` takes, which has nothing beside it.
        folder: that exists. dtype: float16 halves the file.

    Returns:
        Whether there was something to copy.

    Raises:
        OSError, ValueError: as :func:`load_folder` and :func:`save_folder`.
    """
    came = folder_of(source)
    if not (came / OBJECTIVE).is_file():
        return False
    card = read_json(came / OBJECTIVE)
    tensors = read_tensors(came / OBJECTIVE_WEIGHTS)
    _check_digest(came / OBJECTIVE_WEIGHTS, str(card.get("weights_sha256", "")))
    card["weights_sha256"] = write_tensors(folder / OBJECTIVE_WEIGHTS, tensors, dtype)
    write_file(folder / OBJECTIVE, (json.dumps(card, indent=2) + "\n").encode())
    return True
