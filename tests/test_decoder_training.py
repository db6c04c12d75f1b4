"""Decoders in training: every kind by one command, on one process or several, interrupted and resumed."""

from __future__ import annotations

import shutil
import signal
import sys

import pytest
import torch
from conftest import size_of
from safetensors.torch import load_file, save_file
from test_train import interrupt, rows

from decoders import load_decoder
from decoders.__main__ import main
from decoders.config import DataConfig, DecoderTrainConfig, OptimizationConfig
from decoders.training.batches import BlockSource
from decoders.training.trainer import DecoderTrainer
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.tensors import fingerprint


@pytest.fixture
def config(model, tmp_path):
    """A small decoder's config, of a small I-JEPA in a folder."""
    save_folder(model, tmp_path / "ijepa")
    path = tmp_path / "config.yaml"
    path.write_text(
        f"ijepa: {tmp_path / 'ijepa'}\n"
        "network: {name: block-vit, options: {width: 32, depth: 1, heads: 2}}\n"
        'data: {source: "menagerie:count=64"}\n'
        "optimization: {steps: 40, batch_size: 8, warmup: 1, lr: 3e-3}\n"
        "run: {precision: fp32, log_every: 1}\n"
    )
    return str(path)


@pytest.mark.parametrize("name", ["squared-error", "ridge", "pooled-unet"])
def test_every_decoder_trains_by_the_same_command(model, tmp_path, name):
    save_folder(model, tmp_path / "ijepa")
    options = {"squared-error": "{width: 32, depth: 1, heads: 2}", "pooled-unet": "{channels: [32, 32], layers: 1}"}
    config = tmp_path / "config.yaml"
    config.write_text(
        f"ijepa: {tmp_path / 'ijepa'}\n"
        f"network: {{name: {name}, options: {options.get(name, '{}')}}}\n"
        'data: {source: "menagerie:count=64"}\n'
        f"optimization: {{steps: 8, batch_size: 8, warmup: 1}}\n"
        f"run: {{precision: fp32, folder: {tmp_path / 'run'}}}\n"
    )
    assert main(["--fname", str(config)]) == 0
    trained = load_decoder(tmp_path / "run" / "step-00000008")
    assert any(p.abs().sum() > 0 for p in (*trained.network.parameters(), *trained.network.buffers()))
    assert (tmp_path / "run" / "sheets").is_dir()


@pytest.mark.slow  # a minute of g++
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: torch.compile has none to call")
def test_a_compiled_run_has_the_losses_of_an_eager_one(config, tmp_path):
    for compiled in ("false", "true"):
        folder = f"run.folder={tmp_path / compiled}"
        assert main(["--fname", config, folder, "optimization.steps=6", f"run.compile={compiled}"]) == 0
    eager, compiled = ([float(r["loss"]) for r in rows(tmp_path / name)] for name in ("false", "true"))
    assert compiled == pytest.approx(eager, rel=1e-3)
    names = [set(load_decoder(tmp_path / name / "step-00000006").network.state_dict()) for name in ("false", "true")]
    assert names[0] == names[1]


def test_a_decoder_in_closed_form_has_nothing_to_compile(config, tmp_path, capsys):
    overrides = ["network={name: ridge}", f"run.folder={tmp_path / 'run'}", "run.compile=true"]
    assert main(["--fname", config, *overrides]) == 1
    assert "run.compile=true has no use" in capsys.readouterr().err


def test_cached_features_are_those_computed_on_the_fly(model, tmp_path):
    save_folder(model, tmp_path / "ijepa")
    optimization = OptimizationConfig(batch_size=4)
    live = DecoderTrainConfig(str(tmp_path / "ijepa"), data=DataConfig("menagerie:count=32"), optimization=optimization)
    kept = DecoderTrainConfig(
        str(tmp_path / "ijepa"), data=DataConfig("menagerie:count=32", cached_batches=3), optimization=optimization
    )
    live_source, cached = BlockSource(live, model, tmp_path), BlockSource(kept, model, tmp_path)
    for step in (0, 2, 5, 5):
        a, b = live_source.blocks(step % 3), cached.blocks(step)
        assert torch.equal(a.patch_indices, b.patch_indices)
        for name in ("clean", "predicted", "target"):
            assert torch.allclose(getattr(a, name), getattr(b, name), atol=2e-3)
    files = list(tmp_path.glob("features-*/*.safetensors"))
    assert len(files) == 2
    for path in files:  # as 0.1.0 named them
        tensors = load_file(path)
        save_file({"places": tensors.pop("patch_indices"), **tensors}, path)
    assert torch.equal(cached.blocks(0).patch_indices, live_source.blocks(0).patch_indices)


