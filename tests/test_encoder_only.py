"""Encoders of Hugging Face and timm: the computation of their own classes, or a refusal that names the field."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest
import safetensors.torch
import timm
import timm.layers
import torch
from timm.models import vision_transformer as theirs
from transformers import IJepaConfig, IJepaForImageClassification, IJepaModel
from transformers.utils import logging as hf_logging

from decoders import load_decoder
from ijepa_viz import checkpoints
from ijepa_viz.checkpoints import load_model, load_timm, save_folder
from ijepa_viz.masks import Masks

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 8,
    "layer_norm_eps": 1e-6,
}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def loud(model):
    """Weights large enough that another activation or epsilon shows."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


@pytest.fixture
def saved(tmp_path):
    """Save a Hugging Face model of small sizes; returns it and its folder."""
    hf_logging.disable_progress_bar()

    def save(kind=IJepaModel, shard="1GB", **options):
        model = loud(kind(IJepaConfig(**{**SIZES, **options})))
        model.save_pretrained(tmp_path / "hf", max_shard_size=shard)
        return model, tmp_path / "hf"

    return save


def edit(folder, **changes):
    """Change keys of config.json; ... removes one."""
    data = json.loads((folder / "config.json").read_text())
    data = {k: v for k, v in {**data, **changes}.items() if v is not ...}
    (folder / "config.json").write_text(json.dumps(data))


def difference(ours, theirs, images=IMAGES):
    with torch.no_grad():
        tokens = theirs(images)
        tokens = getattr(tokens, "last_hidden_state", tokens)
        return float((ours.eval().encode_target(images) - tokens).abs().max())


# --------------------------------------------------------------------------- Hugging Face


@pytest.mark.parametrize(
    "options",
    [
        *({"hidden_act": a} for a in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu", "silu", "swish")),
        {"layer_norm_eps": 0.1},
        {"qkv_bias": False},
        {"image_size": [32, 32], "patch_size": [8, 8]},
        {"num_attention_heads": 3},
        {"hidden_size": 44, "intermediate_size": 60},  # 44 * (60 / 44) is 59.99... in floats
        {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_config_fields_are_honoured(saved, options):
    model, folder = saved(**options)
    assert difference(load_model(folder), model) < 2e-6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "mish"}, "hidden_act 'mish'"),
        ({"hidden_act": "gelu_10"}, "hidden_act 'gelu_10'"),
        ({"image_size": [32, 64]}, "position embeddings .* 4x8 grid"),
        ({"patch_size": [8, 4]}, r"patch_size is \[8, 4\]; only square"),
        ({"image_size": "32"}, "image_size must be"),
        ({"image_size": 64}, "position embeddings .* 8x8 grid"),
        ({"patch_size": 7}, "config.json: image_size 32 is not a multiple"),
        ({"num_channels": 1}, "num_channels is 1"),
        ({"head_dim": 6}, "head_dim 6"),
        ({"num_attention_heads": "4"}, "num_attention_heads must be"),
        ({"num_attention_heads": ...}, "no 'num_attention_heads'"),
        ({"num_hidden_layers": 1}, r"also has blocks\.1\."),
        ({"num_hidden_layers": 3}, r"lacks blocks\.2\."),
        ({"quantization_config": {"load_in_8bit": True}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "own.Model"}}, "auto_map"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"model_type": "dinov2"}, "'dinov2' model"),
    ],
    ids=str,
)
def test_other_computations_are_refused_by_name(saved, changes, words):
    _, folder = saved()
    edit(folder, **changes)
    with pytest.raises(ValueError, match=words):
        load_model(folder)


def test_a_missing_epsilon_is_that_of_transformers(saved):
    _, folder = saved()
    edit(folder, layer_norm_eps=...)
    assert load_model(folder).config.norm_eps == IJepaConfig().layer_norm_eps


def test_a_fine_tuned_classifier_opens_as_its_encoder(saved, capsys):
    model, folder = saved(IJepaForImageClassification, num_labels=7)
    ours = load_model(folder)
    assert difference(ours, model.ijepa) < 2e-6
    told = capsys.readouterr().err
    assert "head of 7 classes is left out" in told
    assert told.count("\n") == 1
    saved_encoder = folder.parent / "encoder"
    save_folder(ours, saved_encoder)
    assert difference(load_model(saved_encoder), model.ijepa) < 2e-6


def test_heads_of_pooling_and_mask_tokens_are_left_out(saved):
    model, folder = saved(lambda config: IJepaModel(config, add_pooling_layer=True, use_mask_token=True))
    assert difference(load_model(folder), model) < 2e-6


