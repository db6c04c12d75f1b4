"""The decoders' metric ``film``, with decoders that draw true frames, another film's, or the outcome that a cue names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import decoders.evaluation.film as metric
from decoders.decoder import Samples
from decoders.evaluation import DECODER_METRICS
from decoders.evaluation.film_frames import (
    UNSEEN,
    appearances,
    fit_frame_reader,
    frames_ahead,
    read_frames,
    real_frames,
)
from ijepa_viz.data.menagerie.film_plan import plan
from ijepa_viz.data.menagerie.film_stories import WALKERS
from ijepa_viz.data.opening import open_source
from ijepa_viz.film_prediction import predict_film
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.probes.film_truth import TEST_SEED, TRAIN_SEED, draw_futures, twins_of

SIZES = ModelConfig(
    image_size=32, patch_size=8, frames=16, tubelet=2, width=16, depth=1, heads=2, predictor_width=16,
    predictor_depth=1, predictor_heads=2, cue_tokens=8, cue_vocabulary=57,
)  # fmt: skip
COUNT = 40


class TrueFrames:
    """A decoder that draws what really happens: no decoder may see it, and this one reads ``prediction.image``."""

    def sample(self, prediction, samples):
        images = prediction.image[:, None].repeat(1, samples, 1, 1, 1, 1)
        return Samples(images, prediction.masks.hidden_pixels(8, 2), frames=16)


class OtherFilms(TrueFrames):
    """Draws the film before."""

    def sample(self, prediction, samples):
        return super().sample(replace(prediction, image=prediction.image.roll(1, 0)), samples)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return IJEPA(SIZES).eval()


@pytest.fixture(scope="module")
def films():
    return draw_futures(SIZES, COUNT, TEST_SEED)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("IJEPA_VIZ_CACHE", str(folder))
        patch.setattr("decoders.evaluation.film_frames._FIT_BATCH", 8)  # more steps in the same time
        yield folder


@pytest.fixture(scope="module")
def reader(cache):
    return fit_frame_reader(draw_futures(SIZES, 200, TRAIN_SEED), 16, TRAIN_SEED, epochs=14)


def errors(row, films):
    return (row.places - films.places).norm(dim=-1)[films.inside].mean()


def test_the_reader_finds_creatures_and_events_in_real_frames_and_not_in_another_films(reader, films):
    """In 32 px a creature is 6 px: the fit is rough, and that of chance is far off."""
    real = read_frames(reader, real_frames(films), films.last)
    other = read_frames(reader, real_frames(films).roll(1, 0), films.last)
    assert errors(real, films) < 0.12
    assert errors(other, films) > 1.25 * errors(real, films)
    own = films[films.open]
    right = real.of(films.open).future.chosen(own.kinds, own.other_kinds).float().mean()
    assert right > 0.65
    larger = torch.nn.functional.interpolate(real_frames(films).flatten(0, 1).float(), (64, 64)).unflatten(
        0, (COUNT, 8)
    )
    assert torch.allclose(read_frames(reader, larger / 255, films.last).places, real.places, atol=1e-3)


def test_the_reader_is_cached(reader, cache):
    (file,) = (cache / "recognisers").iterdir()
    written = file.stat().st_mtime_ns
    again = fit_frame_reader(draw_futures(SIZES, 200, TRAIN_SEED), 16, TRAIN_SEED, epochs=14)
    assert file.stat().st_mtime_ns == written
    assert all(
        torch.equal(a, b) for a, b in zip(reader.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_appearances_and_frames_are_those_of_the_plan(films):
    species, facing = appearances(films, 16, TEST_SEED)
    for i, index in enumerate(films.numbers.tolist()):
        planned, start = plan(index, TEST_SEED, 16), int(films.frames_seen[i])
        assert torch.equal(real_frames(films)[i, 0].permute(1, 2, 0), films.frames[i, start])
        if films.visible[i].any():
            assert WALKERS[species[i]] == planned.things[planned.subject].species
        if films.visible[i, -1]:
            assert bool(facing[i]) == (planned.states[planned.subject][start + 7].yaw > 0)
        else:
            assert facing[i] == UNSEEN
    several = torch.zeros(COUNT, 3, 16, 3, 4, 4)
    assert frames_ahead(several, films).shape == (COUNT, 3, 8, 3, 4, 4)


def test_a_perfect_decoder_reaches_the_real_row_and_another_films_frames_do_not(model, reader, films, monkeypatch):
    monkeypatch.setattr(metric, "_BATCH", COUNT)
    table = metric.decoded_measures(model, TrueFrames(), reader, films, 2, 3.0)
    place = table["place"]["all"]
    for row in ("predicted", "right_cue", "wrong_cue"):
        for h, point in place["real"].items():
            assert place[row][h] == pytest.approx(point, abs=1e-4)
    assert place["another_film"]["4"]["low"] > place["real"]["4"]["high"]
    every = table["event"]["all"]
    assert every["no_cue"] == every["right_cue"] == every["real"]
    assert every["wrong_cue"]["accuracy"] == pytest.approx(1 - every["real"]["accuracy"])
    assert table["outcomes"]["all"]["both"]["accuracy"] == 0
    assert table["outcomes"]["both_by_even_odds"] == 0.5
    for part in ("species", "facing"):
        assert table["appearance"][part]["no_cue"] == table["appearance"][part]["real"]
    shifted = metric.decoded_measures(model, OtherFilms(), reader, films, 2, 3.0)
    own, given = shifted["place"]["all"]["predicted"]["4"], place["another_film"]["4"]
    # Open films and the others are decoded apart, and each has the one before it among its own.
    assert own["low"] > place["real"]["4"]["high"]
    assert own["mean"] == pytest.approx(given["mean"], abs=0.1)


def test_cues_that_are_obeyed_and_samples_that_differ_are_seen(model, reader, films, monkeypatch):
    """The stand-in for a prediction holds the film that its cue tells, and its decoder draws it."""
    own = films[films.open]
    twins = twins_of(SIZES, own, TEST_SEED)
    named = {}  # (number, sentence) -> frames
    for true, frames in ((own, own.frames), (twins, twins.frames)):
        for i, number in enumerate(own.numbers.tolist()):
            named[number, true.cues[i]] = frames[i]
    numbers = {frames.numpy().tobytes(): n for frames, n in zip(own.frames, own.numbers.tolist(), strict=True)}

    def told(model, frames, masks, cues):
        sentences = [cues] * len(frames) if isinstance(cues, str) else cues
        shown = [
            named[numbers[film.numpy().tobytes()], cue] if cue else film
            for film, cue in zip(frames, sentences, strict=True)
        ]
        return predict_film(model, torch.stack(shown), masks)

    monkeypatch.setattr(metric, "predict_film", told)
    table = metric.decoded_measures(model, TrueFrames(), reader, own, 2, None)["event"]["all"]
    assert table["wrong_cue"]["accuracy"] > 0.65
    assert table["right_cue"] == table["real"]

    class Either(TrueFrames):
        def sample(self, prediction, samples):
            drawn = super().sample(prediction, samples)
            for row, film in zip(drawn.images, prediction.image, strict=True):
                key = (film * 255).round().byte().permute(0, 2, 3, 1).numpy().tobytes()
                number = numbers.get(key)
                if number is not None and samples > 1:
                    i = own.numbers.tolist().index(number)
                    row[1] = twins.frames[i].permute(0, 3, 1, 2) / 255
            return drawn

    outcomes = metric.decoded_measures(model, Either(), reader, own, 2, None)["outcomes"]
    assert outcomes["all"]["both"]["accuracy"] > 0.4  # both samples have to be read rightly
    assert outcomes["both_by_errors_alone"] == pytest.approx(
        2 * table["real"]["accuracy"] * (1 - table["real"]["accuracy"])
    )


def test_what_the_metric_refuses(model):
    films = DECODER_METRICS["film"]
    with pytest.raises(ValueError, match="use --data menagerie-film"):
        films(model, TrueFrames(), lambda part: open_source("menagerie:count=4", part))
    split = lambda part: open_source("menagerie-film:count=4,size=32", part)  # noqa: E731
    with pytest.raises(ValueError, match="at least 2 of a film, not 1"):
        films(model, TrueFrames(), split, samples=1)
    pictures = IJEPA(replace(SIZES, frames=1, tubelet=1, cue_tokens=0, cue_vocabulary=0))
    with pytest.raises(ValueError, match="This model is of pictures"):
        films(pictures, TrueFrames(), split)
