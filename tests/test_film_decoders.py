"""Decoders of films: tubelets through the same networks, sampling and training as patches of pictures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from decoders.blocks import blocks_of
from decoders.config import DataConfig, DecoderTrainConfig, HoleConfig, NetworkConfig, OptimizationConfig
from decoders.decoder import Decoder, DecoderConfig
from decoders.loading import load_decoder, save_decoder
from decoders.networks.block_vit import SeamRefiner
from decoders.networks.denoising_step import DenoisingStep
from decoders.networks.network import build_network
from decoders.training.batches import BlockSource
from decoders.training.plan import plan
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures import completion_grid, film_grid
from ijepa_viz.film_prediction import predict_film
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig, patchify
from ijepa_viz.prediction import predict

SIZES = ModelConfig(
    image_size=32, patch_size=8, frames=8, tubelet=2, width=32, depth=1, heads=2, predictor_width=32,
    predictor_depth=1, predictor_heads=2, cue_tokens=8, cue_vocabulary=57,
)  # fmt: skip
SMALL = {"width": 48, "depth": 1, "heads": 2, "refine": 4, "time_width": 8}


@pytest.fixture(scope="module")
def model() -> IJEPA:
    torch.manual_seed(0)
    return IJEPA(SIZES).eval()


@pytest.fixture(scope="module")
def films() -> torch.Tensor:
    return torch.rand(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def decoder_of(kind: str = "block-vit", **options: object) -> Decoder:
    torch.manual_seed(0)
    network = build_network(kind, SIZES.grid, 8, SIZES.width, {**SMALL, **options}, steps=4, tubelet=2)
    for parameter in network.parameters():  # zero at initialisation, which would hide errors
        torch.nn.init.normal_(parameter, std=0.05)
    return Decoder(network, DecoderConfig(steps=2))


def test_blocks_of_films_are_the_pixels_of_tubelets(model, films):
    """By slicing: token (step, row, col) is frames 2 step and 2 step + 1 of its 8 x 8 pixels, channel first."""
    masks = Masks.future(SIZES.grid, 4, seen=2, ahead=1).repeat(2)
    blocks = blocks_of(model, normalise(films), masks)
    assert blocks.clean.shape == (2, 16, 3 * 2 * 64)
    for number, index in enumerate(masks.targets[1, 0].tolist()):
        step, row, col = index // 16, index // 4 % 4, index % 4
        assert step == 2
        cell = films[1, 2 * step : 2 * step + 2, :, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
        assert torch.allclose(blocks.clean[1, number], cell.transpose(0, 1).flatten() * 2 - 1, atol=1e-5)


def test_samples_of_a_film_fill_its_hidden_frames_and_no_other(model, films):
    masks = Masks.future(SIZES.grid, 4, seen=2, ahead=1)
    samples = decoder_of().sample(predict_film(model, films[0], masks), samples=3)
    assert samples.images.shape == (3, 8, 3, 32, 32)
    assert samples.inside.shape == (8, 32, 32)
    assert samples.inside.flatten(1).any(1).tolist() == [False] * 4 + [True] * 2 + [False] * 2
    pasted = samples.on(films[0])
    assert torch.equal(pasted[:, :4], films[0, :4].expand(3, -1, -1, -1, -1))
    assert not torch.equal(pasted[0, 4], pasted[1, 4])
    larger = samples.on(F.interpolate(films[0], (64, 64)))
    assert larger.shape == (3, 8, 3, 64, 64)
    assert torch.equal(larger[:, :4], F.interpolate(films[0], (64, 64))[:4].expand(3, -1, -1, -1, -1))


def test_samples_of_several_films_are_those_of_each(model, films):
    masks = Masks.future(SIZES.grid, 4, seen=1, ahead=2)
    decoder, both = decoder_of(), predict_film(model, films, masks)
    together = decoder.sample(both, samples=2)
    assert together.images.shape == (2, 2, 8, 3, 32, 32)
    assert len(together) == 2
    alone = decoder.sample(both[1], samples=2)
    assert torch.allclose(together[1].images, alone.images, atol=1e-5)
    assert together.on(films).shape == (2, 2, 8, 3, 32, 32)


def test_the_refiner_does_not_mix_steps_and_is_that_of_pictures_within_one():
    """Each step alone, through the refiner of pictures with the same weights, draws the same."""
    torch.manual_seed(0)
    films, pictures = SeamRefiner(4, 8, 6, 5, rows=4, tubelet=2), SeamRefiner(4, 8, 6, 5, tubelet=2)
    for parameter in films.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pictures.load_state_dict(films.state_dict())
    where = torch.tensor([5, 6, 9, 10])
    index = torch.cat([16 + where, 48 + where])[None]  # the same hole at steps 1 and 3
    estimate, noisy, vector = torch.randn(1, 8, 384), torch.randn(1, 8, 384), torch.randn(1, 6)
    whole = films(estimate, noisy, index, vector)
    for half in (slice(0, 4), slice(4, 8)):
        assert torch.allclose(
            whole[:, half], pictures(estimate[:, half], noisy[:, half], where[None], vector), atol=1e-5
        )


def test_a_decoder_of_films_is_saved_and_loaded(tmp_path, model, films):
    decoder, masks = decoder_of("squared-error"), Masks.future(SIZES.grid, 4, seen=2, ahead=2)
    save_decoder(decoder, tmp_path / "decoder")
    prediction = predict_film(model, films[0], masks)
    found = load_decoder(tmp_path / "decoder")
    assert (found.network.steps, found.network.tubelet) == (4, 2)
    assert torch.equal(found.sample(prediction, 1).images, decoder.sample(prediction, 1).images)


def test_pictures_and_films_do_not_go_together(model, films):
    pictures = IJEPA(dataclasses.replace(SIZES, frames=1, tubelet=1, cue_tokens=0, cue_vocabulary=0)).eval()
    still = predict(pictures, films[0, 0], Masks.from_block(SIZES.grid, 0, 0, 2, 2))
    with pytest.raises(ValueError, match="draws films of 4 steps, the prediction is of pictures"):
        decoder_of().sample(still)
    with pytest.raises(ValueError, match=r"'ridge' draws pictures.*take one of block-vit"):
        build_network("ridge", SIZES.grid, 8, 32, {}, steps=4, tubelet=2)
    with pytest.raises(ValueError, match="Decoders of films cannot be exported"):
        DenoisingStep(decoder_of().network)
    with pytest.raises(ValueError, match="This model is of pictures"):
        predict_film(pictures, films[0], Masks.from_block(SIZES.grid, 0, 0, 2, 2))
    with pytest.raises(ValueError, match=r"takes films \(8, 3, 32, 32\).*got \(4, 3, 32, 32\)"):
        predict_film(model, films[0, :4], Masks.future(SIZES.grid, 4, 2))
    with pytest.raises(ValueError, match="Did you mean 'dog'"):
        predict_film(model, films[0], Masks.future(SIZES.grid, 4, 2), cue="the dgo stops")


def config_of(**changes: object) -> DecoderTrainConfig:
    data = DataConfig(source="menagerie-film:count=6,frames=8,size=32", crop_scale=(1.0, 1.0), horizontal_flip=False)
    return DecoderTrainConfig(
        network=NetworkConfig(options=dict(SMALL)), data=data, hole=HoleConfig(targets=1),
        optimization=OptimizationConfig(steps=1, batch_size=4), **changes,
    )  # fmt: skip


def test_training_hides_the_future_or_tubes_and_gives_cues_to_half(model, tmp_path):
    config = config_of()
    source = BlockSource(config, model, tmp_path)
    kinds, cued = set(), []
    for step in range(12):
        images, masks, pictures, cues = source._drawn(step)
        assert images.shape == (4, 8, 3, 32, 32)
        assert pictures is None
        assert not (masks.hidden & masks.visible).any()
        cells = masks.hidden[0].flatten(1)
        kinds.add("future" if cells.all(1).any() else "tubes")
        if cells.all(1).any():
            first = int(cells.any(1).int().argmax())
            assert masks.visible[0, :first].all()
            assert not masks.visible[0, first:].any()
        cued.append(cues.any(1).float().mean())
    assert kinds == {"future", "tubes"}
    assert 0.05 < float(torch.stack(cued).mean()) < 0.8  # half of the films with an event
    assert source.blocks(0).clean.shape[-1] == 384


def test_cues_change_the_tokens_that_a_decoder_learns_from(model, films):
    masks = Masks.future(SIZES.grid, 4, seen=2, ahead=1).repeat(2)
    cues = torch.zeros(2, 8, dtype=torch.int64)
    cues[1, :3] = torch.tensor([3, 8, 30])
    plain, told = (blocks_of(model, normalise(films), masks, cues=given) for given in (None, cues))
    assert torch.allclose(plain.predicted[0], told.predicted[0], atol=1e-5)
    assert not torch.allclose(plain.predicted[1], told.predicted[1], atol=1e-5)
    assert torch.equal(plain.target, told.target)


def test_settings_that_films_cannot_have(model, tmp_path):
    two = dataclasses.replace(config_of(), hole=HoleConfig(targets=2))
    with pytest.raises(ValueError, match="Films have one hole each"):
        BlockSource(two, model, tmp_path)
    mirrored = dataclasses.replace(config_of(), data=dataclasses.replace(config_of().data, horizontal_flip=True))
    with pytest.raises(ValueError, match="mirrors left and right"):
        BlockSource(mirrored, model, tmp_path)


def test_a_plan_counts_tubelets():
    table = plan(config_of(), SIZES, gpus=1, tflops=1.0)
    network = build_network("block-vit", SIZES.grid, 8, SIZES.width, SMALL, steps=4, tubelet=2)
    assert table["decoder_parameters_millions"] == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6)
    assert table["decoder_gflops_an_image"] > 0


def test_the_figure_shows_truth_context_and_samples(model, films):
    prediction = predict_film(model, films[0], Masks.future(SIZES.grid, 4, seen=2, ahead=1))
    figure = film_grid([(prediction, decoder_of().sample(prediction, samples=2))])
    assert len(figure.axes) == 4 * 4  # truth, seen and two samples, by the four steps
    assert figure.axes[0].get_ylabel() == "true"
    picture = figure.axes[4 + 2].images[0].get_array()
    assert (picture == picture[0, 0, 0]).all()  # what is hidden is grey
    with pytest.raises(ValueError, match="one prediction each"):
        film_grid([])
    assert patchify(films, 8, 2).shape == (2, 64, 384)


def test_a_film_is_shown_at_the_resolution_that_it_was_given_at(model, films):
    masks = Masks.future(SIZES.grid, 4, seen=2)
    large = torch.randint(0, 256, (8, 64, 64, 3), generator=torch.Generator().manual_seed(3)).byte().numpy()
    prediction = predict_film(model, films[0], masks, shown=large)
    assert torch.equal(prediction.picture(32), films[0])
    assert torch.allclose(prediction.picture(64), torch.from_numpy(large).permute(0, 3, 1, 2) / 255)
    plain = predict_film(model, films[0], masks)
    assert plain.picture(64).shape == (8, 3, 64, 64)
    assert torch.equal(plain.predicted, prediction.predicted)
    with pytest.raises(ValueError, match="frames of one film"):
        predict_film(model, films, masks, shown=large)
    with pytest.raises(ValueError, match=r"\(8, H', W', 3\)"):
        predict_film(model, films[0], masks, shown=large[:4])


def test_films_that_are_no_films_and_cues_that_are_no_sentences(model, films):
    masks = Masks.future(SIZES.grid, 4, 2)
    with pytest.raises(ValueError, match=r"clip\.frames"):
        predict_film(model, {"frames": films[0]}, masks)
    for cue in (None, 3, [None], b"dog"):
        with pytest.raises(TypeError, match="A cue is a sentence"):
            predict_film(model, films[0], masks, cue=cue)
    backwards = films[0].permute(0, 2, 3, 1).numpy()[::-1]
    assert torch.equal(predict_film(model, backwards, masks).image, films[0].flip(0))
    prediction = predict_film(model, films[0], masks)
    decoder = decoder_of()
    for guidance in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="guidance finite"):
            decoder.sample(prediction, 1, guidance=guidance)
    with pytest.raises(ValueError, match="film_grid draws films"):
        completion_grid([(prediction, decoder.sample(prediction, 1))])
