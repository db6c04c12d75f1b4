"""Architectures compared over seeds: intervals, who wins, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import TINY
from scipy import stats

from ijepa_viz.costs import Training, write_training
from ijepa_viz.model import IJEPA
from train import versus


def cost(objective, flops=1e12):
    return Training(objective, 10, 1.0, flops, "a test")


def test_an_interval_over_seeds_is_students():
    values = [0.70, 0.74, 0.75, 0.81]
    found = versus.over_seeds(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found["accuracy"] == pytest.approx(np.mean(values))
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert versus.over_seeds([0.5]) == {"accuracy": 0.5, "low": 0.5, "high": 0.5}


def planted(**groups):
    """Answers of runs named a0, a1, ..., each group's accuracies given."""
    baselines = {"colour_thumbnail_8x8": 0.3, "most_frequent": 0.2}
    found = {
        f"{name}{i}": {"facing": {"target_encoder": value, **baselines}}
        for name, values in groups.items()
        for i, value in enumerate(values)
    }
    return found, {run: cost(run[0]) for run in found}


def test_a_winner_is_named_only_where_the_seeds_set_it_apart():
    apart = versus.compare(*planted(a=[0.80, 0.81, 0.82], b=[0.60, 0.61, 0.62]))
    assert apart["facing"]["winner"] == "a"
    assert apart["facing"]["a"]["runs"] == [0.80, 0.81, 0.82]
    close = versus.compare(*planted(a=[0.80, 0.90, 0.70], b=[0.79, 0.85, 0.71]))
    assert close["facing"]["winner"] == ""
    once = versus.compare(*planted(a=[0.9], b=[0.1]))
    assert once["facing"]["winner"] == ""  # one seed sets nothing apart
    assert "none is apart" in versus.as_text(once)


def test_unequal_arithmetic_is_said():
    assert versus.unequal({"a": cost("x", 1e12), "b": cost("y", 1.01e12)}) == ""
    assert "b 2e+12" in versus.unequal({"a": cost("x", 1e12), "b": cost("y", 2e12)})


def test_the_command(tmp_path, capsys):
    runs = []
    for objective in ("ijepa", "mae"):
        for seed in range(2):
            torch.manual_seed(seed)
            folder = tmp_path / f"{objective}-{seed}"
            IJEPA(TINY).save(folder)
            write_training(folder, cost(objective))
            runs.append(str(folder))
    data = "menagerie:count=120"
    table, figure = tmp_path / "t.json", tmp_path / "f.png"
    assert versus.main([*runs, "--data", data, "--limit", "100", "--json", str(table), "--figure", str(figure)]) == 0
    rows = json.loads(table.read_text())
    assert set(rows) == {"class", "count", "distance", "facing", versus.KNN}
    assert all(0 <= rows["facing"][name]["accuracy"] <= 1 for name in ("ijepa", "mae"))
    # One seed a folder, the same for both objectives: the same numbers.
    assert rows["count"]["ijepa"] == rows["count"]["mae"]
    assert figure.stat().st_size > 10_000
    assert "Of equal arithmetic" in capsys.readouterr().out
    (tmp_path / "ijepa-0" / "training.json").unlink()
    assert versus.main([runs[0], "--data", data]) == 1
    assert "no training.json" in capsys.readouterr().err