def test_an_activation_is_kept_by_our_own_folders(saved, tmp_path):
    model, folder = saved(hidden_act="relu")
    save_folder(load_model(folder), tmp_path / "ours")
    again = load_model(tmp_path / "ours")
    assert again.config.activation == "relu"
    assert difference(again, model) < 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(saved, dtype):
    model, folder = saved()
    model.to(dtype).save_pretrained(folder)
    assert difference(load_model(folder), model.float()) < 2e-6


def test_shards_with_and_without_their_index(saved):
    model, folder = saved(shard="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    assert difference(load_model(folder), model) < 2e-6
    (folder / "model.safetensors.index.json").rename(folder / "index.json")
    assert difference(load_model(folder), model) < 2e-6
    sorted(folder.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(FileNotFoundError, match="lacks model-00002-of"):
        load_model(folder)
    (folder / "index.json").rename(folder / "model.safetensors.index.json")
    with pytest.raises(FileNotFoundError, match="lacks model-00002-of"):
        load_model(folder)


def test_an_index_that_leaves_the_folder_is_refused(saved):
    _, folder = saved(shard="20KB")
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"] = {k: f"../{v}" for k, v in data["weight_map"].items()}
    index.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="weight_map"):
        load_model(folder)


def test_weights_of_another_variant_beside_are_not_mixed_in(saved):
    model, folder = saved()
    state = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file({k: v * 0 for k, v in state.items()}, folder / "model.z_ema.safetensors")
    assert difference(load_model(folder), model) < 2e-6


def test_a_bin_file_and_a_raw_state_dict(saved):
    """``pytorch_model.bin``, with the names that modules have in transformers today, wrapped and compiled."""
    model, folder = saved()
    (folder / "model.safetensors").unlink()
    torch.save({f"module._orig_mod.{k}": v for k, v in model.state_dict().items()}, folder / "pytorch_model.bin")
    assert difference(load_model(folder), model) < 2e-6


def test_another_normalisation_is_said(saved, capsys):
    model, folder = saved()
    for mean, lines in (([0.485, 0.456, 0.406], 0), ([0.5, 0.5, 0.5], 1)):
        std = [0.229, 0.224, 0.225] if lines == 0 else mean
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
        assert difference(load_model(folder), model) < 2e-6
        assert capsys.readouterr().err.count("\n") == lines


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"", "empty"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "truncated or damaged"),
    ],
    ids=["lfs", "html", "empty", "cut"],
)
def test_what_is_no_safetensors_file_is_named(saved, model, tmp_path, content, words):
    _, folder = saved()
    save_folder(model, tmp_path / "ours")
    for where in (folder, tmp_path / "ours"):
        (where / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            load_model(where)


def test_a_folder_of_a_config_only(saved):
    _, folder = saved()
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_model(folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="adapter"):
        load_model(folder)


def test_a_folder_that_cannot_be_written_to_opens(saved):
    model, folder = saved()
    for path in (*folder.iterdir(), folder):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert difference(load_model(folder), model) < 2e-6
    finally:
        folder.chmod(0o755)


def test_a_cache_folder_of_the_hub_names_its_snapshot(saved, tmp_path):
    _, folder = saved()
    shutil.copytree(folder, tmp_path / "models--a--b" / "snapshots" / "abc")
    with pytest.raises(FileNotFoundError, match=r"give .*abc"):
        load_model(tmp_path / "models--a--b")


def test_a_mistyped_path_names_what_lies_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no file or folder runs/mien \(beside it: mine\)"):
        load_model("runs/mien")
    with pytest.raises(FileNotFoundError, match="Beside it: mine"):
        load_model(tmp_path / "runs" / "mien")


# --------------------------------------------------------------------------- timm


def vit(**options):
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 0}
    plain = {"class_token": False, "global_pool": "avg", "fc_norm": False}
    return loud(theirs.VisionTransformer(**{**sizes, **plain, **options}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        *({"act_layer": a} for a in ("gelu_tanh", "quick_gelu", "relu", "silu")),
        {"norm_layer": partial(torch.nn.LayerNorm, eps=0.1)},
        {"qkv_bias": False},
        {"proj_bias": False},
        {"embed_dim": 44, "mlp_ratio": 60.5 / 44},
        {"drop_path_rate": 0.3, "proj_drop_rate": 0.3},
    ],
    ids=str,
)
def test_options_of_timm_are_honoured(options):
    model = vit(**options)
    assert difference(load_timm(model), model.forward_features) < 2e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"act_layer": "mish"}, "act_layer"),
        ({"class_token": True}, "class_token"),
        ({"reg_tokens": 2}, "reg_tokens"),
        ({"pos_embed": "none"}, "pos_embed"),
        ({"pre_norm": True}, "pre_norm"),
        ({"fc_norm": True}, "fc_norm"),
        ({"final_norm": False}, "final_norm"),
        ({"norm_layer": "rmsnorm"}, "norm_layer"),
        ({"qk_norm": True}, "qk_norm"),
        ({"scale_attn_norm": True}, "scale_attn_norm"),
        ({"scale_mlp_norm": True}, "scale_mlp_norm"),
        ({"init_values": 0.1}, "init_values"),
        ({"mlp_layer": timm.layers.SwiGLU}, "mlp_layer"),
        ({"block_fn": theirs.ParallelScalingBlock}, "block_fn"),
        ({"block_fn": theirs.ResPostBlock, "init_values": 0.1}, "block_fn"),
        ({"in_chans": 1}, "in_chans"),
        ({"patch_size": (16, 8)}, "only square"),
    ],
    ids=str,
)
def test_other_computations_of_timm_are_refused_by_name(options, words):
    with pytest.raises(ValueError, match=words):
        load_timm(vit(**options))


