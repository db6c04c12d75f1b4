"""Hugging Face's ``IJepaModel`` and ``IJepaForImageClassification``: every config field is honoured or refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.checkpoints.encoder_only import encoder_only, note_normalisation, say, size_of, square
from ijepa_viz.checkpoints.filling import mlp_ratio
from ijepa_viz.checkpoints.folders import CONFIG, without_predictor
from ijepa_viz.checkpoints.torch_files import plain_names, read_torch
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime.files import read_json
from ijepa_viz.runtime.tensors import read_tensors

PREPROCESSOR = "preprocessor_config.json"

# Our names of the activations that transformers calls so; those in one line differ by rounding only.
_ACTIVATIONS = {
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), "gelu_tanh"),
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    **dict.fromkeys(("silu", "swish"), "silu"),
}

# Fields of other computations than this one, with the values by which they change nothing, and the mend.
_NEUTRAL: dict[str, tuple[tuple[Any, ...], str]] = {
    "quantization_config": ((None,), "dequantise the model and save it as floats"),
    "auto_map": ((None, {}), "code beside a model is not run; leave the key out if its class is transformers' own"),
    "pruned_heads": ((None, {}), "all heads are needed"),
    "num_channels": ((3,), "images have 3 channels here"),
}


def load_huggingface(folder: str | Path) -> IJEPA:
    """Load a Hugging Face I-JEPA folder (context encoder only); a classifier's head is left out.

    Raises:
        FileNotFoundError: no weights, or a missing shard of them.
        ValueError: a damaged file, not an I-JEPA, or a config that asks for another computation.
    """
    folder = Path(folder)
    data = read_json(folder / CONFIG)
    if data.get("model_type") != "ijepa":
        raise ValueError(f"{folder} holds a {data.get('model_type')!r} model, not an 'ijepa' one.")
    state = _weights(folder)
    config, encoder = from_huggingface(data, state, str(folder))
    model = encoder_only(config, encoder, str(folder), without_predictor("Hugging Face"))
    classes = next((len(v) for k, v in state.items() if k.endswith("classifier.weight")), None)
    if classes is not None:
        say(f"{folder} is a classifier: its encoder is loaded, its head of {classes} classes is left out.")
    if (folder / PREPROCESSOR).is_file():
        given = read_json(folder / PREPROCESSOR)
        if given.get("do_normalize", True) and "image_mean" in given and "image_std" in given:
            note_normalisation(given["image_mean"], given["image_std"], str(folder / PREPROCESSOR))
    return model


def _weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, of one file or of shards, by transformers' order of preference."""
    for stem, ending, read in (("model", "safetensors", read_tensors), ("pytorch_model", "bin", _read_bin)):
        whole, index = folder / f"{stem}.{ending}", folder / f"{stem}.{ending}.index.json"
        if whole.is_file():
            return read(whole)
        if index.is_file():
            return _sharded(folder, index, read)
        shards = sorted(folder.glob(f"{stem}-*-of-*.{ending}"))
        if shards:
            count = int(shards[0].stem.rpartition("-")[2])
            names = [f"{stem}-{i:05d}-of-{count:05d}.{ending}" for i in range(1, count + 1)]
            _all_there(folder, names)
            return {k: v for name in names for k, v in read(folder / name).items()}
        variants = sorted(folder.glob(f"{stem}.*.{ending}"))
        if len(variants) == 1:
            return read(variants[0])
    raise FileNotFoundError(f"{folder} has no model.safetensors and no pytorch_model.bin.{_instead(folder)}")


def _sharded(folder: Path, index: Path, read: Any) -> dict[str, Tensor]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or any(Path(str(name)).name != name for name in table.values()):
        raise ValueError(f"{index} is damaged: its weight_map does not name files of this folder.")
    names = sorted(set(table.values()))
    _all_there(folder, names)
    state = {k: v for name in names for k, v in read(folder / name).items()}
    missing = [key for key in table if key not in state]
    if missing:
        raise ValueError(f"{index} names {missing[0]} ({len(missing)} in all), which is in none of its files.")
    return {key: state[key] for key in table}


