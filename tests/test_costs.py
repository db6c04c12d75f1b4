from __future__ import annotations

import pytest

from ijepa_viz.checkpoints import bundled_names
from ijepa_viz.checkpoints.training_cost import TrainingCost, training_of
from ijepa_viz.figures import cost_figure
from ijepa_viz.runtime import config_files
from train.__main__ import main as train
from train.config import TrainConfig
from train.planning.cost import flops_per_image, main

CONFIG = """
model: {image_size: 32, patch_size: 8, width: 32, depth: 2, heads: 2, predictor_width: 16, predictor_depth: 3,
        predictor_heads: 2}
data: {source: "menagerie:count=64", crop_scale: [0.5, 1.0]}
mask: {strategy: block, options: {scale: 0.5, aspect: [1.0, 1.0]}}
optimization: {steps: 2, batch_size: 8, warmup: 1}
regularizer: {name: variance-covariance, weight: 0.1}
run: {precision: fp32}
"""


def vit(tokens: int, width: int, depth: int) -> float:
    """Multiply-adds of a ViT's blocks: 4 D^2 of attention, 8 D^2 of the MLP, and two n D products a token."""
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def test_operations_are_those_one_counts_by_hand(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    config = config_files.load(TrainConfig, path)
    context, target, all_patches, pixels = 7, 9, 16, 3 * 64  # a 3x3 block of 16 patches
    encoder = vit(context, 32, 2) + context * pixels * 32
    teacher = vit(all_patches, 32, 2) + all_patches * pixels * 32
    # Of the last layer's context only keys and values are needed: 2 D^2 a token.
    last = 2 * all_patches * 16**2 + 10 * target * 16**2 + 2 * target * all_patches * 16
    predictor = vit(all_patches, 16, 2) + last + context * 32 * 16 + target * 16 * 32
    # Backward costs twice forward, save that no gradient of the pixels is computed.
    expected = 2 * (3 * (encoder + predictor) - context * pixels * 32 + teacher)
    assert flops_per_image(config) == pytest.approx(expected, rel=0.02)


def test_a_run_writes_down_what_it_cost(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    assert train(["--fname", str(path), f"run.folder={tmp_path / 'run'}"]) == 0
    cost = training_of(tmp_path / "run" / "step-00000002")
    assert (cost.objective, cost.images) == ("ijepa", 16)
    assert cost.flops == pytest.approx(16 * flops_per_image(config_files.load(TrainConfig, path)))
    assert 0 < cost.hours < 0.1
    assert cost.hardware
    assert main(["--fname", str(path)]) == 0
    assert "for 16 images" in capsys.readouterr().out
    assert main(["--fname", str(tmp_path / "none.yaml")]) == 1
    assert training_of(tmp_path) is None


def test_bundled_models_say_what_they_cost():
    for name in bundled_names():
        cost = training_of(name)
        assert cost is not None
        assert cost.images > 0
        assert cost.flops > 0
    assert training_of("ijepa-vith14-in1k").hours <= 1200


def test_the_cost_figure_draws_every_question_of_every_model():
    row = {"target_encoder": 0.5, "target_encoder_last_4": 0.6, "random_init": 0.2, "chance": 0.1}
    better = {**row, "target_encoder": 0.7, "target_encoder_last_4": 0.65}
    few = {name: {"accuracy": value, "low": 0.0, "high": 1.0} for name, value in row.items()}
    costs = {
        "a": TrainingCost("ijepa", 1000, 0.5, 1e12, "a test"),
        "b": TrainingCost("mae", 1000, 2.0, 3e12, "a test"),
        "c": None,
    }
    tables = {
        "a": {"train_images": 9, "linear": row, "1 a class": few},
        "b": {"train_images": 9, "linear": better, "1 a class": few},
        "c": {"train_images": 9, "linear": row, "1 a class": few},
    }
    figure = cost_figure(tables, costs, "all")
    axes = figure.axes
    assert [a.get_ylabel() for a in axes[::2]] == ["linear accuracy", "1 a class accuracy"]
    dots = [[line.get_xydata()[0].tolist() for line in a.lines if line.get_marker() == "o"] for a in axes]
    assert dots == [
        [[1e12, 0.5], [3e12, 0.7]],
        [[0.5, 0.5], [2.0, 0.7]],
        [[1e12, 0.5], [3e12, 0.5]],
        [[0.5, 0.5], [2.0, 0.5]],
    ]
    best = [[line.get_ydata()[0] for line in a.lines if line.get_marker() == "^"] for a in axes]
    assert best == [[0.6, 0.7], [0.6, 0.7], [0.6, 0.6], [0.6, 0.6]]
    assert "c" in figure.legends[0].get_title().get_text().split(": ")[-1]
    one = cost_figure({"a": {"train_images": 9, **row}}, {"a": costs["a"]}, "knn")
    assert [a.get_ylabel() for a in one.axes[::2]] == ["knn accuracy"]
    with pytest.raises(ValueError, match="same data"):
        cost_figure({**tables, "a": {"linear": row}}, costs, "all")
    with pytest.raises(ValueError, match="does not say one accuracy"):
        cost_figure({"a": {"prediction": 0.4}}, {"a": costs["a"]}, "pixels")
    with pytest.raises(ValueError, match=r"no training\.json"):
        cost_figure({"c": row}, {"c": None}, "knn")
