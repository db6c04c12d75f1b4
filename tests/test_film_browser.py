"""FilmExplorer in JupyterLab: a real kernel answers a cue, a film and a number of seen frames, by mouse and keyboard."""

from __future__ import annotations

import nbformat
import pytest
from jupyter_lab import lab, open_notebook, run_all, watch
from playwright.sync_api import Page

_CODE = """
import torch
from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import build_network
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime.weights import Weights
from ijepa_viz.widgets import FilmExplorer
sizes = {"width": 32, "depth": 1, "heads": 2, "predictor_width": 32, "predictor_depth": 1, "predictor_heads": 2}
config = ModelConfig(image_size=32, patch_size=8, frames=8, tubelet=2, cue_tokens=8, cue_vocabulary=57, **sizes)
model = IJEPA(config).eval()
options = {"width": 32, "depth": 1, "heads": 2, "refine": 0, "time_width": 8}
network = build_network("block-vit", config.grid, 8, 32, options, steps=4, tubelet=2)
FilmExplorer(model, Decoder(network, DecoderConfig(steps=1, ijepa_sha256=Weights(model).sha256())))
"""
# The number of cells, the active one, and whether keys are commands.
_STATE = """() => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  return [notebook.widgets.length, notebook.activeCellIndex];
}"""
_FRAME = "() => Number(document.querySelector('.ijv[data-frame]').dataset.frame)"
_LOOPS = "() => [...document.querySelectorAll('[data-testid=film-loops] canvas')].map((c) => c.toDataURL())"


def answered(page: Page, number: int) -> None:
    """Wait until the page shows the kernel's answer to its question of this number; 0 is the constructor's."""
    page.wait_for_function(
        f"() => document.querySelector('[data-testid=film-status]')?.dataset.shown === '{number}'", timeout=60_000
    )


@pytest.fixture(scope="module")
def films(chromium, tmp_path_factory):
    """A page with the widget in JupyterLab; nothing is asked for that is not the server's."""
    folder, private = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("private")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(_CODE.strip()), nbformat.v4.new_markdown_cell("Below.")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "films.ipynb")
    with lab(folder, private / "lab") as port:
        page = chromium.new_page(viewport={"width": 1200, "height": 900})
        outside = watch(page, port)
        open_notebook(page, port, "films.ipynb")
        run_all(page)
        page.wait_for_selector("[data-testid=film-status]", timeout=120_000)
        answered(page, 0)
        yield page
        assert outside == []
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.close()


def asked(page: Page) -> int:
    """Number of the answer that the page shows."""
    return int(page.get_by_test_id("film-status").get_attribute("data-shown"))


@pytest.mark.slow
def test_loops_play_until_they_are_paused_and_are_scrubbed_together(films):
    before = films.evaluate(_FRAME)
    films.wait_for_function(f"() => document.querySelector('.ijv[data-frame]').dataset.frame !== '{before}'")
    films.get_by_role("button", name="pause").click()
    stopped = films.evaluate(_FRAME)
    films.wait_for_timeout(700)
    assert films.evaluate(_FRAME) == stopped
    scrub = films.get_by_label("frame shown")
    scrub.focus()
    films.keyboard.press("Home")
    first = films.evaluate(_LOOPS)
    state = films.evaluate(_STATE)
    films.keyboard.press("End")
    last = films.evaluate(_LOOPS)
    assert films.evaluate(_FRAME) == 7
    assert films.evaluate(_STATE) == state
    assert len(first) == len(last) == 6  # the film, what is seen, two samples for each cue
    assert all(a != b for a, b in zip(first, last, strict=True))
    assert films.locator("[data-testid=film-loops] canvas[data-predicted=true]").count() == 4


@pytest.mark.slow
def test_cues_are_written_with_the_shortcuts_of_the_notebook_active(films):
    number, state = asked(films), films.evaluate(_STATE)
    other = films.get_by_role("group", name="B: ").get_attribute("aria-label")
    films.get_by_label("cue A").click()
    films.keyboard.type("the brown dog stops")  # d, b, o, s and w are commands of a notebook
    films.keyboard.press("Enter")
    answered(films, number + 1)
    assert "the brown dog stops: cosine" in films.get_by_test_id("film-status").inner_text()
    assert films.get_by_role("group", name="A: the brown dog stops").count() == 1
    assert films.get_by_role("group", name=other, exact=True).count() == 1
    assert films.evaluate(_STATE) == state
    films.get_by_label("cue A").fill("the brown dgo stops")
    films.keyboard.press("Enter")
    answered(films, number + 2)
    assert "Did you mean 'dog'" in films.get_by_role("alert").first.inner_text()
    films.get_by_label("cue A").fill("")
    films.keyboard.press("Enter")
    answered(films, number + 3)
    assert films.get_by_role("group", name="A: no cue").count() == 1


@pytest.mark.slow
def test_a_hole_is_hidden_by_mouse_and_by_arrow_keys(films):
    number, state = asked(films), films.evaluate(_STATE)
    films.get_by_label("hide", exact=True).select_option("hole")
    answered(films, number + 1)
    before = films.evaluate(_LOOPS)
    films.get_by_role("button", name="row 1, column 1", exact=True).click()
    answered(films, number + 2)
    assert films.get_by_role("button", name="row 1, column 1", exact=True).get_attribute("aria-pressed") == "true"
    films.keyboard.press("ArrowDown")
    films.keyboard.press("Space")
    answered(films, number + 3)
    assert films.get_by_role("button", name="row 2, column 1", exact=True).get_attribute("aria-pressed") == "true"
    assert films.evaluate(_LOOPS)[1] != before[1]
    assert films.evaluate(_STATE) == state
    films.get_by_label("hide", exact=True).select_option("future")
    answered(films, number + 4)


@pytest.mark.slow
def test_another_film_brings_its_own_cue_and_fewer_seen_frames_hide_more(films):
    number = asked(films)
    before = films.evaluate(_LOOPS)
    films.get_by_label("film", exact=True).select_option("1")
    answered(films, number + 1)
    assert films.evaluate(_LOOPS)[0] != before[0]
    hidden = "() => document.querySelector('[data-testid=film-loops]').parentElement.querySelector('.soft').textContent"
    told = films.evaluate(hidden).count("at frame")
    films.get_by_label("steps seen").focus()
    films.keyboard.press("ArrowRight")
    answered(films, number + 2)
    assert films.evaluate(hidden).count("at frame") == told - 2  # one step less on both sides


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_axe_finds_nothing_wrong(films, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    films.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{ theme: 'JupyterLab {theme}' }})")
    films.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
    films.locator("summary", has_text="words that cues can have").click()
    found = axe.run(films, context=".ijv")
    assert found.violations_count == 0, found.generate_report()
    films.locator("summary", has_text="words that cues can have").click()


@pytest.mark.slow
@pytest.mark.parametrize("width", [700, 1000, 1400])
def test_nothing_runs_out_of_the_cell(films, width):
    films.set_viewport_size({"width": width, "height": 900})
    films.wait_for_timeout(300)
    assert films.locator(".ijv").first.evaluate("(root) => root.scrollWidth <= root.clientWidth + 1")
