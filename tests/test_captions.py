"""The probe ``captions``, with a predictor that draws what it is told, and one that does not listen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ijepa_viz.probes.captions as probe
from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import COLOURS
from ijepa_viz.data.menagerie.film_sentences import VOCABULARY, portrait_sentence
from ijepa_viz.data.opening import open_source
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.probes import PROBES
from ijepa_viz.probes.captions import contradicted, hidden_things

SIZES = ModelConfig(
    image_size=32, patch_size=8, width=32, depth=1, heads=2, predictor_width=32, predictor_depth=1, predictor_heads=2,
    cue_tokens=8, cue_vocabulary=len(VOCABULARY),
)  # fmt: skip


def split(part):
    return open_source("menagerie:count=4", part)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return IJEPA(SIZES).eval()


def test_the_nearest_thing_is_hidden_and_named(model):
    scenes = hidden_things(model, 12, 3003)
    assert scenes.masks.targets.shape == (12, 1, 9), "3x3 of 4x4 patches"
    drawn = (menagerie.scene(index, 32, 3003) for index in range(200))
    by_image = {scene.image.tobytes(): scene for scene in drawn}
    hidden = scenes.masks.hidden_pixels(8)
    for k, thing in enumerate(scenes.things):
        image = (scenes.images[k] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        scene = by_image[image.tobytes()]
        assert thing == scene.things[-1]
        own = scene.owners == len(scene.things)
        assert (own & hidden[k].numpy()).sum() >= 0.8 * own.sum()


def test_a_contradiction_differs_in_one_trait_and_can_be_said(model):
    things = hidden_things(model, 12, 3003).things
    for trait in ("species", "facing", "colour"):
        for thing, other in zip(things, contradicted(things, trait), strict=True):
            VOCABULARY.encode(portrait_sentence(other), 8)
            assert other.colour in COLOURS[other.species]
            kept = {"species", "facing", "colour"} - {trait}
            if trait == "species" and thing.colour not in COLOURS[other.species]:
                kept.discard("colour")
            assert getattr(other, trait) != getattr(thing, trait)
            assert all(getattr(other, name) == getattr(thing, name) for name in kept)


def test_what_is_told_is_read_and_what_is_not_heard_is_chance(model, monkeypatch):
    """Tokens that hold a thing's words: those of the target encoder, and of a predictor that hears them or does not."""

    def tokens(sentences):
        ids = torch.from_numpy(np.stack([VOCABULARY.encode(text, 8) for text in sentences]))
        words = torch.nn.functional.one_hot(ids, len(VOCABULARY)).amax(1).float()
        words[:, 0] = 0
        return words[:, None, None].expand(-1, 1, 9, -1)

    monkeypatch.setattr(probe, "_target", lambda _, s: tokens([portrait_sentence(thing) for thing in s.things]))
    monkeypatch.setattr(probe, "_predicted", lambda _, s, sentences: tokens(sentences))
    monkeypatch.setattr(probe, "_PENALTY", 0.1)
    heard = PROBES["captions"](model, split, train=150, test=60)
    for name in ("species", "facing", "colour", "no_cue"):
        assert heard["energy"][name]["pairs"] == 1
    for trait in ("species", "facing"):
        read = heard["read"][trait]
        assert min(read[row]["accuracy"] for row in ("real", "right_cue", "wrong_cue")) > 0.9
        assert read["no_cue"]["accuracy"] <= read["most_frequent"] + 1e-6
    monkeypatch.setattr(probe, "_predicted", lambda _, s, sentences: tokens([""] * len(sentences)))
    deaf = PROBES["captions"](model, split, train=150, test=60)
    assert all(deaf["energy"][name]["pairs"] == 0.5 for name in deaf["energy"])


def test_the_probe_runs_on_an_untrained_model(model):
    table = PROBES["captions"](model, split, train=30, test=20)
    assert table["scenes"] == 20
    assert 0.2 < table["energy"]["facing"]["auroc"] < 0.8
    assert "seed 3003" in table["test_data"]


def test_what_the_probe_refuses(model):
    with pytest.raises(ValueError, match="use --data menagerie,"):
        PROBES["captions"](model, lambda part: open_source("menagerie-film:count=4", part))
    deaf = IJEPA(ModelConfig(image_size=32, patch_size=8, width=32, depth=1, heads=2, predictor_width=16,
                             predictor_depth=1, predictor_heads=2))  # fmt: skip
    with pytest.raises(ValueError, match="takes no cues"):
        PROBES["captions"](deaf, split)
