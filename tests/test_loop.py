"""The loop that both trainers run on, with a training that only counts."""

from __future__ import annotations

import csv
import errno
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from ijepa_viz.runtime.folder_lock import FolderLock
from ijepa_viz.runtime.loop import Due, TrainingLoop
from ijepa_viz.runtime.run_folder import RunConfig, RunFolder
from ijepa_viz.runtime.trackers import Trackers, tracker_names


@dataclass(frozen=True)
class Config:
    run: RunConfig = field(default_factory=RunConfig)


class Counting(TrainingLoop):
    """Takes steps that only count, and remembers what was due after each."""

    def __init__(self, folder, steps=6, resume=False, timers=None, log_with="none", **run):
        config = Config(RunConfig(folder=str(folder), precision="fp32", log_with=log_with, **run))
        super().__init__(config, ["step", "minutes", "loss", "things_per_s"], steps, 5, "things", resume, timers)
        self.dues: list[Due] = []
        self.at_step = lambda step: None
        if self.folder.resume_from:
            self.step = int((self.folder.resume_from / "count").read_text())

    def update(self, step):
        self.at_step(step)
        return {"loss": 1.0 / (step + 1)}

    def finish_step(self, numbers, due):
        self.dues.append(due)
        self.log(numbers)
        if due.save:
            self.folder.save(self.step, lambda folder: (folder / "count").write_text(str(self.step)))


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_takes_every_step_logs_each_and_saves_the_last(tmp_path):
    loop = Counting(tmp_path / "run")
    assert loop.run() == tmp_path / "run" / "step-00000006"
    assert [row["step"] for row in rows(tmp_path / "run")] == list("123456")
    assert [due.last for due in loop.dues] == [False] * 5 + [True]
    assert [due.save for due in loop.dues] == [False] * 5 + [True]
    assert not loop.interrupted
    assert float(rows(tmp_path / "run")[-1]["things_per_s"]) > 0


def test_the_time_limit_ends_a_run_after_a_step_and_resume_takes_the_rest(tmp_path):
    first = Counting(tmp_path / "run")
    first.run(max_minutes=0)
    assert first.step == 1
    assert first.dues == [Due(interrupted=False, stop=True, last=True, save=True, timers=frozenset())]
    second = Counting(tmp_path / "run", resume=True)
    second.run()
    assert len(second.dues) == 5
    assert [row["step"] for row in rows(tmp_path / "run")] == list("123456")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_run_after_the_step_under_way(tmp_path, capsys, number):
    loop = Counting(tmp_path / "run")
    loop.at_step = lambda step: os.kill(os.getpid(), number) if step == 2 else None
    loop.run()
    assert loop.interrupted
    assert loop.step == 3
    assert loop.dues[-1].interrupted
    assert loop.dues[-1].save
    assert f"Interrupted by {number.name} after step 3" in capsys.readouterr().err