def _all_there(folder: Path, names: list[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing[:3])}, {len(missing)} of its {len(names)} files of weights: "
            "the download is not complete."
        )


def _read_bin(path: Path) -> dict[str, Tensor]:
    data = read_torch(path)
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}, not a state dict.")
    return data


def _instead(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return " It holds an adapter: merge it into its model first (merge_and_unload() in peft), and save that."
    if any((folder / name).is_file() for name in ("tf_model.h5", "flax_model.msgpack")):
        return " It holds TensorFlow's or Flax's weights: save the model from PyTorch."
    return " Was only a part of it fetched?"


# In transformers' own names of today, and in those of the files that it writes and published.
_RENAMED = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.attention\.(query|key|value)\.", r".\1."),
    (r"\.attention\.q_proj\.", ".query."),
    (r"\.attention\.k_proj\.", ".key."),
    (r"\.attention\.v_proj\.", ".value."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)

# Tensors that the tokens do not depend on: heads, and the mask token of masked image modelling.
_UNUSED = ("pooler.", "classifier.", "embeddings.mask_token")


def from_huggingface(
    data: dict[str, Any], state: dict[str, Tensor], where: str
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Convert an ``IJepaModel``'s config and tensors; query, key and value are concatenated.

    Raises:
        ValueError: a missing config key or tensor, or a config that asks for another computation.
    """
    config = _config(data, f"{where}/{CONFIG}")
    state = {k.removeprefix("ijepa."): v for k, v in plain_names(state, where).items()}
    state = {k: v for k, v in state.items() if not k.startswith(_UNUSED)}
    if "embeddings.position_embeddings" not in state:
        raise ValueError(f"{where} has no embeddings.position_embeddings.")
    renamed: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in _RENAMED:
            new = re.sub(pattern, replacement, new)
        match = re.match(r"(blocks\.\d+)\.(query|key|value)\.(weight|bias)$", new)
        if match:
            joined.setdefault(f"{match[1]}.attn.qkv.{match[3]}", {})[match[2]] = value
        else:
            renamed[new] = value
    for name, three in joined.items():
        if len(three) != 3:
            raise ValueError(f"{where}: {name} needs query, key and value, has {', '.join(three)}.")
        renamed[name] = torch.cat([three["query"], three["key"], three["value"]])
    if not data.get("qkv_bias", True):  # the same computation with biases of zero
        for i in range(config.depth):
            renamed.setdefault(f"blocks.{i}.attn.qkv.bias", torch.zeros(3 * config.width))
    return config, renamed


def _config(data: dict[str, Any], where: str) -> ModelConfig:
    """The config of an ``IJepaConfig``; optional fields default to what transformers takes for them."""
    for key, (values, mend) in _NEUTRAL.items():
        if data.get(key, values[0]) not in values:
            raise ValueError(f"{where}: {key} is {data[key]!r}, which is not supported: {mend}.")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    try:
        width, depth, heads, hidden = (_whole(data[name], name, where) for name in names)
        image = size_of(data["image_size"], "image_size", where)
        patch = square(data["patch_size"], "patch_size", where)
    except KeyError as error:
        raise ValueError(f"{where} has no {error}.") from error
    act = data.get("hidden_act", "gelu")
    if act not in _ACTIVATIONS:
        raise ValueError(f"{where}: hidden_act {act!r} is not supported; {', '.join(_ACTIVATIONS)} are.")
    head = data.get("head_dim")
    if head is not None and head * heads != width:
        raise ValueError(f"{where}: head_dim {head} with {heads} heads is not supported, only {width} // {heads}.")
    eps = data.get("layer_norm_eps", 1e-12)
    if isinstance(eps, bool) or not isinstance(eps, int | float) or eps < 0:
        raise ValueError(f"{where}: layer_norm_eps must be a number, got {eps!r}.")
    try:
        return ModelConfig(
            image_size=image,
            patch_size=patch,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio(hidden, width),
            predictor_width=0,
            norm_eps=float(eps),
            activation=_ACTIVATIONS[act],
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _whole(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where}: {name} must be a positive whole number, got {value!r}.")
    return value
