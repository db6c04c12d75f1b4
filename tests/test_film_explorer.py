"""FilmExplorer: what it shows of a film and two cues, in the kernel and on a bare page."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from bare_page import bare_page
from PIL import Image

from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import build_network
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime.weights import Weights
from ijepa_viz.widgets import FilmExplorer

SIZES = ModelConfig(
    image_size=32, patch_size=8, frames=8, tubelet=2, width=32, depth=1, heads=2, predictor_width=32,
    predictor_depth=1, predictor_heads=2, cue_tokens=8, cue_vocabulary=57,
)  # fmt: skip


def film_model() -> IJEPA:
    torch.manual_seed(0)
    return IJEPA(SIZES).eval()


@pytest.fixture(scope="module")
def explorer() -> FilmExplorer:
    model = film_model()
    options = {"width": 32, "depth": 1, "heads": 2, "refine": 0, "time_width": 8}
    network = build_network("block-vit", SIZES.grid, 8, 32, options, steps=4, tubelet=2)
    return FilmExplorer(model, Decoder(network, DecoderConfig(steps=1, ijepa_sha256=Weights(model).sha256())))


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def ask(explorer: FilmExplorer, **traits: object) -> None:
    explorer.set_trait("error", "")
    for name, value in traits.items():
        setattr(explorer, name, value)
    explorer.seq += 1


def test_the_future_of_both_cues_is_shown_beside_the_truth(explorer):
    ask(explorer, clip=0, seen=2, cue_a="", cue_b=explorer.clips[0]["cues"][0], samples=2)
    assert explorer.result_seq == explorer.heard == explorer.seq
    assert explorer.error == ""
    truth, context = picture(explorer.truth), picture(explorer.context)
    assert truth.shape == (32, 8 * 32, 3)
    assert explorer.hidden_frames == [False] * 4 + [True] * 4
    assert np.array_equal(context[:, :128], truth[:, :128])
    assert len(np.unique(context[:, 128:])) == 1
    assert [side["cue"] for side in explorer.sides] == ["", explorer.clips[0]["cues"][0]]
    for side in explorer.sides:
        assert side["names"] == ["sample 1", "sample 2"]
        assert np.array_equal(picture(side["films"][0])[:, :128], truth[:, :128])
        assert side["errors"][:2] == [None, None]
        assert all(error is not None for error in side["errors"][2:])
    assert explorer.sides[0]["errors"] != explorer.sides[1]["errors"]  # a cue changes the prediction


def test_a_hole_leaves_the_rest_of_every_frame(explorer):
    ask(explorer, hides="hole", seen=1, hole="0" * 15 + "1")
    truth, context = (picture(uri).reshape(32, 8, 32, 3) for uri in (explorer.truth, explorer.context))
    other = (truth != context).any(-1)
    assert not other[:, :2].any()
    assert not other[:24].any()
    assert other[24:, 2:, 24:].any()
    ask(explorer, hides="future", seen=2)


def test_an_unknown_word_is_said_and_the_last_films_stay(explorer):
    before = explorer.sides
    ask(explorer, cue_a="the dgo stops")
    assert "Did you mean 'dog'" in explorer.error
    assert explorer.sides == before
    ask(explorer, cue_a="")
    assert explorer.error == ""


def test_without_a_decoder_it_shows_how_well_tokens_are_predicted():
    explorer = FilmExplorer(film_model(), seen=2)
    assert explorer.sides[0]["names"] == ["how well each token is predicted"]
    shown, truth = picture(explorer.sides[0]["films"][0]), picture(explorer.truth)
    assert np.array_equal(shown[:, :128], truth[:, :128])
    assert not np.array_equal(shown[:, 128:], truth[:, 128:])
    bundle = explorer._repr_mimebundle_()[0]
    assert re.search(r'<img alt="[^"]{20,}"', bundle["text/html"])


def test_models_of_pictures_are_refused():
    small = ModelConfig(image_size=32, patch_size=8, width=32, depth=1, heads=2, predictor_width=32, predictor_depth=1)
    with pytest.raises(ValueError, match="This model is of pictures"):
        FilmExplorer(IJEPA(small))


def test_films_that_are_not_there():
    sizes = {"width": 32, "depth": 1, "heads": 2, "predictor_width": 32, "predictor_depth": 1, "predictor_heads": 2}
    films = IJEPA(ModelConfig(image_size=32, patch_size=8, frames=8, tubelet=2, **sizes))
    with pytest.raises(ValueError, match="films, counted from 0, and none of number 99"):
        FilmExplorer(films, clip=99)
    for clips in ({}, [np.zeros((8, 32, 32, 3), np.uint8)]):
        with pytest.raises(ValueError, match="films by name, at least one"):
            FilmExplorer(films, clips=clips)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(chromium, explorer, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = bare_page(chromium, explorer, scheme=scheme, hides="hole")
    page.locator("summary").click()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.errors == page.outside == []
    page.close()


def test_the_page_is_used_by_keyboard_alone(chromium, explorer):
    page = bare_page(chromium, explorer)
    page.get_by_role("button", name="pause").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("button", name="play").count() == 1
    frame = page.get_by_role("slider", name=re.compile("^frame"))
    frame.focus()
    page.keyboard.press("End")
    assert "8 of 8, predicted" in page.locator(".ijv").inner_text()
    page.keyboard.press("Home")
    assert "1 of 8, seen" in page.locator(".ijv").inner_text()
    page.get_by_label("cue A").fill("the brown dog stops")
    page.keyboard.press("Enter")
    assert page.evaluate("[model.get('cue_a'), model.get('seq') > 0, model.saves > 0]") == [
        "the brown dog stops",
        True,
        True,
    ]
    page.evaluate("model.set('hides', 'hole')")
    before = page.evaluate("model.get('hole')")
    page.get_by_role("button", name="row 1, column 1").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    after = page.evaluate("model.get('hole')")
    assert [i for i in range(16) if before[i] != after[i]] == [5]  # row 2, column 2
    page.evaluate("model.set('error', 'a message')")
    assert page.get_by_role("alert").inner_text() == "a message"
    assert page.errors == []
    page.evaluate("cleanUp()")
    page.close()
