"""Model folders of ``config.json`` and ``model.safetensors``, bundled with the package or anywhere on disk."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_config, write_file
from ijepa_viz.runtime.tensors import check_digest, fingerprint, read_into, read_tensors, tensor_names, write_tensors

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

# Config and further weights of an objective of ``train/``, if it has any.
OBJECTIVE, OBJECTIVE_WEIGHTS = "objective.json", "objective.safetensors"

# Key of the config where the encoders are those of a bundled model, which it names with their fingerprint.
_ENCODERS_OF = "encoders_of"

# Settings in which models with the same encoders may differ.
_OF_THE_PREDICTOR = (
    "predictor_width", "predictor_depth", "predictor_heads", "predictor_context", "cue_tokens", "cue_vocabulary",
)  # fmt: skip

BUNDLED = Path(__file__).parent.parent / "weights"


def bundled_names() -> list[str]:
    """Names of the models that are part of the package."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}"))


def find_bundled(name: str) -> Path:
    """Folder of a bundled model.

    Raises:
        FileNotFoundError: an unknown name; the message suggests the nearest.
    """
    if name not in bundled_names():
        raise FileNotFoundError(unknown_model(name, bundled_names()))
    return BUNDLED / name


def folder_of(source: str | Path) -> Path:
    """Folder of a bundled name or a path; it need not exist."""
    return BUNDLED / str(source) if str(source) in bundled_names() else Path(source)


def unknown_model(name: str, names: list[str]) -> str:
    """Error message for an unknown model name, with the nearest of ``names``."""
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"No model {name!r}: no such file or folder, and not one of {', '.join(names)}.{hint}"


