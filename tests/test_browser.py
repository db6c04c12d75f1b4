"""The notebooks' widgets in JupyterLab, in a real Chromium, with a real kernel."""

from __future__ import annotations

import ast
import json
import re
import shutil
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

from ijepa_viz.widgets import PredictionExplorer, offline_page
from ijepa_viz.widgets.offline import precomputed

pytest.importorskip("playwright")
from bare_page import bare_page, drag
from conftest import random_decoder
from jupyter_lab import lab, open_notebook, run_all, watch

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def one_lab(chromium, tmp_path_factory):
    """A JupyterLab with a copy of every notebook, for all tests of this file; yields its port and folder."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks, ignore=shutil.ignore_patterns("src", "images"))
    with lab(notebooks, folder / "private") as port:
        yield port, notebooks


def settle(page):
    """Wait until the painter stays where it is: late outputs above it would move it away under the pen."""
    page.evaluate(
        """async () => {
          const place = () => {
            const box = document.querySelector('[data-testid=painter]').getBoundingClientRect();
            return [box.x, box.y, box.width, box.height].join();
          };
          for (let still = 0, looks = 0, before = place(); still < 10; looks += 1) {
            if (looks === 300) throw new Error('the painter does not come to rest within 30 s');
            await new Promise((go) => setTimeout(go, 100));
            still = place() === before ? still + 1 : 0;
            before = place();
          }
        }"""
    )


_RECORD = """
import json, pathlib
def _record(change):
    pathlib.Path("record.json").write_text(json.dumps({"seq": explorer.result_seq, "mask": explorer.mask}))
explorer.observe(_record, "result_seq")
"""


def test_run_all_paint_and_see_in_jupyterlab(chromium, one_lab):
    """Run all, drag over the image: the kernel has the mask, new samples appear, nothing leaves."""
    port, folder = one_lab
    notebook = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text())
    for cell in notebook["cells"]:  # the kernel keeps its own record of what it got
        if cell["cell_type"] == "code" and "PredictionExplorer(" in "".join(cell["source"]):
            cell["source"] = re.sub(r"\nexplorer\s*$", f"\n{_RECORD}\nexplorer", "".join(cell["source"]))
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
    page.wait_for_function(
        "() => document.body.innerText.includes('All checks passed.')"
        """ || document.querySelector('[data-mime-type="application/vnd.jupyter.error"]')""",
        timeout=300_000,
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

_MODELS = """
from pathlib import Path
import ijepa_viz
from decoders import load_decoder
from ijepa_viz import examples
from ijepa_viz.widgets import ArchitectureDiagram, MaskPainter, MaskSampler, PredictionExplorer, RunMonitor
pairs = {name: (ijepa_viz.load_model(name), load_decoder(name)) for name in ("menagerie-tiny", "wild-tiny")}
model, decoder = pairs["menagerie-tiny"]
scenes = [scene.image for scene in examples.drawn_scenes(64)]
run = Path("run")
run.mkdir()
(run / "config.yaml").write_text("optimization:\\n  steps: 40\\n")
(run / "log.csv").write_text("step,images,minutes,loss,knn\\n10,100,0.1,1.5,\\n20,200,0.2,0.5,0.2\\n30,300,0.3,0.4,0.3\\n")
shown = {name: (scenes[i], name) for i, name in enumerate(["one", "two", "three"])}
"""
# Cells of the widgets, in the order of the notebook.
_CELLS = {
    "explorer": "PredictionExplorer(model, decoder, scenes[0], name='menagerie-tiny',"
    " alternatives={'wild-tiny': pairs['wild-tiny']})",
    "painter": "MaskPainter(scenes[0], model.grid)",
    "sampler": "MaskSampler((8, 8))",
    "diagram": "ArchitectureDiagram(scenes[0], shown, {'ijepa': [0.5, 1.0, 2.0]})",
    "monitor": "RunMonitor(run)",
}
_PLACES = {name: place for place, name in enumerate(_CELLS, start=1)}


@pytest.fixture(scope="module")
def in_lab(chromium, one_lab):
    """A page of JupyterLab with a notebook of every widget, for the tests below; nothing may leave it."""
    port, folder = one_lab
    cells = [_MODELS, *(f"{name} = {code}\n{name}" for name, code in _CELLS.items()), "1 + 1"]
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "all.ipynb")
    page = chromium.new_page(viewport={"width": 1400, "height": 900}, has_touch=True)
    outside = watch(page, port)
    open_notebook(page, port, "all.ipynb")
    run_all(page)
    show(page, "explorer")
    page.wait_for_function(
        "() => Number(document.querySelector('[data-testid=samples]')?.dataset.shown) >= 0", timeout=90_000
    )
    yield page
    assert outside == []
    page.close()


def show(page, name):
    """Bring a widget's cell to the top of the notebook; returns the widget's element."""
    place = _PLACES[name]
    page.evaluate(
        """async (i) => {
          const { content } = window.jupyterapp.shell.currentWidget;
          content.activeCellIndex = i;
          content.mode = 'command';
          await content.scrollToItem(i, 'start');
        }""",
        place,
    )
    cell = f"window.jupyterapp.shell.currentWidget.content.widgets[{place}].node"
    page.wait_for_function(f"() => {cell}.isConnected && {cell}.querySelector('.ijv')", timeout=90_000)
    page.evaluate(f"() => {{ {cell}.querySelector('.ijv').scrollIntoView(); {cell}.dataset.testid = '{name}-cell'; }}")
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    return page.get_by_test_id(f"{name}-cell").locator(".ijv").first


def value(page, expression):
    """What an expression is in the notebook's kernel."""
    found = page.evaluate(
        """async (text) => {
          const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
          const content = { code: 'pass', store_history: false, user_expressions: { found: text } };
          return (await kernel.requestExecute(content).done).content.user_expressions.found;
        }""",
        expression,
    )
    return ast.literal_eval(found["data"]["text/plain"])


