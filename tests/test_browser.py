"""The notebooks' widgets in JupyterLab, in a real Chromium, with a real kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from bare_page import drag
from jupyter_lab import open_notebook, run_all, watch
from widgets_in_lab import (
    NOTEBOOK_STATE,
    PLACES,
    at,
    every_widget,
    in_view,
    notebooks_in_lab,
    press,
    resize,
    settle,
    show,
    stroke,
    until,
    value,
)  # fmt: skip

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def one_lab(chromium, tmp_path_factory):
    """A JupyterLab for all tests of this file: its port and folder."""
    with notebooks_in_lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="module")
def in_lab(chromium, one_lab):
    """A page with a notebook of every widget, for the tests below."""
    with every_widget(chromium, *one_lab) as page:
        yield page


_RECORD = """
import json, pathlib
def _record(change):
    pathlib.Path("record.json").write_text(json.dumps({"seq": explorer.result_seq, "mask": explorer.mask}))
explorer.observe(_record, "result_seq")
"""


def test_run_all_paint_and_see_in_jupyterlab(chromium, one_lab):
    """Run the first notebook as far as its explorer, and drag: the kernel has the mask, new samples appear.

    What follows the explorer needs no browser: ``test_notebooks`` runs it, and ``test_notebooks_in_lab`` all of it.
    """
    port, folder = one_lab
    notebook = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text())
    cells = notebook["cells"]
    last = next(
        i
        for i, cell in enumerate(cells)
        if "PredictionExplorer(" in "".join(cell["source"]) and cell["cell_type"] == "code"
    )
    # The kernel keeps its own record of what it got.
    cells[last]["source"] = re.sub(r"\nexplorer\s*$", f"\n{_RECORD}\nexplorer", "".join(cells[last]["source"]))
    notebook["cells"] = cells[: last + 1]
    (folder / "painted.ipynb").write_text(json.dumps(notebook))
    record = folder / "record.json"
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    outside = watch(page, port)
    open_notebook(page, port, "painted.ipynb")
    run_all(page)
    page.get_by_test_id("painter").wait_for(timeout=90_000)
    page.wait_for_function(
        "() => Number(document.querySelector('[data-testid=samples]')?.dataset.shown) >= 0", timeout=90_000
    )
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    page.get_by_test_id("painter").scroll_into_view_if_needed()
    settle(page)
    before = page.locator("[data-testid=samples] img").first.get_attribute("src")
    mask_before = json.loads(record.read_text())["mask"] if record.exists() else ""
    drag(page, (6, 0), (7, 3))
    page.wait_for_function(
        "() => Number(document.querySelector('[data-testid=samples]').dataset.shown) >= 1", timeout=60_000
    )
    found = json.loads(record.read_text())
    assert found["seq"] >= 1
    assert found["mask"] != mask_before
    assert found["mask"][6 * 8] == "1"
    assert found["mask"][7 * 8 + 3] == "1"
    image = page.locator("[data-testid=samples] img").first
    assert image.get_attribute("src") != before
    assert "cosine" in image.get_attribute("alt")
    assert outside == []
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()


# --------------------------------------------------------------------------- every widget, in one notebook


_KEYS = (
    "Enter", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight", "j", "k", "b", "a", "m", "d", "d", "x", "0", "Escape",
)  # fmt: skip


def test_jupyterlab_takes_no_key_from_any_widget(in_lab):
    """Enter, arrows and letters on a control of each widget do what they do there, and nothing to the notebook."""
    page = in_lab
    controls = {
        "explorer": (".controls select", "input[type=number]"),
        "painter": ("select",),
        "sampler": ("input[type=range]",),
        "diagram": ("button",),
        "monitor": ("figure canvas",),
    }
    for name, selectors in controls.items():
        widget = show(page, name)
        before = page.evaluate(NOTEBOOK_STATE)
        for selector in selectors:
            control = widget.locator(selector).first
            for key in _KEYS:
                control.press(key)
                assert page.evaluate(NOTEBOOK_STATE) == before, f"{key} on {name}'s {selector}"
    until(page, "explorer.busy", False)


@pytest.mark.parametrize("by", ["mouse", "touch", "keyboard"])
def test_every_widget_is_driven_by(in_lab, by):
    """The kernel and the page have what was done on each widget; the notebook's cells are as they were."""
    page = in_lab
    cells = json.loads(page.evaluate(NOTEBOOK_STATE))[0]
    row = {"mouse": 0, "touch": 1, "keyboard": 7}[by]
    for name in ("explorer", "painter"):
        widget = show(page, name)
        value(page, f"setattr({name}, 'hidden', {name}.hidden & False)")  # nothing hidden
        widget.get_by_text("0 of 64 patches hidden").wait_for()
        stroke(page, widget.get_by_test_id("painter"), row, 2, 5, by)
        until(page, f"{name}.mask", "".join("1" if 8 * row + 2 <= i <= 8 * row + 5 else "0" for i in range(64)))
    explorer = show(page, "explorer")
    until(page, "(explorer.result_seq == explorer.seq, explorer.busy)", (True, False))
    samples = explorer.locator("[data-testid=samples] img")
    assert samples.count() == 6
    assert samples.first.get_attribute("src") == value(page, "explorer.pictures[0]")
    press(page, explorer.get_by_role("button", name="Reveal the truth"), by)
    explorer.get_by_role("img", name="The truth").wait_for()
    press(page, explorer.get_by_role("button", name="hide", exact=True), by)
    # A photograph is for the model of photographs, a drawn scene for that of drawn scenes.
    for picture, fitting in ((-1, "wild-tiny"), (0, "menagerie-tiny")):
        press(page, explorer.locator(".pick:has(img)").nth(picture), by)
        until(page, "(explorer.choice, explorer.choices)", (fitting, [fitting]))
        assert explorer.get_by_label("model").locator("option").all_inner_texts() == [fitting]

    sampler = show(page, "sampler")
    value(page, "setattr(sampler, 'targets', 4)")
    press(page, sampler.get_by_label("target blocks"), by, "ArrowRight", across=0.6)
    until(page, "sampler.targets", 5)
    until(page, "len(sampler.drawn.targets[0])", 5)

    diagram = show(page, "diagram")
    # Several widgets on a page do not take each other's styles: three candidates of 160 px stand in one row.
    assert len({node.bounding_box()["y"] for node in diagram.locator(".choices button").all()}) == 1
    value(page, "setattr(diagram, 'chosen', 0)")
    press(page, diagram.get_by_role("button", name="three"), by)
    until(page, "diagram.chosen", 2)
    assert diagram.get_by_test_id("energy-ijepa").inner_text() == "4.00 ×"
    part = diagram.get_by_role("img", name="The predictor predicts")
    part.focus() if by == "keyboard" else press(page, part, by)
    assert diagram.get_by_test_id("words").inner_text().startswith("The predictor predicts")

    monitor = show(page, "monitor")
    loss = monitor.get_by_role("slider", name="Loss")
    if by == "mouse":
        page.mouse.move(*at(loss, 0.45))
    else:
        press(page, loss, by, "Home", across=0.45)
    assert loss.get_attribute("aria-valuetext") == "whole at 100 images 1.50"
    if by == "keyboard":
        loss.press("ArrowRight")
        assert loss.get_attribute("aria-valuetext") == "whole at 200 images 0.500"
        loss.press("Escape")
        assert loss.get_attribute("aria-valuetext") == "whole now 0.400"
    assert json.loads(page.evaluate(NOTEBOOK_STATE))[0] == cells


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_axe_finds_nothing_wrong_in_jupyterlab(in_lab, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = in_lab
    page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{ theme: 'JupyterLab {theme}' }})")
    page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
    for name in PLACES:
        widget = show(page, name)
        for menu in widget.locator("details:not([open]) > summary").all():
            menu.click()
        found = axe.run(page, context=f"[data-testid={name}-cell] .ijv")
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        for menu in widget.locator("details[open] > summary").all():
            menu.click()
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' })")


