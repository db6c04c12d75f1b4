"""The notebooks' widgets in JupyterLab, in a real Chromium, with a real kernel."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

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


def test_run_all_paint_and_see_in_jupyterlab(chromium, tmp_path):
    """Run all, drag over the image: the kernel has the mask, new samples appear, nothing leaves."""
    work = tmp_path / "work"
    work.mkdir()
    notebook = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text())
    for cell in notebook["cells"]:  # the kernel keeps its own record of what it got
        if cell["cell_type"] == "code" and "PredictionExplorer(" in "".join(cell["source"]):
            cell["source"] = re.sub(r"\nexplorer\s*$", f"\n{_RECORD}\nexplorer", "".join(cell["source"]))
    (work / "nb.ipynb").write_text(json.dumps(notebook))
    with lab(work, tmp_path / "private") as port:
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        outside = watch(page, port)
        open_notebook(page, port, "nb.ipynb")
        run_all(page)
        page.get_by_test_id("painter").wait_for(timeout=90_000)
        page.wait_for_function(
            "() => Number(document.querySelector('[data-testid=samples]')?.dataset.shown) >= 0", timeout=90_000
        )
        page.wait_for_function(
            "() => document.body.innerText.includes('All checks passed.')"
            """ || document.querySelector('[data-mime-type="application/vnd.jupyter.error"]')""",
            timeout=120_000,
        )
        assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
        page.get_by_test_id("painter").scroll_into_view_if_needed()
        settle(page)
        before = page.locator("[data-testid=samples] img").first.get_attribute("src")
        mask_before = json.loads((work / "record.json").read_text())["mask"] if (work / "record.json").exists() else ""
        drag(page, (6, 0), (7, 3))
        page.wait_for_function(
            "() => Number(document.querySelector('[data-testid=samples]').dataset.shown) >= 1", timeout=60_000
        )
        record = json.loads((work / "record.json").read_text())
        assert record["seq"] >= 1
        assert record["mask"] != mask_before
        assert record["mask"][6 * 8] == "1"
        assert record["mask"][7 * 8 + 3] == "1"
        image = page.locator("[data-testid=samples] img").first
        assert image.get_attribute("src") != before
        assert "cosine" in image.get_attribute("alt")
        page.screenshot(path=str(tmp_path / "lab.png"))
        assert outside == []
        page.close()
    shutil.rmtree(work)


@pytest.fixture(scope="module")
def one_lab(chromium, tmp_path_factory):
    """A JupyterLab with a copy of every notebook; yields its port."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("src", "images"))
    with lab(folder / "notebooks", folder / "private") as port:
        yield port


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
    outside = watch(page, one_lab)
    said = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    open_notebook(page, one_lab, path.name)
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


_TWO = """
import time
from pathlib import Path
import ijepa_viz
from decoders import load_decoder
from ijepa_viz import examples
from ijepa_viz.widgets import MaskPainter, PredictionExplorer
model, decoder = ijepa_viz.load_model("menagerie-tiny"), load_decoder("menagerie-tiny")
image = examples.drawn_scenes(64)[0].image
explorer = PredictionExplorer(model, decoder, image, samples=2)
painter = MaskPainter(image, model.grid)
"""


