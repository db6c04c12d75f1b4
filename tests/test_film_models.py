from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.data.batches import ClipImages
from ijepa_viz.data.clip_arrays import clip_arrays
from ijepa_viz.data.menagerie.film_sentences import VOCABULARY
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.transforms import Crops
from ijepa_viz.masks import FILM_STRATEGIES, STRATEGIES, Masks, sample
from ijepa_viz.models import IJEPA, ModelConfig, patchify, sincos_positions, unpatchify
from train.config import (
    DataConfig,
    MaskConfig,
    ObjectiveConfig,
    OptimizationConfig,
    PretrainRunConfig,
    TrainConfig,
    sample_masks,
)
from train.cues import TrainingCues
from train.objectives import build
from train.planning.cost import flops_per_image
from train.trainer import Trainer

PICTURES = ModelConfig(
    image_size=32,
    patch_size=8,
    width=32,
    depth=2,
    heads=2,
    predictor_width=16,
    predictor_depth=2,
    predictor_heads=2,
)
FILMS = replace(PICTURES, frames=8, tubelet=2, cue_tokens=8, cue_vocabulary=len(VOCABULARY))
SHAPES = st.tuples(st.integers(2, 8), st.integers(2, 8)), st.integers(2, 8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    found = IJEPA(FILMS).eval()
    for parameter in found.parameters():  # loud weights, so that a mistake anywhere shows
        if parameter.ndim > 1 and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.15)
    found.target_encoder.load_state_dict(found.encoder.state_dict())
    return found


