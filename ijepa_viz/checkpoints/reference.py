"""Reading and writing of reference checkpoints (``.pth.tar``); only tensors are unpickled."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.checkpoints.filling import fill, mlp_ratio, signs
from ijepa_viz.checkpoints.torch_files import plain_names, read_torch
from ijepa_viz.models import IJEPA, SIZES, ModelConfig
from ijepa_viz.runtime import config_files


def load_reference(path: str | Path) -> IJEPA:
    """Load a reference checkpoint with ``encoder``, ``predictor`` and ``target_encoder`` state dicts.

    Sizes are inferred from tensor shapes. The number of heads cannot be: it is that of the published size of the same
    width, or of the config that :func:`save_reference` adds. Without a predictor the file opens as an encoder only.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a torch file, one that contains code, or not an I-JEPA.
    """
    config, state = from_reference(read_torch(path), str(path))
    # The weights stay memory-mapped and are read on use, which avoids a second copy of 5 GB.
    with torch.device("meta"):
        model = IJEPA(config)
    fill(model, state, str(path))
    if model.predictor is None:
        model.why_no_predictor = f"{path} holds no predictor, only its encoder was saved."
    return model


def save_reference(model: IJEPA, path: str | Path) -> None:
    """Write a ``.pth.tar`` in the format of the reference code, atomically.

    Raises:
        OSError: a write error; a previous file is intact.
        ValueError: the model has no predictor.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        torch.save(to_reference(model), partial)
        os.replace(partial, path)
    except RuntimeError as error:  # how torch.save reports a full disk
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


_PARTS = ("encoder", "predictor", "target_encoder")

_NOTE = "ijepa_viz_config"

_HEADS = {width: heads for width, _, heads, _ in SIZES.values()}


def _depth(state: dict[str, Tensor], prefix: str) -> int:
    found = {int(m[1]) for k in state if (m := re.match(rf"{prefix}\.(\d+)\.", k))}
    return max(found, default=-1) + 1


# Keys under which trainers put the state dict of their whole model.
_CONTAINERS = ("state_dict", "model")


