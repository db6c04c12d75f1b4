"""Ablations against collapse: each removes what its name says, and the command writes table and figure."""

from __future__ import annotations

import json

import pytest
from conftest import size_of

from ijepa_viz.runtime import config_files
from train.config import TrainConfig
from train.reports.collapse import ABLATIONS, CONFIG, main

SMALL = [
    "model.image_size=32", "model.width=32", "model.depth=2", "model.predictor_width=16", "mask.options={}",
    "data.source=menagerie:count=256", "data.eval_source=null", "optimization.steps=150", "optimization.batch_size=32", "optimization.warmup=10",
    "run.monitor_every=10", "run.monitor_images=64", "run.precision=fp32",
]  # fmt: skip


def test_every_ablation_is_a_valid_config_that_differs_from_the_baseline():
    baseline = config_files.load(TrainConfig, CONFIG)
    for name, overrides in ABLATIONS.items():
        ablated = config_files.load(TrainConfig, CONFIG, overrides)
        assert (ablated == baseline) == (name == "baseline")


def test_ablated_runs_collapse_and_are_plotted(tmp_path, capsys, drawn):
    out = tmp_path / "collapse"
    names = ["all removed", "frozen teacher", "baseline"]
    assert main(["--out", str(out), "--only", *names, *SMALL]) == 0  # settings may follow the names
    table = json.loads((out / "collapse.json").read_text())
    assert list(table) == names
    assert table["all removed"]["verdict"] == "complete collapse"
    assert table["all removed"]["spread_images_left"] < 0.2
    assert table["frozen teacher"]["verdict"] == "teacher frozen"
    # So short a run keeps its features; whether it learns is not beyond the noise, and the verdict must not say so.
    assert table["baseline"]["verdict"] in ("healthy", "rising loss but learning", "hardly learning")
    assert table["baseline"]["spread_images_left"] > 0.5
    assert min(size_of(out / "collapse.png")) > 200
    panels = drawn[0].axes[: len(names)]
    assert [axis.get_title() for axis in panels] == [f"{name}\n{table[name]['verdict']}" for name in names]
    for name, axis in zip(names, panels, strict=True):
        spread = next(line for line in axis.lines if line.get_label() == "over images at a patch index").get_ydata()
        assert spread[0] == 1
        assert spread[-1] == pytest.approx(table[name]["spread_images_left"])
    assert main([*SMALL, "--out", str(out), "--only", names[0]]) == 1  # nothing is overwritten
    assert main(["--out", str(out), "--only", "no sleep"]) == 1
    assert "No ablation 'no sleep'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_run_is_healthy_and_its_opposite_is_not(tmp_path):
    assert main(["--out", str(tmp_path / "c"), "--only", "baseline", "all removed"]) == 0
    table = json.loads((tmp_path / "c" / "collapse.json").read_text())
    assert table["baseline"]["verdict"] in ("healthy", "rising loss but learning")
    assert table["all removed"]["verdict"] == "complete collapse"
