"""Collapse on purpose: each switch breaks what it says, and the command draws what happened."""

from __future__ import annotations

import json

import pytest

from ijepa_viz.runtime import config_files
from train.config import TrainConfig
from train.reports.collapse import _CONFIG, SWITCHES, main

SMALL = [
    "model.image_size=32", "model.width=32", "model.depth=2", "model.predictor_width=16", "mask.options={}",
    "data.source=menagerie:count=256", "data.eval_source=null", "optimization.steps=150", "optimization.batch_size=32", "optimization.warmup=10",
    "run.monitor_every=10", "run.monitor_images=64", "run.precision=fp32",
]  # fmt: skip


def test_every_switch_is_a_valid_config_that_differs_from_the_whole_one():
    whole = config_files.load(TrainConfig, _CONFIG)
    for name, overrides in SWITCHES.items():
        broken = config_files.load(TrainConfig, _CONFIG, overrides)
        assert (broken == whole) == (name == "nothing broken")


def test_broken_runs_collapse_and_are_drawn(tmp_path, capsys):
    out = tmp_path / "collapse"
    names = ["no safeguard at all", "teacher never moves", "nothing broken"]
    assert main(["--out", str(out), "--only", *names, *SMALL]) == 0  # settings may follow the names
    table = json.loads((out / "collapse.json").read_text())
    assert list(table) == names
    assert table["no safeguard at all"]["verdict"] == "complete collapse"
    assert table["no safeguard at all"]["spread_images_left"] < 0.2
    assert table["teacher never moves"]["verdict"] == "teacher frozen"
    assert table["nothing broken"]["verdict"] in ("healthy", "rising loss but learning")
    assert (out / "collapse.png").stat().st_size > 10000
    assert main([*SMALL, "--out", str(out), "--only", names[0]]) == 1  # nothing is overwritten
    assert main(["--out", str(out), "--only", "no sleep"]) == 1
    assert "No switch 'no sleep'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_run_is_healthy_and_its_opposite_is_not(tmp_path):
    assert main(["--out", str(tmp_path / "c"), "--only", "nothing broken", "no safeguard at all"]) == 0
    table = json.loads((tmp_path / "c" / "collapse.json").read_text())
    assert table["nothing broken"]["verdict"] in ("healthy", "rising loss but learning")
    assert table["no safeguard at all"]["verdict"] == "complete collapse"