def save_folder(
    model: IJEPA, folder: str | Path, dtype: torch.dtype | None = None, encoders_of: str | None = None
) -> None:
    """Write ``config.json`` and ``model.safetensors``.

    An encoder-only model whose target encoder is a copy of the context encoder is written with one of them.

    Args:
        folder: created if missing.
        dtype: of the stored weights; float16 halves the file, None keeps float32.
        encoders_of: name of a bundled model with the same encoders, such as the one whose predictor alone was trained
            further (objective ``predictor``): the folder then holds the predictor, and names that model with the
            fingerprint of its encoders.

    Raises:
        OSError: a write error; previous content of the folder is intact.
        FileNotFoundError: no bundled model ``encoders_of``.
        ValueError: a model at another resolution than its weights' (:meth:`IJEPA.at`), whose trained positions a folder
            does not hold; other encoders than those of ``encoders_of``, or no predictor beside them.
    """
    refuse_another_resolution(model)
    more: dict[str, Any] = {}
    whole: nn.Module = _one_encoder(model) if model.predictor is None and _encoders_are_equal(model) else model
    if encoders_of is not None:
        more[_ENCODERS_OF] = {"model": encoders_of, "sha256": _check_encoders(model, encoders_of)}
        whole = _predictor_alone(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    digest = write_tensors(folder / WEIGHTS, whole.state_dict(), dtype)
    write_config(folder / CONFIG, model.config, digest, **more)


def refuse_another_resolution(model: IJEPA) -> None:
    """Raise ValueError for a model at another resolution than its weights': saved, it would be another model."""
    if model.trained_config is not None:
        raise ValueError(
            f"This model is at {model.config.image_size} px by at(...), and its weights are of "
            f"{model.trained_config.image_size} px: save that one, and call at(...) after loading."
        )


def _one_encoder(model: IJEPA) -> nn.Module:
    """The context encoder, under its name in ``model``."""
    return nn.ModuleDict({"encoder": model.encoder})


def _predictor_alone(model: IJEPA) -> nn.Module:
    """The predictor, under its name in ``model``."""
    assert model.predictor is not None  # checked before
    return nn.ModuleDict({"predictor": model.predictor})


def _check_encoders(model: IJEPA, name: str) -> str:
    """Fingerprint of both encoders of the bundled model ``name``, which are those of ``model``.

    Raises:
        FileNotFoundError, ValueError: as :func:`save_folder`.
    """
    if model.predictor is None:
        raise ValueError("encoders_of leaves the predictor to write, and this model has none.")
    if name not in bundled_names() and Path(name).exists():
        raise ValueError(f"encoders_of is a bundled model's name, so that every user has it, and {name} is a path.")
    if read_json(find_bundled(name) / CONFIG).get(_ENCODERS_OF):
        raise ValueError(f"{name} has no encoders of its own: name the model whose they are.")
    theirs = load_folder(find_bundled(name))
    found, expected = _encoders(model).state_dict(), _encoders(theirs).state_dict()
    same = found.keys() == expected.keys() and all(torch.equal(found[k].cpu(), v) for k, v in expected.items())
    if not same or not _computes_as(theirs.config, model.config):
        raise ValueError(
            f"This model's encoders are not those of {name}: without encoders_of (--encoders-of) the folder holds all "
            "weights."
        )
    return fingerprint(_encoders(theirs))


def _computes_as(theirs: ModelConfig, own: ModelConfig) -> bool:
    """Whether two configs have the same encoders: they differ in the predictor alone."""
    return replace(theirs, **{name: getattr(own, name) for name in _OF_THE_PREDICTOR}) == own


def _encoders(model: IJEPA) -> nn.Module:
    """Both encoders, under their names in ``model``."""
    return nn.ModuleDict({"encoder": model.encoder, "target_encoder": model.target_encoder})


def _encoders_are_equal(model: IJEPA) -> bool:
    pairs = zip(model.encoder.state_dict().values(), model.target_encoder.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def load_folder(folder: str | Path) -> IJEPA:
    """Load a folder of :func:`save_folder`, in float32.

    Raises:
        FileNotFoundError, ValueError: as :func:`ijepa_viz.load_model`.
    """
    folder = Path(folder)
    data = read_json(folder / CONFIG)
    digest = str(data.pop("weights_sha256", ""))  # without one the weights count as changed
    encoders_of = data.pop(_ENCODERS_OF, None)
    config = config_files.build(ModelConfig, data, str(folder / CONFIG))
    with torch.device("meta"):  # no allocation: the weights are mapped from the file
        model = IJEPA(config)
    names = tensor_names(folder / WEIGHTS)
    if encoders_of is None and names and all(n.startswith("predictor.") for n in names):
        raise ValueError(f"{folder / WEIGHTS} holds a predictor alone, and {CONFIG} does not say for which encoders.")
    if encoders_of is not None:
        _take_encoders(model, encoders_of, folder / CONFIG)
        read_into(_predictor_alone(model), folder / WEIGHTS, digest, mapped=True)
    elif model.predictor is None and not any(n.startswith("target_encoder.") for n in names):
        read_into(_one_encoder(model), folder / WEIGHTS, digest, mapped=True)
        copied = {name: value.clone() for name, value in model.encoder.state_dict().items()}
        model.target_encoder.load_state_dict(copied, assign=True)
    else:
        read_into(model, folder / WEIGHTS, digest, mapped=True)
    model.why_no_predictor = why_no_predictor(folder) or model.why_no_predictor
    return model


def _take_encoders(model: IJEPA, encoders_of: Any, path: Path) -> None:
    """Put the encoders of the bundled model that a config names in the place of ``model``'s.

    Raises:
        FileNotFoundError, ValueError: as :func:`ijepa_viz.load_model`.
    """
    known = isinstance(encoders_of, dict) and {k: type(v) for k, v in encoders_of.items()} == {
        "model": str,
        "sha256": str,
    }
    if not known or model.predictor is None:
        raise ValueError(f"{path} is damaged: {_ENCODERS_OF} is a model's name and sha256, beside a predictor.")
    name = encoders_of["model"]
    if name not in bundled_names():
        raise FileNotFoundError(f"{path} holds a predictor for the encoders of {name!r}, which is no bundled model.")
    if read_json(BUNDLED / name / CONFIG).get(_ENCODERS_OF):
        raise ValueError(f"{path} names the encoders of {name!r}, which has none of its own.")
    theirs = load_folder(BUNDLED / name)
    if fingerprint(_encoders(theirs)) != encoders_of["sha256"]:
        raise ValueError(
            f"{path} holds a predictor for other encoders than those of the bundled {name!r}: it was edited, or "
            "written with another version of ijepa_viz."
        )
    if not _computes_as(theirs.config, model.config):
        raise ValueError(f"{path} has other settings of the encoders than {name!r}, whose they are.")
    _encoders(model).load_state_dict(_encoders(theirs).state_dict(), assign=True)


def without_predictor(publisher: str) -> str:
    """The sentence on an encoder of a publisher who leaves the predictor out."""
    return (
        f"{publisher} has I-JEPA without its predictor: load the authors' own checkpoint (.pth.tar, or a published "
        "name such as ijepa-vith14-in1k)."
    )


def why_no_predictor(source: str | Path) -> str | None:
    """A sentence on why the model of a folder or bundled name cannot predict; None where it can or is no such folder.

    Raises:
        ValueError: a damaged ``config.json`` or ``objective.json``.
    """
    folder = folder_of(source)
    if not (folder / CONFIG).is_file():
        return None
    data = read_json(folder / CONFIG)
    if "model_type" not in data and data.get("predictor_width") != 0:
        return None
    if "model_type" in data:
        return without_predictor("Hugging Face")
    name = folder.name if folder.parent == BUNDLED else str(folder)
    if not (folder / OBJECTIVE).is_file():
        return f"{name} was saved as an encoder alone (predictor_width 0 in its {CONFIG})."
    objective = read_json(folder / OBJECTIVE).get("objective")
    trained = objective.get("name") if isinstance(objective, dict) else objective
    return (
        f"{name} was trained by the objective {trained!r}, a baseline that predicts no representations of target "
        "blocks: take a model of the objective 'ijepa', such as menagerie-tiny."
    )


def copy_objective(source: str | Path, folder: Path, dtype: torch.dtype | None = None) -> bool:
    """Copy the objective's own files beside a model, such as the pixel decoder of a masked autoencoder.

    Args:
        source: a model's folder, or any other source of :func:`ijepa_viz.load_model`, which has no such files.
        folder: existing. dtype: of the stored weights, as in :func:`save_folder`.

    Returns:
        Whether there were such files.

    Raises:
        OSError, ValueError: as :func:`load_folder` and :func:`save_folder`.
    """
    origin = folder_of(source)
    if not (origin / OBJECTIVE).is_file():
        return False
    card = read_json(origin / OBJECTIVE)
    tensors = read_tensors(origin / OBJECTIVE_WEIGHTS)
    check_digest(origin / OBJECTIVE_WEIGHTS, str(card.get("weights_sha256", "")))
    card["weights_sha256"] = write_tensors(folder / OBJECTIVE_WEIGHTS, tensors, dtype)
    write_file(folder / OBJECTIVE, (json.dumps(card, indent=2) + "\n").encode())
    return True
