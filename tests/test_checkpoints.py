from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import resource
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch

from ijepa_viz import checkpoints
from ijepa_viz.checkpoints import load_model, save_folder, save_reference
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime.tensors import fingerprint


def test_a_folder_comes_back_as_it_was(model, tmp_path):
    save_folder(model, tmp_path / "m")
    assert fingerprint(load_model(tmp_path / "m")) == fingerprint(model)


def test_half_precision_halves_the_file(model, tmp_path):
    checkpoints.save_folder(model, tmp_path / "full")
    checkpoints.save_folder(model, tmp_path / "half", torch.float16)
    full, half = ((tmp_path / n / "model.safetensors").stat().st_size for n in ("full", "half"))
    assert half < 0.6 * full
    assert next(load_model(tmp_path / "half").parameters()).dtype == torch.float32


def reference_file(path, width=192, heads=3, prefix="module."):
    """A checkpoint as the reference code writes it, made without our own exporter."""
    model = IJEPA(ModelConfig(48, 16, width, 2, heads, 4.0, 96, 3, heads))
    parts = {"encoder": model.encoder, "predictor": model.predictor, "target_encoder": model.target_encoder}
    data = {k: {prefix + n: v for n, v in m.state_dict().items()} for k, m in parts.items()}
    rest = dict(opt={"state": {}}, scaler=None, epoch=3, loss=0.1, batch_size=128, world_size=16, lr=1e-3)
    torch.save({**data, **rest}, path)
    return model


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_reference_checkpoint_gives_its_sizes(tmp_path, prefix):
    model = reference_file(tmp_path / "x.pth.tar", prefix=prefix)
    loaded = load_model(tmp_path / "x.pth.tar")
    assert loaded.config == model.config
    assert fingerprint(loaded) == fingerprint(model)