@pytest.mark.parametrize(
    ("width", "height", "least"), [(390, 844, 55), (700, 900, 90), (1000, 900, 100), (1400, 900, 160)]
)
def test_painter_and_samples_are_in_view_together_in_jupyterlab(in_lab, width, height, least):
    explorer = resize(in_lab, width, height)
    places = explorer.locator(".cells .place")
    assert places.count() == 7  # the truth and six samples
    assert in_view(in_lab, explorer.get_by_test_id("painter"))
    for place in places.all():
        assert in_view(in_lab, place)
        assert place.bounding_box()["width"] >= least
    assert explorer.evaluate("(root) => root.scrollWidth <= root.clientWidth + 1")


def test_the_game_is_in_view_on_a_phone(in_lab):
    page = in_lab
    explorer = resize(page, 390, 844)
    explorer.get_by_role("button", name="Predict, then reveal").click()
    assert in_view(page, explorer.get_by_label("I expect"))
    explorer.get_by_role("button", name="Show both sides").click()
    for side in "AB":
        assert in_view(page, explorer.get_by_role("button", name=f"{side} is the model's"))
    explorer.get_by_role("button", name="A is the model's").click()
    assert in_view(page, explorer.get_by_test_id("game").get_by_role("img", name="The truth"))
    assert in_view(page, explorer.get_by_role("button", name="Next round"))
    explorer.get_by_role("button", name="End the game").click()