def until(page, expression, wanted, seconds=30):
    """Wait until an expression in the kernel has a value."""
    end = time.monotonic() + seconds
    while (found := value(page, expression)) != wanted:
        assert time.monotonic() < end, f"{expression} is {found}, not {wanted}"
        time.sleep(0.05)


# What JupyterLab's own shortcuts would change: cells, their kinds, which is chosen, whether it is edited or folded.
_NOTEBOOK = """() => {
  const { content } = window.jupyterapp.shell.currentWidget;
  return JSON.stringify([content.widgets.map((cell) => [cell.model.type, cell.model.sharedModel.source]), content.activeCellIndex, content.mode]);
}"""
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
        before = page.evaluate(_NOTEBOOK)
        for selector in selectors:
            control = widget.locator(selector).first
            for key in _KEYS:
                control.press(key)
                assert page.evaluate(_NOTEBOOK) == before, f"{key} on {name}'s {selector}"
    until(page, "explorer.busy", False)


def at(locator, across=0.5, down=0.5):
    """A point of an element in the page's pixels."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def patch(canvas, row, col):
    """The middle of a patch of an 8x8 painter."""
    return at(canvas, (col + 0.5) / 8, (row + 0.5) / 8)


def stroke(page, canvas, row, start, stop, by="mouse"):
    """Hide patches along a row of an 8x8 painter, by mouse, finger or keys."""
    if by == "keyboard":
        canvas.focus()
        for key in ["ArrowUp"] * ((4 - row) % 8) + ["ArrowRight"] * ((start - 4) % 8) + ["Space"]:
            page.keyboard.press(key)
        for _ in range(stop - start):
            page.keyboard.press("Shift+ArrowRight")
        # Back to where the painter's cursor begins, so that a next stroke can be told from there.
        for key in ["ArrowDown"] * ((4 - row) % 8) + ["ArrowLeft"] * ((stop - 4) % 8):
            page.keyboard.press(key)
        return
    points = [patch(canvas, row, col) for col in range(start, stop + 1)]
    if by == "touch":
        session = page.context.new_cdp_session(page)
        for kind, touched in (("touchStart", points[:1]), *(("touchMove", [p]) for p in points[1:]), ("touchEnd", [])):
            if kind == "touchEnd":
                page.wait_for_timeout(
                    150
                )  # the finger rests: lifted in motion it flings, and a next tap only ends that
            session.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": p[0], "y": p[1]} for p in touched]}
            )
        return
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()


def press(page, locator, by, key="Enter", across=0.5):
    """Press an element at a point of it, or focus it and press a key."""
    if by == "keyboard":
        locator.press(key)
    elif by == "touch":
        page.touchscreen.tap(*at(locator, across))
    else:
        page.mouse.click(*at(locator, across))


@pytest.mark.parametrize("by", ["mouse", "touch", "keyboard"])
def test_every_widget_is_driven_by(in_lab, by):
    """The kernel and the page have what was done on each widget; the notebook's cells are as they were."""
    page = in_lab
    cells = json.loads(page.evaluate(_NOTEBOOK))[0]
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
    assert json.loads(page.evaluate(_NOTEBOOK))[0] == cells


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_axe_finds_nothing_wrong_in_jupyterlab(in_lab, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = in_lab
    page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{ theme: 'JupyterLab {theme}' }})")
    page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
    for name in _PLACES:
        widget = show(page, name)
        for menu in widget.locator("details:not([open]) > summary").all():
            menu.click()
        found = axe.run(page, context=f"[data-testid={name}-cell] .ijv")
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        for menu in widget.locator("details[open] > summary").all():
            menu.click()
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' })")


