"""timm's Vision Transformers without a class token, I-JEPA's among them: computed as timm does, or refused."""

from __future__ import annotations

from typing import Any

import timm.layers
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ijepa_viz.checkpoints.encoder_only import encoder_only, note_normalisation, say, size_of, square
from ijepa_viz.checkpoints.filling import mlp_ratio
from ijepa_viz.checkpoints.folders import without_predictor
from ijepa_viz.checkpoints.torch_files import plain_names
from ijepa_viz.models import IJEPA, ModelConfig

_ENCODER = ("pos_embed", "patch_embed.", "blocks.", "norm.")


def load_timm(vit: nn.Module) -> IJEPA:
    """Convert a timm I-JEPA ViT such as ``vit_huge_patch14_gap_224.in1k_ijepa`` (context encoder only).

    The model's tokens are those of ``vit.forward_features`` in evaluation mode; a classifier's head is left out.

    Raises:
        ValueError: not an I-JEPA encoder; the message names the option in which it differs.
    """
    for wrapper in ("module", "_orig_mod"):
        vit = getattr(vit, wrapper, vit)
    for wrong, what in _differences(vit):
        if wrong:
            raise ValueError(f"The timm model is not an I-JEPA encoder: it has {what}.")
    net: Any = vit
    where = "The timm model"
    state = {k: v.detach().clone() for k, v in plain_names(vit.state_dict(), where).items() if k.startswith(_ENCODER)}
    width, depth = net.embed_dim, len(net.blocks)
    config = ModelConfig(
        image_size=size_of(net.patch_embed.img_size, "img_size", where),
        patch_size=square(net.patch_embed.patch_size, "patch_size", where),
        width=width,
        depth=depth,
        heads=net.blocks[0].attn.num_heads,
        mlp_ratio=mlp_ratio(net.blocks[0].mlp.fc1.out_features, width),
        predictor_width=0,
        norm_eps=net.norm.eps,
        activation=_activation(net.blocks[0].mlp.act) or "",
    )
    model = encoder_only(config, _with_zero_biases(config, state), where, without_predictor("timm"))
    if isinstance(getattr(net, "head", None), nn.Linear):
        say(f"{where} is a classifier: its encoder is loaded, its head of {net.head.out_features} classes is left out.")
    cfg = getattr(net, "pretrained_cfg", None) or {}
    if cfg.get("mean") and cfg.get("std"):
        note_normalisation(cfg["mean"], cfg["std"], f"{where}'s pretrained_cfg")
    return model


def _differences(vit: Any) -> Any:
    """(whether it differs, how) of every option of timm's ViT that changes its tokens, checked one after the other."""
    methods = ("forward_features", "_pos_embed")
    plain = all(getattr(type(vit), name, None) is getattr(VisionTransformer, name) for name in methods)
    yield not plain, f"the class {type(vit).__name__}, not timm's VisionTransformer"
    yield vit.num_prefix_tokens, "a class token or register tokens (class_token, reg_tokens)"
    yield vit.pos_embed is None, "no position embedding (pos_embed)"
    yield type(vit.norm_pre) is not nn.Identity, "a norm before the blocks (pre_norm)"
    yield (
        not isinstance(vit.norm, nn.LayerNorm),
        f"{_name(vit.norm)} as its final norm of the tokens (norm_layer, final_norm, or fc_norm, which norms the mean)",
    )
    embed = vit.patch_embed
    yield not isinstance(getattr(embed, "proj", None), nn.Conv2d), f"{_name(embed)} as its embedding (embed_layer)"
    yield type(embed.norm) is not nn.Identity, "a norm of the patch embedding (embed_norm_layer)"
    yield embed.proj.in_channels != 3, f"{embed.proj.in_channels} channels of input (in_chans)"
    yield embed.img_size is None, "no image size (img_size)"
    for block in vit.blocks:
        yield type(block) is not Block, f"{_name(block)} as its block (block_fn)"
        for option, value in (("ls1", "init_values"), ("ls2", "init_values")):
            yield type(getattr(block, option)) is not nn.Identity, f"LayerScale ({value})"
        attention, mlp = block.attn, block.mlp
        yield type(attention) is not timm.layers.Attention, f"{_name(attention)} as its attention (attn_layer)"
        yield type(attention.q_norm) is not nn.Identity, "normalised queries and keys (qk_norm)"
        yield type(attention.norm) is not nn.Identity, "a norm of the attention's output (scale_attn_norm)"
        yield getattr(attention, "gate", None) is not None, "gated attention"
        heads, dim = attention.num_heads, attention.head_dim
        yield heads * dim != vit.embed_dim or heads != vit.blocks[0].attn.num_heads, f"{heads} heads of {dim}"
        yield attention.scale != dim**-0.5, f"the attention's scale {attention.scale}"
        yield type(mlp) is not timm.layers.Mlp, f"{_name(mlp)} as its MLP (mlp_layer)"
        yield type(mlp.norm) is not nn.Identity, "a norm within the MLP (scale_mlp_norm)"
        own = _activation(mlp.act)
        yield own is None, f"{_name(mlp.act)} as its activation (act_layer)"
        yield own != _activation(vit.blocks[0].mlp.act), "several activations"
        for norm in (block.norm1, block.norm2):
            yield not isinstance(norm, nn.LayerNorm), f"{_name(norm)} as its norm (norm_layer)"
            yield norm.eps != vit.norm.eps, f"norms of eps {norm.eps} and {vit.norm.eps}"


def _name(module: Any) -> str:
    return type(module).__name__


def _activation(module: nn.Module) -> str | None:
    """Our name of an activation, or None for one that is not supported."""
    if isinstance(module, nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    names = (
        (timm.layers.GELU, "gelu"),
        (timm.layers.GELUTanh, "gelu_tanh"),
        (timm.layers.QuickGELU, "quick_gelu"),
        (nn.ReLU, "relu"),
        (nn.SiLU, "silu"),
        (timm.layers.Swish, "silu"),
    )
    return next((name for kind, name in names if type(module) is kind), None)


def _with_zero_biases(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with zeros for the biases that the options qkv_bias and proj_bias leave out, the same computation."""
    sizes = {"attn.qkv": 3 * config.width, "attn.proj": config.width, "mlp.fc2": config.width}
    sizes["mlp.fc1"] = state["blocks.0.mlp.fc1.weight"].shape[0]
    for i in range(config.depth):
        for name, size in sizes.items():
            state.setdefault(f"blocks.{i}.{name}.bias", torch.zeros(size))
    state.setdefault("patch_embed.proj.bias", torch.zeros(config.width))
    return state
