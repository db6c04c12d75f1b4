"""Architectures compared over seeds: intervals, who wins, and the command."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import TINY, size_of
from scipy import stats

from ijepa_viz.checkpoints import save_folder
from ijepa_viz.checkpoints.training_cost import TrainingCost, write_training
from ijepa_viz.models import IJEPA
from train.reports import versus


def cost(objective, flops=1e12):
    return TrainingCost(objective, 10, 1.0, flops, "a test")


def test_intervals_over_seeds_are_those_of_an_analysis_of_variance():
    groups = {"a": [0.70, 0.74, 0.75, 0.81], "b": [0.5, 0.52], "c": [0.9]}
    found = versus.over_seeds(groups)
    # The same by least squares on indicator columns.
    design = np.zeros((7, 3))
    design[[0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 1, 1, 2]] = 1
    y = np.concatenate(list(groups.values()))
    means, rest, _, _ = np.linalg.lstsq(design, y, rcond=None)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rest[0] / 4)
    for i, name in enumerate(groups):
        low, high = stats.t.interval(0.95, 4, loc=means[i], scale=errors[i])
        assert found[name] == pytest.approx({"accuracy": means[i], "low": low, "high": high})
    # One group is Student's.
    values = [0.70, 0.74, 0.75, 0.81]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert versus.over_seeds({"a": values})["a"] == pytest.approx(
        {"accuracy": np.mean(values), "low": low, "high": high}
    )
    assert versus.over_seeds({"a": [0.5]}) == {"a": {"accuracy": 0.5, "low": 0.5, "high": 0.5}}


@pytest.mark.slow
def test_a_winner_among_equals_is_rare():
    """Three groups of three draws from one distribution: a winner in at most one of twenty."""
    rng = np.random.default_rng(0)
    won = sum(versus.winner({n: rng.normal(size=3).tolist() for n in "abc"}) != "" for _ in range(400))
    assert won / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


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
    assert "no significant difference" in versus.as_text(once)


def test_unequal_arithmetic_is_said():
    assert versus.unequal({"a": cost("x", 1e12), "b": cost("y", 1.01e12)}) == ""
    assert "b 2e+12" in versus.unequal({"a": cost("x", 1e12), "b": cost("y", 2e12)})


def test_the_command(tmp_path, capsys, drawn):
    runs = []
    for objective in ("ijepa", "mae"):
        for seed in range(2):
            torch.manual_seed(seed)
            folder = tmp_path / f"{objective}-{seed}"
            save_folder(IJEPA(TINY), folder)
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
    assert min(size_of(figure)) > 200
    axes = drawn[0].axes
    assert [axis.get_title().split("\n")[0] for axis in axes] == list(rows)
    for axis, row in zip(axes, rows.values(), strict=True):
        dots = [list(line.get_ydata()) for line in axis.lines if line.get_marker() == "o"]
        assert dots == [row["ijepa"]["runs"], row["mae"]["runs"]]
    assert "Of equal arithmetic" in capsys.readouterr().out
    # Answers outlive their runs.
    kept = tmp_path / "kept.json"
    base = ["--data", data, "--limit", "100", "--remember", str(kept)]
    assert versus.main([*runs[:2], *base]) == 0
    shutil.rmtree(runs[0])
    assert versus.main([*runs[2:], *base, "--json", str(tmp_path / "again.json")]) == 0
    assert json.loads((tmp_path / "again.json").read_text()) == rows
    assert versus.main([*base[:2], "--remember", str(kept)]) == 1
    assert "name another file" in capsys.readouterr().err
    # Answers of 0.1.0 may be on pictures that were learned from.
    old = {k: v for k, v in json.loads(kept.read_text()).items() if k != "test_data"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert versus.main([*base[:4], "--remember", str(tmp_path / "old.json")]) == 1
    assert "which pictures were tested on" in capsys.readouterr().err
    # A run trained anew under its name is asked anew.
    before = json.loads(kept.read_text())["runs"][runs[1]]
    write_training(tmp_path / "ijepa-1", cost("ijepa", 1.001e12))
    assert versus.main([runs[1], *base]) == 0
    after = json.loads(kept.read_text())["runs"][runs[1]]
    assert before["training"] != after["training"]
    assert before["answers"] == after["answers"]  # the same weights
    runs = runs[1:]
    (tmp_path / "ijepa-1" / "training.json").unlink()
    assert versus.main([runs[0], "--data", data]) == 1
    assert "no training.json" in capsys.readouterr().err
