"""A model of films that begins from one of pictures, and the predictor alone on frozen encoders."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.data.menagerie.film_sentences import VOCABULARY
from ijepa_viz.models import IJEPA, ModelConfig, patchify
from train.config import (
    DataConfig,
    MaskConfig,
    ObjectiveConfig,
    OptimizationConfig,
    PretrainRunConfig,
    RegularizerConfig,
    TrainConfig,
    sample_masks,
)
from train.objectives import build
from train.objectives.predictor import Encoded
from train.planning.cost import flops_per_image
from train.trainer import Trainer

PICTURES = ModelConfig(
    image_size=32, patch_size=8, width=32, depth=2, heads=2, predictor_width=16, predictor_depth=2, predictor_heads=2
)
FILMS = replace(PICTURES, frames=8, tubelet=2, cue_tokens=8, cue_vocabulary=len(VOCABULARY))
FILM = "menagerie-film:count=8,frames=8,size=32"
FUTURE = MaskConfig("future", {"seen": [1, 2], "ahead": 2}, moving_targets=10)


def stage(folder, steps=5, cached=2, **changes):
    settings = {
        "start_from": str(folder / "films"),
        "model": replace(FILMS, predictor_width=24, predictor_depth=1, predictor_heads=3),
        "objective": ObjectiveConfig("predictor"),
        "data": DataConfig(FILM, cue_dropout=0.5, cached_batches=cached),
        "mask": FUTURE,
        "optimization": OptimizationConfig(steps=steps, batch_size=4, warmup=1, lr=1e-3),
        "regularizer": RegularizerConfig("none"),
        "run": PretrainRunConfig(folder=str(folder / "run"), log_with="none"),
    }
    return TrainConfig(**{**settings, **changes})


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = IJEPA(FILMS).eval()
    model.target_encoder.load_state_dict(IJEPA(FILMS).encoder.state_dict())
    save_folder(model, tmp_path / "films")
    return tmp_path


def test_a_film_model_begins_from_a_picture_model():
    torch.manual_seed(1)
    pictures = IJEPA(PICTURES)
    films = build(TrainConfig(model=FILMS, mask=FUTURE))
    cues = films.model.predictor.cues.words.weight.clone()
    films.copy_weights(pictures, "pictures")
    image = torch.randn(2, 3, 32, 32)
    still = patchify(image[:, None].expand(-1, 8, -1, -1, -1), 8, 2)
    embedded = films.model.encoder.patch_embed(still).unflatten(1, (4, 16))
    expected = pictures.encoder.patch_embed(patchify(image, 8))
    assert torch.allclose(embedded, expected[:, None].expand(-1, 4, -1, -1), atol=1e-5)
    weights, expected = films.model.state_dict(), pictures.state_dict()
    inflated = {name for name in weights if name.endswith(("pos_embed", "patch_embed.proj.weight")) or ".cues." in name}
    assert len(inflated) == 7
    assert all(torch.equal(weights[name], expected[name]) for name in weights.keys() - inflated)
    assert torch.equal(films.model.predictor.cues.words.weight, cues), "these pictures know no cues"
    knowing = IJEPA(replace(PICTURES, cue_tokens=8, cue_vocabulary=len(VOCABULARY)))
    films.copy_weights(knowing, "pictures with captions")
    assert torch.equal(films.model.predictor.cues.words.weight, knowing.predictor.cues.words.weight)
    films.copy_weights(IJEPA(replace(PICTURES, image_size=64)), "larger pictures")
    wider = build(TrainConfig(model=replace(FILMS, width=48, heads=3), mask=FUTURE))
    with pytest.raises(ValueError, match=r"model\.width 32 instead of 48"):
        wider.copy_weights(pictures, "pictures")


def test_the_loss_is_that_of_ijepa_with_the_same_weights(folder):
    saved = load_model(folder / "films")
    joint = build(TrainConfig(model=FILMS, mask=FUTURE, regularizer=RegularizerConfig("none")))
    alone = build(stage(folder, model=FILMS))
    for net in (joint, alone):
        net.copy_weights(saved, "films")
    films = torch.randn(4, 8, 3, 32, 32)
    masks = sample_masks(stage(folder), 4, torch.Generator().manual_seed(0))
    cues = torch.randint(0, len(VOCABULARY), (4, 8))
    one, two = (net(films, masks, cues=cues) for net in (joint, alone))
    assert torch.allclose(one["prediction_loss"], two["prediction_loss"], atol=1e-6)
    assert torch.allclose(alone.energy(films, masks, films, cues).mean(), two["loss"], atol=1e-6)
    two["loss"].backward()
    trained = {name.split(".")[1] for name, p in alone.named_parameters() if p.grad is not None}
    assert trained == {"predictor"}


def test_the_second_stage_leaves_the_encoders_as_they_are(folder):
    trainer = Trainer(stage(folder))
    before = {name: p.clone() for name, p in trainer.model.state_dict().items()}
    trainer.run()
    saved, after = load_model(folder / "films"), trainer.model.state_dict()
    for part in ("encoder", "target_encoder"):
        own = getattr(trainer.model, part).state_dict()
        assert all(torch.equal(own[name], value) for name, value in getattr(saved, part).state_dict().items())
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("predictor.") for name in changed)
    (found,) = (folder / "run").glob("step-*")
    assert load_model(found).config.predictor_width == 24


def test_encoded_batches_come_again_with_other_choices(folder):
    trainer = Trainer(stage(folder))
    batches = [trainer.batch(step) for step in range(6)]
    encoded = [batch[0] for batch in batches]
    assert all(isinstance(one, Encoded) and one.targets.dtype == torch.float16 for one in encoded)
    assert encoded[0] is encoded[2]
    assert encoded[1] is encoded[5]
    assert encoded[0] is not encoded[1]
    assert not torch.equal(batches[0][1].targets, batches[2][1].targets), "moving targets are drawn anew"
    assert any(not torch.equal(batches[0][2], batches[k][2]) for k in (2, 4)), "and so are the cues left out"
    assert torch.equal(trainer.batch(2)[1].targets, batches[2][1].targets), "a function of the step"
    trainer.lock.release()
    plain = Trainer(stage(folder, cached=0, run=PretrainRunConfig(folder=str(folder / "plain"), log_with="none")))
    drawn = plain._drawn(0)
    assert torch.equal(drawn.masks.context, batches[0][1].context)
    direct = plain.net.encode(drawn.images, drawn.masks)
    assert (direct.targets - encoded[0].targets.float()).abs().max() < 0.05, "float16, of a bf16 or fp32 pass"
    assert (direct.context - encoded[0].context.float()).abs().max() < 0.05
    plain.lock.release()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_from": None}, "set start_from to a trained model"),
        ({"regularizer": RegularizerConfig("variance-covariance")}, r"regularizer\.name=none"),
        ({"data": DataConfig(FILM, cached_batches=-1)}, "a number of batches, or 0"),
        ({"data": DataConfig(FILM, eval_source="menagerie")}, r"set data\.eval_source=null"),
        ({"run": PretrainRunConfig(folder="unused", fsdp=True)}, r"set data\.cached_batches=0"),
        ({"objective": ObjectiveConfig("ijepa")}, r"objective\.name=predictor, or data\.cached_batches=0"),
    ],
)
def test_settings_that_contradict_each_other(folder, changes, message):
    config = stage(folder, model=FILMS, **changes)
    with pytest.raises(ValueError, match=message):
        Trainer(config)


def test_a_predictor_of_the_same_size_is_kept_and_another_is_told(folder, capsys):
    plain = IJEPA(replace(FILMS, cue_tokens=0, cue_vocabulary=0))
    net = build(stage(folder, model=FILMS))
    net.copy_weights(plain, "films without cues")
    assert capsys.readouterr().err == "Not of films without cues, but initialised: predictor.cues.\n"
    assert torch.equal(net.model.predictor.predictor_proj.weight, plain.predictor.predictor_proj.weight)
    wider = build(stage(folder))
    before = {name: value.clone() for name, value in wider.model.predictor.state_dict().items()}
    wider.copy_weights(plain, "narrow")
    assert "predictor.predictor_blocks" in capsys.readouterr().err
    assert all(torch.equal(before[name], value) for name, value in wider.model.predictor.state_dict().items())
    with pytest.raises(ValueError, match="a model of pictures"):
        net.copy_weights(IJEPA(PICTURES), "pictures")


def test_a_resumed_run_is_the_uninterrupted_one(folder, monkeypatch):
    whole = Trainer(stage(folder, run=PretrainRunConfig(folder=str(folder / "whole"), log_with="none")))
    whole.run()
    config = stage(folder)
    first = Trainer(config)
    update = first.update

    def stop_after_three(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(step)

    monkeypatch.setattr(first, "update", stop_after_three)
    first.run()
    again = Trainer(config, resume=True)
    assert again.step == 3
    again.run()
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.model.state_dict().items())


def test_the_encoding_is_counted_once_for_every_cached_batch(folder):
    always, cached = (flops_per_image(stage(folder, steps=10, cached=count)) for count in (0, 2))
    every = flops_per_image(stage(folder, steps=2, cached=2))
    assert every == pytest.approx(always)
    encoding = (always - cached) / (1 - 2 / 10)
    masks = [sample_masks(stage(folder), 8, torch.Generator().manual_seed(i)).to("meta") for i in range(4)]
    with torch.device("meta"):
        net = build(stage(folder))
    with FlopCounterMode(display=False) as counter:
        for some in masks:
            net.encode(torch.zeros(8, 8, 3, 32, 32, device="meta"), some)
    # Contexts of one or two steps: other batches have others.
    assert encoding == pytest.approx(counter.get_total_flops() / 32, rel=0.2)
