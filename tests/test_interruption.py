"""Ctrl-C during the commands that write as they compute: status 130, and no part of a file anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.runtime.outputs import check_output

ROOT = Path(__file__).parent.parent


def command(model: str, name: str, out: Path) -> list[str]:
    pictures = str(out.parent.parent / "pictures")
    if name == "p.csv":
        return ["predict", pictures, "--model", model, "--block", "1", "1", "2", "2", "--out", str(out)]
    return ["features", model, "--data", pictures, "--tokens", "--out", str(out)]


@pytest.fixture
def pictures(tmp_path, picture):
    """Many names of one picture."""
    (tmp_path / "pictures").mkdir()
    picture.save(tmp_path / "pictures" / "first.png")
    for i in range(3000):
        os.link(tmp_path / "pictures" / "first.png", tmp_path / "pictures" / f"{i:04}.png")


@contextmanager
def interrupted_once(written):
    """A real SIGINT of this process as soon as ``written()`` is true."""

    def watch():
        while not done.is_set():
            if written():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.005)

    done = threading.Event()
    thread = threading.Thread(target=watch)
    # A shell starts what runs in its background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ["f.parquet", "f.npz", "f.safetensors", "p.csv"])
def test_an_interruption_leaves_no_part_and_the_old_file(model, tmp_path, pictures, name, capsys):
    torch.manual_seed(0)
    save_folder(model, tmp_path / "mine")
    out = tmp_path / "out" / name
    out.parent.mkdir()
    out.write_bytes(b"old")
    with interrupted_once(lambda: any(p.name.startswith(f"{name}.") for p in out.parent.iterdir())):
        assert main(command(str(tmp_path / "mine"), name, out)) == 130
    assert "interrupted" in capsys.readouterr().err
    assert [p.name for p in out.parent.iterdir()] == [name]
    assert out.read_bytes() == b"old"


def test_an_interrupted_check_of_the_output_leaves_nothing(tmp_path, monkeypatch):
    touch = Path.touch

    def interrupted(path):
        touch(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "touch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_output(tmp_path / "f.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f.parquet", "p.csv"])
def test_an_interrupted_process_leaves_nothing(model, tmp_path, pictures, name):
    save_folder(model, tmp_path / "mine")
    out = tmp_path / "out" / name
    out.parent.mkdir()
    started = subprocess.Popen(
        [sys.executable, "-m", "ijepa_viz.cli", *command(str(tmp_path / "mine"), name, out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a shell's background job has none
    )
    for _ in range(1200):
        if list(out.parent.iterdir()) or started.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 130, told
    assert "Traceback" not in told
    assert list(out.parent.iterdir()) == []
