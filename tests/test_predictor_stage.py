"""A model of films that begins from one of pictures, and the predictor alone on frozen encoders."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

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
from train.trainer import Trainer

PICTURES = ModelConfig(
    image_size=32, patch_size=8, width=32, depth=2, heads=2, predictor_width=16, predictor_depth=2, predictor_heads=2
)
FILMS = replace(PICTURES, frames=8, tubelet=2, cue_tokens=8, cue_vocabulary=len(VOCABULARY))
FUTURE = MaskConfig("future", {"seen": [1, 2], "ahead": 2}, moving_targets=10)


def stage(folder, steps=5, cached=2, **changes):
    settings = {
        "start_from": str(folder / "films"),
        "model": replace(FILMS, predictor_width=24, predictor_depth=1, predictor_heads=3),
        "objective": ObjectiveConfig("predictor"),
        "data": DataConfig("menagerie-film:count=8,frames=8,size=32", cue_dropout=0.5, cached_batches=cached),
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
    assert torch.equal(films.model.predictor.mask_token, pictures.predictor.mask_token)
    assert torch.equal(films.model.encoder.blocks[1].mlp.fc1.weight, pictures.encoder.blocks[1].mlp.fc1.weight)
    assert torch.equal(films.model.predictor.cues.words.weight, cues), "pictures know no cues"
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
    plain = Trainer(stage(folder, cached=None, run=PretrainRunConfig(folder=str(folder / "plain"), log_with="none")))
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
        (
            {"data": DataConfig("menagerie-film:count=8,frames=8,size=32", cached_batches=0)},
            "a number of batches from 1",
        ),
        ({"objective": ObjectiveConfig("ijepa")}, r"objective\.name=predictor, or data\.cached_batches=null"),
    ],
)
def test_settings_that_contradict_each_other(folder, changes, message):
    config = stage(folder, model=FILMS, **changes)
    with pytest.raises(ValueError, match=message):
        Trainer(config)