def test_training_a_decoder_from_a_folder(config, model, tmp_path, drawn):
    config = ["--fname", config, "optimization.steps=4"]
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert main([*config, f"run.folder={run}", "--max-minutes", "0"]) == 0
    assert main([*config, f"run.folder={run}", "--resume"]) == 0
    assert main([*config, f"run.folder={whole}"]) == 0
    a, b = (load_decoder(f / "step-00000004").network.state_dict() for f in (run, whole))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert min(size_of(run / "sheets" / "step-00000004.png")) > 200
    axes = drawn[-1].axes
    assert [axis.get_title() for axis in axes[:6]] == ["original", "context", *(f"sample {i}" for i in (1, 2, 3, 4))]
    assert len(axes) % 6 == 0
    assert all(axis.images[0].get_array().shape == (32, 32, 3) for axis in axes)
    assert load_decoder(whole / "step-00000004").config.ijepa_sha256 == fingerprint(model)


def test_training_goes_on_from_another_decoder(config, model, tmp_path, capsys):
    first = tmp_path / "first" / "step-00000040"
    assert main(["--fname", config, f"run.folder={tmp_path / 'first'}"]) == 0
    # Other weights of the I-JEPA, so another scale of tokens: the weights are kept, the scale is measured.
    for parameter in model.predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_folder(model, tmp_path / "ijepa")
    again = ["--fname", config, f"start_from={first}", "optimization.steps=1", "optimization.lr=1e-12"]
    assert main([*again, f"run.folder={tmp_path / 'again'}"]) == 0
    old, new = (load_decoder(f) for f in (first, tmp_path / "again" / "step-00000001"))
    weights = zip(old.network.parameters(), new.network.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in weights)
    assert not torch.allclose(old.network.feature_std, new.network.feature_std, rtol=0.1)
    assert new.config.ijepa_sha256 == fingerprint(model) != old.config.ijepa_sha256
    assert main([*again, f"run.folder={tmp_path / 'no'}", "network.options={width: 48, depth: 1, heads: 2}"]) == 1
    assert "another decoder" in capsys.readouterr().err


# --------------------------------------------------------------------------- several processes, and interruption


@pytest.mark.parametrize("cached", [3, pytest.param(0, marks=pytest.mark.slow)])
def test_several_processes_train_a_decoder_as_one(config, tmp_path, cached):
    """The batch is divided, not repeated: the same 20 steps, the same scale of tokens, the same weights."""
    one, two = tmp_path / "one", tmp_path / "two"
    common = ["--fname", config, "optimization.steps=20", f"data.cached_batches={cached}"]
    assert main([*common, f"run.folder={one}"]) == 0
    assert main([*common, "--devices", "cpu", "cpu", f"run.folder={two}"]) == 0
    assert len(rows(two)) == 20  # one process writes, once a step
    for name in ("loss", "loss_tokens", "grad_norm", "lr"):
        ours, theirs = ([float(row[name]) for row in rows(folder)] for folder in (two, one))
        assert ours == pytest.approx(theirs, rel=2e-3), name
    kept = [load_file(path)["clean"] for path in two.glob("features-*/*.safetensors")]
    assert [len(blocks) for blocks in kept] == [8] * 2 * cached  # of 16 blocks a step, each process has half
    a, b = (load_decoder(f / "step-00000020").network.state_dict() for f in (two, one))
    for name, tensor in b.items():
        torch.testing.assert_close(a[name], tensor, atol=1e-4, rtol=1e-3, msg=name)