def stroke(page, canvas, row, start, stop):
    """Drag along a row of an 8x8 grid on one painter of several."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    at = [(box["x"] + (c + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 8) for c in (start, stop)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=5)
    page.mouse.up()


def test_two_widgets_a_busy_kernel_and_a_reload(chromium, tmp_path):
    """Two painters keep to themselves; painting goes on while a cell runs; after a reload the widgets still answer."""
    import nbformat

    work = tmp_path / "work"
    work.mkdir()
    cells = [
        _TWO,
        "explorer",
        "painter",
        "while not Path('go').exists(): time.sleep(0.05)",
    ]
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), work / "nb.ipynb")
    with lab(work, tmp_path / "private") as port:
        page = chromium.new_page(viewport={"width": 1400, "height": 1400})
        outside = watch(page, port)
        open_notebook(page, port, "nb.ipynb")
        page.evaluate(
            "() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
        )  # not waiting for its end
        canvases = page.get_by_test_id("painter")
        canvases.nth(1).wait_for(timeout=90_000)
        settle(page)
        # The fourth cell is running now, until it is told to go on.
        busy = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
        assert page.evaluate(busy) == "busy"
        hole, words = (page.get_by_text(re.compile("of 64 patches hidden")).nth(i) for i in range(2))
        first = hole.inner_text()
        stroke(page, canvases.nth(1), 2, 1, 4)
        assert words.inner_text() == "4 of 64 patches hidden"
        assert page.evaluate(busy) == "busy"
        (work / "go").touch()
        assert hole.inner_text() == first
        code = "Path('has.txt').write_text(str(int(painter.hidden.sum())))"
        page.evaluate(
            "(code) => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code }).done",
            code,
        )
        assert (work / "has.txt").read_text() == "4"
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=30_000)
        # Without ?reset the workspace, and with it the kernel, comes back.
        page.goto(page.url.split("?")[0])
        canvases.nth(1).wait_for(timeout=90_000)
        settle(page)
        assert words.inner_text() == "4 of 64 patches hidden"
        before = page.locator("[data-testid=samples] img").first.get_attribute("src")
        stroke(page, canvases.first, 7, 0, 3)
        page.wait_for_function(
            "(old) => document.querySelector('[data-testid=samples] img').src !== old", arg=before, timeout=60_000
        )
        assert words.inner_text() == "4 of 64 patches hidden"
        assert outside == []
        page.close()


_FIVE = """
import json
from pathlib import Path
import ijepa_viz
from decoders import load_decoder
from ijepa_viz import examples
from ijepa_viz.widgets import ArchitectureDiagram, MaskPainter, MaskSampler, PredictionExplorer, RunMonitor
model, decoder = ijepa_viz.load_model("menagerie-tiny"), load_decoder("menagerie-tiny")
scenes = [scene.image for scene in examples.drawn_scenes(64)]
run = Path("run")
run.mkdir()
(run / "config.yaml").write_text("optimization:\\n  steps: 40\\n")
(run / "log.csv").write_text("step,images,minutes,loss,knn\\n10,100,0.1,1.5,\\n")
shown = {name: (scenes[i], name) for i, name in enumerate(["one", "two"])}
"""
_KEYS = (
    "Enter",
    "ArrowDown",
    "ArrowUp",
    "ArrowLeft",
    "ArrowRight",
    "j",
    "k",
    "b",
    "a",
    "m",
    "d",
    "d",
    "x",
    "0",
    "Escape",
)
# What JupyterLab's own shortcuts would change: cells, their kinds, which is chosen, whether it is edited or folded.
_NOTEBOOK = """() => {
  const { content } = window.jupyterapp.shell.currentWidget;
  return JSON.stringify([content.widgets.map((cell) => [cell.model.type, cell.model.sharedModel.source]), content.activeCellIndex, content.mode]);
}"""


def test_jupyterlab_takes_no_key_from_any_widget(chromium, tmp_path):
    """Enter, arrows and letters on a control of each widget do what they do there, and nothing to the notebook."""
    import nbformat

    work = tmp_path / "work"
    work.mkdir()
    widgets = {
        "PredictionExplorer(model, decoder, scenes[0], samples=1)": ".ijv select",
        "MaskPainter(scenes[0], model.grid)": ".ijv select",
        "MaskSampler((8, 8))": ".ijv input[type=range]",
        "ArchitectureDiagram(scenes[0], shown, {'ijepa': [0.5, 1.0]})": ".ijv button",
        "RunMonitor(run)": ".ijv figure",
    }
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in (_FIVE, *widgets, "1 + 1")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), work / "nb.ipynb")
    with lab(work, tmp_path / "private") as port:
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        outside = watch(page, port)
        open_notebook(page, port, "nb.ipynb")
        run_all(page)
        page.get_by_test_id("painter").first.wait_for(timeout=90_000)
        for place, (code, selector) in enumerate(widgets.items(), start=1):
            page.evaluate(
                "(i) => { const { content } = window.jupyterapp.shell.currentWidget; content.activeCellIndex = i; return content.scrollToItem(i, 'start'); }",
                place,
            )
            cell = f"window.jupyterapp.shell.currentWidget.content.widgets[{place}].node"
            page.wait_for_function(f"() => {cell}.isConnected && {cell}.querySelector('{selector}')", timeout=30_000)
            page.evaluate(
                "() => { const { content } = window.jupyterapp.shell.currentWidget; content.mode = 'command'; }"
            )
            focused = f"() => {{ const node = {cell}.querySelector('{selector}'); if (node.tabIndex < 0) node.tabIndex = 0; node.focus(); return document.activeElement === node; }}"
            assert page.evaluate(focused), code
            before = page.evaluate(_NOTEBOOK)
            for key in _KEYS:
                page.evaluate(focused)
                page.keyboard.press(key)
                assert page.evaluate(_NOTEBOOK) == before, f"{key} on {code}"
        # The control itself has the key.
        page.evaluate("window.jupyterapp.shell.currentWidget.content.scrollToItem(3, 'start')")
        slider = page.get_by_label("target blocks")
        slider.focus()
        value = slider.input_value()
        page.keyboard.press("ArrowRight" if value != "8" else "ArrowLeft")
        assert slider.input_value() != value
        assert outside == []
        page.close()


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
