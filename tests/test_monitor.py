from __future__ import annotations

import csv
import math
import re

import numpy as np
import pytest
import torch
from conftest import size_of
from PIL import Image
from scipy import stats

from ijepa_viz.data.batches import open_images
from ijepa_viz.data.opening import open_source
from ijepa_viz.figures import run_figure
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.run_folder import read_log
from train.__main__ import main
from train.config import TrainConfig
from train.monitor import Monitor, rankme, spreads
from train.reports.report import main as report
from train.reports.verdict import MEANINGS, verdict
from train.trainer import Trainer


def test_rankme_against_its_definition_in_numpy():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 8)) * np.array([3, 2, 1, 1, 0.5, 0.1, 0.01, 0.001]) + 5
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)
    shares = values / values.sum()
    assert rankme(torch.tensor(x)) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    line = torch.outer(torch.randn(50), torch.randn(8)) + 7
    assert rankme(line) == pytest.approx(1.0, abs=0.05)
    assert rankme(torch.full((50, 8), 3.0)) == 1.0
    q, _ = torch.linalg.qr(torch.randn(64, 9))
    q = torch.linalg.qr(q - q.mean(0))[0][:, :8]  # eight equally long directions
    assert rankme(q) == pytest.approx(8.0, abs=0.1)


def test_spreads_tell_the_kinds_of_collapse_apart():
    generator = torch.Generator().manual_seed(0)
    free = torch.randn(40, 16, 8, generator=generator)
    constant = torch.ones(40, 16, 8)
    position = torch.randn(1, 16, 8, generator=generator).expand(40, -1, -1)
    image = torch.randn(40, 1, 8, generator=generator).expand(-1, 16, -1)
    assert min(spreads(free)) > 0.9
    assert max(spreads(constant)) < 1e-6
    within, between = spreads(position)
    assert within > 0.9
    assert between < 1e-6
    within, between = spreads(image)
    assert within < 1e-6
    assert between > 0.9
    assert spreads(free * 100) == pytest.approx(spreads(free))


def test_the_monitor_sees_the_teacher_move(model):
    watch = Monitor(torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8))
    first = watch.look(model.target_encoder)
    assert "teacher_moved" not in first
    assert watch.look(model.target_encoder)["teacher_moved"] == 0
    with torch.no_grad():
        for name, parameter in model.target_encoder.named_parameters():
            if name != "pos_embed":
                parameter *= 1.1
    assert watch.look(model.target_encoder)["teacher_moved"] == pytest.approx(0.1, rel=1e-3)


def flat_pictures(folder, classes, each):
    """Pictures of one grey level a class, in one folder a class: 10, 20, 30, ..."""
    for c in range(classes):
        (folder / f"class-{c}").mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (32, 32), (10 * (c + 1),) * 3).save(folder / f"class-{c}" / f"{i}.png")
    return open_source(str(folder))


@pytest.mark.parametrize("keep", [True, False])
def test_the_monitor_looks_at_pictures_of_all_classes(tmp_path, keep):
    source = flat_pictures(tmp_path, 6, 5)
    seen = open_images(source, 32, keep).squares(12).float().mean((1, 2, 3))
    assert seen.tolist() == [10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 60, 60]
    assert len(open_images(source, 32, keep).squares(100)) == 30
    assert len(open_images(source, 32, keep).squares(1)) == 1


