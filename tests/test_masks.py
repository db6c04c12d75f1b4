from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ijepa_viz import masks as mk
from ijepa_viz.masks import Masks, sample

GRIDS = st.tuples(st.integers(2, 32), st.integers(2, 32))
STRATEGIES = st.sampled_from(sorted(mk.STRATEGIES))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(STRATEGIES, GRIDS, st.integers(1, 9), st.integers(0, 2**31))
def test_no_patch_is_both_context_and_target(strategy, grid, batch, seed):
    masks = sample(strategy, batch=batch, grid=grid, generator=seeded(seed))
    assert len(masks) == batch
    for i in range(batch):  # naive, with sets
        context = masks.context[i][masks.valid[i]].tolist()
        assert context
        assert context == sorted(set(context))
        hidden = {p for block in masks.targets[i].tolist() for p in block}
        assert hidden
        assert not hidden & set(context)
        assert max(hidden | set(context)) < grid[0] * grid[1]


@given(STRATEGIES, GRIDS, st.integers(0, 2**31))
def test_a_seed_gives_the_same_masks(strategy, grid, seed):
    first, second = (sample(strategy, batch=5, grid=grid, generator=seeded(seed)) for _ in range(2))
    assert first == second


@given(GRIDS, st.integers(0, 2**31), st.sampled_from(["unbiased", "faithful"]))
def test_multiblock_targets_are_rectangles(grid, seed, mode):
    masks = sample(batch=4, grid=grid, generator=seeded(seed), mode=mode)
    for block in masks.targets.flatten(0, 1).numpy():
        rows, cols = np.unique(block // grid[1]), np.unique(block % grid[1])
        assert len(rows) * len(cols) == len(set(block.tolist())) == len(block)
        assert rows[-1] - rows[0] == len(rows) - 1
        assert cols[-1] - cols[0] == len(cols) - 1
        if mode == "faithful":  # the reference never reaches the last row and column
            assert rows[-1] < grid[0] - 1
            assert cols[-1] < grid[1] - 1


def test_unbiased_multiblock_reaches_every_place_equally():
    generator = seeded(0)
    counts = torch.zeros(8, 8)
    for _ in range(40):
        counts += sample(batch=256, grid=(8, 8), generator=generator).visible.sum(0)
    rows = counts.sum(1) / counts.sum()
    assert torch.allclose(rows, rows.flip(0), atol=0.02)  # up and down are alike
    assert torch.allclose(counts / counts.sum(), (counts / counts.sum()).T, atol=0.004)


def test_block_sizes_follow_the_paper():
    generator = seeded(1)
    areas = [sample(batch=1, grid=(14, 14), generator=generator).targets.shape[2] / 196 for _ in range(300)]
    assert min(areas) > 0.125  # sides are rounded to whole patches
    assert max(areas) < 0.225
    assert abs(np.mean(areas) - 0.175) < 0.01


def published_shape(u, patches, scale, aspect, side):
    """Height and width that the published collator gives to one number u in [0, 1]."""
    area = int(patches * (scale[0] + u * (scale[1] - scale[0])))
    ratio = aspect[0] + u * (aspect[1] - aspect[0])
    return min(side - 1, round(math.sqrt(area * ratio))), min(side - 1, round(math.sqrt(area / ratio)))


def test_faithful_blocks_on_14x14_have_the_shapes_that_one_number_gives():
    expected = Counter()
    for u in (np.arange(20_000) + 0.5) / 20_000:
        expected[published_shape(u, 196, (0.15, 0.2), (0.75, 1.5), 14)] += 1 / 20_000
    assert sorted(expected) == [(5, 6), (6, 5), (6, 6), (7, 5), (8, 5)]
    generator, found, count = seeded(7), Counter(), 4000
    for _ in range(count):
        block = sample(batch=1, grid=(14, 14), generator=generator, mode="faithful").targets[0, 0]
        found[len((block // 14).unique()), len((block % 14).unique())] += 1 / count
    assert set(found) == set(expected)
    assert sum(abs(found[shape] - share) for shape, share in expected.items()) / 2 < 0.03


def published_batch(side, batch, rng):
    """Contexts (sets) of one batch of the published collator, written as loops; min_keep is 10."""
    target = published_shape(rng.random(), side**2, (0.15, 0.2), (0.75, 1.5), side)
    context = published_shape(rng.random(), side**2, (0.85, 1.0), (1.0, 1.0), side)

    def block(height, width):
        top, left = rng.integers(side - height), rng.integers(side - width)
        return {(top + i) * side + left + j for i in range(height) for j in range(width)}

    contexts = []
    for _ in range(batch):
        targets = [block(*target) for _ in range(4)]
        tries, left_out = 0, 0
        while True:
            kept = block(*context) - set().union(*targets[: 4 - left_out])
            if len(kept) > 10:
                break
            tries += 1
            left_out = min(4, tries // 20)
        contexts.append(sorted(kept))
    shortest = min(map(len, contexts))
    return [kept[:shortest] for kept in contexts]


@pytest.mark.parametrize("side", [8, 14])
def test_faithful_contexts_are_those_of_the_published_collator_as_loops(side):
    rng, generator = np.random.default_rng(8), seeded(8)
    theirs = [published_batch(side, 64, rng) for _ in range(100)]
    ours = [sample(batch=64, grid=(side, side), generator=generator, mode="faithful") for _ in range(400)]
    lengths = [np.mean([len(b[0]) for b in theirs]), np.mean([m.context.shape[1] for m in ours])]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.05)
    rows = [np.mean([np.bincount(np.array(b).ravel() // side, minlength=side) / np.size(b) for b in theirs], axis=0)]
    rows.append(np.mean([(m.context // side).flatten().bincount(minlength=side) / m.context.numel() for m in ours], 0))
    assert np.abs(rows[0] - rows[1]).max() < 0.02


def test_faithful_matches_the_published_behaviour_on_8x8():
    generator = seeded(2)
    drawn = [sample(batch=128, grid=(8, 8), generator=generator, mode="faithful") for _ in range(300)]
    lengths = Counter(m.context.shape[1] for m in drawn)
    assert lengths.most_common(1)[0][0] == 11  # where targets are 4x3; of 3x3 more remains
    top = np.mean([(m.context // 8 < 3).float().mean().item() for m in drawn])
    assert abs(top - 0.77) < 0.08


def test_faithful_matches_the_published_behaviour_on_16x16():
    generator = seeded(3)
    drawn = [sample(batch=112, grid=(16, 16), generator=generator, mode="faithful") for _ in range(30)]
    assert abs(np.mean([m.context.shape[1] for m in drawn]) - 67) < 7
    assert abs(np.mean([m.targets.shape[2] for m in drawn]) - 44) < 2


def test_faithful_leaks_on_a_small_grid_and_unbiased_never_does():
    def leaks(mode):
        generator = seeded(4)
        found = 0
        for _ in range(20):
            masks = sample(batch=64, grid=(4, 4), generator=generator, mode=mode)
            found += int((masks.visible & masks.hidden).flatten(1).any(1).sum())
        return found / (20 * 64)

    assert leaks("unbiased") == 0
    assert leaks("faithful") > 0


def test_max_context_cuts_without_favouring_a_place():
    generator = seeded(5)
    masks = sample(batch=2048, grid=(8, 8), generator=generator, max_context=12)
    assert masks.context.shape[1] == 12
    rows = masks.visible.float().mean((0, 2))
    assert abs(rows[:4].sum() - rows[4:].sum()) < 0.05 * rows.sum()


@pytest.mark.parametrize("strategy", sorted(mk.STRATEGIES))
def test_table_6_shares(strategy):
    masks = sample(strategy, batch=64, grid=(14, 14), generator=seeded(6))
    hidden = masks.hidden.float().mean().item()
    low, high = {
        "multiblock": (0.3, 0.7),
        "rasterized": (0.75, 0.75),
        "block": (0.5, 0.7),
        "random": (0.59, 0.61),
    }[strategy]
    assert low <= hidden <= high


def test_from_block_and_array_agree():
    hidden = np.zeros((6, 5), bool)
    hidden[1:3, 2:5] = True
    masks = Masks.from_block((6, 5), 1, 2, 2, 3)
    assert masks == Masks.from_array(hidden)
    assert masks.hidden[0].numpy().tolist() == hidden.tolist()
    assert masks.visible[0].numpy().tolist() == (~hidden).tolist()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint8, np.uint64])
def test_indices_are_taken_as_arrays_of_any_integers_and_as_lists(dtype):
    expected = sample(batch=3, grid=(8, 8), generator=seeded(0), max_context=20)
    context, targets = expected.context.numpy().copy(), expected.targets.numpy().copy()
    valid = expected.valid.numpy()
    for masks in (
        Masks(context.astype(dtype), targets.astype(dtype), np.array([8, 8]), valid),
        Masks(context.tolist(), targets.tolist(), [8, 8], valid.tolist()),
        Masks(np.asfortranarray(context.astype(dtype)), targets[..., ::-1][..., ::-1], (8, 8), valid),
    ):
        assert masks == expected
        assert masks.context.dtype == masks.targets.dtype == torch.int64
        assert masks.grid == (8, 8)
    context[:] = 0
    assert masks == expected


def test_a_batch_of_boolean_grids_is_one_mask_an_image():
    hidden = np.zeros((2, 4, 5), bool)
    hidden[0, :2, :3] = hidden[1, 1:4, 3:] = True
    masks = Masks.from_array(hidden)
    assert len(masks) == 2
    assert masks.hidden.numpy().tolist() == hidden.tolist()
    for i in range(2):
        assert masks[i : i + 1] == Masks.from_array(hidden[i])


@given(STRATEGIES, GRIDS, st.integers(0, 2**31))
def test_json_round_trip(strategy, grid, seed):
    masks = sample(strategy, batch=3, grid=grid, generator=seeded(seed))
    assert Masks.from_json(masks.to_json()) == masks


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Masks.from_array(np.zeros((4, 4), bool)), "empty"),
        (lambda: Masks.from_array(np.ones((4, 4), bool)), "hides everything"),
        (lambda: Masks.from_array(np.ones((4, 4))), "boolean"),
        (lambda: Masks.from_array(np.ones((4, 4), int)), "astype"),
        (lambda: Masks.from_array(np.zeros((2, 4, 4), bool)), "empty"),
        (lambda: Masks.from_array(np.ones((2, 4, 4), bool)), "hides everything"),
        (lambda: Masks.from_array(np.zeros((0, 4, 4), bool)), "empty"),
        (lambda: Masks.from_array(np.zeros((1, 1, 1, 4, 4), bool)), "B, rows, cols"),
        (lambda: Masks.from_array([[True, False], [True]]), "no array of numbers"),
        (lambda: Masks(np.eye(4, dtype=bool), np.eye(4, dtype=bool)[None], (4, 4)), "from_array"),
        (
            lambda: Masks(np.array([[0.0]]), np.array([[[1]]]), (4, 4)),
            "context holds patch indices, which are integers",
        ),
        (lambda: Masks(np.array([[0]]), np.array([[[1]]]), (4, 4), np.array([[1]])), "context_valid is a boolean"),
        (lambda: Masks.from_block((8, 8), 6, 6, 4, 4), "leaves the 8x8 grid"),
        (lambda: Masks.from_block((8, 8), -1, 0, 2, 2), "leaves the 8x8 grid"),
        (lambda: Masks.from_block((8, 8), 0, 0, 0, 2), "empty"),
        (lambda: Masks(torch.tensor([[0]]), torch.tensor([[[99]]]), (4, 4)), "another grid"),
        (lambda: Masks.from_json("{}"), "Not a mask"),
        (lambda: Masks.from_json("nonsense"), "Not a mask"),
        (lambda: sample("multiblok", batch=1, grid=(4, 4)), "Did you mean 'multiblock'"),
        (lambda: sample(batch=0, grid=(4, 4)), "batch"),
        (lambda: sample(batch=1, grid=(1, 4)), "2x2"),
        (lambda: sample(batch=1, grid=(4, 4), mode="honest"), "'unbiased' or 'faithful'"),
    ],
)
def test_bad_input_names_the_cause(make, words):
    with pytest.raises(ValueError, match=words):
        make()
