"""Films whose steps are encoded as pictures, and decoders of pictures that draw them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoders.blocks import Blocks
from decoders.config import DataConfig, DecoderTrainConfig, HoleConfig, NetworkConfig, OptimizationConfig
from decoders.decoder import Decoder, DecoderConfig
from decoders.loading import load_decoder, save_decoder
from decoders.networks.network import NETWORK_WEIGHTS, ConditioningShares, build_network
from decoders.shared_pixels import by_step
from decoders.training.batches import BlockSource, window
from decoders.training.trainer import DecoderTrainer
from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.data.menagerie.film_sentences import VOCABULARY
from ijepa_viz.film_prediction import predict_film
from ijepa_viz.masks import Masks, padded_indices
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.models.inflation import inflated
from ijepa_viz.prediction import predict
from ijepa_viz.runtime.run_folder import RunConfig
from ijepa_viz.runtime.tensors import fingerprint
from train.config import ObjectiveConfig, RegularizerConfig, TrainConfig
from train.objectives import build

PICTURES = ModelConfig(
    image_size=32, patch_size=8, width=32, depth=2, heads=2, predictor_width=16, predictor_depth=1, predictor_heads=2
)
FILMS = replace(PICTURES, frames=8, tubelet=2, encoder_steps="separate", cue_tokens=8, cue_vocabulary=len(VOCABULARY))
CELLS = 16
FILM = "menagerie-film:count=8,frames=8,size=32"


@pytest.fixture(scope="module")
def pictures():
    torch.manual_seed(0)
    model = IJEPA(PICTURES).eval()
    for name, parameter in model.named_parameters():  # loud weights, so that a mistake anywhere shows
        if parameter.ndim > 1 and not name.endswith("pos_embed"):
            torch.nn.init.normal_(parameter, std=0.15)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def films(pictures):
    model = IJEPA(FILMS).eval()
    model.load_state_dict(inflated(pictures.state_dict(), model))
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def clips():
    return torch.rand(3, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(pictures, films, tmp_path_factory):
    """A model of pictures with a decoder at 64 px, and one of films that begins from it."""
    path = tmp_path_factory.mktemp("separate")
    save_folder(pictures, path / "pictures")
    save_folder(films, path / "films")
    torch.manual_seed(0)
    options = {"width": 32, "depth": 1, "heads": 2, "refine": 4, "time_width": 8}
    network = build_network("block-vit", (4, 4), 16, 32, options)
    for parameter in network.parameters():  # zero at initialisation, which would hide errors
        torch.nn.init.normal_(parameter, std=0.1)
    decoder = Decoder(network, DecoderConfig(str(path / "pictures"), fingerprint(pictures), steps=2))
    save_decoder(decoder, path / "decoder")
    return path


def test_every_step_is_encoded_as_the_average_of_its_frames(pictures, films, clips):
    expected = [pictures.encode_target(clips[:, 2 * step : 2 * step + 2].mean(1)) for step in range(4)]
    found = films.encode_target(clips)
    assert torch.allclose(found, torch.cat(expected, 1), atol=1e-4)
    all_patches = torch.arange(4 * CELLS).expand(len(clips), -1)
    assert torch.allclose(films.target_encoder(clips, all_patches), found, atol=1e-5)


def test_a_context_of_any_patches_attends_within_its_steps(pictures, films, clips):
    seen = torch.rand(3, 4 * CELLS, generator=torch.Generator().manual_seed(2)) < torch.tensor([[0.3], [0.6], [0.9]])
    context, valid = padded_indices(seen)
    found = films.encoder(clips, context, valid)
    for film in range(3):
        for step in range(4):
            own = [(k, int(i)) for k, i in enumerate(context[film]) if valid[film, k] and i // CELLS == step]
            places = torch.tensor([[i % CELLS for _, i in own]])
            image = clips[film : film + 1, 2 * step : 2 * step + 2].mean(1)
            expected = pictures.encoder(image, places)[0]
            assert torch.allclose(found[film, [k for k, _ in own]], expected, atol=1e-4)


def test_a_joint_encoder_of_the_same_weights_sees_other_steps(films, clips):
    joint = IJEPA(replace(FILMS, encoder_steps="joint")).eval()
    joint.load_state_dict(films.state_dict())
    changed = clips.clone()
    changed[:, 6:] = 0.5
    first = slice(0, CELLS)
    assert torch.equal(films.encode_target(changed)[:, first], films.encode_target(clips)[:, first])
    assert not torch.allclose(joint.encode_target(changed)[:, first], joint.encode_target(clips)[:, first], atol=1e-3)
    with pytest.raises(ValueError, match="encoder_steps must be"):
        replace(FILMS, encoder_steps="apart")


def test_another_size_of_frames(pictures, films, clips):
    large = torch.nn.functional.interpolate(clips.flatten(0, 1), (48, 32)).unflatten(0, (3, 8))
    for positions in ("interpolated", "recomputed"):
        found = films.at(48, 32, positions).encode_target(large)
        other = pictures.at(48, 32, positions)
        expected = [other.encode_target(large[:, 2 * step : 2 * step + 2].mean(1)) for step in range(4)]
        assert torch.allclose(found, torch.cat(expected, 1), atol=1e-4)


def test_the_predictor_alone_begins_from_a_model_of_pictures(pictures, films, capsys):
    config = TrainConfig(
        model=replace(FILMS, predictor_width=24, predictor_heads=3),
        objective=ObjectiveConfig("predictor"),
        regularizer=RegularizerConfig("none"),
    )
    net = build(config)
    net.copy_weights(pictures, "pictures")
    assert "initialised: predictor" in capsys.readouterr().err
    for part in ("encoder", "target_encoder"):
        own, expected = (getattr(m, part).state_dict() for m in (net.model, films))
        assert all(torch.equal(own[name], expected[name]) for name in expected)
    joint = build(replace(config, model=replace(config.model, encoder_steps="joint")))
    with pytest.raises(ValueError, match=r"model\.encoder_steps=separate"):
        joint.copy_weights(pictures, "pictures")
    with pytest.raises(ValueError, match=r"model\.width 32 instead of 48"):
        build(replace(config, model=replace(config.model, width=48, heads=3))).copy_weights(pictures, "pictures")


def test_a_film_is_drawn_as_its_steps_are(pictures, films, folder, clips):
    """Target tokens of a step, drawn with the same noise, against the decoder of pictures by itself."""
    network = by_step(folder / "decoder", films)
    decoder = Decoder(network, DecoderConfig(steps=2))
    own = load_decoder(folder / "decoder")
    hole = np.zeros((4, 4, 4), bool)
    hole[1, :2, 1:] = hole[2, :2, 1:] = hole[3, 2:, :2] = True
    drawn = decoder.sample(predict_film(films, clips[0], Masks.from_array(hole[None])), 2, source="target", seed=5)
    assert drawn.images.shape == (2, 8, 3, 64, 64)
    assert drawn.inside.flatten(1).any(1).tolist() == [False] * 2 + [True] * 6
    for step in (1, 2, 3):
        one = predict(pictures, clips[0, 2 * step : 2 * step + 2].mean(0), Masks.from_array(hole[step]))
        expected = own.sample(one, 2, source="target", seed=5)
        for frame in (2 * step, 2 * step + 1):
            assert torch.equal(drawn.inside[frame], expected.inside)
            where = expected.inside.expand_as(expected.images)
            assert torch.allclose(drawn.images[:, frame][where], expected.images[where], atol=2e-3)


def test_a_decoder_of_pictures_is_saved_by_name_and_known_by_its_weights(films, folder, clips, tmp_path):
    network = by_step(folder / "decoder", films)
    second = build_network("token-vit", (4, 4), 16, 32, {"width": 32, "depth": 1, "heads": 2}, steps=4, tubelet=2)
    decoder = Decoder(network, DecoderConfig("films", fingerprint(films), steps=2, token_steps=2), None, second)
    save_decoder(decoder, tmp_path / "saved")
    weights = tmp_path / "saved" / "network" / NETWORK_WEIGHTS
    assert weights.stat().st_size < 3000, "the mean and the scale of tokens, and no weight of the picture's network"
    loaded = load_decoder(tmp_path / "saved")
    prediction = predict_film(films, clips[0], Masks.future((4, 4), 4, 2, 2))
    one, two = (d.sample(prediction, 2, seed=1) for d in (decoder, loaded))
    assert torch.equal(one.images, two.images)
    assert one.tokens.shape == (2, 1, 32, 32)
    assert loaded.at((4, 4)) is loaded
    save_folder(films, tmp_path / "whole")
    save_decoder(decoder, tmp_path / "whole" / "decoder")
    assert torch.equal(load_decoder(tmp_path / "whole").sample(prediction, 2, seed=1).images, one.images)
    other = load_decoder(folder / "decoder")
    with torch.no_grad():
        other.network.pixels_out.bias += 1
    save_decoder(other, folder / "decoder")
    try:
        with pytest.raises(ValueError, match="other weights than the one that this decoder was made with"):
            load_decoder(tmp_path / "saved")
    finally:
        with torch.no_grad():
            other.network.pixels_out.bias -= 1
        save_decoder(other, folder / "decoder")


def test_other_tokens_than_the_decoders_are_refused(films, folder):
    changed = IJEPA(FILMS)
    changed.load_state_dict(films.state_dict())
    changed.target_encoder.norm.bias += 0.1
    with pytest.raises(ValueError, match="target encoder is another"):
        by_step(folder / "decoder", changed)
    joint = IJEPA(replace(FILMS, encoder_steps="joint"))
    with pytest.raises(ValueError, match="encodes the steps of a film jointly"):
        by_step(folder / "decoder", joint)
    with pytest.raises(ValueError, match="another width"):
        by_step(folder / "decoder", IJEPA(replace(FILMS, width=48, heads=3)))
    with pytest.raises(ValueError, match="patches of 8 px"):
        build_network("by-step", (4, 4), 8, 32, {"pictures": str(folder / "decoder")}, steps=4, tubelet=2)


def test_a_token_network_of_films_is_trained_with_a_decoder_of_pictures(folder, tmp_path):
    config = DecoderTrainConfig(
        ijepa=str(folder / "films"),
        pixel_decoder=str(folder / "decoder"),
        network=NetworkConfig("token-vit", {"width": 32, "depth": 1, "heads": 2}),
        data=DataConfig(FILM, horizontal_flip=False, cached_batches=2),
        hole=HoleConfig(targets=1, future=1.0, window=(2, 4)),
        conditioning=ConditioningShares(targets=0.0),
        optimization=OptimizationConfig(steps=3, batch_size=4, warmup=1),
        run=RunConfig(folder=str(tmp_path / "run")),
    )
    saved = DecoderTrainer(config).run()
    decoder = load_decoder(saved)
    assert decoder.image_size == 64
    assert type(decoder.network).__name__ == "ByStep"
    with pytest.raises(ValueError, match="by-step has nothing to train"):
        DecoderTrainer(
            replace(
                config,
                pixel_decoder=None,
                network=NetworkConfig("by-step", {"pictures": str(folder / "decoder")}),
                data=replace(config.data, patch_size=16),
                run=RunConfig(folder=str(tmp_path / "none")),
            )
        )


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**31))
def test_a_window_is_a_square_around_an_error(side, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    cells, count = 4 * 5, 3
    indices = torch.arange(7 * cells, (7 + steps) * cells).expand(count, -1)
    shape = (count, steps * cells)
    whole = Blocks(
        torch.rand(*shape, 6, generator=generator), indices, torch.rand(*shape, 4, generator=generator),
        torch.rand(*shape, 4, generator=generator),
    )  # fmt: skip
    found = window(whole, (4, 5), side, torch.rand(count, generator=generator))
    assert found.patch_indices.shape == (count, steps * side * side)
    for k in range(count):
        own = found.patch_indices[k].tolist()
        row, col = sorted({i % cells // 5 for i in own}), sorted({i % 5 for i in own})
        assert row == list(range(row[0], row[0] + side))
        assert col == list(range(col[0], col[0] + side))
        assert own == [i for i in indices[k].tolist() if i % cells // 5 in row and i % 5 in col]
        for name in ("clean", "predicted", "target"):
            expected = torch.stack([getattr(whole, name)[k, i - 7 * cells] for i in own])
            assert torch.equal(getattr(found, name)[k], expected)


def test_a_window_contains_the_only_error():
    indices = torch.arange(32).expand(16, -1)
    target = torch.zeros(16, 32, 4)
    target[torch.arange(16), torch.arange(16)] = 1.0  # of film k in cell k of the first step
    draws = torch.rand(16, generator=torch.Generator().manual_seed(0))
    found = window(Blocks(target, indices, torch.zeros_like(target), target), (4, 4), 2, draws)
    assert all(k in found.patch_indices[k] for k in range(16))


@pytest.mark.parametrize(
    ("hole", "message"),
    [
        (HoleConfig(targets=1, future=0.5, window=(2, 4)), r"hole\.future=1"),
        (HoleConfig(targets=1, future=1.0, window=(2, 5)), "from 1 to 4"),
        (HoleConfig(targets=1, future=1.0, window=(3, 2)), "got 3 to 2"),
    ],
)
def test_windows_that_do_not_fit(films, tmp_path, hole, message):
    config = DecoderTrainConfig(data=DataConfig(FILM, horizontal_flip=False), hole=hole)
    with pytest.raises(ValueError, match=message):
        BlockSource(config, films, tmp_path)


def test_a_window_of_pictures(pictures, tmp_path):
    with pytest.raises(ValueError, match="leave it out for pictures"):
        BlockSource(DecoderTrainConfig(hole=HoleConfig(window=(2, 2))), pictures, tmp_path)


def test_a_model_of_separate_steps_is_saved_as_such(films, tmp_path):
    save_folder(films, tmp_path / "m")
    assert load_model(tmp_path / "m").config == FILMS
