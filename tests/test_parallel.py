"""Several processes train as one, one that dies ends all, and no interruption loses a run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from test_train import config_file, interrupt, rows
from torch.testing._internal.distributed.fake_pg import FakeStore

from decoders.__main__ import main as decoders_main
from ijepa_viz.models import ModelConfig
from ijepa_viz.runtime import launcher
from ijepa_viz.runtime.command_line import training_parser
from ijepa_viz.runtime.launcher import environment, launch
from train.__main__ import main
from train.config import TrainConfig
from train.objectives.objective import build
from train.sharding import local_shard, shard

SETTINGS = ["optimization.steps=50", "data.eval_source=null", "run.monitor_every=1000"]


def losses(folder, name="loss"):
    return [float(row[name]) for row in rows(folder)]


def run(*arguments):
    """``python -m train`` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "train", *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("devices", "level"), [(2, "tokens"), pytest.param(4, "pooled", marks=pytest.mark.slow)], ids=["two", "four"]
)
def test_several_processes_train_as_one(tmp_path, devices, level):
    """Global masks, one loss, and the regularizer's statistics over the whole batch: the same 50 steps."""
    settings = [*SETTINGS, f"regularizer.level={level}", "optimization.batch_size=16"]
    config = config_file(tmp_path)
    one, many = tmp_path / "one", tmp_path / "many"
    assert main(["--fname", config, f"run.folder={one}", *settings]) == 0
    done = run("--fname", config, f"run.folder={many}", *settings, "--devices", *["cpu"] * devices)
    assert done.returncode == 0, done.stderr
    assert len(losses(many)) == 50  # one process writes, once a step
    for name in ("loss", "prediction_loss", "variance", "covariance", "grad_norm", "cosine"):
        assert losses(many, name) == pytest.approx(losses(one, name), rel=2e-3, abs=2e-5), name
    assert losses(one)[0] != losses(one)[-1]


SHARDED = ["run.fsdp=true", "--devices", "cpu", "cpu"]


