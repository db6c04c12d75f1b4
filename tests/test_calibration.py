"""Calibration metric against ensembles of known spread, a naive rank count, and scikit-learn."""

from __future__ import annotations

import pytest
import torch
from conftest import random_decoder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.calibration import calibration_curve
from test_decoder_metrics import scenes

from decoders.decoder import Decoder, DecoderConfig
from decoders.evaluation.calibration import SAMPLING, calibration, dispersion, reliability, token_dispersion
from decoders.evaluation.frequency_bands import frequency_bands
from decoders.networks.ridge import Ridge
from ijepa_viz.cli.tables import as_text
from ijepa_viz.data.opening import open_source


def ensemble(spread, blocks=60, samples=20, side=8):
    """Blocks whose truth is drawn around a centre with deviation 1, and samples around it with ``spread``."""
    torch.manual_seed(0)
    centre = 3 * torch.randn(blocks, 1, 3, side, side)
    return centre + spread * torch.randn(blocks, samples, 3, side, side), centre[:, 0] + torch.randn(
        blocks, 3, side, side
    )


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_spread_over_error_is_what_it_was_made_to_be(spread):
    samples, real = ensemble(spread)
    found = dispersion(samples, real)
    # Of S samples the mean's error is 1 + spread^2 / S.
    right = (spread**2 * (1 + 1 / 20) / (1 + spread**2 / 20)) ** 0.5
    assert found.ratio == pytest.approx(right, rel=0.02)
    assert found.low < right < found.high
    assert found.by_band == pytest.approx([right] * len(found.by_band), rel=0.15)
    assert len(found.by_band) == len(frequency_bands(8, 8))


def test_the_truth_among_its_likes_takes_every_rank_alike():
    samples, real = ensemble(1.0)
    ranks = dispersion(samples, real).ranks
    assert float(ranks.sum()) == pytest.approx(1)
    assert ranks.tolist() == pytest.approx([1 / 21] * 21, abs=4 * (1 / 21 / real.numel()) ** 0.5)
    narrow, wide = (dispersion(*ensemble(spread)).outside for spread in (0.3, 2.0))
    assert narrow > 0.5 > 2 / 21 > wide


def test_ranks_equal_a_naive_count_and_equals_are_drawn():
    samples, real = ensemble(1.0, blocks=3, samples=5, side=4)
    counts = torch.zeros(6)
    for block in range(3):
        for at in range(real[block].numel()):
            mine = real[block].flatten()[at]
            counts[sum(float(s.flatten()[at]) < float(mine) for s in samples[block])] += 1
    assert torch.allclose(dispersion(samples, real).ranks, counts / counts.sum())
    # Black pixels everywhere: no rank is favoured.
    black = dispersion(torch.full((8, 4, 3, 16, 16), -1.0), torch.full((8, 3, 16, 16), -1.0)).ranks
    assert black.tolist() == pytest.approx([0.2] * 5, abs=0.03)


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 40))
def test_reliability_is_scikit_learns(seed, answers, count):
    generator = torch.Generator().manual_seed(seed)
    # Off the edges of the bins, which scikit-learn counts to the lower one.
    shares = torch.rand(count, answers, generator=generator, dtype=torch.float64).clamp(0.001, 0.999)
    truth = torch.randint(answers, (count,), generator=generator)
    right = torch.nn.functional.one_hot(truth, answers)
    true, mean = calibration_curve(right.flatten().numpy(), shares.flatten().numpy(), n_bins=5)
    found = reliability(shares, truth)
    assert [point[0] for point in found] == pytest.approx(mean.tolist())
    assert [point[1] for point in found] == pytest.approx(true.tolist())
    assert sum(point[2] for point in found) == count * answers


def test_a_class_that_no_sample_can_have_is_never_right():
    assert reliability(torch.tensor([[1.0, 0.0]]), torch.tensor([-1])) == [(0.0, 0.0, 1), (1.0, 0.0, 1)]


def test_scenes_and_photographs_are_asked_alike(model, larger, tmp_path):
    model_of_scenes, decoder = larger
    table = calibration(model_of_scenes, decoder, scenes(100), images=6, samples=4, train_scenes=150)
    figure = table.pop("figure")
    assert table.pop("test_data").startswith("6 scenes drawn with seed 2004, classifiers fitted on 150 with seed 2001")
    bands = [key for key in table if key.endswith("_cycles")]
    assert set(table) == {*SAMPLING, *bands}
    assert list(figure.axes[1].lines[0].get_ydata()) == [table[key] for key in bands]
    row = table["predicted_tokens"]
    assert row["expected"] == 0.4
    assert {f"{name} {what}" for name in ("species", "part", "facing", "colour") for what in ("agree", "right")} < set(
        row
    )
    assert 0.25 <= row["species agree"] <= 1
    assert len(figure.axes) == 3
    text = as_text(table)
    assert f"{row['spread_over_error']['ratio']:.3f} [{row['spread_over_error']['low']:.3f}" in text

    for i in range(100):
        Image.linear_gradient("L").rotate(i).convert("RGB").save(tmp_path / f"{i}.png")
    folder = calibration(model, random_decoder(model), lambda split: open_source(str(tmp_path), "train"), 3, 3)
    assert len(folder.pop("figure").axes) == 2
    assert "test_data" not in folder  # that of the folder, which the command adds
    assert set(folder["null"]) == {"spread_over_error", "beyond_all_samples", "expected"}


def test_tokens_that_do_not_belong_together_have_too_little_spread_of_their_mean():
    """Tokens of a block share a part: samples with the right variance patch by patch, and without that part."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(300, 9, 1, 8, generator=generator)
    own = torch.randn(300, 9, 6, 8, generator=generator)
    together = (shared + own) * torch.linspace(0.1, 5, 8)
    apart = 2**0.5 * torch.randn(300, 9, 6, 8, generator=generator) * torch.linspace(0.1, 5, 8)
    right = token_dispersion(together[:, 1:], together[:, 0], (2, 3))
    wrong = token_dispersion(apart[:, 1:], together[:, 0], (2, 3))
    assert right.ratio == pytest.approx(1, abs=0.05)
    assert right.by_band[0] == pytest.approx(1, abs=0.08)
    assert wrong.ratio == pytest.approx(1, abs=0.05)
    assert wrong.by_band[0] == pytest.approx((1 / 6 / (1 + 1 / 6)) ** 0.5 * 2**0.5, abs=0.05)


def test_one_picture_has_no_spread(model):
    sizes = model.config
    ridge = Decoder(Ridge(sizes.grid, sizes.patch_size, sizes.width), DecoderConfig(steps=1))
    with pytest.raises(ValueError, match="no spread"):
        calibration(model, ridge, scenes(100))
    with pytest.raises(ValueError, match="at least two samples"):
        dispersion(torch.zeros(3, 1, 3, 8, 8), torch.zeros(3, 3, 8, 8))