def from_reference(data: Any, where: str) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Convert a reference checkpoint: its config, inferred from tensor shapes, and the model's state dict.

    Wrappers' prefixes (``module.``, ``_orig_mod.``) are removed. A checkpoint of encoders alone, or the state dict of
    one encoder, becomes an encoder-only model; where there is one encoder, the other is a copy of it.

    Raises:
        ValueError: a missing part, or shapes that determine no config.
    """
    parts = _parts(data, where)
    if "predictor" in parts and not {"encoder", "target_encoder"} <= parts.keys():
        missing = ", ".join(sorted({"encoder", "target_encoder"} - parts.keys()))
        raise ValueError(
            f"{where} is not an I-JEPA checkpoint: it has a predictor but no {missing}, and each of the three is "
            "needed to predict. Leave the predictor out to open the encoder alone."
        )
    first = parts["encoder"] if "encoder" in parts else parts["target_encoder"]
    if isinstance(data, dict) and _NOTE in data:
        config = config_files.build(ModelConfig, data[_NOTE], f"{where}: {_NOTE}")
        config = config if "predictor" in parts else replace(config, predictor_width=0)
    else:
        config = _infer_config(first, parts.get("predictor"), where)
    for name in ("encoder", "target_encoder"):
        if name not in parts:  # cloned, so that training one leaves the other
            parts[name] = {k: v.clone() for k, v in first.items()}
    return config, {f"{name}.{k}": v for name, part in parts.items() for k, v in part.items()}


def _parts(data: Any, where: str) -> dict[str, dict[str, Tensor]]:
    """The state dicts of the networks that ``data`` holds, by their names of ``_PARTS``."""
    if not isinstance(data, dict):
        raise ValueError(f"{where} is not an I-JEPA checkpoint: it holds a {type(data).__name__}, not a dict.")
    found = {name: data[name] for name in _PARTS if isinstance(data.get(name), dict)}
    if not found:
        for key in _CONTAINERS:
            if isinstance(data.get(key), dict):
                return _parts(data[key], f"{where}: {key}")
        found = _split(data, where)
    if not found or found.keys() == {"predictor"}:
        raise ValueError(
            f"{where} is not an I-JEPA checkpoint: needs {', '.join(_PARTS)}, or encoders alone; "
            f"has {[str(k) for k in list(data)[:8]]}.{signs([str(k) for k in data])}"
        )
    return {name: _floats(plain_names(part, f"{where}: {name}")) for name, part in found.items()}


def _split(data: dict[Any, Any], where: str) -> dict[str, dict[str, Tensor]]:
    """The networks of one flat state dict: of an ``IJEPA``, or of one encoder alone."""
    tensors = {k: v for k, v in data.items() if isinstance(v, Tensor) and v.is_floating_point()}
    if not tensors or len(tensors) < len(data):
        return {}
    plain = plain_names(tensors, where)
    if "pos_embed" in plain and "patch_embed.proj.weight" in plain:
        return {"encoder": plain}
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in plain.items():
        part, _, rest = name.partition(".")
        found.setdefault(part, {})[rest] = value
    return found if found.keys() <= set(_PARTS) else {}


def _floats(part: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() for name, value in part.items()}


def _infer_config(encoder: dict[str, Tensor], predictor: dict[str, Tensor] | None, where: str) -> ModelConfig:
    kernel = encoder.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 5:
        raise ValueError(f"{where} embeds patches of {kernel.shape[2]} frames: a model of video such as V-JEPA.")
    try:
        _, patches, width = encoder["pos_embed"].shape
        patch_size = encoder["patch_embed.proj.weight"].shape[-1]
        hidden = encoder["blocks.0.mlp.fc1.weight"].shape[0]
        narrow = predictor["mask_token"].shape[-1] if predictor else 0
    except (KeyError, ValueError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else "its pos_embed is not (1, N, D)"
        raise ValueError(f"{where} is not an I-JEPA checkpoint: {what}.{signs(list(encoder))}") from error
    if further := signs(list(encoder)):
        raise ValueError(f"{where} is not an I-JEPA checkpoint.{further}")
    side = round(patches**0.5)
    if side * side != patches:
        raise ValueError(
            f"{where}: {patches} positions are no square grid, so the shape of the pictures is unknown. Write it with "
            f"ijepa_viz's save_reference, which notes it, or put the fields of ijepa_viz.models.ModelConfig into the "
            f"file, as a dict under {_NOTE!r}, with image_size [height, width]."
        )
    if width not in _HEADS:
        raise ValueError(
            f"{where}: width {width} is no published size ({sorted(_HEADS)}), so its number of heads "
            f"is unknown. Write it with ijepa_viz's save_reference, which notes it, or put the fields of "
            f"ijepa_viz.models.ModelConfig into the file, as a dict under {_NOTE!r}."
        )
    return ModelConfig(
        image_size=side * patch_size,
        patch_size=patch_size,
        width=width,
        depth=_depth(encoder, "blocks"),
        heads=_HEADS[width],
        mlp_ratio=mlp_ratio(hidden, width),
        predictor_width=narrow,
        predictor_depth=_depth(predictor or {}, "predictor_blocks"),
        predictor_heads=_HEADS[width],
    )


def to_reference(model: IJEPA) -> dict[str, Any]:
    """Convert a model to the dict of a reference checkpoint, with its config under a further key.

    Raises:
        ValueError: the model has no predictor.
    """
    if model.predictor is None:
        raise ValueError("A reference checkpoint holds a predictor, and this model has none.")
    parts = {"encoder": model.encoder, "predictor": model.predictor, "target_encoder": model.target_encoder}
    states = {
        name: {f"module.{k}": v.detach().cpu().clone() for k, v in part.state_dict().items()}
        for name, part in parts.items()
    }
    rest: dict[str, Any] = {
        "opt": {},
        "scaler": None,
        "epoch": 0,
        "loss": 0.0,
        "batch_size": 0,
        "world_size": 1,
        "lr": 0.0,
    }
    return {**states, **rest, _NOTE: asdict(model.config)}
