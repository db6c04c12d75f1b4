"""The widgets' own scripts in a real Chromium, on a bare page without Jupyter and without a kernel."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from ijepa_viz.figures.completion import BOX
from ijepa_viz.masks import Masks
from ijepa_viz.widgets import (
    ArchitectureDiagram,
    MaskPainter,
    MaskSampler,
    PredictionExplorer,
    RunMonitor,
    offline_page,
)
from ijepa_viz.widgets.offline import precomputed
from ijepa_viz.widgets.picture_widget import data_uri

pytest.importorskip("playwright")
from bare_page import bare_page, centre, drag
from jupyter_lab import watch

pytestmark = pytest.mark.browser
PICTURE = Image.linear_gradient("L").convert("RGB").resize((320, 320))


@pytest.fixture
def painter(chromium):
    page = bare_page(chromium, MaskPainter(PICTURE, (8, 8)))
    yield page
    assert page.outside == []
    assert page.errors == []
    page.close()


def hidden(page):
    return [i for i, c in enumerate(page.evaluate("model.get('mask')")) if c == "1"]


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


def test_the_block_tool_and_a_wider_brush(painter):
    painter.get_by_role("button", name="Block").click()
    drag(painter, (2, 1), (4, 6), (3, 3))  # past the corner and back: only the last rectangle counts
    assert hidden(painter) == [8 * r + c for r in (2, 3) for c in (1, 2, 3)]
    drag(painter, (3, 3), (3, 2))  # from a hidden patch it shows
    assert hidden(painter) == [17, 18, 19, 25]
    painter.get_by_role("button", name="Brush").click()
    painter.get_by_label("width").select_option("3")
    painter.get_by_role("button", name="Clear").click()
    drag(painter, (0, 7), (0, 7))  # cut at the edge
    assert hidden(painter) == [6, 7, 14, 15]


def test_the_masks_of_pretraining_come_by_seed(painter):
    expected = MaskPainter(PICTURE, (8, 8)).paper_masks
    for seed in (0, 1):
        painter.get_by_role("button", name="Draw one for me").click()
        assert painter.evaluate("model.get('mask')") == expected[seed]
        painter.get_by_text(f"drawn with seed {seed}").wait_for()
    drag(painter, (7, 7), (7, 7))
    assert "seed" not in painter.locator(".status").inner_text()


def test_the_keyboard_alone(painter):
    painter.get_by_test_id("painter").focus()
    for key in ("ArrowUp", "ArrowLeft", " ", "ArrowRight", "Enter"):
        painter.keyboard.press(key)
    assert hidden(painter) == [3 * 8 + 3, 3 * 8 + 4]
    painter.keyboard.press("Control+z")
    assert hidden(painter) == [3 * 8 + 3]
    painter.keyboard.press("Control+Shift+z")
    assert len(hidden(painter)) == 2
    painter.keyboard.press("Shift+ArrowDown")
    painter.keyboard.press("Shift+ArrowDown")
    assert hidden(painter) == [3 * 8 + 3, 3 * 8 + 4, 4 * 8 + 4, 5 * 8 + 4]


def test_touch(painter):
    painter.touchscreen.tap(*centre(painter, 6, 2))
    assert hidden(painter) == [6 * 8 + 2]


def test_many_strokes_leave_nothing_behind(painter):
    """200 strokes: the page's objects do not grow with them."""

    def heap():
        session = painter.context.new_cdp_session(painter)
        session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"]

    def strokes(count):
        for i in range(count):
            drag(painter, (i % 8, 0), (i % 8, 7), steps=2)

    strokes(200)  # until the strokes that can be taken back are all there
    before = heap()
    strokes(200)
    assert painter.evaluate("model.get('seq')") == 400
    assert heap() - before < 200_000


def test_the_kernel_can_set_the_mask_and_the_widget_cleans_up(painter):
    painter.evaluate("model.set('mask', '1' + '0'.repeat(63))")
    painter.get_by_text("1 of 64 patches hidden").wait_for()
    assert painter.evaluate("Object.values(model.listeners).flat().length") > 0
    painter.evaluate("cleanUp()")
    assert painter.evaluate("Object.values(model.listeners).flat().length") == 0