def clips(count=2):
    return torch.randn(count, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def cues(*sentences):
    return torch.from_numpy(np.stack([VOCABULARY.encode(text, 8) for text in sentences]))


# --------------------------------------------------------------------------- pictures are films of one step


def test_a_picture_model_has_no_parameter_more_and_no_other_position():
    keys = IJEPA(PICTURES).state_dict().keys()
    assert not [key for key in keys if "cue" in key]
    assert IJEPA(replace(PICTURES, frames=1, tubelet=1)).state_dict().keys() == keys
    assert IJEPA(PICTURES).encoder.patch_embed.proj.weight.shape == (32, 3, 8, 8)
    # The closed form of two axes, as it was before there was a third.
    omega = 10000.0 ** -(torch.arange(8, dtype=torch.float64) / 8)
    row, col = torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    parts = [f for index in (col, row) for a in [index.flatten()[:, None] * omega] for f in (a.sin(), a.cos())]
    assert torch.equal(sincos_positions(32, (3, 5)), torch.cat(parts, 1).float()[None])
    assert torch.equal(sincos_positions(32, (3, 5), steps=1), sincos_positions(32, (3, 5)))


def test_a_model_with_and_without_the_new_fields_computes_the_same_tokens(tmp_path):
    torch.manual_seed(0)
    model = IJEPA(PICTURES).eval()
    save_folder(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("frames", "tubelet", "cue_tokens", "cue_vocabulary"):  # as files from before have none of them
        config.pop(name, None)
        config.get("model", {}).pop(name, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    images = torch.randn(2, 3, 32, 32)
    masks = sample(batch=2, grid=(4, 4), generator=torch.Generator().manual_seed(0))
    loaded = load_model(tmp_path)
    assert loaded.config == PICTURES
    for one, other in ((model, loaded),):
        context = one.encode_context(images, masks)
        assert torch.equal(context, other.encode_context(images, masks))
        assert torch.equal(one.predict(context, masks), other.predict(context, masks))


# --------------------------------------------------------------------------- patches and positions


def test_patches_of_films_against_loops_and_back():
    films = clips()
    patches = patchify(films, 8, tubelet=2)
    assert patches.shape == (2, 64, 384)
    for step, row, col in ((0, 0, 0), (1, 2, 3), (3, 3, 1)):
        by_hand = films[:, 2 * step : 2 * step + 2, :, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
        assert torch.equal(patches[:, (step * 4 + row) * 4 + col], by_hand.transpose(1, 2).flatten(1))
    assert torch.equal(unpatchify(patches, (4, 4), 8, tubelet=2, steps=4), films)
    assert torch.equal(patchify(films[:, :1], 8), patchify(films[:, 0], 8))


def test_the_embedding_of_tubelets_is_torchs_three_dimensional_convolution(model):
    films = clips()
    embed = model.encoder.patch_embed
    ours = embed(patchify(films, 8, 2))
    theirs = F.conv3d(films.transpose(1, 2), embed.proj.weight, embed.proj.bias, stride=(2, 8, 8))
    assert torch.allclose(ours, theirs.flatten(2).transpose(1, 2), atol=1e-4)


@pytest.mark.parametrize(("width", "widths"), [(128, (32, 48, 48)), (64, (16, 24, 24)), (16, (4, 6, 6))])
def test_positions_in_time_row_and_column(width, widths):
    table = sincos_positions(width, (3, 5), steps=4)[0].view(4, 3, 5, width)
    for step, row, col in ((0, 0, 0), (3, 2, 4), (1, 2, 0)):
        expected = []
        for place, own in zip((step, col, row), widths, strict=True):
            angles = [place / 10000 ** (2 * k / own) for k in range(own // 2)]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert np.abs(table[step, row, col].numpy() - expected).max() < 1e-5


def test_another_size_of_a_film_model_interpolates_each_step(model):
    wide = model.at(32, 48)
    assert wide.config.steps == 4
    table = wide.encoder.pos_embed.view(4, 4, 6, 32)
    single = model.encoder.pos_embed.view(4, 4, 4, 32)
    for step in range(4):
        expected = F.interpolate(single[step].permute(2, 0, 1)[None], size=(4, 6), mode="bicubic")
        assert torch.allclose(table[step], expected[0].permute(1, 2, 0), atol=1e-5)


# --------------------------------------------------------------------------- masks


@pytest.mark.parametrize("name", sorted(FILM_STRATEGIES))
def test_a_strategy_of_films_has_two_seeds_and_two_masks(name):
    def drawn(seed):
        return sample(name, batch=4, grid=(8, 8), steps=8, generator=torch.Generator().manual_seed(seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert Masks.from_json(drawn(1).to_json()) == drawn(1)


@given(st.sampled_from(sorted(FILM_STRATEGIES)), *SHAPES, st.integers(1, 4), st.integers(0, 2**31))
def test_no_token_of_a_film_is_both_context_and_target(name, grid, steps, batch, seed):
    options = {"future": {"seen": (1, steps - 1)}, "mixed": {"future": {"seen": (1, steps - 1)}}}.get(name, {})
    generator = torch.Generator().manual_seed(seed)
    masks = sample(name, batch=batch, grid=grid, steps=steps, generator=generator, max_targets=20, **options)
    assert (masks.steps, len(masks)) == (steps, batch)
    for context, valid, targets in zip(masks.context, masks.valid, masks.targets, strict=True):
        seen, hidden = context[valid].tolist(), targets.flatten().tolist()
        assert seen == sorted(set(seen))
        assert len(set(hidden)) == len(hidden) <= 20
        assert hidden
        assert not set(seen) & set(hidden)
        assert max(seen + hidden) < steps * grid[0] * grid[1]
    assert masks.hidden.shape == masks.visible.shape == (batch, steps, *grid)


@given(*SHAPES, st.integers(0, 2**31))
def test_tubes_are_the_same_at_all_steps(grid, steps, seed):
    masks = sample("tubes", batch=3, grid=grid, steps=steps, generator=torch.Generator().manual_seed(seed))
    for visible in masks.visible:
        assert all(torch.equal(visible[0], other) for other in visible)


@given(st.integers(3, 8), st.integers(0, 2**31), st.data())
def test_the_future_lies_after_the_context(steps, seed, data):
    low = data.draw(st.integers(1, steps - 1))
    high = data.draw(st.integers(low, steps - 1))
    generator = torch.Generator().manual_seed(seed)
    masks = sample("future", batch=3, grid=(3, 4), steps=steps, generator=generator, seen=(low, high))
    assert low <= int(masks.targets.min()) // 12 <= high
    assert int(masks.context[masks.valid].max()) < int(masks.targets.min())


def test_every_position_becomes_target_and_context():
    hidden, visible = torch.zeros(8, 4, 4), torch.zeros(8, 4, 4)
    for seed in range(40):
        masks = sample("mixed", batch=8, grid=(4, 4), steps=8, generator=torch.Generator().manual_seed(seed))
        hidden += masks.hidden.sum(0)
        visible += masks.visible.sum(0)
    assert bool((hidden > 0).all())
    assert bool((visible > 0).all())


def test_the_future_of_films_seen_for_different_times():
    masks = Masks.future((2, 3), 6, torch.tensor([1, 3]), ahead=2)
    assert masks.context[0][masks.valid[0]].tolist() == list(range(6))
    assert masks.context[1].tolist() == list(range(18))
    assert masks.targets[:, 0].tolist() == [list(range(6, 18)), list(range(18, 30))]
    assert Masks.future((2, 3), 6, 4).targets.shape == (1, 1, 12)
    assert Masks.future((2, 3), 6, 4).repeat(5).steps == 6
    assert masks[:1].to("cpu").steps == 6
    pixels = masks.hidden_pixels(8, tubelet=2)
    assert pixels.shape == (2, 12, 16, 24)
    assert pixels[0].any(-1).any(-1).tolist() == [False] * 2 + [True] * 4 + [False] * 6


def test_a_bool_array_of_films():
    hidden = np.zeros((2, 4, 3, 3), bool)
    hidden[:, 2:, 1] = True
    masks = Masks.from_array(hidden)
    assert masks.steps == 4
    assert np.array_equal(masks.hidden.numpy(), hidden)
    assert np.array_equal(masks.visible.numpy(), ~hidden)


# --------------------------------------------------------------------------- the model of films


def test_the_unseen_frames_do_not_reach_the_prediction(model):
    films, masks = clips(), Masks.future((4, 4), 4, 2).repeat(2)
    other = films.clone()
    other[:, 4:] = 0.5
    one, two = (model.predict(model.encode_context(x, masks), masks) for x in (films, other))
    assert torch.equal(one, two)
    assert one.shape == (2, 1, 32, 32)
    assert not torch.allclose(model.targets(films, masks), model.targets(other, masks))


def test_padding_of_the_context_changes_nothing(model):
    films = clips()
    both = Masks.future((4, 4), 4, torch.tensor([1, 2]), ahead=2)
    words = cues("the brown dog turns round", "")
    together = model.predict(model.encode_context(films, both), both, words)
    for i, seen in enumerate((1, 2)):
        alone = Masks.future((4, 4), 4, seen, ahead=2)
        single = model.predict(model.encode_context(films[i : i + 1], alone), alone, words[i : i + 1])
        assert torch.allclose(together[i], single[0], atol=1e-4)


def test_a_cue_changes_the_prediction_and_padding_is_no_cue(model):
    films, masks = clips(), Masks.future((4, 4), 4, 2).repeat(2)
    context = model.encode_context(films, masks)
    none = model.predict(context, masks)
    assert torch.equal(none, model.predict(context, masks, torch.zeros(2, 3, dtype=torch.int64)))
    turns, stops = cues("the brown dog turns round", ""), cues("the brown dog stops", "")
    first, second = (model.predict(context, masks, x) for x in (turns, stops))
    assert not torch.allclose(first[0], none[0], atol=1e-3)
    assert not torch.allclose(first[0], second[0], atol=1e-3)
    assert torch.allclose(first[1], none[1], atol=1e-5)
    shuffled = torch.cat([turns[:, :5].flip(1), turns[:, 5:]], 1)
    assert not torch.allclose(model.predict(context, masks, shuffled)[0], first[0], atol=1e-3), "words have an order"


def test_cues_with_the_shared_context_and_with_pictures():
    torch.manual_seed(0)
    for config in (replace(FILMS, predictor_context="shared"), replace(FILMS, frames=1, tubelet=1)):
        model = IJEPA(config).eval()
        torch.nn.init.normal_(model.predictor.cues.words.weight)
        images = torch.randn(2, *config.input_shape)
        masks = (
            Masks.future((4, 4), 4, 2).repeat(2) if config.steps > 1 else Masks.from_block((4, 4), 1, 1, 2, 2).repeat(2)
        )
        context = model.encode_context(images, masks)
        left, right = cues("a grey wolf looking left", ""), cues("a grey wolf looking right", "")
        assert not torch.allclose(model.predict(context, masks, left)[0], model.predict(context, masks, right)[0])
        assert torch.equal(model.predict(context, masks, left)[1], model.predict(context, masks, right)[1])


def test_a_film_model_is_saved_and_loaded(model, tmp_path):
    save_folder(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == FILMS
    assert torch.equal(loaded.encode_target(clips()), model.encode_target(clips()))


FUTURE = Masks.future((4, 4), 4, 2).repeat(2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m: m.encode_context(clips()[:, :6], FUTURE), r"films \(B, 8, 3, 32, 32\).*cut the film"),
        (lambda m: m.encode_target(clips()[:, 0]), r"films \(B, 8, 3, 32, 32\)"),
        (lambda m: m.encode_context(clips(), Masks.future((4, 4), 5, 2).repeat(2)), "5 steps of time, this model has"),
        (lambda m: m.encode_context(clips(), sample(batch=2, grid=(4, 4))), "1 step of time, this model has 4"),
        (lambda m: m.predict(torch.zeros(2, 32, 32), FUTURE, torch.full((2, 8), 57)), "word id 57.*0 .*to 56"),
        (lambda m: m.predict(torch.zeros(2, 32, 32), FUTURE, torch.zeros(2, 9, dtype=torch.int64)), "at most 8 words"),
        (lambda m: m.predict(torch.zeros(2, 32, 32), FUTURE, torch.zeros(3, 8, dtype=torch.int64)), "B = 2"),
        (lambda m: m.predict(torch.zeros(2, 32, 32), FUTURE, torch.zeros(2, 8)), "integers"),
        (lambda m: ModelConfig(frames=5, tubelet=2), "frames 5 is not a multiple of tubelet 2"),
        (lambda m: replace(FILMS, cue_vocabulary=0), "belong together"),
        (lambda m: replace(FILMS, predictor_width=0), "cue_tokens belong to a predictor"),
        (lambda m: sample("future", batch=1, grid=(4, 4)), "masks of films.*pictures.*multiblock"),
        (lambda m: sample("multiblock", batch=1, grid=(4, 4), steps=4), "masks of pictures.*future, tubes|tubes"),
        (lambda m: sample("futur", batch=1, grid=(4, 4), steps=4), "Did you mean 'future'"),
        (lambda m: sample("future", batch=1, grid=(4, 4), steps=4), "seen is the fewest"),
        (lambda m: sample("mixed", batch=1, grid=(4, 4), steps=6, mix={"tube": 1}), "odds of 'tubes' and 'future'"),
        (lambda m: sample("tubes", batch=1, grid=(4, 4), steps=6, ranges=((2, 1.5),)), "below 1"),
        (lambda m: Masks.future((4, 4), 4, 4), "cannot be seen"),
        (lambda m: Masks.future((4, 4), 4, torch.tensor([1, 2])), "ahead is needed"),
    ],
)
def test_errors_name_the_cause(model, make, words):
    with pytest.raises(ValueError, match=words):
        make(model)


def test_cues_for_a_model_without_them():
    plain, masks = IJEPA(PICTURES), Masks.from_block((4, 4), 1, 1, 2, 2)
    context = plain.encode_context(torch.zeros(1, 3, 32, 32), masks)
    with pytest.raises(ValueError, match="takes no cues"):
        plain.predict(context, masks, cues("the brown dog stops"))


# --------------------------------------------------------------------------- training


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(tmp_path / "cache"))
    return open_source("menagerie-film:count=6,frames=8,size=32")


def test_clips_are_cropped_alike_in_all_frames(source):
    images = ClipImages(source, 32, 8)
    whole = Crops.draw(2, torch.Generator().manual_seed(0), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    found = images.crops(np.array([1, 4]), whole, torch.device("cpu"))
    expected = source.clips(np.array([1, 4]), 32).transpose(0, 1, 4, 2, 3) / 255
    assert np.abs(found.numpy() - expected).max() < 1e-4
    assert np.array_equal(clip_arrays(source, 32), source.clips(np.arange(6), 32))
    still = ClipImages(source, 32, 8)
    still.array = np.repeat(still.array[:, :1], 8, axis=1)
    cropped = still.crops(np.array([0, 3]), Crops.draw(2, torch.Generator().manual_seed(1)), torch.device("cpu"))
    assert torch.equal(cropped, cropped[:, :1].expand_as(cropped))
    assert images.squares(3).shape == (3, 8, 3, 32, 32)


def test_clips_of_another_length_and_pictures_are_refused(source):
    with pytest.raises(ValueError, match="clips of 8 frames, the model takes 16"):
        ClipImages(source, 32, 16)
    with pytest.raises(ValueError, match="has pictures only"):
        ClipImages(open_source("menagerie:count=4"), 32, 8)


def config_of(source="menagerie-film:count=6,frames=8,size=32", model=FILMS, **data):
    mask = MaskConfig("mixed", {"max_targets": 12, "future": {"seen": [1, 2]}, "max_context": 16})
    return TrainConfig(
        model=model,
        objective=ObjectiveConfig(options={"target_context": "masks"}),
        data=DataConfig(source=source, **data),
        mask=mask if model.steps > 1 else MaskConfig("random", {}),
        optimization=OptimizationConfig(steps=2, batch_size=4, warmup=1),
    )


def test_training_cues_are_the_sentences_or_nothing(source):
    found = TrainingCues(source, config_of())
    ids = found(np.arange(4), torch.tensor([False, True, False, False]))
    assert VOCABULARY.decode(ids[0].tolist()) == source.cue(0)
    assert not ids[1].any()
    assert not TrainingCues(source, config_of(cue_dropout=0.0)).draw_dropped(50, torch.Generator()).any()
    share = found.draw_dropped(4000, torch.Generator().manual_seed(0)).float().mean()
    assert abs(share - 0.5) < 0.03
    part = source.subset(np.array([3, 1]), "part")
    assert [part.cue(0), part.cue(1)] == [source.cue(3), source.cue(1)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"horizontal_flip": True}, "mirrors left and right"), ({"cue_dropout": 1.5}, "is a share")],
)
def test_settings_that_contradict_cues(source, changes, words):
    with pytest.raises(ValueError, match=words):
        TrainingCues(source, config_of(**changes))


def test_targets_among_the_masks_are_those_of_an_encoder_that_sees_nothing_else():
    torch.manual_seed(0)
    net = build(config_of())
    masks = sample_masks(config_of(), 3, torch.Generator().manual_seed(2))
    films = clips(3)
    found = net.targets(films, masks)
    for i in range(3):  # one film alone, without padding
        shown = torch.cat([masks.context[i][masks.valid[i]], masks.targets[i, 0]])[None]
        tokens = net.model.target_encoder(films[i : i + 1], shown)[0, -masks.targets.shape[2] :]
        assert torch.allclose(found[i, 0], F.layer_norm(tokens, (32,)), atol=1e-4)
    overlapping = Masks(masks.context, masks.targets.repeat(1, 2, 1), (4, 4), masks.context_valid, 4)
    with pytest.raises(ValueError, match="one target block"):
        net.targets(films, overlapping)


@pytest.mark.parametrize("pictures", [False, True])
def test_a_run_trains_films_and_pictures_with_cues(source, tmp_path, pictures):
    model = replace(FILMS, frames=1, tubelet=1) if pictures else FILMS
    config = config_of("menagerie:count=6" if pictures else "menagerie-film:count=6,frames=8,size=32", model)
    run = PretrainRunConfig(folder=str(tmp_path / "run"), monitor_images=4)
    trainer = Trainer(replace(config, run=run))
    before = trainer.model.predictor.cues.words.weight.detach().clone()
    images, masks, words, _ = trainer.batch(0)
    assert images.shape == (4, *model.input_shape)
    assert masks.steps == model.steps
    assert words.shape == (4, 8)
    trainer.run()
    assert not torch.equal(before, trainer.model.predictor.cues.words.weight)
    (folder,) = (tmp_path / "run").glob("step-*")
    assert load_model(folder).config == model
    assert flops_per_image(config) > 0


def test_the_energy_of_a_caption():
    torch.manual_seed(0)
    net = build(config_of()).eval()
    films, masks = clips(), Masks.future((4, 4), 4, 2).repeat(2)
    for parameter in net.model.predictor.parameters():
        if parameter.ndim > 1 and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    right, wrong = (
        net.energy(films, masks, films, cues(*2 * [text])) for text in ("the grey cat stops", "the grey cat walks on")
    )
    assert right.shape == (2,)
    assert not torch.allclose(right, wrong)


def test_picture_strategies_are_those_they_were():
    assert not set(FILM_STRATEGIES) & set(STRATEGIES)


@pytest.mark.parametrize("steps", [2.5, torch.tensor([2.0, 3.0]), True, "2", [None]])
def test_a_fraction_of_a_step_is_not_rounded(steps):
    with pytest.raises(TypeError, match="seen is a whole number of steps"):
        Masks.future((4, 4), 8, steps, 2)
    with pytest.raises(TypeError, match="ahead is a whole number of steps"):
        Masks.future((4, 4), 8, 2, steps)
    with pytest.raises(TypeError, match="ahead is one number of steps for all films"):
        Masks.future((4, 4), 8, 2, torch.tensor([2, 3]))