def test_several_activations_or_epsilons_are_refused():
    model = vit()
    model.blocks[1].mlp.act = torch.nn.ReLU()
    with pytest.raises(ValueError, match="several activations"):
        load_timm(model)
    model = vit()
    model.blocks[1].norm2.eps = 0.1
    with pytest.raises(ValueError, match=r"eps 0\.1"):
        load_timm(model)


@pytest.mark.parametrize("name", ["resnet10t", "eva02_tiny_patch14_224"])
def test_other_architectures_of_timm_are_named(name):
    with pytest.raises(ValueError, match=r"the class (ResNet|Eva)"):
        load_timm(timm.create_model(name))


def test_a_head_and_a_wrapper_are_left_out(capsys):
    model = vit(num_classes=10)
    wrapped = torch.nn.Module()
    wrapped.module = model
    assert difference(load_timm(wrapped), model.forward_features) < 2e-6
    assert "head of 10 classes is left out" in capsys.readouterr().err


def test_a_folder_as_timm_pushes_it_to_the_hub(tmp_path):
    sizes = {"img_size": 28, "embed_dim": 32, "depth": 1, "num_heads": 4}
    model = timm.create_model("vit_huge_patch14_gap_224", num_classes=0, **sizes).eval()
    timm.models._hub.save_for_hf(model, tmp_path, model_args=sizes)
    images = torch.randn(1, 3, 28, 28)
    assert difference(load_model(tmp_path), model.forward_features, images) < 1e-5


def test_an_unknown_name_of_timm_suggests_one_of_i_jepa():
    with pytest.raises(ValueError, match="Did you mean 'timm:vit_huge"):
        load_model("timm:vit_huge_patch14_ijepa")


# --------------------------------------------------------------------------- why they cannot predict


def predict(model):
    size = model.config.image_size
    masks = Masks.from_block(model.grid, 0, 0, 2, 2)
    return model.predict(model.encode_context(torch.zeros(1, 3, size, size), masks), masks)


def test_each_encoder_says_its_own_reason(saved, tmp_path):
    _, folder = saved()
    own = tmp_path / "own"
    save_folder(load_model(folder), own)
    torch.save({"target_encoder": load_model("menagerie-tiny").target_encoder.state_dict(), "ijepa_viz_config":
                vars(load_model("menagerie-tiny").config)}, tmp_path / "t.pth.tar")  # fmt: skip
    for model, words in (
        (load_model(folder), "Hugging Face has I-JEPA without"),
        (load_timm(vit()), "timm has I-JEPA without"),
        (load_model(own), "saved as an encoder alone"),
        (load_model(tmp_path / "t.pth.tar"), "t.pth.tar holds no predictor"),
        (load_model("menagerie-tiny-mae"), "menagerie-tiny-mae was trained by the objective 'mae'"),
        (load_model("menagerie-tiny-invariance"), "objective 'invariance'"),
    ):
        with pytest.raises(RuntimeError, match=f"encoder only, so it cannot predict.*{words}"):
            predict(model)


@pytest.fixture
def photo(tmp_path, picture):
    picture.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_loading_its_decoder_gives_the_reason_too():
    with pytest.raises(FileNotFoundError, match=r"menagerie-tiny-mae has no decoder.*objective 'mae'"):
        load_decoder("menagerie-tiny-mae")


def test_the_command_gives_the_reason_too(tmp_path, photo, capsys):
    from ijepa_viz.cli import main

    for name in (
        "menagerie-tiny-mae",
        str(shutil.copytree(checkpoints.find_bundled("menagerie-tiny-mae"), tmp_path / "m")),
    ):
        command = [
            "predict",
            str(photo),
            "--model",
            name,
            "--block",
            "2",
            "2",
            "2",
            "2",
            "--out",
            str(tmp_path / "x.png"),
        ]
        assert main(command) == 1
        told = capsys.readouterr().err
        assert "objective 'mae'" in told
        assert "decoder.json" not in told
