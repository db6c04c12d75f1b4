from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

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
