"""Reader of the reference code's YAML configs: every key is translated, reported as without effect, or refused.

Sections data, logging, mask, meta and optimization. Epochs become steps, which requires the number of images; the
reference's batch size is that of one GPU, ours that of all processes together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ijepa_viz.data.opening import open_source
from ijepa_viz.models import ModelConfig
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_text
from ijepa_viz.runtime.run_folder import saved_steps
from train.config import (
    DataConfig,
    MaskConfig,
    OptimizationConfig,
    PretrainRunConfig,
    TrainConfig,
)

# section -> its keys; all are required, as in every config of the reference code.
KEYS: dict[str, tuple[str, ...]] = {
    "data": (
        "batch_size", "color_jitter_strength", "crop_scale", "crop_size", "image_folder", "num_workers", "pin_mem",
        "root_path", "use_color_distortion", "use_gaussian_blur", "use_horizontal_flip",
    ),
    "logging": ("folder", "write_tag"),
    "mask": (
        "allow_overlap", "aspect_ratio", "enc_mask_scale", "min_keep", "num_enc_masks", "num_pred_masks", "patch_size",
        "pred_mask_scale",
    ),
    "meta": (
        "copy_data", "load_checkpoint", "model_name", "pred_depth", "pred_emb_dim", "read_checkpoint", "use_bfloat16",
    ),
    "optimization": (
        "ema", "epochs", "final_lr", "final_weight_decay", "ipe_scale", "lr", "start_lr", "warmup", "weight_decay",
    ),
}  # fmt: skip
_PLACEHOLDER = "$"
# (section, key) -> the only supported value, and the reason.
_REFUSED: dict[tuple[str, str], tuple[Any, str]] = {
    ("data", "use_color_distortion"): (False, "I-JEPA is trained without hand-made augmentations (section 3)"),
    ("data", "use_gaussian_blur"): (False, "I-JEPA is trained without hand-made augmentations (section 3)"),
    ("mask", "allow_overlap"): (False, "a context that holds its targets makes the task trivial (section 3)"),
    ("mask", "num_enc_masks"): (1, "one context block an image is what the paper describes (section 3)"),
    ("meta", "copy_data"): (False, "copying a data set to a local disk is left to the job's script"),
}


def load_config(
    path: str | Path, overrides: Sequence[str] = (), processes: int = 1, dry_run: bool = False
) -> tuple[TrainConfig, bool, list[str]]:
    """Load a training config from a YAML file in our schema or in the reference code's.

    Args:
        path: the file.
        overrides: ``section.key=value`` in our schema; they take precedence over the file.
        processes: number of training processes: the reference's batch size is that of one.
        dry_run: as :func:`translate`.

    Returns:
        The config; whether the file asks to resume and there is a checkpoint to resume from; and notes on the
        translation, for the user.

    Raises:
        FileNotFoundError, ValueError: as :func:`ijepa_viz.runtime.config_files.load` and :func:`translate`.
    """
    path = Path(path)
    if path.is_file():
        try:
            data = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not valid YAML: {error}") from error
        if isinstance(data, dict) and {"meta", "logging"} & set(data):
            config, resume, notes = translate(data, str(path), processes, dry_run)
            config = config_files.override(config, overrides)
            if resume and not saved_steps(config.run.folder):
                resume = False
                notes.append(f"meta.load_checkpoint: no checkpoint in {config.run.folder} yet, so a new run starts.")
            return config, resume, notes
    return config_files.load(TrainConfig, path, overrides), False, []


def translate(
    data: dict[str, Any], where: str, processes: int = 1, dry_run: bool = False
) -> tuple[TrainConfig, bool, list[str]]:
    """Translate a config of the reference schema into ours; returns as :func:`load_config`.

    Args:
        data: the parsed YAML.
        where: its name in error messages.
        processes: number of training processes.
        dry_run: accept a data set smaller than one batch, which a dry run plans before it refuses it.

    Raises:
        ValueError: a missing or unknown key, a placeholder, or an unsupported value, with the reason.
    """
    _check_keys(data, where)
    _check_placeholders(data, where)
    for (section, key), (accepted, why) in _REFUSED.items():
        if data[section][key] != accepted:
            raise ValueError(
                f"{where}: {section}.{key}: {data[section][key]!r} is not supported: {why}. Set {accepted!r}."
            )
    pictures, masks, meta, plan = data["data"], data["mask"], data["meta"], data["optimization"]
    source = os.path.join(str(pictures["root_path"]), str(pictures["image_folder"]))
    if Path(source, "train").is_dir():  # the training split of an ImageNet folder
        source = os.path.join(source, "train")
    total = len(open_source(source))
    batch = int(pictures["batch_size"]) * processes
    epoch = total // batch
    if not epoch and not dry_run:
        raise ValueError(f"{where}: {source} has {total} pictures, fewer than one batch of {batch}.")
    epoch = max(1, epoch)
    name = str(meta["model_name"])
    if not name.startswith("vit_"):
        raise ValueError(f"{where}: meta.model_name is vit_tiny, vit_small, ... or vit_giant, got {name!r}.")
    model = ModelConfig.of_size(
        name.removeprefix("vit_"),
        image_size=int(pictures["crop_size"]),
        patch_size=int(masks["patch_size"]),
        predictor_depth=int(meta["pred_depth"]),
        predictor_width=int(meta["pred_emb_dim"]),
    )
    folder = str(data["logging"]["folder"])
    sections = {
        "data": {
            "source": source,
            "crop_scale": pictures["crop_scale"],
            "horizontal_flip": pictures["use_horizontal_flip"],
            "keep": False,
            "workers": pictures["num_workers"] or None,
        },
        "mask": {
            "strategy": "multiblock",
            "options": {
                "mode": "faithful",
                "targets": int(masks["num_pred_masks"]),
                "target_scale": [float(v) for v in masks["pred_mask_scale"]],
                "target_aspect": [float(v) for v in masks["aspect_ratio"]],
                "context_scale": [float(v) for v in masks["enc_mask_scale"]],
                "min_keep": int(masks["min_keep"]),
            },
        },
        "optimization": {
            "steps": int(plan["epochs"]) * epoch,
            "schedule_steps": round(float(plan["ipe_scale"]) * int(plan["epochs"]) * epoch),
            "batch_size": batch,
            "warmup": int(plan["warmup"]) * epoch,
            **{key: plan[key] for key in ("lr", "start_lr", "final_lr", "weight_decay", "final_weight_decay", "ema")},
        },
        "run": {"folder": folder, "precision": "bf16" if meta["use_bfloat16"] else "fp32"},
    }
    kinds: dict[str, type] = {
        "data": DataConfig,
        "mask": MaskConfig,
        "optimization": OptimizationConfig,
        "run": PretrainRunConfig,
    }
    built: dict[str, Any] = {key: config_files.build(kinds[key], sections[key], f"{where}: {key}") for key in sections}
    resume, start = _start(meta, folder)
    notes = [
        f"{where} has the reference's schema: {total} pictures, {epoch} steps an epoch of batch {batch} "
        f"({pictures['batch_size']} on each of {processes} processes).",
        "data.pin_mem changes nothing: batches are assembled in threads of the training process.",
        "data.color_jitter_strength changes nothing without use_color_distortion.",
        f"logging.write_tag {data['logging']['write_tag']!r} changes nothing: the log is {folder}/log.csv.",
    ]
    return TrainConfig(start_from=start, model=model, **built), resume, notes


def _start(meta: dict[str, Any], folder: str) -> tuple[bool, str | None]:
    """(Whether to resume the run in ``folder``, the named checkpoint to start from or None)."""
    if not meta["load_checkpoint"]:
        return False, None
    if meta["read_checkpoint"]:
        return False, os.path.join(folder, str(meta["read_checkpoint"]))
    return True, None


def _check_keys(data: dict[str, Any], where: str) -> None:
    for section in data:
        if section not in KEYS:
            raise ValueError(f"{where}: unknown section {section!r}; the reference has {', '.join(KEYS)}.")
    for section, keys in KEYS.items():
        given = data.get(section)
        if not isinstance(given, dict):
            raise ValueError(f"{where}: the section {section!r} is missing.")
        for key in given:
            if key not in keys:
                raise ValueError(f"{where}: unknown key {section}.{key}; known are {', '.join(keys)}.")
        for key in keys:
            if key not in given:
                raise ValueError(f"{where}: {section}.{key} is missing.")


def _check_placeholders(data: dict[str, Any], where: str) -> None:
    means = {
        "folder": "the folder for logs and checkpoints",
        "root_path": "the folder that holds the data set's folder",
        "image_folder": "the data set's folder inside root_path",
    }
    for section, keys in data.items():
        for key, value in keys.items():
            if isinstance(value, str) and value.startswith(_PLACEHOLDER):
                wanted = means.get(key, "a value")
                raise ValueError(f"{where}: {section}.{key} is still the placeholder {value!r}: set it to {wanted}.")