@pytest.mark.parametrize(
    ("order", "settings"),
    [
        pytest.param(((2, SHARDED), (4, [])), [], marks=pytest.mark.slow),
        pytest.param(((2, []), (4, SHARDED)), [], marks=pytest.mark.slow),
        pytest.param(((4, SHARDED),), ["run.precision=bf16"], marks=pytest.mark.slow),
        pytest.param(((4, SHARDED),), ["model.predictor_context=shared"], marks=pytest.mark.slow),
        pytest.param(
            ((4, SHARDED),),
            ["objective.name=mae", "regularizer.name=none", "optimization.accumulate=2"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["then-whole", "first-whole", "bf16", "shared-context", "mae"],
)
def test_sharded_processes_train_as_one_and_their_checkpoints_are_whole(tmp_path, order, settings):
    """FSDP: the same log and, of all that is saved, the same tensors; either goes on from the other's checkpoint."""
    common = ["--fname", config_file(tmp_path), "data.eval_source=null", "run.monitor_every=2", *settings]
    common += ["optimization.schedule_steps=4"]
    # bf16 rounds a half batch's gradients otherwise than a whole one's.
    near = {"rel": 2e-2} if "run.precision=bf16" in settings else {"rel": 2e-3}
    one, many = tmp_path / "one", tmp_path / "many"
    assert main([*common, f"run.folder={one}", "optimization.steps=4"]) == 0
    for i, (steps, how) in enumerate(order):
        command = [*common, f"run.folder={many}", f"optimization.steps={steps}", *["--resume"][: min(i, 1)], *how]
        done = run(*command)
        assert done.returncode == 0, done.stderr
    for name in ("loss", "grad_norm", "update_ratio", "rankme"):
        expected = [row[name] for row in rows(one)]
        assert [row[name] == "" for row in rows(many)] == [cell == "" for cell in expected], name
        assert [float(row[name] or 0) for row in rows(many)] == pytest.approx([float(c or 0) for c in expected], **near)
    ours, theirs = (load_file(f / "step-00000004" / "model.safetensors") for f in (many, one))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=4e-3 if near == {"rel": 2e-2} else 2e-4, rtol=1e-2)
    optimizers = [
        torch.load(f / "step-00000004" / "trainer.pt", weights_only=True)["optimizer"]["state"] for f in (many, one)
    ]
    assert optimizers[0].keys() == optimizers[1].keys()
    for mine, other in zip(*(o.values() for o in optimizers), strict=True):
        assert mine["exp_avg"].shape == other["exp_avg"].shape


def test_a_process_keeps_its_share_only():
    net = build(TrainConfig(model=ModelConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2)))
    everything = sum(p.numel() for p in net.parameters())
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    try:
        shard(net, torch.device("cpu"), 4)
        share = sum(local_shard(p).numel() for p in net.parameters())
    finally:
        torch.distributed.destroy_process_group()
    assert everything / 4 <= share < 1.02 * everything / 4


def test_sharding_says_what_it_cannot_do(tmp_path, capsys):
    common = ["--fname", config_file(tmp_path), f"run.folder={tmp_path / 'r'}", "run.fsdp=true"]
    assert main(common) == 1
    assert "this is one: set run.fsdp=false" in capsys.readouterr().err
    assert main([*common, "run.compile=true"]) == 1
    assert "exclude each other" in capsys.readouterr().err


def test_parts_of_a_batch_add_up_to_it(tmp_path):
    config = config_file(tmp_path)
    settings = [*SETTINGS, "regularizer.name=none"]
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        assert main(["--fname", config, f"run.folder={folder}", *settings, f"optimization.accumulate={parts}"]) == 0
    assert losses(tmp_path / "4") == pytest.approx(losses(tmp_path / "1"), rel=1e-3)
    assert losses(tmp_path / "4", "grad_norm") == pytest.approx(losses(tmp_path / "1", "grad_norm"), rel=1e-2)


def test_a_batch_that_does_not_divide_is_refused(tmp_path, capsys):
    assert main(["--fname", config_file(tmp_path), f"run.folder={tmp_path / 'r'}", "optimization.accumulate=3"]) == 1
    assert "does not divide" in capsys.readouterr().err


# --------------------------------------------------------------------------- the launcher


def test_a_process_that_dies_ends_the_run_with_its_words(capfd):
    program = """
import os, sys, time
if os.environ["RANK"] == "1":
    sys.exit("the disk of rank 1 is full")
time.sleep(600)
"""
    started = time.monotonic()
    assert launch(["cpu", "cpu", "cpu"], [sys.executable, "-c", program]) == 1
    assert time.monotonic() - started < 30
    said = capfd.readouterr().err
    assert "Process 1 of 3 (cpu) ended with status 1" in said
    assert "the disk of rank 1 is full" in said


def test_a_process_that_does_not_finish_with_the_others_is_ended(capfd, monkeypatch):
    """A process that hangs when all is done must not keep whoever waits for the run."""
    monkeypatch.setattr(launcher, "_LINGER", 0.5)
    program = 'import os, time; time.sleep(600 * (os.environ["RANK"] == "1"))'
    started = time.monotonic()
    assert launch(["cpu", "cpu"], [sys.executable, "-c", program]) == 1
    assert time.monotonic() - started < 30
    said = capfd.readouterr().err
    assert "Process 0 of 2 finished" in said
    assert "process 1 (cpu) had not" in said


def test_a_finished_process_leaves_its_group_and_the_interpreter(tmp_path):
    """One of several ends at once, its words said; by itself, Python ends it, as whoever imports it expects."""
    program = f"""
import atexit, os, torch
from ijepa_viz.runtime.command_line import attempt, leave
atexit.register(print, "the interpreter ended")
def work():
    torch.distributed.init_process_group("gloo", init_method="file://{tmp_path}/store", rank=0, world_size=1)
status = attempt("train", work)
print("in a group:", torch.distributed.is_initialized())
leave(status + 3)
"""
    for processes, ending in (("2", []), ("1", ["the interpreter ended"])):
        settings = {**os.environ, "WORLD_SIZE": processes}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=settings)
        assert done.returncode == 3, done.stderr
        assert done.stdout.splitlines() == ["in a group: False", *ending]


def test_each_process_is_told_its_place():
    told = [environment(rank, ["cuda:2", "cuda:0"], 1234) for rank in range(2)]
    assert [t["RANK"] for t in told] == ["0", "1"]
    assert {t["CUDA_VISIBLE_DEVICES"] for t in told} == {"2,0"}
    assert {t["WORLD_SIZE"] for t in told} == {"2"}
    for wrong in (["cpu", "cuda:0"], ["cuda:0", "cuda:0"], ["tpu"]):
        with pytest.raises(ValueError, match="--devices"):
            environment(0, wrong, 1)


