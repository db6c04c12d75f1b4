"""Other people's parameter names and file layouts, as pure functions from state dicts to state dicts."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ijepa_viz import strict_config
from ijepa_viz.model import IJEPA, SIZES, ModelConfig

_PARTS = ("encoder", "predictor", "target_encoder")
_NOTE = "ijepa_viz_config"
_HEADS = {width: heads for width, _, heads, _ in SIZES.values()}

_HUGGINGFACE = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)


def _depth(state: dict[str, Tensor], prefix: str) -> int:
    found = {int(m[1]) for k in state if (m := re.match(rf"{prefix}\.(\d+)\.", k))}
    return max(found, default=-1) + 1


def _plain(state: Any) -> dict[str, Tensor]:
    """Without the ``module.`` prefix that DistributedDataParallel leaves."""
    return {k.removeprefix("module."): v.float() for k, v in state.items()}


def from_reference(data: Any, where: str) -> tuple[ModelConfig, dict[str, Tensor]]:
    """A reference checkpoint's dict -> sizes read from the tensors, and our state dict.

    Raises:
        ValueError: a part missing, or tensors that give no size.
    """
    if not isinstance(data, dict) or any(not isinstance(data.get(p), dict) for p in _PARTS):
        found = list(data)[:8] if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"{where} is not an I-JEPA checkpoint: needs {', '.join(_PARTS)}, has {found}.")
    parts = {name: _plain(data[name]) for name in _PARTS}
    if _NOTE in data:
        config = strict_config.build(ModelConfig, data[_NOTE], f"{where}: {_NOTE}")
    else:
        config = _measured(parts["encoder"], parts["predictor"], where)
    return config, {f"{name}.{k}": v for name, part in parts.items() for k, v in part.items()}


def _measured(encoder: dict[str, Tensor], predictor: dict[str, Tensor], where: str) -> ModelConfig:
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
    """The dict of a reference checkpoint, with our sizes noted beside its own keys.

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


def from_huggingface(
    data: dict[str, Any], state: dict[str, Tensor], where: str
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """An ``IJepaModel``'s config and tensors -> ours; q, k and v are joined.

    Raises:
        ValueError: a key missing, or a bias that is not there.
    """
    state = {k.removeprefix("ijepa."): v for k, v in state.items()}
    state = {k: v for k, v in state.items() if not k.startswith("pooler.")}
    if "embeddings.position_embeddings" not in state:
        raise ValueError(f"{where} has no embeddings.position_embeddings.")
    renamed: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in _HUGGINGFACE:
            new = re.sub(pattern, replacement, new)
        match = re.match(r"(blocks\.\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)$", new)
        if match:
            joined.setdefault(f"{match[1]}.attn.qkv.{match[3]}", {})[match[2]] = value
        else:
            renamed[new] = value
    for name, three in joined.items():
        if len(three) != 3:
            raise ValueError(f"{where}: {name} needs query, key and value, has {', '.join(three)}.")
        renamed[name] = torch.cat([three["query"], three["key"], three["value"]])
    try:
        config = ModelConfig(
            image_size=data["image_size"],
            patch_size=data["patch_size"],
            width=data["hidden_size"],
            depth=data["num_hidden_layers"],
            heads=data["num_attention_heads"],
            mlp_ratio=data["intermediate_size"] / data["hidden_size"],
            predictor_width=0,
            norm_eps=data.get("layer_norm_eps", 1e-6),
        )
    except KeyError as error:
        raise ValueError(f"{where}/config.json has no {error}.") from error
    return config, renamed