def test_timers_fire_and_start_again(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ijepa_viz.runtime.loop.time.monotonic", lambda: now[0])

    def half_a_minute(step):
        now[0] += 31.0

    loop = Counting(tmp_path / "run", steps=8, timers={"look": 1.0}, save_every_minutes=2.0)
    loop.at_step = half_a_minute
    loop.run()
    # 31 s a step: more than a minute has gone after every second step, more than two after every fourth.
    assert ["look" in due.timers for due in loop.dues] == [False, True] * 4
    assert [due.save for due in loop.dues] == [False, False, False, True] * 2
    assert loop.seconds == pytest.approx(8 * 31)


def test_what_a_step_raises_reaches_the_caller_and_the_trackers_are_closed(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(Trackers, "close", lambda self: closed.append(True))
    loop = Counting(tmp_path / "run")

    def fail(step):
        if step == 1:
            raise FloatingPointError("not finite")

    loop.at_step = fail
    with pytest.raises(FloatingPointError, match="not finite"):
        loop.run()
    assert closed == [True]


def test_tensorboard_holds_the_numbers_of_the_log(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Counting(tmp_path / "run", log_with="tensorboard").run()
    board = events.EventAccumulator(str(tmp_path / "run")).Reload()
    losses = {event.step: event.value for event in board.Scalars("loss")}
    assert losses == pytest.approx({int(r["step"]): float(r["loss"]) for r in rows(tmp_path / "run")}, rel=1e-5)


def test_no_tracker_writes_nothing_but_the_log(tmp_path):
    Counting(tmp_path / "run", log_with="none").run()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["config.yaml", "log.csv", "step-00000006"]


def test_trackers_that_are_unknown_or_missing_are_refused_before_anything_runs(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"No tracker 'tensorbord' \(run.log_with\).*Did you mean 'tensorboard'"):
        Counting(tmp_path / "run", log_with="tensorbord")
    monkeypatch.setattr("accelerate.tracking._available_trackers", ["tensorboard"])
    with pytest.raises(ValueError, match="wandb is not installed here: pip install wandb"):
        Counting(tmp_path / "run", log_with="tensorboard, wandb")
    assert not (tmp_path / "run").exists()
    assert tracker_names("none") == []


# --------------------------------------------------------------------------- one run a folder

_HOLD = """
import sys, time
from ijepa_viz.runtime.folder_lock import FolderLock
lock = FolderLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_in_a_folder_is_refused_and_told_whose_it_is(tmp_path):
    folder = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-c", _HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        before = sorted(folder.iterdir())
        with pytest.raises(
            FileExistsError, match=rf"in use: process {other.pid} on {socket.gethostname()}.*run.folder"
        ):
            Counting(folder)
        with pytest.raises(FileExistsError, match="in use"):
            Counting(folder, resume=True)
        assert sorted(folder.iterdir()) == before
    finally:
        other.kill()  # SIGKILL: nothing is cleaned up
        other.wait()
    assert (folder / "run.lock").exists()
    Counting(folder).run()
    assert not (folder / "run.lock").exists()


def test_the_lock_is_held_from_the_start_to_the_end_of_a_run(tmp_path):
    loop = Counting(tmp_path / "run")
    with pytest.raises(FileExistsError, match="another training of this very process"):
        Counting(tmp_path / "run")

    def another(step):
        with pytest.raises(FileExistsError):
            FolderLock(tmp_path / "run").acquire()

    loop.at_step = another
    loop.run(max_minutes=0)
    FolderLock(tmp_path / "run").acquire()  # dropped at once, as a trainer that was never run
    second = Counting(tmp_path / "run", resume=True)
    second.run()
    assert second.step == 6


def test_a_refused_run_leaves_no_folder_and_no_lock(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing to resume"):
        Counting(tmp_path / "some" / "run", resume=True)
    assert not (tmp_path / "some").exists()
    Counting(tmp_path / "run").run()
    with pytest.raises(FileExistsError, match="holds a run already"):
        Counting(tmp_path / "run")
    assert not (tmp_path / "run" / "run.lock").exists()


def test_a_forked_process_does_not_keep_the_lock(tmp_path):
    """As a worker that outlives a killed training."""
    program = (
        "import os, sys, time\n"
        "from ijepa_viz.runtime.folder_lock import FolderLock\n"
        "lock = FolderLock(sys.argv[1])\nlock.acquire()\n"
        "child = os.fork()\n"
        "if not child:\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        os.kill(child, 0)  # it lives
        FolderLock(tmp_path).acquire()
    finally:
        os.kill(child, signal.SIGKILL)


def test_where_there_are_no_locks_a_line_says_so(tmp_path, monkeypatch, capsys):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert Counting(tmp_path / "run").run().is_dir()
    assert "has no locks (No locks available)" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        Counting(tmp_path / "file" / "run")


def test_a_finished_run_says_so_and_writes_nothing(tmp_path, capsys):
    Counting(tmp_path / "run").run()
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert Counting(tmp_path / "run", resume=True).run() == tmp_path / "run" / "step-00000006"
    assert "is finished: step 6 of 6. To train further, raise optimization.steps." in capsys.readouterr().err
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before


def test_a_run_is_not_compiled_without_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(FileNotFoundError, match=r"no no-such-compiler: .* run\.compile=false"):
        Counting(tmp_path / "run", compile=True)
    assert not (tmp_path / "run").exists()
    assert Counting(tmp_path / "run").run().is_dir()


def test_examples_and_device_time_are_counted(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ijepa_viz.runtime.loop.time.monotonic", lambda: now[0])
    loop = Counting(tmp_path / "run")
    loop.at_step = lambda step: now.__setitem__(0, now[0] + 2.0)
    loop.run()
    assert (loop.examples, loop.device_seconds) == (6 * 5, 6 * 2.0)


def test_a_resumed_run_keeps_no_model_of_a_branch_that_it_left(tmp_path):
    for step in (0, 50, 150):
        (tmp_path / "history" / f"step-{step:08d}").mkdir(parents=True)
    (tmp_path / "step-00000100").mkdir()
    RunFolder(tmp_path, ["step"], resume=True).start("", 100)
    assert sorted(p.name for p in (tmp_path / "history").iterdir()) == ["step-00000000", "step-00000050"]