def test_the_projector_shows_the_truth_and_six_samples(in_lab):
    """On the whole screen, and, where a page may not have it, in its place."""
    page = in_lab
    explorer = resize(page, 1400, 900)
    button, places = explorer.get_by_role("button", name="Projector"), explorer.locator(".cells .place")
    for whole in (True, False):
        if not whole:
            page.evaluate(
                "document.querySelector('.ijv-frame').requestFullscreen = async () => { throw new Error(); }; 0"
            )
        button.click()
        page.wait_for_function(f"() => Boolean(document.fullscreenElement) === {str(whole).lower()}")
        page.wait_for_timeout(300)
        assert explorer.evaluate("(root) => parseFloat(getComputedStyle(root).fontSize)") >= 20
        assert places.count() == 7
        for place in places.all():
            assert in_view(page, place)
            assert place.bounding_box()["width"] >= (200 if whole else 170)
        assert in_view(page, explorer.get_by_test_id("painter"))
        button.click()
        page.wait_for_function("() => !document.fullscreenElement")
        assert explorer.evaluate("(root) => parseFloat(getComputedStyle(root).fontSize)") < 20
    page.evaluate("delete document.querySelector('.ijv-frame').requestFullscreen")
    # Leaving the whole screen by Escape ends it too.
    button.click()
    page.wait_for_function("() => Boolean(document.fullscreenElement)")
    page.evaluate("document.exitFullscreen()")
    page.wait_for_function("() => document.querySelector('.projector') === null")


def test_the_figure_is_drawn_by_the_kernel(in_lab):
    page = in_lab
    explorer = resize(page, 1400, 900)
    until(page, "(explorer.result_seq == explorer.seq, explorer.busy)", (True, False))
    explorer.get_by_text("Files").click()
    for name, head in (("PDF", b"%PDF-"), ("SVG", b"<?xml")):
        with page.expect_download() as coming:
            explorer.get_by_role("button", name=f"Save figure ({name})").click()
        assert coming.value.suggested_filename == f"samples.{name.lower()}"
        assert coming.value.path().read_bytes().startswith(head)
    explorer.get_by_text("Files").click()


def test_two_painters_a_busy_kernel_and_a_reload(in_lab, one_lab):
    """Two painters keep to themselves; painting goes on while a cell runs; after a reload the widgets still answer."""
    page, (_, folder) = in_lab, one_lab
    resize(page, 1400, 900)
    painter = show(page, "painter")
    value(page, "setattr(painter, 'hidden', painter.hidden & False)")
    painter.get_by_text("0 of 64 patches hidden").wait_for()
    first = value(page, "explorer.mask")
    busy = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
    page.evaluate(
        """() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({
          code: "import time\\nwhile not Path('go').exists(): time.sleep(0.05)" }); }"""
    )
    page.wait_for_function(f"() => ({busy})() === 'busy'")
    stroke(page, painter.get_by_test_id("painter"), 2, 1, 4)
    painter.get_by_text("4 of 64 patches hidden").wait_for()
    assert page.evaluate(busy) == "busy"
    (folder / "go").touch()
    until(page, "int(painter.hidden.sum())", 4)
    assert value(page, "explorer.mask") == first
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=30_000)
    # Without ?reset the workspace, and with it the kernel, comes back.
    page.goto(page.url.split("?")[0])
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.content?.widgets?.length > 6", timeout=90_000)
    explorer = show(page, "explorer")
    settle(page)
    before = explorer.locator("[data-testid=samples] img").first.get_attribute("src")
    stroke(page, explorer.get_by_test_id("painter"), 4, 0, 3)
    page.wait_for_function(
        "(old) => document.querySelector('[data-testid=samples] img').src !== old", arg=before, timeout=60_000
    )
    assert value(page, "int(painter.hidden.sum())") == 4
    show(page, "painter").get_by_text("4 of 64 patches hidden").wait_for()
