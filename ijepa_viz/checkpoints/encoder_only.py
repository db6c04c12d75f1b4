"""Encoder-only checkpoints, published without a predictor: Hugging Face's ``IJepaModel`` and timm's ViTs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ijepa_viz.checkpoints.folders import CONFIG
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime.files import read_json


def load_huggingface(folder: str | Path) -> IJEPA:
    """Load a Hugging Face ``IJepaModel`` folder (context encoder only).

    Raises:
        FileNotFoundError: no safetensors file.
        ValueError: a damaged file, or not an I-JEPA.
    """
    folder = Path(folder)
    data = read_json(folder / CONFIG)
    if data.get("model_type") != "ijepa":
        raise ValueError(f"{folder} holds a {data.get('model_type')!r} model, not an 'ijepa' one.")
    try:
        parts = sorted(folder.glob("model*.safetensors"))
        state = {k: v.float() for part in parts for k, v in safetensors.torch.load_file(part).items()}
    except SafetensorError as error:
        raise ValueError(f"{folder} holds a truncated or damaged safetensors file: {error}") from error
    if not state:
        raise FileNotFoundError(f"{folder} has no model*.safetensors.")
    config, encoder = from_huggingface(data, state, str(folder))
    return _encoder_only(config, encoder, str(folder))


def load_timm(vit: nn.Module) -> IJEPA:
    """Convert a timm I-JEPA ViT such as ``vit_huge_patch14_gap_224.in1k_ijepa`` (context encoder only).

    Raises:
        ValueError: not an I-JEPA encoder.
    """
    state = {k: v.detach().clone() for k, v in vit.state_dict().items()}
    blocks: Any = vit.blocks
    config = ModelConfig(
        image_size=vit.patch_embed.img_size[0],  # type: ignore[union-attr,index,arg-type]
        patch_size=vit.patch_embed.patch_size[0],  # type: ignore[union-attr,index,arg-type]
        width=state["pos_embed"].shape[-1],
        depth=len(blocks),
        heads=blocks[0].attn.num_heads,
        mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / state["pos_embed"].shape[-1],
        predictor_width=0,
    )
    return _encoder_only(config, state, "The timm model")


def _encoder_only(config: ModelConfig, encoder: dict[str, Tensor], where: str) -> IJEPA:
    model = IJEPA(config)
    try:
        for part in (model.encoder, model.target_encoder):
            part.load_state_dict(encoder, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{where} is not an I-JEPA encoder: {error}") from error
    return model


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


def from_huggingface(
    data: dict[str, Any], state: dict[str, Tensor], where: str
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Convert an ``IJepaModel``'s config and tensors; query, key and value are concatenated.

    Raises:
        ValueError: a missing config key or tensor.
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
