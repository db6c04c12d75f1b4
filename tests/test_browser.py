"""The widgets in a real Chromium: on a bare page, and in JupyterLab with a real kernel."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ijepa_viz.widgets import MaskPainter, PredictionExplorer
from ijepa_viz.widgets.mask_painter import data_uri, javascript

pytest.importorskip("playwright")
from jupyter_lab import browser, lab, open_notebook, run_all, watch

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def chromium(browser_path):
    with browser(browser_path) as found:
        yield found


# anywidget's model, as far as our scripts use it.
_MODEL = """
class Model {
  constructor(state) { this.state = state; this.listeners = {}; this.saves = 0; }
  get(name) { return this.state[name]; }
  set(name, value) {
    const changed = this.state[name] !== value; this.state[name] = value;
    if (changed) (this.listeners['change:' + name] || []).slice().forEach((f) => f());
  }
  save_changes() { this.saves += 1; }
  on(name, f) { (this.listeners[name] ||= []).push(f); }
  off(name, f) { this.listeners[name] = (this.listeners[name] || []).filter((g) => g !== f); }
}
"""


def bare_page(chromium, script, **state):
    page = chromium.new_page(viewport={"width": 900, "height": 600}, has_touch=True)
    outside = watch(page, None)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    everything = {"grid": [8, 8], "mask": "0" * 64, "seq": 0, "error": "", **state}
    everything["image"] = data_uri(Image.linear_gradient("L").convert("RGB").resize((320, 320)))
    page.set_content('<!doctype html><html lang="en"><title>t</title><main id="here"></main></html>')
    page.evaluate(
        """async ([script, modelText, state]) => {
          const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
          const module = await import(url);
          const Model = new Function(modelText + '; return Model;')();
          window.model = new Model(state);
          window.cleanUp = module.default.render({ model: window.model, el: document.getElementById('here') });
        }""",
        [script, _MODEL, everything],
    )
    page.outside, page.errors = outside, errors
    return page


@pytest.fixture
def painter(chromium):
    page = bare_page(chromium, javascript("mask_painter.js"))
    yield page
    assert page.outside == []
    assert page.errors == []
    page.close()


def hidden(page):
    return [i for i, c in enumerate(page.evaluate("model.get('mask')")) if c == "1"]


def centre(page, row, col):
    box = page.get_by_test_id("painter").bounding_box()
    return box["x"] + (col + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 8


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


def drag(page, start, *stops, steps=6):
    page.mouse.move(*centre(page, *start))
    page.mouse.down()
    for stop in stops:
        page.mouse.move(*centre(page, *stop), steps=steps)
    page.mouse.up()


def test_a_drag_hides_and_a_drag_from_a_hidden_patch_shows(painter):
    drag(painter, (1, 1), (1, 5))
    assert hidden(painter) == [9, 10, 11, 12, 13]
    assert painter.evaluate("model.get('seq')") == 1
    assert painter.evaluate("model.saves") == 1
    drag(painter, (1, 3), (1, 4))
    assert hidden(painter) == [9, 10, 13]
    painter.get_by_text("3 of 64 patches hidden").wait_for()


def test_a_fast_pen_leaves_no_gap(painter):
    drag(painter, (0, 0), (7, 7), steps=1)
    assert hidden(painter) == [9 * i for i in range(8)]


def test_undo_redo_clear_invert(painter):
    drag(painter, (0, 0), (0, 2))
    drag(painter, (4, 4), (4, 4))
    painter.get_by_role("button", name="Undo").click()
    assert hidden(painter) == [0, 1, 2]
    painter.get_by_role("button", name="Redo").click()
    assert hidden(painter) == [0, 1, 2, 36]
    painter.get_by_role("button", name="Invert").click()
    assert len(hidden(painter)) == 60
    painter.get_by_role("button", name="Clear").click()
    assert hidden(painter) == []


def test_the_keyboard_alone(painter):
    painter.get_by_test_id("painter").focus()
    for key in ("ArrowUp", "ArrowLeft", " ", "ArrowRight", "Enter"):
        painter.keyboard.press(key)
    assert hidden(painter) == [3 * 8 + 3, 3 * 8 + 4]
    painter.keyboard.press("Control+z")
    assert hidden(painter) == [3 * 8 + 3]
    painter.keyboard.press("Control+Shift+z")
    assert len(hidden(painter)) == 2


def test_touch(painter):
    painter.touchscreen.tap(*centre(painter, 6, 2))
    assert hidden(painter) == [6 * 8 + 2]


def test_the_kernel_can_set_the_mask_and_the_widget_cleans_up(painter):
    painter.evaluate("model.set('mask', '1' + '0'.repeat(63))")
    painter.get_by_text("1 of 64 patches hidden").wait_for()
    assert painter.evaluate("Object.values(model.listeners).flat().length") > 0
    painter.evaluate("cleanUp()")
    assert painter.evaluate("Object.values(model.listeners).flat().length") == 0


def test_the_explorer_shows_what_comes_and_asks_for_what_is_chosen(chromium):
    page = bare_page(
        chromium, javascript("prediction_explorer.js"),
        samples=2, seed=0, show="predicted", pictures=[], caption="", busy=False, result_seq=-1,
    )  # fmt: skip
    page.get_by_label("decode").select_option("other")
    assert page.evaluate("[model.get('show'), model.get('seq')]") == ["other", 1]
    page.get_by_label("samples").fill("99")
    page.get_by_label("samples").press("Enter")
    assert page.evaluate("model.get('samples')") == 12
    picture = data_uri(Image.new("RGB", (8, 8), "red"))
    page.evaluate(
        "([p]) => { model.set('caption', 'cosine 0.5'); model.set('pictures', [p, p]); model.set('result_seq', 2); }",
        [picture],
    )
    assert page.get_by_test_id("samples").get_attribute("data-shown") == "2"
    assert page.get_by_role("img", name="Sample 2. cosine 0.5").count() == 1
    page.evaluate("model.set('error', 'The mask is empty.')")
    assert page.get_by_role("alert").inner_text() == "The mask is empty."
    assert page.outside == []
    assert page.errors == []
    page.close()


def test_the_scripts_are_what_the_widgets_serve():
    assert str(MaskPainter._esm) == javascript("mask_painter.js")
    assert str(PredictionExplorer._esm) == javascript("prediction_explorer.js")


# --------------------------------------------------------------------------- JupyterLab

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
