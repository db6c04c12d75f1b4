"""Reading and writing of reference checkpoints (``.pth.tar``); only tensors are unpickled."""

from __future__ import annotations

import os
import pickle
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.models import IJEPA, SIZES, ModelConfig
from ijepa_viz.runtime import config_files


def load_reference(path: str | Path) -> IJEPA:
    """Load a reference checkpoint with ``encoder``, ``predictor`` and ``target_encoder`` state dicts.

    Sizes are inferred from tensor shapes. The number of heads cannot be: it is that of the published size of the same
    width, or of the config that :func:`save_reference` adds.

    Raises:
        ValueError: not a torch file, one that contains code, or not an I-JEPA.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values (code, perhaps) and was not opened: {error}"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a torch checkpoint, or is damaged: {error}") from error
    config, state = from_reference(data, str(path))
    # The weights stay memory-mapped and are read on use, which avoids a second copy of 5 GB.
    with torch.device("meta"):
        model = IJEPA(config)
    try:
        model.load_state_dict({name: value.float() for name, value in state.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path} is not an I-JEPA checkpoint: {error}") from error
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


def _plain(state: Any) -> dict[str, Tensor]:
    """Strip the ``module.`` prefix of DistributedDataParallel."""
    return {k.removeprefix("module."): v.float() for k, v in state.items()}


def from_reference(data: Any, where: str) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Convert a reference checkpoint: its config, inferred from tensor shapes, and the model's state dict.

    Raises:
        ValueError: a missing part, or shapes that determine no config.
    """
    if not isinstance(data, dict) or any(not isinstance(data.get(p), dict) for p in _PARTS):
        found = list(data)[:8] if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"{where} is not an I-JEPA checkpoint: needs {', '.join(_PARTS)}, has {found}.")
    parts = {name: _plain(data[name]) for name in _PARTS}
    if _NOTE in data:
        config = config_files.build(ModelConfig, data[_NOTE], f"{where}: {_NOTE}")
    else:
        config = _infer_config(parts["encoder"], parts["predictor"], where)
    return config, {f"{name}.{k}": v for name, part in parts.items() for k, v in part.items()}


def _infer_config(encoder: dict[str, Tensor], predictor: dict[str, Tensor], where: str) -> ModelConfig:
    try:
        _, patches, width = encoder["pos_embed"].shape
        patch_size = encoder["patch_embed.proj.weight"].shape[-1]
        hidden = encoder["blocks.0.mlp.fc1.weight"].shape[0]
        narrow = predictor["mask_token"].shape[-1]
    except KeyError as error:
        raise ValueError(f"{where} is not an I-JEPA checkpoint: it has no {error}.") from error
    side = round(patches**0.5)
    if side * side != patches:
        raise ValueError(f"{where}: {patches} positions are no square grid.")
    if width not in _HEADS:
        raise ValueError(
            f"{where}: width {width} is no published size ({sorted(_HEADS)}), so its number of heads "
            "is unknown. Write it with ijepa_viz's save_reference, which notes it."
        )
    return ModelConfig(
        image_size=side * patch_size,
        patch_size=patch_size,
        width=width,
        depth=_depth(encoder, "blocks"),
        heads=_HEADS[width],
        mlp_ratio=hidden / width,
        predictor_width=narrow,
        predictor_depth=_depth(predictor, "predictor_blocks"),
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