def test_rankme_of_a_folder_is_that_of_all_its_classes(tmp_path, model):
    """As over all pictures, and not that of its first classes."""
    source = flat_pictures(tmp_path, 24, 4)
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)  # what the pictures of a class share
    source.read = lambda i: Image.fromarray(patterns[i // 4])
    pictures = open_images(source, 32, keep=False)
    some, every = (Monitor(pictures.squares(n)).look(model.target_encoder)["rankme"] for n in (24, 96))
    assert some == pytest.approx(every, rel=0.02)


# --------------------------------------------------------------------------- real runs, whole and broken

CONFIG = """
model: {image_size: 32, patch_size: 8, width: 32, depth: 2, heads: 2,
        predictor_width: 16, predictor_depth: 1, predictor_heads: 2}
data: {source: "menagerie:count=512", crop_scale: [0.5, 1.0]}
optimization: {steps: 200, batch_size: 32, lr: 1.0e-3, warmup: 20, ema: [0.98, 0.998], clip_grad: 1.0}
regularizer: {name: variance-covariance, level: tokens, weight: 1.0}
run: {precision: fp32, log_every: 10, monitor_every: 20, monitor_images: 128}
"""


@pytest.mark.parametrize(
    ("expected", "overrides"),
    [
        ("rising loss but learning", ["optimization.steps=300"]),
        ("complete collapse", ["objective.options.stop_gradient=false", "regularizer.name=none"]),
        ("teacher frozen", ["optimization.ema=[1.0, 1.0]"]),
        ("diverging", ["optimization.lr=0.1"]),
        ("nothing to predict", ["objective.options.noise_targets=true"]),
        ("healthy", ["objective.options.target_normalisation=instance", "optimization.steps=100"]),
    ],
)
def test_real_runs_get_the_verdict_they_deserve(tmp_path, expected, overrides):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    run = tmp_path / "run"
    assert main(["--fname", str(config), f"run.folder={run}", *overrides]) == 0
    judged = verdict(read_log(run), 32)
    assert judged.name == expected, str(judged)
    assert judged.healthy == (expected in ("healthy", "rising loss but learning"))


# --------------------------------------------------------------------------- kinds that need no run


def log(**columns):
    """Ten looks, each column a value or a list of ten."""
    usual = {
        "loss": 0.5, "prediction_loss": 0.5, "cosine": 0.6, "cosine_other": 0.4, "spread_tokens": 0.5,
        "spread_images": 0.4, "rankme": 20.0, "teacher_moved": 0.01, "update_ratio": 0.002,
    }  # fmt: skip
    columns = {**usual, **columns}
    return [{k: str(v[i] if isinstance(v, list) else v) for k, v in columns.items()} for i in range(10)]


@pytest.mark.parametrize(
    ("expected", "columns"),
    [
        ("healthy", {}),
        ("collapse to position", {"spread_images": [0.4 - 0.04 * i for i in range(10)]}),
        ("dimensional collapse", {"rankme": [20.0] * 5 + [1.2] * 5}),
        ("context ignored", {"cosine_other": 0.6}),
        # A gap of 0.003 is no verdict: that of untrained networks, or within the noise of its batches.
        ("hardly learning", {"cosine": [0.603 + 0.001 * (i % 2) for i in range(10)], "cosine_other": 0.6}),
        ("context ignored", {"cosine": [0.6 + (0.03 if i % 2 else -0.02) for i in range(10)], "cosine_other": 0.6}),
        ("healthy", {"cosine": [0.62 + 0.001 * (i % 2) for i in range(10)], "cosine_other": 0.6}),
        ("diverging", {"loss": [0.5] * 9 + ["nan"]}),
        ("learning nothing", {"knn": [""] * 9 + [0.05], "knn_random_init": [""] * 9 + [0.054]}),
        ("healthy", {"knn": [""] * 9 + [0.08], "knn_random_init": [""] * 9 + [0.054]}),
    ],
)
def test_verdicts_on_logs(expected, columns):
    assert verdict(log(**columns), 64).name == expected


def test_the_interval_of_the_gap_is_students():
    gaps = np.random.default_rng(0).normal(0.02, 0.004, 10).round(4)
    judged = verdict(log(cosine=list(0.6 + gaps), cosine_other=0.6), 64)
    low, high = stats.t.interval(0.95, 4, gaps[-5:].mean(), stats.sem(gaps[-5:]))
    assert f"a gap of {gaps[-5:].mean():.3f}, 95 % interval {low:.3f} to {high:.3f}" in judged.why


@pytest.mark.parametrize(
    ("tested", "expected"),
    [(None, "healthy"), (300, "learning nothing"), (1000, "learning nothing"), (5000, "healthy")],
)
def test_a_gain_of_knn_must_be_beyond_the_noise_of_its_test_images(tested, expected):
    """Two points more than random init are a gain on 5000 images, and none on 1000."""
    judged = verdict(log(knn=[""] * 9 + [0.42], knn_random_init=[""] * 9 + [0.40]), 64, tested)
    assert judged.name == expected
    if tested:
        said = re.search(r"a gain of 0.020 give or take (0\.\d+)", judged.why)
        assert float(said[1]) == pytest.approx(half_of_difference(0.42, 0.40, tested), abs=0.002)


def half_of_difference(first, second, tested):
    """Half the 95 % interval of the difference of two accuracies, by drawing them."""
    rng = np.random.default_rng(0)
    drawn = (rng.binomial(tested, first, 400_000) - rng.binomial(tested, second, 400_000)) / tested
    return float(np.diff(np.quantile(drawn, [0.025, 0.975]))[0]) / 2


def test_a_short_run_without_the_regularizer_is_found_out_by_its_knn():
    """The last numbers of ``python -m train.reports.collapse`` with 200 steps and 500 test images (notebook 03)."""
    last = {"knn_random_init": [""] * 9 + [0.372]}
    without = log(cosine=0.976, cosine_other=0.967, knn=[""] * 9 + [0.358], **last)
    assert verdict(without, 64, 500).name == "learning nothing"
    assert verdict(log(cosine=0.976, cosine_other=0.967), 64).name == "healthy"  # kNN has to be asked
    assert "kNN not measured" in verdict(log(cosine=0.976, cosine_other=0.967), 64).why


def test_a_short_log_gets_no_verdict_and_empty_cells_are_allowed():
    rows = log()
    for row in rows[1::2]:
        row |= {"spread_images": "", "knn": ""}
    assert verdict(rows[:3], 64).name == "too early to say"
    assert verdict(rows, 64).name == "healthy"
    assert all(name in MEANINGS for name in ("healthy", verdict(rows, 64).name))


# --------------------------------------------------------------------------- report and TensorBoard


def small_run(tmp_path, *overrides):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    short = ["optimization.steps=6", "run.log_every=1", "run.monitor_every=1", "data.source=menagerie:count=64"]
    return config_files.load(TrainConfig, config, [*short, f"run.folder={tmp_path / 'run'}", *overrides])


def test_the_report_draws_the_run_and_says_its_verdict(tmp_path, capsys):
    Trainer(small_run(tmp_path)).run()
    assert report([str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert any(printed.startswith(name) for name in MEANINGS)
    assert size_of(tmp_path / "run" / "report.png")[0] > 1000
    rows = read_log(tmp_path / "run")
    figure = run_figure(rows, "a run")
    panels = figure.axes
    assert len(panels) == 6
    lines = {line.get_label(): line.get_ydata() for line in panels[1].lines}
    assert list(lines["own image"]) == [float(r["cosine"]) for r in rows]
    assert "not measured" in panels[4].texts[0].get_text()  # no kNN in this run


def test_a_baseline_probed_once_is_a_level_and_a_model_probed_once_is_a_point():
    once = {"knn": "0.2", "knn_random_init": "0.1", "knn_thumbnail": "0.15"}
    rows = [{"step": str(i), "images": str(100 * i), "loss": "1", **(once if i == 8 else {})} for i in range(1, 11)]
    panel = run_figure(rows, "a run").axes[4]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panel.lines}
    assert lines == {
        "target encoder": ([800], [0.2]),
        "random init": ([0, 800], [0.1, 0.1]),
        "colour thumbnail": ([0, 800], [0.15, 0.15]),
    }


def test_the_report_names_what_is_missing(tmp_path, capsys):
    assert report([str(tmp_path)]) == 1
    assert "no log.csv" in capsys.readouterr().err
    (tmp_path / "log.csv").write_text("step,loss\n")
    assert report([str(tmp_path)]) == 1
    assert "no rows yet" in capsys.readouterr().err


def test_tensorboard_has_the_numbers_of_the_csv(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Trainer(small_run(tmp_path)).run()
    found = events.EventAccumulator(str(tmp_path / "run"))
    found.Reload()
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = found.Scalars("loss")
    assert [p.step for p in points] == [int(r["step"]) for r in rows]
    assert [p.value for p in points] == pytest.approx([float(r["loss"]) for r in rows], rel=1e-4)
