"""The tokens that a decoder of two stages sampled, below the pictures drawn from them: in the explorer and exported."""

from __future__ import annotations

import numpy as np
import pytest

from ijepa_viz.widgets import PredictionExplorer, offline_page
from ijepa_viz.widgets.offline import precomputed

pytest.importorskip("playwright")
from bare_page import bare_page
from conftest import random_decoder

pytestmark = pytest.mark.browser


@pytest.fixture
def sampler_of_tokens(model, decoder, picture):
    """Explorer of a decoder of two stages, whose first samples are on the page."""
    explorer = PredictionExplorer(model, random_decoder(model, "token-vit"), picture, samples=2)
    assert explorer._answered.wait(20)
    yield explorer
    explorer.close()


def test_sampled_tokens_stand_below_the_pictures_drawn_from_them(chromium, sampler_of_tokens):
    page = bare_page(chromium, sampler_of_tokens)
    samples, compared = page.get_by_test_id("samples"), page.get_by_role("region", name="Tokens as colours")
    box = page.get_by_label("sampled tokens")
    assert samples.get_by_role("img").count() == 2
    assert compared.count() == 0
    box.check()
    images = samples.get_by_role("img")
    assert images.count() == 4
    for i, tile in enumerate(sampler_of_tokens.token_tiles):
        picture, below = images.nth(2 * i), images.nth(2 * i + 1)
        assert below.get_attribute("src") == tile["picture"]
        assert below.get_attribute("alt") == tile["words"]
        over, under = picture.bounding_box(), below.bounding_box()
        assert under["y"] >= over["y"] + over["height"]
        assert under["x"] + under["width"] / 2 == pytest.approx(over["x"] + over["width"] / 2, abs=2)
    sources = [tile["picture"] for tile in sampler_of_tokens.reference_tiles]
    assert [node.get_attribute("src") for node in compared.get_by_role("img").all()] == sources
    assert sampler_of_tokens.agreement in compared.inner_text()
    # A preview: the tokens below are not its own, so their place is empty, and stays.
    height = images.nth(1).bounding_box()
    page.evaluate("for (const name of ['token_tiles', 'reference_tiles']) model.set(name, [])")
    assert samples.locator("img").nth(1).bounding_box() == height
    assert samples.locator("img").nth(1).get_attribute("alt") == ""
    assert not compared.is_visible()
    assert page.locator("section").bounding_box()["height"] > 70
    page.evaluate("model.set('no_tokens', 'This decoder has one stage.')")
    assert box.is_disabled()
    assert box.get_attribute("title") == "This decoder has one stage."
    assert samples.locator("img").count() == 2
    assert page.errors == []
    page.close()


def test_sampled_tokens_are_in_the_exported_file(chromium, sampler_of_tokens, tmp_path):
    hole = np.zeros((4, 4), bool)
    hole[0, :2] = True
    answers = precomputed(sampler_of_tokens, [hole], ("predicted", "target"))
    (tmp_path / "page.html").write_text(offline_page(sampler_of_tokens, "tokens", "", answers))
    page = chromium.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    box, tile = page.get_by_label("sampled tokens"), page.get_by_test_id("samples").locator("img").nth(1)
    box.check()
    assert tile.get_attribute("src") == sampler_of_tokens.token_tiles[0]["picture"]
    page.get_by_role("button", name="Clear").click()
    assert page.locator("main img").count() == 0
    page.get_by_role("button", name="Undo").click()
    assert tile.get_attribute("src") == answers[0]["traits"]["token_tiles"][0]["picture"]
    page.get_by_label("decode").select_option("target")
    assert box.is_disabled()
    assert box.get_attribute("title") == answers[1]["traits"]["no_tokens"]
    page.close()
