"""Progress: a bar in a terminal, a line every ten seconds elsewhere, nothing for short work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from ijepa_viz.runtime import progress
from ijepa_viz.runtime.progress import EVERY, QUIET, Progress, Watch, track


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch():
    """A watch on a clock of its own, with the lines that it wrote and when."""
    clock = Clock()
    lines: list[tuple[float, str]] = []
    watch = Watch(clock, lambda line: lines.append((clock.now - 1000, line)), threaded=False)
    return watch, clock, lines


def test_a_log_gets_a_line_every_ten_seconds(watch):
    watch, clock, lines = watch
    with Progress("encoding", 800, "img", watch=watch) as bar:
        for _ in range(800):
            clock.now += 0.125
            bar.update()
            watch.look()
    assert [seconds for seconds, _ in lines] == [2 + 10 * i for i in range(10)]
    # Closed forms: eight images a second, and what is left of a hundred seconds.
    assert lines[0][1] == "encoding: 16/800 img (2%), 8.0 img/s, 1:38 left"
    assert lines[-1][1] == "encoding: 736/800 img (92%), 8.0 img/s, 0:08 left"


def test_short_work_is_silent_and_many_short_ones_share_the_ten_seconds(watch):
    watch, clock, lines = watch
    for _ in range(100):
        with Progress("a second", 10, "step", watch=watch) as bar:
            for _ in range(10):
                clock.now += 0.1
                bar.update()
                watch.look()
    assert lines == []
    for _ in range(20):  # three seconds each, a minute in all
        with Progress("three seconds", 30, "step", watch=watch) as bar:
            for _ in range(30):
                clock.now += 0.1
                bar.update()
                watch.look()
    gaps = [b - a for (a, _), (b, _) in pairwise(lines)]
    assert 4 <= len(lines) <= 6
    assert min(gaps) >= EVERY


def test_the_inner_loop_speaks_and_names_the_outer_one(watch):
    watch, clock, lines = watch
    with Progress("classifiers", 4, "classifier", watch=watch) as outer:
        outer.update()
        with Progress("loading", watch=watch), Progress("sampling", 100, "batch", watch=watch) as inner:
            for _ in range(60):
                clock.now += 0.25
                inner.update()
                watch.look()
    assert len(lines) == 2
    assert lines[0][1].startswith("classifiers 1/4, loading, sampling: 8/100 batch (8%), 4.0 batch/s, 0:23 left")


def test_slow_and_unknown_and_resumed_work(watch):
    watch, clock, _ = watch
    bar = Progress("a giant", 10, "layer", watch=watch)
    clock.now += 30
    assert bar.line(clock.now) == "a giant: 0/10 layer, 0:30 so far"
    bar.update(2)
    assert bar.line(clock.now) == "a giant: 2/10 layer (20%), 15.0 s/layer, 2:00 left"
    unknown = Progress("loading", watch=watch)
    clock.now += 3725
    assert unknown.line(clock.now) == "loading, 1:02:05 so far"
    resumed = Progress("training", 1000, "step", initial=900, watch=watch)
    clock.now += 10
    resumed.update(50)
    resumed.note(loss="0.312")
    assert resumed.line(clock.now) == "training: 950/1000 step (95%), 5.0 step/s, 0:10 left, loss=0.312"
    download = Progress("weights", 4_000_000_000, "B", watch=watch)
    clock.now += 10
    download.update(1_000_000_000)
    assert download.line(clock.now) == "weights: 1.0 GB/4.0 GB (25%), 100.0 MB/s, 0:30 left"


def test_a_loop_left_by_an_error_is_over(watch, monkeypatch):
    watch, clock, lines = watch
    monkeypatch.setattr(progress, "_watch", watch)
    error = None
    try:
        for i in track(range(10), "loop", "step"):
            if i == 3:
                raise ValueError
    except ValueError as raised:
        error = raised  # kept, with its traceback and frames, as an interactive Python does
    clock.now += 60
    watch.look()
    assert error
    assert lines == []


def test_only_the_first_process_of_a_machine_speaks(watch, monkeypatch):
    watch, clock, lines = watch
    monkeypatch.setenv("LOCAL_RANK", "1")
    with Progress("training", 10, "step", watch=watch):
        clock.now += 60
        watch.look()
    assert lines == []


_WORK = """
import time
from ijepa_viz.runtime.progress import Progress, track
with Progress("loading"):
    time.sleep(0.5)
for _ in track(range(90), "encoding", "img"):
    time.sleep(0.05)
"""


def test_a_pipe_gets_lines(tmp_path):
    """4.5 seconds of work: one line, in a process of its own and by its own clock."""
    done = subprocess.run([sys.executable, "-c", _WORK], capture_output=True, text=True)
    assert done.stdout == ""
    assert re.fullmatch(r"encoding: \d+/90 img \(\d+%\), [\d.]+ img/s, 0:0\d left\n", done.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo terminal")
def test_a_terminal_gets_a_bar_after_two_seconds():
    import fcntl
    import pty
    import struct
    import termios

    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time\ntime.sleep(0.5)\n" + _WORK])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    started, first, shown = time.monotonic(), 0.0, b""
    try:
        while chunk := os.read(terminal, 4096):
            first = first or time.monotonic() - started
            shown += chunk
    except OSError:  # how Linux reports the other end's close
        pass
    os.waitpid(child, 0)
    states = shown.decode().replace("\r", "\n").split("\n")
    assert first > 0.5 + QUIET
    assert len([state for state in states if re.match(r"encoding: +\d+%\|.*\| \d+/90 \[00:0\d<", state)]) > 5
    assert "loading" not in shown.decode()


def test_a_step_is_one_call_that_calls_nothing(watch):
    """No look at the clock, no lock, no line: whatever a step calls is counted, so that no stopwatch is needed."""
    watch, clock, lines = watch
    calls = []

    def count(frame, event, argument):
        if event in ("call", "c_call"):
            calls.append(getattr(argument, "__name__", frame.f_code.co_name))

    with Progress("fast", 1000, "step", watch=watch) as bar:
        clock.now += 60  # a line is due, and it is the thread's to write
        sys.setprofile(count)
        try:
            for _ in range(1000):
                bar.update()
        finally:
            sys.setprofile(None)
        assert bar.done == 1000
    assert calls == ["update"] * 1000 + ["setprofile"]
    assert lines == []