# --------------------------------------------------------------------------- files


def files(page):
    page.get_by_text("Files").click()


def choose(page, label, name, content, kind="application/octet-stream"):
    page.get_by_label(label, exact=True).set_input_files({"name": name, "mimeType": kind, "buffer": content})


def test_a_mask_goes_to_a_file_and_comes_back(painter):
    files(painter)
    painter.get_by_role("button", name="Save mask").click()
    assert "Hide at least one patch" in painter.get_by_role("alert").inner_text()
    drag(painter, (2, 2), (2, 4))
    with painter.expect_download() as coming:
        painter.get_by_role("button", name="Save mask").click()
    text = coming.value.path().read_text()
    assert Masks.from_json(text) == Masks.from_block((8, 8), 2, 2, 1, 3)
    painter.get_by_role("button", name="Clear").click()
    choose(painter, "Load mask", "mask.json", text.encode())
    painter.get_by_text("3 of 64 patches hidden").wait_for()
    for content, complaint in (
        (b"\x00\x01", "no JSON"),
        (b'{"grid": [8, 8]}', '"targets"'),
        (Masks.from_block((4, 4), 1, 1, 1, 1).to_json().encode(), "4x4"),
        (b'{"grid": [8, 8], "targets": [[[99]]]}', "not there"),
    ):
        choose(painter, "Load mask", "bad.json", content)
        painter.get_by_role("alert").get_by_text(complaint).wait_for()
    assert hidden(painter) == [18, 19, 20]  # none of them changed it


def test_the_painted_picture_as_png_and_svg(painter):
    files(painter)
    drag(painter, (0, 0), (0, 0))
    with painter.expect_download() as coming:
        painter.get_by_role("button", name="Save PNG").click()
    image = Image.open(coming.value.path())
    assert image.size == (320, 320)
    assert image.convert("RGB").getpixel((100, 300)) == pytest.approx(PICTURE.getpixel((100, 300)), abs=3)
    with painter.expect_download() as coming:
        painter.get_by_role("button", name="Save SVG").click()
    text = coming.value.path().read_text()
    assert text.count("<rect x=") == 1
    assert "data:image/png;base64," in text


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_own_pictures_are_shrunk_and_wrong_ones_explained(painter):
    files(painter)
    for name, kind, content, complaint in (
        ("notes.txt", "text/plain", b"hello", "not an image"),
        ("moving.gif", "image/gif", encoded(PICTURE, "gif"), "one frame"),
        ("huge.png", "image/png", encoded(Image.new("1", (10_000, 10_000)), "png"), "100 megapixels"),
    ):
        choose(painter, "Own picture", name, content, kind)
        alert = painter.get_by_role("alert").get_by_text(complaint)
        alert.wait_for()
        assert name in alert.inner_text()
    assert painter.evaluate("model.get('upload')") == ""
    choose(painter, "Own picture", "big.png", encoded(Image.new("RGB", (2000, 1000), "red"), "png"), "image/png")
    painter.wait_for_function("() => model.get('upload') !== ''")
    sent = MaskPainter(PICTURE, (8, 8))
    sent.upload = painter.evaluate("model.get('upload')")  # what a kernel would get
    assert sent.error == ""
    assert sent.picture.getpixel((10, 10)) == (255, 0, 0)
    assert painter.locator("[role=alert]").text_content() == ""


# --------------------------------------------------------------------------- a kernel that does not answer


def test_a_dead_kernel_is_noticed_and_a_late_answer_forgives(chromium):
    page = bare_page(chromium, MaskPainter(PICTURE, (8, 8)), heard=0, patience=150)
    drag(page, (1, 1), (1, 1))
    page.get_by_role("alert").get_by_text("Restart Kernel and Run All Cells").wait_for()
    page.evaluate("model.set('heard', model.get('seq'))")
    assert page.locator("[role=alert]").text_content() == ""
    assert page.errors == []
    page.close()


# --------------------------------------------------------------------------- the other widgets


