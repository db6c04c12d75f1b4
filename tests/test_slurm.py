"""A real job on a real SLURM: interrupted by its time limit, requeued, and finished as one run. Slow: ten minutes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from test_train import CONFIG, config_file, rows

from train import distributed


def test_a_typo_does_not_wait_in_the_queue(tmp_path, capsys):
    arguments = ["--fname", config_file(tmp_path), "--folder", str(tmp_path / "logs"), "--partition", "debug"]
    assert distributed.main([*arguments, "optimization.stepps=3"]) == 1
    assert "Did you mean 'steps'?" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_job_is_requeued_at_its_limit_and_finishes(tmp_path):
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.skip("no SLURM is running here")
    partition = re.search(r"^(\S+)\*", subprocess.run(["sinfo", "-h"], capture_output=True, text=True).stdout, re.M)[1]
    folder = tmp_path / "run"
    # At 15 to 20 steps a second on two cores the limit of three minutes comes before the end; a faster machine needs more.
    steps = int(os.environ.get("IJEPA_VIZ_SLURM_STEPS", "3500"))
    settings = [
        f"run.folder={folder}",
        f"optimization.steps={steps}",
        "data.eval_source=null",
        "run.monitor_every=10000",
    ]
    command = [
        sys.executable, "-m", "train.distributed", "--fname", config_file(tmp_path, CONFIG), "--folder", str(tmp_path / "logs"),
        "--partition", partition, "--nodes", "1", "--tasks-per-node", "2", "--time", "3", "--cpus-per-task", "1", "--cpu",
        "--notice", "30", *settings,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    job = re.search(r"job (\d+)", done.stdout)[1]
    final = folder / f"step-{steps:08d}"
    deadline = time.monotonic() + 1500
    while not final.is_dir():
        state = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True).stdout.strip()
        assert state, "the job is gone, but not at its end"
        assert time.monotonic() < deadline
        time.sleep(2)
    said = "".join(p.read_text() for p in (tmp_path / "logs" / job).glob("*_log.out"))
    assert f"job {job} is requeued" in said
    assert [int(row["step"]) for row in rows(folder)] == list(range(1, steps + 1))
