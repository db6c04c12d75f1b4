"""Options that all commands share: device, number format, batch and trackers, of the trainings and of ``ijepa-viz``."""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys

import pytest

from decoders.__main__ import main as train_decoder
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli.parser import build_parser
from train.__main__ import main as train

BOTH = pytest.mark.parametrize(("name", "command"), [("train", train), ("decoders", train_decoder)])

# Commands of ijepa-viz that run no network on the user's pictures.
WITHOUT_COMPUTATION = {"export", "info", "lab", "page", "push"}


def test_every_command_that_runs_a_network_has_device_dtype_and_batch():
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    shared = ("--device", "--dtype", "--batch")
    found = {
        name: {option: a.help for a in own._actions for option in a.option_strings if option in shared}
        for name, own in commands.choices.items()
    }
    for name, options in found.items():
        assert options == ({} if name in WITHOUT_COMPUTATION else found["look"]), name
    assert set(found["look"]) == set(shared)


@BOTH
def test_shared_options_are_settings_of_the_run(monkeypatch, capsys, name, command):
    told = []
    monkeypatch.setattr("ijepa_viz.runtime.launcher.launch", lambda devices, words: told.append((devices, words)) or 3)
    words = ["--fname", "a.yaml", "run.seed=1", "--device", "cuda:1", "--dtype", "bf16", "--batch", "64"]
    assert command([*words, "--log-with", "tensorboard,wandb"]) == 3
    settings = ["run.precision=bf16", "optimization.batch_size=64", "run.log_with=tensorboard,wandb"]
    assert told == [(["cuda:1"], [sys.executable, "-m", name, "--fname", "a.yaml", "run.seed=1", *settings])]
    for more, said in (
        (["run.precision=fp32"], "--dtype and run.precision= are the same setting"),
        (["--devices", "cpu", "cpu"], "--device is one device"),
        (["--dtype", "fp8"], "there is no 'fp8'"),
        (["--batch", "many"], "--batch"),
    ):
        with pytest.raises(SystemExit):
            command([*words, *more])
        assert said in capsys.readouterr().err


TRAINING = """
model: {image_size: 32, patch_size: 8, width: 32, depth: 2, heads: 2, predictor_width: 16, predictor_depth: 2,
        predictor_heads: 2}
data: {source: "menagerie:count=16"}
optimization: {steps: 2, batch_size: 4, warmup: 1}
run: {monitor_images: 8}
"""
DECODER = """
network: {options: {width: 32, depth: 1, heads: 2}}
data: {source: "menagerie:count=40"}
optimization: {steps: 2, batch_size: 4, warmup: 1}
"""


@BOTH
def test_both_trainings_log_to_the_same_trackers(model, tmp_path, name, command):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    save_folder(model, tmp_path / "ijepa")
    config = TRAINING if name == "train" else f"ijepa: {tmp_path / 'ijepa'}\n{DECODER}"
    (tmp_path / "c.yaml").write_text(config)
    settings = [f"run.folder={tmp_path / 'run'}", "run.log_every=1"]
    words = ["--fname", str(tmp_path / "c.yaml"), *settings, "--dtype", "fp32", "--batch", "8"]
    assert command([*words, "--log-with", "tensorboard"]) == 0
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2"]
    board = events.EventAccumulator(str(tmp_path / "run")).Reload()
    for column in ("loss", "grad_norm", "lr"):
        logged = {event.step: event.value for event in board.Scalars(column)}
        assert logged == pytest.approx({int(row["step"]): float(row[column]) for row in rows}, rel=1e-4)
    written = (tmp_path / "run" / "config.yaml").read_text()
    assert "batch_size: 8" in written
    assert "precision: fp32" in written


@pytest.mark.slow
@BOTH
def test_the_device_option_trains_there(model, tmp_path, name, command):
    save_folder(model, tmp_path / "ijepa")
    config = TRAINING if name == "train" else f"ijepa: {tmp_path / 'ijepa'}\n{DECODER}"
    (tmp_path / "c.yaml").write_text(config)
    words = ["--fname", str(tmp_path / "c.yaml"), f"run.folder={tmp_path / 'run'}", "--device", "cpu"]
    done = subprocess.run([sys.executable, "-m", name, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "step-00000002").is_dir()