def test_the_explorer_shows_what_comes_and_asks_for_what_is_chosen(chromium, explorer):
    page = bare_page(chromium, explorer, mask="0" * 16, samples=2, pictures=[], caption="", result_seq=-1)
    page.get_by_label("decode").select_option("mean")
    assert page.evaluate("[model.get('show'), model.get('seq')]") == ["mean", 1]
    page.get_by_label("samples").fill("99")
    page.get_by_label("samples").press("Enter")
    assert page.evaluate("model.get('samples')") == 12
    page.get_by_label("steps").fill("7")
    page.get_by_label("steps").press("Enter")
    page.get_by_label("guidance").fill("2.5")
    page.get_by_label("guidance").press("Enter")
    assert page.evaluate("[model.get('steps'), model.get('guidance')]") == [7, 2.5]
    page.evaluate("model.set('steps', 0)")
    assert page.get_by_label("steps").input_value() == ""  # the decoder's default
    picture = data_uri(Image.new("RGB", (8, 8), "red"))
    page.evaluate(
        "([p]) => { model.set('caption', 'cosine 0.5'); model.set('pictures', [p, p]); model.set('result_seq', 2); }",
        [picture],
    )
    assert page.get_by_test_id("samples").get_attribute("data-shown") == "2"
    assert page.get_by_role("img", name="Sample 2. cosine 0.5").count() == 1
    page.evaluate("model.set('cosines', [0.25, 0.75].concat(Array(14).fill(-2)))")
    assert not page.get_by_text("0.25 to 0.75").is_visible()
    page.get_by_label("cosine map").check()
    assert page.get_by_text("0.25 to 0.75").is_visible()
    page.evaluate("model.set('error', 'The mask is empty.')")
    assert page.get_by_role("alert").inner_text() == "The mask is empty."
    page.evaluate("cleanUp()")
    assert page.evaluate("Object.values(model.listeners).flat().length") == 0
    assert page.outside == []
    assert page.errors == []
    page.close()


def test_the_sampler_asks_and_draws(chromium):
    page = bare_page(chromium, MaskSampler((8, 8)))
    page.get_by_label("target blocks").fill("2")
    assert page.evaluate("[model.get('targets'), model.get('seq')]") == [2, 1]
    assert not page.get_by_label("hidden share").is_visible()
    page.get_by_label("strategy").select_option("random")
    assert page.get_by_label("hidden share").is_visible()
    assert not page.get_by_label("target blocks").is_visible()
    # Context in the top half only: the heat map says so.
    page.evaluate("model.set('context_share', Array(32).fill(1).concat(Array(32).fill(0)))")
    assert "top rows 100 %, bottom rows 0 %" in page.get_by_test_id("heat").get_attribute("aria-label")
    assert page.errors == []
    page.close()


_COLOURS = """() => [...new Set([...document.querySelectorAll('.strip canvas')].flatMap((canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return Array.from({ length: data.length / 4 }, (_, i) => Array.from(data.slice(4 * i, 4 * i + 3)).join());
}))]"""


def test_the_sampler_paints_in_the_pages_colours_from_the_start(chromium):
    """JupyterLab makes a widget before it joins the page, where the page's colours are not known yet."""
    page = bare_page(chromium, MaskSampler((8, 8)))
    context, empty, dark_empty = "86,180,233", "232,232,232", "60,60,66"
    colours = page.evaluate(_COLOURS)
    assert context in colours
    assert empty in colours
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(f"({_COLOURS})().includes('{dark_empty}')", timeout=5000)
    assert empty not in page.evaluate(_COLOURS)
    page.close()


def test_the_monitor_draws_every_line(chromium, run):
    page = bare_page(chromium, RunMonitor(run, lambda rows: "healthy: all is well"))
    assert page.get_by_text("healthy: all is well").is_visible()
    assert page.get_by_role("img", name="Loss: whole now 0.500").count() == 1
    assert page.evaluate("document.querySelector('progress').value") == 0.5
    page.evaluate("model.set('panels', [])")
    assert page.locator("figure").count() == 0
    assert page.errors == []
    page.close()


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text("optimization:\n  steps: 40\n")
    (tmp_path / "log.csv").write_text("step,images,minutes,loss,knn\n10,100,0.1,1.5,\n20,200,0.2,0.5,0.25\n")
    return tmp_path