@pytest.mark.parametrize(("name", "command"), [("train", main), ("decoders", decoders_main)])
def test_every_process_is_told_the_whole_command(monkeypatch, capsys, name, command):
    """``--devices`` swallows the settings that follow it, and a limit of no minutes at all is a limit."""
    told = []
    monkeypatch.setattr("ijepa_viz.runtime.launcher.launch", lambda devices, words: told.append((devices, words)) or 3)
    words = ["--fname", "a.yaml", "run.seed=1", "--resume", "--max-minutes", "0", "--devices", "cpu", "cpu", "b=2"]
    assert command(words) == 3
    ((devices, started),) = told
    assert devices == ["cpu", "cpu"]
    theirs = training_parser(name, "").parse_intermixed_args(started[3:])
    assert started[:3] == [sys.executable, "-m", name]
    assert (theirs.fname, theirs.overrides) == ("a.yaml", ["run.seed=1", "b=2"])
    assert (theirs.resume, theirs.max_minutes) == (True, 0)
    assert theirs.devices is None  # or each would start others
    monkeypatch.undo()
    assert command(["--fname", "a.yaml", "--devices", "tpu"]) == 1
    assert f"{name}: --devices takes cpu" in capsys.readouterr().err


# --------------------------------------------------------------------------- interruption


@pytest.mark.parametrize("which", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_signal_saves_and_resuming_repeats_every_bit(tmp_path, which):
    config = config_file(tmp_path)
    settings = ["optimization.steps=120", "data.eval_source=null", "run.monitor_every=1000"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    command = [sys.executable, "-m", "train", "--fname", config, f"run.folder={stopped}", *settings]
    interrupt(command, stopped, which)
    done = int(rows(stopped)[-1]["step"])
    assert 19 <= done < 120
    assert main(["--fname", config, f"run.folder={stopped}", *settings, "--resume"]) == 0
    assert main(["--fname", config, f"run.folder={whole}", *settings]) == 0
    exact = ("step", "loss", "grad_norm", "cosine", "lr", "momentum")
    assert [[r[c] for c in exact] for r in rows(stopped)] == [[r[c] for c in exact] for r in rows(whole)]
    first, second = (
        torch.load(f / "step-00000120" / "trainer.pt", weights_only=True)["optimizer"]["state"]
        for f in (stopped, whole)
    )
    assert all(torch.equal(first[k]["exp_avg"], second[k]["exp_avg"]) for k in first)


def _killed(tmp_path, times):
    """Killed at random moments; a fresh process each time, forked so that torch is imported once."""
    program = f"""
import contextlib, io, os, random, signal, sys, time
torch = __import__("torch")
torch.set_num_threads(1)
from train.__main__ import main
import train.trainer, train.reference_yaml
arguments = sys.argv[1:]
random.seed(0)
# Once here, so that the children find everything imported.
assert main(["--fname", arguments[0], "run.folder=" + arguments[1] + "-first", "optimization.steps=2"]) == 0
os.makedirs(arguments[1])
kills = newest = 0
while kills < {times}:
    saved = any(n[:5] == "step-" and n[5:].isdigit() for n in os.listdir(arguments[1]))
    resume = ["--resume"] if saved else []
    child = os.fork()
    if not child:
        sys.stderr = open(arguments[2], "w", buffering=1)
        os._exit(main(["--fname", arguments[0], "run.folder=" + arguments[1], *arguments[3:], *resume]))
    # Not before it trains, nor always at the same place of a step or of a checkpoint; the last one not before it saved.
    waits = (lambda now: now == before) if kills < {times} - 1 or saved else (lambda now: not any(n[5:].isdigit() for n in now))
    before, deadline = os.listdir(arguments[1]), time.monotonic() + 60
    while waits(os.listdir(arguments[1])) and time.monotonic() < deadline and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 2.0))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit("it ended by itself: " + open(arguments[2]).read())
    kills += 1
    now = max((int(n[5:]) for n in os.listdir(arguments[1]) if n[:5] == "step-" and n[5:].isdigit()), default=0)
    assert now >= newest, f"step {{newest}} was saved and is gone"
    newest = now
print("saved", newest)
sys.exit(main(["--fname", arguments[0], "run.folder=" + arguments[1], *arguments[3:], "--resume", "--max-minutes", "0.02"]))
"""
    folder = tmp_path / "run"
    settings = [
        "optimization.steps=1000000", "data.eval_source=null", "run.monitor_every=1000", "run.save_every_minutes=0"
    ]  # fmt: skip
    command = [sys.executable, "-c", program, config_file(tmp_path), str(folder), str(tmp_path / "err"), *settings]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    steps = [int(row["step"]) for row in rows(folder)]
    assert steps == list(range(1, len(steps) + 1))  # one continuous log
    saved = int(re.search(r"^saved (\d+)$", done.stdout, re.MULTILINE)[1])
    assert len(steps) > saved >= 1  # it went on from there
    assert not [p.name for p in folder.iterdir() if "partial" in p.name]


def test_a_run_that_is_killed_can_always_resume(tmp_path):
    _killed(tmp_path, 4)


@pytest.mark.slow
def test_a_run_that_is_killed_fifty_times_can_always_resume(tmp_path):
    _killed(tmp_path, 50)
