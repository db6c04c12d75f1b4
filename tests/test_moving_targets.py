"""``mask.moving_targets``: motion against loops, odds against a draw without replacement, and shares of processes."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ijepa_viz.masks import Masks, sample
from ijepa_viz.masks.moving import keep_moving, motion
from ijepa_viz.models import ModelConfig
from train.config import (
    DataConfig,
    MaskConfig,
    ObjectiveConfig,
    OptimizationConfig,
    PretrainRunConfig,
    TrainConfig,
    sample_masks,
)
from train.planning.cost import flops_per_image
from train.planning.plan import activation_bytes
from train.trainer import Trainer

FILMS = ModelConfig(
    image_size=32, patch_size=8, frames=8, tubelet=2, width=32, depth=1, heads=2, predictor_width=16,
    predictor_depth=1, predictor_heads=2,
)  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_loops(films: np.ndarray, rows: int, cols: int, steps: int) -> np.ndarray:
    """:func:`motion` in NumPy, pixel after pixel: half patches, their lower median over time, and the tokens' means."""
    count, frames, channels, height, width = films.shape
    h, w = height // (2 * rows), width // (2 * cols)
    small = np.zeros((count, frames, channels, 2 * rows, 2 * cols))
    for row in range(2 * rows):
        for col in range(2 * cols):
            small[..., row, col] = films[..., row * h : row * h + h, col * w : col * w + w].mean((-1, -2))
    usual = np.sort(small, axis=1)[:, (frames - 1) // 2]
    away = np.abs(small - usual[:, None]).mean(2)  # (n, T, 2 rows, 2 cols)
    found = np.zeros((count, steps * rows * cols))
    each = frames // steps
    for token in range(found.shape[1]):
        step, row, col = token // (rows * cols), token // cols % rows, token % cols
        own = away[:, step * each : step * each + each, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
        found[:, token] = own.mean((1, 2, 3))
    return found


@pytest.mark.parametrize(("grid", "steps"), [((4, 4), 4), ((2, 8), 8), ((4, 2), 2)])
def test_motion_is_that_of_loops(grid, steps):
    films = torch.randn(2, 8, 3, 16, 16, generator=seeded())
    found = motion(films, grid, steps)
    assert np.abs(found.numpy() - by_loops(films.numpy(), *grid, steps)).max() < 1e-5


def test_what_moves_is_where_a_square_is_and_not_where_it_never_was():
    film = torch.zeros(1, 8, 3, 32, 32)
    for t in range(8):  # a square of one patch that goes a patch to the right every two frames, in the second row
        film[0, t, :, 8:16, 8 * (t // 2) : 8 * (t // 2) + 8] = 1.0
    found = motion(film, (4, 4), 4).view(4, 4, 4)
    expected = torch.zeros(4, 4, 4)
    for step in range(4):
        expected[step, 1, step] = 1.0
    assert torch.allclose(found, expected)
    assert not motion(torch.ones(1, 8, 3, 32, 32), (4, 4), 4).any()


@given(st.integers(1, 4), st.integers(1, 80), st.integers(0, 2**31))
def test_what_is_kept_is_a_sorted_part_of_the_targets(batch, count, seed):
    generator = seeded(seed)
    masks = sample("future", batch=batch, grid=(4, 4), steps=6, generator=generator)
    targets = masks.targets[:, 0]
    moves = torch.rand(batch, 96, generator=generator)
    kept = keep_moving(masks, moves, count, torch.rand(targets.shape, generator=generator))
    assert torch.equal(kept.context, masks.context)
    assert (kept.grid, kept.steps) == (masks.grid, masks.steps)
    assert kept.targets.shape == (batch, 1, min(count, targets.shape[1]))
    for own, before in zip(kept.targets[:, 0].tolist(), targets.tolist(), strict=True):
        assert own == sorted(set(own))
        assert set(own) <= set(before)


def shares(moves: torch.Tensor, count: int, draws: int = 6000) -> np.ndarray:
    """How often each of the targets, tokens 4 to 9 of ten, is kept."""
    one = Masks(torch.arange(4)[None], torch.arange(4, 10)[None, None], (1, 2), None, 5)
    masks = one.repeat(draws)
    kept = keep_moving(masks, moves.expand(draws, -1), count, torch.rand(draws, 6, generator=seeded(3)))
    return np.bincount(kept.targets.flatten().numpy(), minlength=10)[4:] / draws


@pytest.mark.parametrize("count", [1, 2, 4])
def test_odds_are_those_of_a_draw_without_replacement(count):
    """By drawing one after the other, with odds of motion plus the mean motion of the targets."""
    moves = torch.tensor([[9.0, 9, 9, 9, 0, 0, 1, 2, 3, 6]])  # the context's motion does not count
    odds = moves[0, 4:].numpy() + 2.0
    rng = np.random.default_rng(0)
    chosen = [rng.choice(6, count, replace=False, p=odds / odds.sum()) for _ in range(6000)]
    expected = np.bincount(np.concatenate(chosen), minlength=6) / 6000
    found = shares(moves, count)
    assert np.abs(found - expected).max() < 0.03  # a standard deviation of the difference is at most 0.009
    if count < 4:
        assert found[5] > 1.8 * found[0] > 0.1


def test_of_a_still_film_all_targets_have_the_same_odds():
    assert np.abs(shares(torch.zeros(1, 10), 3) - 0.5).max() < 0.03


def test_settings_that_have_no_meaning_are_refused():
    masks = sample("future", batch=1, grid=(4, 4), steps=6, generator=seeded())
    draws = torch.rand(masks.targets[:, 0].shape)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        keep_moving(masks, torch.rand(1, 96), 0, draws)
    two = replace(masks, targets=masks.targets.repeat(1, 2, 1))
    with pytest.raises(ValueError, match=r"one target block, not 2.*tubes, future, mixed"):
        keep_moving(two, torch.rand(1, 96), 5, draws)
    pictures = TrainConfig(model=replace(FILMS, frames=1, tubelet=1), mask=MaskConfig("random", {}, 5))
    with pytest.raises(ValueError, match=r"of films, and model.frames is 1: set mask.moving_targets=null"):
        sample_masks(pictures, 2, seeded())


def config_of(folder, moving: int | None = 8) -> TrainConfig:
    return TrainConfig(
        model=FILMS,
        objective=ObjectiveConfig(options={"target_context": "masks"}),
        data=DataConfig(source="menagerie-film:count=8,frames=8,size=32"),
        mask=MaskConfig("future", {"seen": [1, 2]}, moving),
        optimization=OptimizationConfig(steps=2, batch_size=4, warmup=1),
        run=PretrainRunConfig(folder=str(folder), monitor_images=4),
    )


def test_the_shares_of_two_processes_are_the_batch_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(tmp_path / "cache"))
    trainer = Trainer(config_of(tmp_path / "run"))
    images, masks, _, _ = trainer.batch(1)
    assert masks.targets.shape == (4, 1, 8)
    assert not torch.equal(masks.targets[0], masks.targets[1])
    device = trainer.accelerator.device
    for process in range(2):
        one = copy.copy(trainer)
        one.__dict__.pop("_share", None)
        one.accelerator = SimpleNamespace(num_processes=2, process_index=process, device=device)
        share, own, _, _ = one.batch(1)
        mine = slice(2 * process, 2 * process + 2)
        assert torch.allclose(share, images[mine], atol=1e-5)
        assert torch.equal(own.targets, masks.targets[mine])
        assert torch.equal(own.context, masks.context[mine])
    whole = sample_masks(trainer.config, 4, seeded(), all_targets=True)
    assert whole.targets.shape[2] > sample_masks(trainer.config, 4, seeded()).targets.shape[2] == 8


def test_targets_that_are_kept_move_more_than_those_that_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(tmp_path / "cache"))
    trainer = Trainer(config_of(tmp_path / "run"))
    ratios = []
    for step in range(8):
        images, masks, _, _ = trainer.batch(step)
        moves = motion(images, FILMS.grid, FILMS.steps)
        possible = moves[:, (int(masks.context.max()) + 1) :]  # all of the future
        ratios.append(moves.gather(1, masks.targets[:, 0]).mean(1) / possible.mean(1))
    assert torch.cat(ratios).mean() > 1.25


def test_a_plan_counts_the_targets_that_take_part(tmp_path):
    few, all_of_them = config_of(tmp_path, 8), config_of(tmp_path, None)
    exact = replace(all_of_them, mask=MaskConfig("future", {"seen": [1, 2], "max_targets": 8}))
    assert flops_per_image(few) == pytest.approx(flops_per_image(exact))
    assert flops_per_image(few) < 0.6 * flops_per_image(all_of_them)
    assert activation_bytes(few, 4) == pytest.approx(activation_bytes(exact, 4), rel=1e-3)
    assert activation_bytes(few, 4) < 0.8 * activation_bytes(all_of_them, 4)
