"""Sampled tokens as colours: one projection for all panels, every tile above the picture drawn from its tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_decoder

from ijepa_viz.figures import png, token_samples_figure
from ijepa_viz.figures.token_colours import common_components
from ijepa_viz.figures.token_samples import token_colours
from ijepa_viz.masks import Masks
from ijepa_viz.prediction import predict

# Of any shape: two parts, and a corner.
ANY = np.array([[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1]], bool)


@pytest.fixture
def two_stages(model):
    return random_decoder(model, "token-vit")


@pytest.fixture(params=["block", "any shape", "overlapping blocks", "one patch"])
def masks(request):
    overlapping = torch.tensor([[[5, 6, 9, 10], [6, 7, 10, 11]]])
    context = torch.tensor([[0, 1, 2, 3, 4, 8, 12, 13, 14, 15]])
    return {
        "block": Masks.from_block((4, 4), 1, 1, 2, 2),
        "any shape": Masks.from_array(ANY),
        "overlapping blocks": Masks(context, overlapping, (4, 4)),
        "one patch": Masks.from_block((4, 4), 3, 0, 1, 1),
    }[request.param]


def cosine(one, other):
    return float((one * other).sum() / (one.norm() * other.norm()))


def by_patch(tokens, masks):
    """{patch: token}, naively, of (M, T, D); later blocks replace earlier ones."""
    return {
        int(p): t
        for block, indices in zip(tokens, masks.targets[0], strict=True)
        for p, t in zip(indices, block, strict=True)
    }


def test_every_tile_is_its_samples_tokens_by_the_same_projection(model, two_stages, picture, masks):
    prediction = predict(model, picture, masks)
    samples = two_stages.sample(prediction, samples=3)
    found = token_colours(prediction, samples)
    tiles = [found.target, found.predicted, *found.sampled]
    tokens = [by_patch(t, masks) for t in (prediction.target, prediction.predicted, *samples.tokens)]
    hidden = masks.hidden[0].numpy()
    pooled = torch.stack([t for of_tile in tokens for t in of_tile.values()])
    projection = common_components([pooled])
    for tile, of_tile in zip(tiles, tokens, strict=True):
        assert (tile[..., 3] == hidden).all()
        assert (tile[~hidden] == 0).all()
        for patch, token in of_tile.items():
            expected = projection.colours(token)[[2, 0, 1]].numpy()
            assert tile[patch // 4, patch % 4, :3] == pytest.approx(expected, abs=1e-4)
    assert len({tile[hidden].tobytes() for tile in found.sampled}) == 3


def test_agreement_against_a_naive_loop(model, two_stages, picture, masks):
    prediction = predict(model, picture, masks)
    samples = two_stages.sample(prediction, samples=3)
    found = token_colours(prediction, samples)
    tokens = [by_patch(t, masks) for t in samples.tokens]
    target = by_patch(prediction.target, masks)
    assert (np.isnan(found.agreement) == ~masks.hidden[0].numpy()).all()
    pairs = [(0, 1), (0, 2), (1, 2)]
    for p in target:
        expected = np.mean([cosine(tokens[i][p], tokens[j][p]) for i, j in pairs])
        assert found.agreement[p // 4, p % 4] == pytest.approx(expected, abs=1e-5)
    for i, others in enumerate(([1, 2], [0, 2], [0, 1])):
        assert found.target_cosine[i] == pytest.approx(
            np.mean([cosine(tokens[i][p], target[p]) for p in target]), abs=1e-5
        )
        mutual = np.mean([cosine(tokens[i][p], tokens[j][p]) for j in others for p in target])
        assert found.mutual_cosine[i] == pytest.approx(mutual, abs=1e-5)
    unrelated = [
        cosine(tokens[i][p], tokens[j][q]) for i in range(3) for j in range(3) for p in target for q in target
        if i != j and p != q
    ]  # fmt: skip
    if unrelated:
        assert found.unrelated == pytest.approx(np.mean(unrelated), abs=1e-5)
        assert f"at different patches it is {found.unrelated:.2f}" in found.about
    else:
        assert np.isnan(found.unrelated)


def test_equal_tokens_have_equal_colours_in_all_panels(model, two_stages, picture):
    prediction = predict(model, picture, Masks.from_array(ANY))
    samples = two_stages.sample(prediction, samples=3)
    tokens = samples.tokens.clone()
    tokens[1] = prediction.target
    tokens[2, 0, 0] = prediction.predicted[0, 2]
    found = token_colours(prediction, replace(samples, tokens=tokens))
    assert np.allclose(found.sampled[1], found.target, atol=1e-5)
    first, third = (divmod(int(prediction.masks.targets[0, 0, i]), 4) for i in (0, 2))
    assert np.allclose(found.sampled[2][first], found.predicted[third], atol=1e-5)
    assert found.target_cosine[1] == pytest.approx(1, abs=1e-5)


def test_permuted_samples_permute_their_tiles_and_nothing_else(model, two_stages, picture):
    prediction = predict(model, picture, Masks.from_array(ANY))
    samples = two_stages.sample(prediction, samples=4)
    order = [2, 0, 3, 1]
    one = token_colours(prediction, samples)
    other = token_colours(prediction, replace(samples, tokens=samples.tokens[order], images=samples.images[order]))
    assert np.allclose(other.sampled, one.sampled[order], atol=1e-5)
    assert np.allclose(other.mutual_cosine, one.mutual_cosine[order], atol=1e-5)
    for name in ("target", "predicted", "agreement"):
        assert np.allclose(getattr(one, name), getattr(other, name), atol=1e-5, equal_nan=True), name
    # Tile i belongs to picture i: the decoder draws tokens i as picture i.
    again = two_stages.sample(replace(prediction, target=samples.tokens[2]), samples=1, seed=2, source="target")
    assert torch.allclose(again.images[0], samples.images[2], atol=1e-5)
    axes = token_samples_figure(prediction, samples).axes
    assert np.allclose(axes[4].images[0].get_array(), one.sampled[2], atol=1e-6)
    drawn = samples.on(prediction.image)[2].permute(1, 2, 0).numpy()
    assert np.allclose(axes[7 + 4].images[0].get_array(), drawn, atol=1e-6)


def test_the_figure_says_what_it_shows(model, two_stages, picture, masks):
    prediction = predict(model, picture, masks)
    samples = two_stages.sample(prediction, samples=3, detail=0.6)
    figure = token_samples_figure(prediction, samples)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:6] == ["target tokens", "predicted tokens", "sample 1", "sample 2", "sample 3", "samples agree"]
    assert titles[6:8] == ["original", "context"]
    assert "The tokens of 3 samples agree with a mean cosine of" in figure.alt
    colours = token_colours(prediction, samples)
    assert figure.axes[2].get_xlabel() == f"cosine {colours.target_cosine[0]:.2f}"
    (legend,) = figure.legends
    words = " ".join(" ".join(text.get_text().split()) for text in legend.get_texts())
    assert 0 < samples.detail <= 0.6
    assert f"down to noise level {samples.detail:.2g}, finer" in words
    assert png(figure)
    below = legend.get_window_extent()
    for axis in figure.axes[:11]:
        assert not below.overlaps(axis.get_window_extent()), "the legend lies over a panel"
    assert below.x1 <= figure.bbox.x1, "the legend is cut off"


def test_one_sample_has_nothing_to_agree_with(model, two_stages, picture):
    prediction = predict(model, picture, Masks.from_block((4, 4), 3, 0, 1, 1))
    samples = two_stages.sample(prediction, samples=1)
    found = token_colours(prediction, samples)
    assert np.isfinite(found.sampled).all()
    assert np.isnan(found.agreement).all()
    assert len(token_samples_figure(prediction, samples).axes) == 6
    assert "no other to agree with" in token_samples_figure(prediction, samples).alt


def test_tokens_that_do_not_vary_have_no_colours_of_rounding_errors():
    token = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    same = token.repeat(5, 1)
    assert (common_components([same]).colours(same) == 0.5).all()
    line = token * torch.linspace(1, 2, 5)[:, None]
    colours = common_components([line], 2).colours(line)
    assert colours.shape == (5, 3)
    assert sorted(colours[:, 0].tolist()) in (colours[:, 0].tolist(), colours[:, 0].flip(0).tolist())
    assert (colours[:, 1:] == 0.5).all()


def test_samples_without_tokens_and_of_other_holes_are_refused(model, decoder, two_stages, picture):
    prediction = predict(model, picture, Masks.from_array(ANY))
    with pytest.raises(ValueError, match="no tokens: they were drawn in one stage"):
        token_samples_figure(prediction, decoder.sample(prediction, samples=2))
    with pytest.raises(ValueError, match="token_steps=0"):
        token_samples_figure(prediction, two_stages.sample(prediction, samples=2, token_steps=0))
    samples = two_stages.sample(prediction, samples=2)
    with pytest.raises(ValueError, match="different holes"):
        token_samples_figure(predict(model, picture, Masks.from_block((4, 4), 1, 1, 2, 2)), samples)
    with pytest.raises(ValueError, match=r"prediction\[0\]"):
        token_samples_figure(predict(model, [picture, picture], Masks.from_array(ANY)), samples)


def test_pictures_are_shown_at_the_decoders_own_resolution(model, two_stages, picture):
    prediction = predict(model, picture, Masks.from_array(ANY))
    samples = two_stages.sample(prediction, samples=2)
    larger = replace(samples, images=samples.images.repeat_interleave(2, 2).repeat_interleave(2, 3),
                     inside=samples.inside.repeat_interleave(2, 0).repeat_interleave(2, 1))  # fmt: skip
    axes = token_samples_figure(prediction, larger).axes
    assert [axis.images[0].get_array().shape[:2] for axis in axes[:9]] == [(4, 4)] * 5 + [(64, 64)] * 4