@pytest.fixture
def diagram():
    pictures = {name: (Image.new("RGB", (16, 16), name), f"all {name}") for name in ("green", "blue")}
    return ArchitectureDiagram(PICTURE, pictures, {"ijepa": [0.5, 1.0], "mae": [2.0, 1.0]})


def test_the_diagram_explains_its_parts_and_compares_energies(chromium, diagram):
    page = bare_page(chromium, diagram)
    page.get_by_role("img", name="The predictor predicts").hover()
    assert page.get_by_test_id("words").inner_text().startswith("The predictor predicts")
    page.get_by_role("img", name="The decoder draws").focus()
    assert page.get_by_test_id("words").inner_text().startswith("The decoder draws")
    page.get_by_role("button", name="blue").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("model.get('chosen')") == 1
    assert page.evaluate("document.activeElement.textContent") == "blue"  # the focus stays
    assert page.get_by_test_id("energy-ijepa").inner_text().startswith("energy 2.00")
    assert page.get_by_test_id("energy-mae").inner_text().startswith("energy 0.50")
    assert page.get_by_test_id("energy-invariance").inner_text() == ""
    assert page.errors == []
    page.close()


@pytest.fixture
def explorer(model, decoder, picture):
    made = PredictionExplorer(model, decoder, picture, samples=1)
    yield made
    made.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(chromium, explorer, diagram, run, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for widget in (MaskPainter(PICTURE, (8, 8)), explorer, MaskSampler((8, 8)), RunMonitor(run), diagram):
        page = bare_page(chromium, widget, scheme=scheme, pictures=[data_uri(PICTURE)])
        for summary in page.locator("summary").all():
            summary.click()
        found = axe.Axe().run(page)
        assert found.violations_count == 0, f"{type(widget).__name__}: {found.generate_report()}"
        page.close()


# --------------------------------------------------------------------------- without a kernel


def test_one_offline_file_answers_from_what_was_computed(chromium, explorer, tmp_path):
    holes = [np.zeros((4, 4), bool) for _ in range(2)]
    holes[0][:2, :2] = holes[1][2:, 2:] = True
    answers = precomputed(explorer, holes)
    path = tmp_path / "page.html"
    path.write_text(offline_page(explorer, "Draw <a> hole", "& look", answers))
    page = chromium.new_page()
    outside = watch(page, None)
    page.route("file://**", lambda route: route.continue_())
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert page.get_by_role("heading").inner_text() == "Draw <a> hole"
    assert page.get_by_text("Own picture").count() == 0
    assert page.get_by_label("decode").is_visible()
    assert not any(node.is_visible() for node in page.locator("input[type=number]").all())
    box = page.get_by_test_id("painter").bounding_box()
    page.get_by_role("button", name="Clear").click()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.9 * box["height"])
    shown = page.locator("[data-testid=samples] img").first
    wanted = json.loads(json.dumps(next(a for a in answers if a["mask"][-1] == "1" and a["show"] == "predicted")))
    assert shown.get_attribute("src") == wanted["traits"]["pictures"][0]
    assert page.evaluate("model.get('mask')") == wanted["mask"]
    line = page.locator("[data-testid=samples] path").first
    assert line.evaluate("(l) => { const b = l.getBBox(); return [b.x, b.y, b.width, b.height]; }") == [2, 2, 2, 2]
    over, under = page.locator("[data-testid=samples] svg").first.bounding_box(), shown.bounding_box()
    assert all(over[side] == pytest.approx(under[side], abs=2) for side in under)
    assert line.get_attribute("stroke") == BOX["predicted"]
    page.get_by_label("decode").select_option("other")
    assert shown.get_attribute("src") != wanted["traits"]["pictures"][0]
    assert line.get_attribute("stroke") == BOX["control"]
    page.get_by_label("outline").uncheck()
    assert line.count() == 0
    page.get_by_label("decode").select_option("target")
    assert "no answers" in page.get_by_role("alert").inner_text()
    assert outside == []
    assert errors == []
    page.close()