def test_processes_share_a_batch_and_draw_it_alike(config, model, tmp_path):
    settings = DecoderTrainConfig(data=DataConfig("menagerie:count=32"), optimization=OptimizationConfig(batch_size=6))
    whole = BlockSource(settings, model, tmp_path).blocks(3)
    parts = [BlockSource(settings, model, tmp_path, process, 3).blocks(3) for process in range(3)]
    for name in ("clean", "patch_indices", "predicted", "target"):
        together = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(together, getattr(whole, name), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="does not divide among 4 processes"):
        BlockSource(settings, model, tmp_path, 0, 4)


def test_a_signal_saves_a_decoder_and_resuming_repeats_every_bit(config, tmp_path):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    common = ["--fname", config, "optimization.steps=300"]
    command = [sys.executable, "-m", "decoders", *common, f"run.folder={stopped}"]
    interrupt(command, stopped, signal.SIGTERM)
    assert 19 <= int(rows(stopped)[-1]["step"]) < 300
    assert main([*common, f"run.folder={stopped}", "--resume"]) == 0
    assert main([*common, f"run.folder={whole}"]) == 0
    exact = ("step", "loss", "grad_norm", "lr")
    assert [[r[c] for c in exact] for r in rows(stopped)] == [[r[c] for c in exact] for r in rows(whole)]
    a, b = (load_decoder(f / "step-00000300").network.state_dict() for f in (stopped, whole))
    assert all(torch.equal(a[k], b[k]) for k in a)


# --------------------------------------------------------------------------- what is not what it was


def test_a_decoder_is_not_resumed_with_other_settings_unasked(config, tmp_path, capsys):
    command = ["--fname", config, f"run.folder={tmp_path / 'run'}", "optimization.steps=3"]
    assert main([*command, "--max-minutes", "0"]) == 0
    other = ["optimization.batch_size=4", "run.seed=3", "hole.targets=3", "data.source=menagerie:count=48"]
    capsys.readouterr()
    assert main([*command, *other, "--resume"]) == 1
    said = capsys.readouterr().err
    for words in ("batch_size: 8 before, 4 now", "seed: 0 before, 3 now", "hole.targets: 2 before, 3 now"):
        assert words in said
    assert main([*command, *other, "--resume-anyway"]) == 0
    assert "data.source: 64 pictures before, 48 now" in capsys.readouterr().err
    state = torch.load(tmp_path / "run" / "step-00000003" / "trainer.pt", weights_only=True)
    assert set(state) == {"network", "ema", "optimizer", "step", "seconds", "data", "config"}  # and nothing unread
    assert main([*command, *other, "--resume", "sampling.steps=7"]) == 0
    said = capsys.readouterr().err
    assert "is finished: step 3 of 3" in said
    assert "stays as it is, without sampling.steps: None before, 7 now" in said


def test_a_decoder_is_not_resumed_on_another_i_jepa_unasked(config, model, tmp_path, capsys):
    command = ["--fname", config, f"run.folder={tmp_path / 'run'}", "optimization.steps=2"]
    assert main([*command, "--max-minutes", "0"]) == 0
    save_folder(model, tmp_path / "copy")  # the same weights in another place
    with torch.no_grad():
        model.encoder.norm.weight += 0.5
    save_folder(model, tmp_path / "other")
    assert main([*command, f"ijepa={tmp_path / 'other'}", "--resume"]) == 1
    assert "has other weights than the I-JEPA before" in capsys.readouterr().err
    assert main([*command, f"ijepa={tmp_path / 'copy'}", "--resume"]) == 0


@pytest.mark.parametrize("name", ["block-vit", "ridge"])
def test_two_decoders_do_not_train_in_one_folder(config, tmp_path, name):
    options = [] if name == "block-vit" else ["network.name=ridge", "network.options={}"]
    settings = config_files.load(
        DecoderTrainConfig, config, [f"run.folder={tmp_path / 'run'}", "optimization.steps=2", *options]
    )
    first = DecoderTrainer(settings)
    with pytest.raises(FileExistsError, match="is in use"):
        DecoderTrainer(settings)
    first.run()
    assert not (tmp_path / "run" / "run.lock").exists()
    with pytest.raises(FileExistsError, match="holds a run already"):
        DecoderTrainer(settings)