def resize(page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    side = "expandLeft" if width >= 1400 else "collapseLeft"  # where there is little room, files are put away
    page.evaluate(f"window.jupyterapp.shell.{side}()")
    page.wait_for_timeout(300)
    explorer = show(page, "explorer")
    settle(page)
    return explorer


def in_view(page, locator):
    """Whether an element is completely within what the notebook shows of itself."""
    return locator.evaluate(
        """(node) => {
          const full = document.fullscreenElement, box = node.getBoundingClientRect();
          const panel = full ? { top: 0, bottom: innerHeight, left: 0, right: innerWidth }
            : document.querySelector('.jp-WindowedPanel-outer').getBoundingClientRect();
          return box.width > 0 && box.top >= panel.top - 1 && box.bottom <= panel.bottom + 1
            && box.left >= panel.left && box.right <= panel.right;
        }"""
    )


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


# --------------------------------------------------------------------------- sampled tokens


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


# --------------------------------------------------------------------------- every notebook

# What Chromium and JupyterLab say by themselves, whatever the notebook.
_NOT_OURS = ("net::ERR_FAILED", "status of 404")
_STATE = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.toJSON().cells;
  const outputs = cells.flatMap((cell) => cell.outputs || []);
  return {
    failed: outputs.filter((o) => o.output_type === 'error').map((o) => o.evalue),
    checked: outputs.some((o) => JSON.stringify(o.text || '').includes('All checks passed.')),
    // Where widgets stand: cells far from what is looked at are not on the page.
    widgets: cells.flatMap((cell, i) =>
      (cell.outputs || []).some((o) => o.data && o.data['application/vnd.jupyter.widget-view+json']) ? [i] : []),
  };
}"""


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_notebook_runs_in_jupyterlab(chromium, one_lab, path):
    """Run all: no error, no request out, nothing on the console, and each widget is on the page and not a text."""
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    port, _ = one_lab
    outside = watch(page, port)
    said = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    open_notebook(page, port, path.name)
    said.clear()  # of JupyterLab's own start
    run_all(page)
    page.wait_for_function(f"() => {{ const s = ({_STATE})(); return s.checked || s.failed.length; }}", timeout=900_000)
    state = page.evaluate(_STATE)
    assert state["failed"] == []
    assert state["checked"]
    for place in state["widgets"]:
        page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", place)
        cell = f"window.jupyterapp.shell.currentWidget.content.widgets[{place}].node"
        page.wait_for_function(f"() => {cell}.isConnected && {cell}.querySelector('.ijv')")
    assert bool(state["widgets"]) == ("ijepa_viz.widgets" in path.read_text())
    assert page.get_by_text("Error displaying widget").count() == 0
    assert outside == []
    assert [line for line in said if not any(known in line for known in _NOT_OURS)] == []
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