def test_reference_names_are_the_published_ones(model, tmp_path):
    save_reference(model, tmp_path / "x.pth.tar")
    data = torch.load(tmp_path / "x.pth.tar", weights_only=True)
    assert {"encoder", "predictor", "target_encoder", "opt", "scaler", "epoch", "loss", "batch_size", "lr"} <= set(data)
    names = set(data["encoder"])
    assert names == set(data["target_encoder"])
    layer = [
        "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.qkv.weight", "attn.qkv.bias",
        "attn.proj.weight", "attn.proj.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
    ]  # fmt: skip
    expected = {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"}
    expected |= {f"blocks.{i}.{n}" for i in range(2) for n in layer}
    assert names == {f"module.{n}" for n in expected}
    narrow = {"predictor_embed.weight", "predictor_embed.bias", "mask_token", "predictor_pos_embed"}
    narrow |= {f"predictor_{n}.{k}" for n in ("norm", "proj") for k in ("weight", "bias")}
    narrow |= {f"predictor_blocks.{i}.{n}" for i in range(2) for n in layer}
    assert set(data["predictor"]) == {f"module.{n}" for n in narrow}
    assert fingerprint(load_model(tmp_path / "x.pth.tar")) == fingerprint(model)


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_that_carries_code_is_not_run(tmp_path):
    torch.save({"encoder": _Bomb(tmp_path / "ran")}, tmp_path / "bad.pth.tar")
    with pytest.raises(ValueError, match="code"):
        load_model(tmp_path / "bad.pth.tar")
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_named(model, tmp_path):
    save_folder(model, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated"):
        load_model(tmp_path)


def test_a_tampered_file_is_named(model, tmp_path):
    save_folder(model, tmp_path)
    weights = tmp_path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="tampered"):
        load_model(tmp_path)


def test_a_truncated_reference_file_is_named(tmp_path):
    reference_file(tmp_path / "x.pth.tar")
    data = (tmp_path / "x.pth.tar").read_bytes()
    (tmp_path / "x.pth.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_model(tmp_path / "x.pth.tar")


def test_a_missing_tensor_is_not_overlooked(tmp_path):
    reference_file(tmp_path / "x.pth.tar")
    data = torch.load(tmp_path / "x.pth.tar", weights_only=True)
    del data["predictor"]["module.predictor_norm.bias"]
    torch.save(data, tmp_path / "y.pth.tar")
    with pytest.raises(ValueError, match=r"predictor_norm\.bias"):
        load_model(tmp_path / "y.pth.tar")


def test_an_unknown_width_asks_for_the_heads(tmp_path):
    reference_file(tmp_path / "x.pth.tar", width=64, heads=2)
    with pytest.raises(ValueError, match="heads"):
        load_model(tmp_path / "x.pth.tar")


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(FileNotFoundError, match="Did you mean 'ijepa-vith14-in1k'"):
        load_model("ijepa-vith14-in1")
    with pytest.raises(FileNotFoundError, match="Did you mean 'menagerie-tiny'"):
        load_model("Menagerie-Tiny")


def test_a_config_of_another_kind_is_refused(model, tmp_path):
    save_folder(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["dept"] = config.pop("depth")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="Did you mean 'depth'"):
        load_model(tmp_path)


_FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from ijepa_viz.checkpoints import load_model, save_folder, save_reference
model = load_model(sys.argv[1])
for p in model.parameters():
    p.data += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # what a full disk looks like
for save in (lambda f: save_folder(model, f), lambda f: save_reference(model, f + "/x.pth.tar")):
    try:
        save(sys.argv[1])
    except OSError as error:
        print("refused:", error)
"""


def test_a_full_disk_leaves_the_old_checkpoint(model, tmp_path):
    assert hasattr(resource, "RLIMIT_FSIZE")
    save_folder(model, tmp_path)
    save_reference(model, tmp_path / "x.pth.tar")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    done = subprocess.run([sys.executable, "-c", _FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.count("refused:") == 2
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert fingerprint(load_model(tmp_path)) == fingerprint(model)


# --------------------------------------------------------------------------- files that researchers bring

PARTS = ("encoder", "predictor", "target_encoder")


@pytest.fixture
def brought(tmp_path):
    """Save a checkpoint of other contents than the reference code's; returns its file and the model's parts."""
    torch.manual_seed(1)
    model = IJEPA(ModelConfig(48, 16, 192, 2, 3, 4.0, 96, 3, 3))
    with torch.no_grad():
        model.target_encoder.pos_embed += 1  # the two encoders differ
    parts = {name: getattr(model, name).state_dict() for name in PARTS}

    def save(change, legacy=False):
        torch.save(change(parts), tmp_path / "x.pth.tar", _use_new_zipfile_serialization=not legacy)
        return tmp_path / "x.pth.tar"

    return model, save


def prefixed(parts, prefix):
    return {name: {prefix + k: v for k, v in part.items()} for name, part in parts.items()}


WRAPPED = {
    "DDP": lambda parts: prefixed(parts, "module."),
    "compile": lambda parts: prefixed(parts, "_orig_mod."),
    "DDP of compile": lambda parts: prefixed(parts, "module._orig_mod."),
    "compile of DDP": lambda parts: prefixed(parts, "_orig_mod.module."),
    "FSDP": lambda parts: prefixed(parts, "_fsdp_wrapped_module."),
    "compiled layers": lambda parts: {
        name: {k.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module._orig_mod."): v for k, v in part.items()}
        for name, part in parts.items()
    },
    "one state dict": lambda parts: {f"{name}.{k}": v for name, part in parts.items() for k, v in part.items()},
    "Lightning": lambda parts: {"state_dict": WRAPPED["one state dict"](parts), "epoch": 3},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_prefixes_containers_and_the_legacy_format_are_read(brought, wrap, legacy):
    model, save = brought
    loaded = load_model(save(wrap, legacy))
    assert loaded.config == model.config
    assert fingerprint(loaded) == fingerprint(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision_becomes_float32(brought, dtype):
    model, save = brought
    path = save(lambda parts: {name: {k: v.to(dtype) for k, v in part.items()} for name, part in parts.items()})
    loaded = load_model(path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert fingerprint(loaded) == fingerprint(model.to(dtype).float())


@pytest.mark.parametrize(
    ("kept", "context", "target"),
    [
        (("target_encoder",), "target_encoder", "target_encoder"),
        (("encoder",), "encoder", "encoder"),
        (("encoder", "target_encoder"), "encoder", "target_encoder"),
    ],
    ids=str,
)
def test_encoders_alone_open_as_encoders(brought, kept, context, target):
    model, save = brought
    loaded = load_model(save(lambda parts: prefixed({name: parts[name] for name in kept}, "module.")))
    assert loaded.predictor is None
    for name, origin in (("encoder", context), ("target_encoder", target)):
        assert fingerprint(getattr(loaded, name)) == fingerprint(getattr(model, origin))
    assert loaded.encoder.norm.weight.data_ptr() != loaded.target_encoder.norm.weight.data_ptr()


def test_the_state_dict_of_one_encoder_opens(brought):
    model, save = brought
    loaded = load_model(save(lambda parts: parts["target_encoder"]))
    assert fingerprint(loaded.target_encoder) == fingerprint(model.target_encoder)


def test_a_noted_config_without_predictor_opens(model, tmp_path):
    data = {k: v for k, v in checkpoints.to_reference(model).items() if k != "predictor"}
    torch.save(data, tmp_path / "x.pth.tar")
    assert load_model(tmp_path / "x.pth.tar").predictor is None


NUMPY = {"scalar": np.float64(0.25), "float32": np.float32(0.25), "array": np.zeros(3)}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("loss", NUMPY.values(), ids=NUMPY)
def test_a_numpy_loss_is_not_unpickled_and_its_message_mends_it(brought, loss, legacy):
    model, save = brought
    path = save(lambda parts: {**prefixed(parts, "module."), "loss": loss}, legacy)
    with pytest.raises(ValueError, match=r"holds NumPy values.*was not opened") as caught:
        load_model(path)
    (command,) = re.findall(r'python -c "(.*)"$', str(caught.value))
    assert command.count("weights_only=True") == 1
    assert not set(command) & set('"$`\\')  # which a shell would read within the quotes
    subprocess.run([sys.executable, "-c", command], check=True)
    assert fingerprint(load_model(path.with_name("x-plain.pth.tar"))) == fingerprint(model)


def test_a_pickled_module_and_other_objects_are_named(brought):
    model, save = brought
    with pytest.raises(ValueError, match=r"models\.ijepa\.IJEPA: code, perhaps, or a whole module"):
        load_model(save(lambda parts: model))
    with pytest.raises(ValueError, match=r"argparse\.Namespace"):
        load_model(save(lambda parts: {**parts, "args": argparse.Namespace()}))


def test_a_legacy_file_that_carries_code_is_not_run(tmp_path):
    path = tmp_path / "bad.pth.tar"
    torch.save({"encoder": _Bomb(tmp_path / "ran")}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="code"):
        load_model(path)
    assert not (tmp_path / "ran").exists()


def renamed(parts, part, **changes):
    return {**parts, part: {**parts[part], **changes}}


ODD = {
    "another key": (lambda p: renamed(p, "encoder", **{"head.weight": torch.zeros(3)}), "also has encoder.head.weight"),
    "no tensor": (lambda p: renamed(p, "encoder", version=3), "version is no tensor"),
    "quantised": (lambda p: renamed(p, "encoder", pos_embed=p["encoder"]["pos_embed"].char()), "torch.int8: quantised"),
    "twice": (lambda p: renamed(p, "encoder", **prefixed(p, "module.")["encoder"]), "two tensors of the name pos_embed"),
    "another grid": (
        lambda p: renamed(p, "predictor", predictor_pos_embed=torch.zeros(1, 16, 96)),
        r"predictor_pos_embed \[1, 16, 96\] instead of \[1, 9, 96\]",
    ),
    "MAE": (lambda p: {"model": {**p["encoder"], "cls_token": torch.zeros(1, 1, 192)}}, "a class token"),
    "DINOv2": (lambda p: {**p["encoder"], "blocks.0.ls1.gamma": torch.zeros(192)}, "LayerScale, as DINOv2"),
    "CLIP": (lambda p: {"visual.conv1.weight": torch.zeros(3), "logit_scale": torch.zeros(1)}, "CLIP"),
    "ResNet": (lambda p: {"conv1.weight": torch.zeros(3), "layer4.0.weight": torch.zeros(3)}, "ResNet"),
    "V-JEPA": (
        lambda p: renamed(p, "encoder", **{"patch_embed.proj.weight": torch.zeros(192, 3, 2, 16, 16)}),
        "2 frames: a model of video",
    ),
    "no target": (lambda p: {k: p[k] for k in ("encoder", "predictor")}, "a predictor but no target_encoder"),
    "no encoder": (lambda p: {"predictor": p["predictor"]}, "needs encoder, predictor, target_encoder"),
    "a list": (lambda p: [torch.zeros(3)], "holds a list"),
    "nothing": (lambda p: {}, "needs encoder"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), ODD.values(), ids=ODD)
def test_what_is_no_i_jepa_is_named(brought, change, words):
    _, save = brought
    with pytest.raises(ValueError, match=words):
        load_model(save(change))


def _tar(path):
    with tarfile.open(path.with_suffix(".tar2"), "w") as archive:
        archive.add(path, "x.pth.tar")
    path.with_suffix(".tar2").replace(path)


MISTAKEN = {
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 1\n"), "git lfs pull"),
    "html": (lambda p: p.write_text("\n<html>403</html>"), "web page"),
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "text": (lambda p: p.write_text("hello"), "not a torch checkpoint, or is damaged"),
    "gzip": (lambda p: p.write_bytes(gzip.compress(p.read_bytes())), "gunzip"),
    "tar": (_tar, "tar archive of x.pth.tar"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:5000]), "truncated or damaged"),
    "npz": (lambda p: np.savez(p.open("wb"), a=np.zeros(3)), "not one of torch.save"),
    "TorchScript": (lambda p: torch.jit.script(torch.nn.Linear(2, 2)).save(str(p)), "TorchScript"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("damage", "words"), MISTAKEN.values(), ids=MISTAKEN)
def test_files_that_are_not_what_they_seem_are_named(brought, damage, words):
    _, save = brought
    path = save(lambda parts: parts)
    damage(path)
    with pytest.raises(ValueError, match=words):
        load_model(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_damaged_file_is_always_a_value_error(brought, legacy):
    """Cut anywhere, or with bytes changed in its first kilobyte, where the pickle of a legacy file is."""
    _, save = brought
    path = save(lambda parts: {"target_encoder": {"pos_embed": parts["encoder"]["pos_embed"]}}, legacy)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for i in range(60):
        data = bytearray(whole)
        if i % 2:
            del data[int(random.integers(len(data))) :]
        else:
            data[int(random.integers(min(len(data), 1000)))] ^= int(random.integers(1, 256))
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"x\.pth\.tar"):
            load_model(path)


def test_one_file_of_a_folder_asks_for_the_folder(model, tmp_path):
    save_folder(model, tmp_path / "m")
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(ValueError, match="give its folder"):
            load_model(tmp_path / "m" / name)


def test_folders_that_are_no_models_say_what_they_are(tmp_path):
    reference_file(tmp_path / "x.pth.tar")
    with pytest.raises(FileNotFoundError, match=r"no config\.json.*give .*x\.pth\.tar"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="It is a decoder"):
        load_model(checkpoints.find_bundled("wild-tiny") / "decoder")
    (tmp_path / "x.pth.tar").rename(tmp_path / ".metadata")
    with pytest.raises(FileNotFoundError, match="dcp_to_torch"):
        load_model(tmp_path)


@pytest.mark.parametrize("change", [{}, {"weights_sha256": None}])
def test_a_config_without_a_checksum_is_refused(model, tmp_path, change):
    save_folder(model, tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    del data["weights_sha256"]
    (tmp_path / "config.json").write_text(json.dumps(data | change))
    with pytest.raises(ValueError, match="sha256"):
        load_model(tmp_path)


def test_an_unknown_activation_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'quick_gelu'"):
        ModelConfig(activation="quickgelu")


def test_the_home_folder_is_expanded(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_folder(model, tmp_path / "m")
    assert fingerprint(load_model("~/m")) == fingerprint(model)
