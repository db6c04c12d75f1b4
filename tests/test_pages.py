"""The widgets' own scripts in a real Chromium, on a bare page without Jupyter and without a kernel."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ijepa_viz.cli.demo import Demo, lessons
from ijepa_viz.cli.demo import page as demo_page
from ijepa_viz.figures import Figure
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
ROOT = Path(__file__).parent.parent
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

    # The events are made in the page: a mouse's, one by one from here, would take a minute.
    painter.evaluate("HTMLCanvasElement.prototype.setPointerCapture = () => {}")

    def strokes(count):
        painter.evaluate(
            """(count) => {
              const canvas = document.querySelector('[data-testid=painter]'), box = canvas.getBoundingClientRect();
              const send = (type, col, row) => canvas.dispatchEvent(new PointerEvent(type, {
                pointerId: 1, bubbles: true, cancelable: true,
                clientX: box.x + ((col + 0.5) * box.width) / 8, clientY: box.y + ((row + 0.5) * box.height) / 8,
              }));
              for (let i = 0; i < count; i++) {
                send('pointerdown', 0, i % 8);
                for (const col of [4, 7]) send('pointermove', col, i % 8);
                send('pointerup', 7, i % 8);
              }
            }""",
            count,
        )

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
    assert page.get_by_role("alert").inner_text() == "samples: a whole number from 1 to 24, not 99."
    assert page.evaluate("[model.get('samples'), model.get('seq')]") == [2, 1]  # refused, not fewer
    assert page.get_by_label("samples").input_value() == "2"
    page.get_by_label("samples").fill("24")
    page.get_by_label("samples").press("Enter")
    assert page.locator("[role=alert]").text_content() == ""
    assert page.evaluate("model.get('samples')") == 24
    assert page.locator("[data-testid=samples] .place").count() == 24
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


# --------------------------------------------------------------------------- the explorer's parts


@pytest.fixture
def answered(model, decoder, picture):
    """An explorer whose samples, story and first round of the game are there."""
    made = PredictionExplorer(model, decoder, picture, samples=6, other=[PICTURE, PICTURE.rotate(90)])
    assert made._answered.wait(20)
    made._answered.clear()
    made.game = 1
    made.seq += 1
    assert made._answered.wait(20)
    yield made
    made.close()


_PIXEL = """([x, y]) => Array.from(document.querySelector('[data-testid=painter]').getContext('2d')
  .getImageData(x, y, 1, 1).data.slice(0, 3))"""


def test_what_is_hidden_looks_hidden_and_the_truth_waits_to_be_revealed(chromium, answered):
    page = bare_page(chromium, answered, mask="1" + "0" * 15, image=data_uri(Image.new("RGB", (320, 320), "red")))
    page.wait_for_function(f"() => ({_PIXEL})([300, 300])[0] > 200")
    red, grey, blue, *_ = page.evaluate(_PIXEL, [30, 45])
    assert max(abs(red - grey), abs(grey - blue)) < 20  # nothing of the red is seen
    box = page.get_by_role("button", name="Peek").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    assert page.evaluate(_PIXEL, [30, 45])[0] > 200
    page.mouse.up()
    assert page.evaluate(_PIXEL, [30, 45])[0] < 140
    page.get_by_role("button", name="Peek").focus()
    page.keyboard.down(" ")
    assert page.evaluate(_PIXEL, [30, 45])[0] > 200
    page.keyboard.up(" ")
    assert page.evaluate(_PIXEL, [30, 45])[0] < 140
    # The truth: only after the button, and covered again when the hole changes.
    truth = page.get_by_role("img", name="The truth")
    place = page.get_by_role("button", name="Reveal the truth").bounding_box()
    sample = page.locator("[data-testid=samples] .place").first.bounding_box()
    assert place["y"] == pytest.approx(sample["y"], abs=3)  # beside the samples
    assert truth.count() == 0
    page.get_by_role("button", name="Reveal the truth").click()
    assert truth.get_attribute("src") == answered.truth
    page.get_by_role("button", name="hide", exact=True).click()
    assert truth.count() == 0
    page.get_by_role("button", name="Reveal the truth").click()
    page.get_by_role("button", name="Invert").click()
    assert truth.count() == 0
    assert page.errors == []
    page.close()


@pytest.mark.parametrize(
    ("width", "beside", "least"), [(1400, True, 160), (1000, True, 130), (700, True, 90), (390, False, 80)]
)
def test_nothing_jumps_and_the_samples_stay_in_view(chromium, answered, width, beside, least):
    page = bare_page(chromium, answered)
    page.set_viewport_size({"width": width, "height": 900})
    painter, strip = page.get_by_test_id("painter"), page.locator("[data-testid=samples] .place")
    places = "() => [...document.querySelectorAll('.ijv canvas, .ijv .place, .ijv select, .ijv p')].map((n) => { const b = n.getBoundingClientRect(); return [b.x, b.y, b.width].map(Math.round).join(); })"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    canvas, sample = painter.bounding_box(), strip.first.bounding_box()
    assert sample["width"] >= least
    assert (sample["x"] > canvas["x"] + canvas["width"]) is beside
    assert (sample["y"] > canvas["y"] + canvas["height"]) is not beside
    assert sample["y"] + sample["height"] <= 900
    if width in (390, 1400):
        assert all(node.bounding_box()["y"] + least <= 900 for node in strip.all())
    before = page.evaluate(places)
    page.evaluate("model.set('pictures', []); model.set('caption', ''); model.set('busy', true)")
    assert page.evaluate(places) == before
    assert page.errors == []
    page.close()


def test_the_projector_makes_type_and_pictures_larger(chromium, answered):
    page = bare_page(chromium, answered)
    sizes = "() => [parseFloat(getComputedStyle(document.querySelector('.ijv')).fontSize), document.querySelector('[data-testid=painter]').clientWidth]"
    page.set_viewport_size({"width": 1400, "height": 900})
    small = page.evaluate(sizes)
    page.get_by_role("button", name="Projector").click()
    large = page.evaluate(sizes)
    assert large[0] >= 20 > small[0]
    assert large[1] > small[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    page.close()


def test_what_was_expected_is_drawn_or_picked_before_the_reveal(chromium, answered):
    """By mouse and keys, over the hole only; it stands beside the truth, and the pick is scored."""
    own, right = answered.game_round["model"], answered.game_round["right"]
    page = bare_page(chromium, answered, game=0)
    page.set_viewport_size({"width": 390, "height": 844})
    game, pad = page.get_by_test_id("game"), page.get_by_test_id("sketch")
    page.get_by_role("button", name="Predict, then reveal").click()
    game.get_by_role("button", name="red").click()
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    colour = "([x, y]) => { const c = document.querySelector('[data-testid=sketch]'); return Array.from(c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data.slice(0, 3)); }"
    outside = page.evaluate(colour, [0.1, 0.5])
    page.mouse.move(box["x"] + 0.05 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.95 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    assert page.evaluate(colour, [0.5, 0.5]) == [200, 55, 27]
    assert page.evaluate(colour, [0.1, 0.5]) == outside  # what is visible stays
    game.get_by_role("button", name="Undo").click()
    assert page.evaluate(colour, [0.5, 0.5]) == [201, 201, 206]
    pad.press(" ")
    pad.press("Shift+ArrowRight")
    assert pad.get_attribute("data-strokes") == "2"
    assert page.evaluate(colour, [0.5, 0.5]) == [200, 55, 27]
    game.get_by_role("button", name="Pick a block").press("Enter")
    blocks = game.get_by_role("group", name="Which block").get_by_role("button")
    assert blocks.count() == len(answered.game_round["candidates"])
    blocks.nth(right).press("Enter")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("model.get('picks')") == []  # nothing is said before the reveal
    game.get_by_role("button", name="Show both sides").press("Enter")
    game.get_by_role("button", name=f"{'AB'[own]} is the model's").press("Enter")
    drawn = game.get_by_role("img", name="What you drew")
    assert drawn.bounding_box()["y"] == pytest.approx(
        game.get_by_role("img", name="The truth").bounding_box()["y"], abs=3
    )
    assert game.get_by_text("Your block is the true one.").is_visible()
    count = len(answered.game_round["candidates"])
    assert page.evaluate("model.get('picks')") == [{"right": True, "of": count}]
    assert f"in {100 / count:.0f} % of such games" in game.get_by_test_id("picks").inner_text()
    with page.expect_download() as saved:
        game.get_by_role("button", name="Save score").click()
    assert Path(saved.value.path()).read_text().splitlines() == [
        "asked,number,right,chance", "model or control,1,1,0.5", f"block,1,1,{round(1 / count, 4):g}",
    ]  # fmt: skip
    # The next round begins with an empty page and no block chosen.
    game.get_by_role("button", name="Next round").click()
    assert pad.get_attribute("data-strokes") == "0"
    assert blocks.count() == 0
    page.evaluate("cleanUp()")
    assert page.evaluate("Object.values(model.listeners).flat().length") == 0
    assert page.errors == []
    page.close()


def test_the_sketch_leaves_room_for_what_is_below_it(chromium, answered):
    """On a wide page as in JupyterLab, where the styles of the explorer come after those of the sketch."""
    page = bare_page(chromium, answered, game=0)
    page.set_viewport_size({"width": 1400, "height": 900})
    page.get_by_role("button", name="Predict, then reveal").click()
    assert not page.get_by_role("button", name="Save score").is_visible()  # there is none yet
    assert page.get_by_test_id("sketch").bounding_box()["width"] <= 302
    assert page.get_by_role("button", name="Show both sides").bounding_box()["y"] < 800
    page.close()


def test_predict_then_reveal_names_nobody_before_the_answer(chromium, answered):
    own = answered.game_round["model"]
    page = bare_page(chromium, answered, game=0)
    game = page.get_by_test_id("game")
    page.get_by_role("button", name="Predict, then reveal").click()
    assert page.evaluate("[model.get('game'), model.get('seq')]") == [1, 2]
    page.get_by_label("I expect").fill("a wheel")
    page.get_by_label("I expect").press("Enter")
    pictures = [node.get_attribute("src") for node in game.get_by_role("img").all()]
    assert pictures == [p for side in answered.game_round["sides"] for p in side]
    # Nothing on the page says which is which, nor shows what is hidden.
    assert not page.get_by_test_id("samples").locator("img").first.is_visible()
    assert not page.get_by_role("region", name="How the pictures come about").is_visible()
    assert page.get_by_role("img", name="The truth").count() == 0
    assert page.evaluate("document.querySelector('.painting').inert")
    assert page.evaluate("getComputedStyle(document.querySelector('.row')).visibility") == "hidden"
    assert game.locator(".is-model").count() == 0
    game.get_by_role("button", name=f"{'AB'[own]} is the model's").click()
    assert page.evaluate("model.get('score')") == [True]
    assert game.get_by_text("You expected: a wheel.").is_visible()
    assert game.get_by_role("img", name="The truth").get_attribute("src") == answered.truth
    assert "1 of 1 right. Guessing alone gets at least that many in 50 %" in page.get_by_test_id("score").inner_text()
    before = page.evaluate("model.get('mask')")
    game.get_by_role("button", name="Next round").click()
    assert page.evaluate("[model.get('game'), model.get('chosen'), model.get('seq')]") == [2, 1, 3]
    assert page.evaluate("model.get('mask')").count("1") == before.count("1") == 4
    assert game.get_by_role("button", name="drawing").is_disabled()  # until the kernel has the round
    round_ = {**answered.game_round, "number": 2, "model": 1 - own}
    page.evaluate("(found) => model.set('game_round', found)", round_)
    game.get_by_role("button", name="Show both sides").click()
    game.get_by_role("button", name=f"{'AB'[own]} is the model's").click()
    assert page.evaluate("model.get('score')") == [True, False]
    assert "1 of 2 right. Guessing alone gets at least that many in 75 %" in page.get_by_test_id("score").inner_text()
    assert game.locator("rect").count() == 2
    game.get_by_role("button", name="End the game").click()
    assert page.get_by_test_id("samples").locator("img").first.is_visible()
    assert page.errors == []
    page.close()


def test_a_picture_of_the_row_is_asked_for(chromium, answered):
    page = bare_page(chromium, answered)
    row = page.get_by_role("group", name="Pictures to choose from")
    assert row.get_by_role("img").count() == 3
    row.get_by_role("button", name="other picture 2").click()
    assert page.evaluate("[model.get('chosen'), model.get('seq')]") == [2, 2]
    assert row.get_by_role("button", name="other picture 2").get_attribute("aria-pressed") == "true"
    row.get_by_title("Back to the first picture").click()
    assert page.evaluate("model.get('chosen')") == 0
    page.close()


def test_an_own_picture_is_cropped_and_dropped(chromium, explorer):
    page = bare_page(chromium, explorer)
    halves = Image.new("RGB", (400, 200), "red")
    halves.paste("blue", (200, 0, 400, 200))
    content = encoded(halves, "png")
    with page.expect_file_chooser() as coming:
        page.get_by_role("button", name="+ your own").click()
    coming.value.set_files({"name": "halves.png", "mimeType": "image/png", "buffer": content})
    crop = page.get_by_role("group", name="Crop your picture")
    view = crop.get_by_role("application").bounding_box()
    page.mouse.move(view["x"] + 100, view["y"] + 100)
    page.mouse.down()
    page.mouse.move(view["x"] + 300, view["y"] + 100, steps=8)  # pulls the left half into view
    page.mouse.up()
    crop.get_by_role("slider", name="zoom").fill("2")
    crop.get_by_role("button", name="Use this square").click()
    page.wait_for_function("() => model.get('upload') !== ''")
    sent = MaskPainter(PICTURE, (8, 8))
    sent.upload = page.evaluate("model.get('upload')")
    assert sent.error == ""
    assert np.array(sent.picture).reshape(-1, 3).tolist() == [[255, 0, 0]] * 320**2
    assert crop.count() == 0
    # Fingers: one moves the square, two zoom.
    with page.expect_file_chooser() as coming:
        page.get_by_role("button", name="+ your own").click()
    coming.value.set_files({"name": "halves.png", "mimeType": "image/png", "buffer": content})
    crop.wait_for()
    page.evaluate("model.set('upload', '')")
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *points):
        at = [{"x": view["x"] + x, "y": view["y"] + y, "id": i} for i, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    fingers("touchStart", (300, 150))
    for x in range(280, -1, -20):
        fingers("touchMove", (x, 150))
    fingers("touchEnd")
    fingers("touchStart", (140, 150), (180, 150))
    for away in range(30, 81, 10):
        fingers("touchMove", (160 - away, 150), (160 + away, 150))
    fingers("touchEnd")
    assert float(crop.get_by_role("slider", name="zoom").input_value()) == pytest.approx(4, rel=0.1)
    crop.get_by_role("button", name="Use this square").click()
    page.wait_for_function("() => model.get('upload') !== ''")
    sent.upload = page.evaluate("model.get('upload')")
    assert np.array(sent.picture).reshape(-1, 3).tolist() == [[0, 0, 255]] * 320**2
    # Dropped anywhere on the explorer; the keyboard moves and leaves.
    page.evaluate("model.set('upload', '')")
    page.evaluate(
        """async (bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], 'halves.png', { type: 'image/png' }));
          for (const type of ['dragover', 'drop']) {
            document.querySelector('.cells').dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
          }
        }""",
        list(content),
    )
    crop.wait_for()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    crop.get_by_role("button", name="Use this square").click()
    page.wait_for_function("() => model.get('upload') !== ''")
    sent.upload = page.evaluate("model.get('upload')")
    assert sent.picture.getpixel((20, 160)) == (0, 0, 255)
    with page.expect_file_chooser() as coming:
        page.get_by_role("button", name="+ your own").click()
    coming.value.set_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"})
    page.get_by_role("alert").get_by_text("notes.txt: not an image").wait_for()
    assert page.errors == []
    page.close()


def test_samples_and_numbers_are_saved(chromium, answered):
    page = bare_page(chromium, answered)
    files(page)
    with page.expect_download() as coming:
        page.get_by_role("button", name="Save samples").click()
    assert coming.value.suggested_filename == "samples.png"
    with Image.open(coming.value.path()) as sheet:
        assert sheet.size == (4 * 268 + 12, 2 * 292 + 36)  # the masked picture and six samples
    with page.expect_download() as coming:
        page.get_by_role("button", name="Save numbers").click()
    rows = list(csv.DictReader(io.StringIO(coming.value.path().read_text())))
    assert len(rows) == 16
    for row, cosine, hides in zip(rows, answered.cosines, answered.hidden.ravel(), strict=True):
        assert (row["hidden"], row["show"], row["seed"], row["steps"]) == (str(int(hides)), "predicted", "0", "default")
        assert (float(row["cosine"]) == pytest.approx(cosine)) if hides else row["cosine"] == ""
    # Half drawn, the pictures belong to another hole or choice than the numbers.
    page.evaluate("model.set('busy', true)")
    for name in ("Save samples", "Save numbers"):
        page.evaluate("model.set('error', '')")
        page.get_by_role("button", name=name).click()
        page.get_by_role("alert").get_by_text("Still drawing").wait_for()
    page.evaluate("model.set('busy', false)")
    page.evaluate("model.set('pictures', [])")
    page.get_by_role("button", name="Save samples").click()
    page.get_by_role("alert").get_by_text("nothing to save yet").wait_for()
    assert page.errors == []
    page.close()


def test_a_figure_is_asked_of_the_kernel(chromium, answered):
    def save(page, kind="SVG"):
        page.get_by_role("button", name=f"Save figure ({kind})").click()

    page = bare_page(chromium, answered)  # without a kernel
    files(page)
    save(page)
    page.get_by_role("alert").get_by_text("drawn by the kernel, and this page has none").wait_for()
    page.close()
    page = bare_page(chromium, answered, heard=answered.seq)
    files(page)
    with page.expect_download() as coming:
        save(page, "PDF")
        answered.figure_wanted = page.evaluate("model.get('figure_wanted')")  # what a kernel would get, and send
        page.evaluate("(found) => model.set('figure_file', found)", answered.figure_file)
    assert coming.value.suggested_filename == "samples.pdf"
    assert coming.value.path().read_bytes().startswith(b"%PDF-")
    page.evaluate("model.set('patience', 100)")
    save(page)
    page.get_by_role("alert").get_by_text("The kernel does not answer").wait_for()
    page.evaluate("model.set('patience', 60000)")
    save(page)
    asked = page.evaluate("model.get('figure_wanted')")
    assert asked["ending"] == ".svg"
    page.evaluate("(found) => model.set('figure_file', found)", {"number": 7, "error": "of another view"})
    assert page.locator("[role=alert]").text_content() == ""
    page.evaluate("(found) => model.set('figure_file', found)", {"number": asked["number"], "error": "no disk"})
    page.get_by_role("alert").get_by_text("The figure was not drawn: no disk").wait_for()
    assert page.errors == []
    page.close()


def test_only_models_of_the_pictures_kind_are_offered(chromium, answered):
    row = [{**entry, "kind": kind} for entry, kind in zip(answered.gallery, ("a", "b", "a"), strict=True)]
    page = bare_page(chromium, answered, names=["one", "two"], choices=["one"], choice="one", gallery=row, game=0)
    models = page.get_by_label("model")
    assert models.locator("option").all_inner_texts() == ["one"]
    page.evaluate("model.set('choices', ['one', 'two']); model.set('choice', 'two')")
    assert models.locator("option").all_inner_texts() == ["one", "two"]
    assert models.input_value() == "two"
    models.select_option("one")
    assert page.evaluate("[model.get('choice'), model.get('seq')]") == ["one", 2]
    # A game stays with pictures of one kind, so that its score is of one model.
    page.get_by_role("button", name="Reveal the truth").click()
    page.get_by_role("button", name="Predict, then reveal").click()
    assert page.evaluate("model.get('chosen')") == 2
    assert page.errors == []
    page.close()


def test_an_empty_field_is_refused_and_no_game_begins_without_a_question(chromium, answered):
    page = bare_page(chromium, answered, game=0)
    for name, value in (("guidance", 1), ("seed", 0)):
        field = page.get_by_label(name, exact=True).and_(page.locator("input"))
        for wrong in ("", "-1"):
            field.fill(wrong)
            field.press("Enter")
            page.get_by_role("alert").get_by_text(f"{name}: a").wait_for()
            assert page.evaluate(f"model.get('{name}')") == value
    page.evaluate("model.set('mask', '0'.repeat(16))")
    page.get_by_role("button", name="Predict, then reveal").click()
    assert page.evaluate("model.get('mask')").count("1") == 4
    assert page.evaluate("model.get('game')") == 1
    assert page.errors == []
    page.close()


def test_the_story_and_its_words(chromium, answered):
    page = bare_page(chromium, answered)
    story = page.get_by_role("region", name="How the pictures come about")
    assert story.locator("li").count() == 5
    for station in answered.story:
        assert story.get_by_text(station["words"]).is_visible()
        for picture in station["pictures"]:
            assert story.get_by_role("img", name=picture["words"]).first.is_visible()
    for word in ("token", "cosine", "guidance", "steps"):
        button = page.get_by_role("button", name=word, exact=True)
        tip = page.locator(f"[id='{button.get_attribute('aria-describedby')}']")
        assert not tip.is_visible()
        button.hover()
        assert tip.is_visible()
        page.mouse.move(0, 0)
        button.focus()
        assert tip.is_visible()
        button.blur()
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


def test_the_samplers_sliders_push_each_other_and_end_in_no_error(chromium):
    page = bare_page(chromium, MaskSampler((8, 8)))
    ends = "[model.get('%s_low'), model.get('%s_high')]"
    page.get_by_label("smallest target").fill("0.5")
    assert page.evaluate(ends % ("scale", "scale")) == [0.5, 0.5]
    assert page.get_by_label("largest target").input_value() == "0.5"
    page.get_by_label("largest target").fill("0.1")
    assert page.evaluate(ends % ("scale", "scale")) == [0.1, 0.1]
    page.get_by_label("flattest target").fill("2")
    assert page.evaluate(ends % ("aspect", "aspect")) == [2, 2]
    page.get_by_label("tallest target").fill("3")
    assert page.evaluate(ends % ("aspect", "aspect")) == [2, 3]  # no push where none is needed
    assert page.evaluate("model.get('seq')") == 4  # one request a move
    page.close()
    sampler = MaskSampler((8, 8))  # what a push leads to is what the sampler takes
    for low, high in ((0.5, 0.5), (0.1, 0.1), (0.6, 0.6)):
        sampler.scale_low, sampler.scale_high, sampler.aspect_low, sampler.aspect_high = low, high, 2, 2
        sampler.seq += 1
        assert (sampler.error, sampler.result_seq) == ("", sampler.seq)


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
    loss, probe = page.get_by_role("slider", name="Loss"), page.get_by_role("slider", name="What is it good for?")
    assert loss.get_attribute("aria-valuetext") == "whole now 0.500"
    assert page.evaluate("document.querySelector('progress').value") == 0.5
    # Values where one points, in every panel; the newest ones again when the pointer leaves or after Escape.
    box = loss.bounding_box()
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 60)  # between 54 and 272 of 280: 100 of 200 images
    assert loss.get_attribute("aria-valuetext") == "whole at 100 images 1.50"
    assert "at 100 images: ■ whole 1.50" in page.locator("figure").first.inner_text()
    assert probe.get_attribute("aria-valuetext") == "target encoder at 200 images 0.250"  # measured nowhere else
    page.mouse.move(0, 0)
    assert loss.get_attribute("aria-valuetext") == "whole now 0.500"
    loss.press("ArrowLeft")
    assert loss.get_attribute("aria-valuetext") == "whole at 100 images 1.50"
    loss.press("End")
    assert loss.get_attribute("aria-valuetext") == "whole at 200 images 0.500"
    loss.press("Escape")
    assert loss.get_attribute("aria-valuetext") == "whole now 0.500"
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
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
    assert page.get_by_test_id("energy-ijepa").inner_text() == "2.00 ×"
    assert page.get_by_test_id("energy-mae").inner_text() == "0.50 ×"
    assert page.get_by_test_id("energy-invariance").text_content() == ""
    assert page.errors == []
    page.close()


def test_energies_stay_in_view_beside_candidates_that_can_be_seen(chromium):
    """Eight candidates of 160 px at a notebook's width: each is pressed without a scroll that hides the energies."""
    pictures = {f"candidate {i}": (Image.new("RGB", (16, 16), (30 * i, 0, 0)), f"number {i}") for i in range(8)}
    energies = {"invariance": [1.0, 24.0] + [2.0] * 6, "mae": [0.5] * 8, "ijepa": [0.5, 1.0] + [0.25] * 6}
    page = bare_page(chromium, ArchitectureDiagram(PICTURE, pictures, energies))
    page.set_viewport_size({"width": 800, "height": 700})
    sizes = page.locator(".choices img").evaluate_all("(all) => all.map((i) => i.getBoundingClientRect().width)")
    assert sizes == [160] * 8
    for i in range(8):
        page.get_by_role("button", name=f"candidate {i}").click()
        for key in energies:
            place = page.get_by_test_id(f"energy-{key}").bounding_box()
            assert 0 <= place["y"] <= 700 - place["height"], (i, key)
    # No bar is cut off, and the scale holds every energy.
    page.get_by_role("button", name="candidate 1").click()
    meter = page.get_by_role("meter", name="Joint-embedding: energy")
    assert meter.get_attribute("aria-valuetext") == "24.0 times"
    assert float(meter.get_attribute("aria-valuemax")) == 24
    box, bar = meter.bounding_box(), meter.locator("div").first.bounding_box()
    assert bar["x"] + bar["width"] <= box["x"] + box["width"] + 1
    colours = [
        page.get_by_role("meter").nth(i).locator("div").first.evaluate("(b) => b.style.background") for i in (0, 1)
    ]
    page.get_by_role("button", name="candidate 2").click()
    less = page.get_by_role("meter").nth(2).locator("div").first.evaluate("(b) => b.style.background")
    assert colours[0] == "rgb(213, 94, 0)" != less  # orange: less compatible than the truth
    assert page.errors == []
    page.close()


@pytest.fixture
def explorer(model, decoder, picture):
    made = PredictionExplorer(model, decoder, picture, samples=1)
    yield made
    made.close()


def test_axe_finds_nothing_wrong_where_the_system_is_dark(chromium, explorer, diagram, run):
    """As outside of JupyterLab; in it, tests/test_browser.py looks at both themes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for widget in (MaskPainter(PICTURE, (8, 8)), explorer, MaskSampler((8, 8)), RunMonitor(run), diagram):
        page = bare_page(chromium, widget, scheme="dark", pictures=[data_uri(PICTURE)])
        for summary in page.locator("summary").all():
            summary.click()
        found = axe.Axe().run(page)
        assert found.violations_count == 0, f"{type(widget).__name__}: {found.generate_report()}"
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_in_a_game_and_a_crop(chromium, answered, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = bare_page(chromium, answered, scheme=scheme, game=0)

    def check(what):
        found = axe.Axe().run(page)
        assert found.violations_count == 0, f"{what}: {found.generate_report()}"

    page.get_by_role("button", name="Reveal the truth").click()
    page.get_by_role("button", name="cosine", exact=True).focus()
    check("revealed")
    page.get_by_role("button", name="Predict, then reveal").click()
    check("predict")
    page.get_by_role("button", name="Show both sides").click()
    check("choose")
    page.get_by_role("button", name="A is the model's").click()
    check("named")
    page.get_by_role("button", name="End the game").click()
    page.locator("input[aria-label='Your own picture']").set_input_files(
        {"name": "own.png", "mimeType": "image/png", "buffer": encoded(PICTURE, "png")}
    )
    page.get_by_role("group", name="Crop your picture").wait_for()
    check("crop")
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
    for name in ("Brush", "Block", "Invert", "Draw one for me"):  # they would draw holes without an answer
        assert not any(button.is_visible() for button in page.get_by_role("button", name=name, exact=True).all()), name
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
    # What the page cannot answer is not on it.
    offered = page.get_by_label("decode").locator("option").evaluate_all("(all) => all.map((o) => o.value)")
    assert offered == ["predicted", "other"]
    assert page.get_by_role("button", name="Predict, then reveal").count() == 0
    assert page.get_by_role("group", name="Pictures to choose from").count() == 0
    page.get_by_role("button", name="Reveal the truth").click()
    assert page.get_by_role("img", name="The truth").get_attribute("src") == explorer.truth
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert outside == []
    assert errors == []
    page.close()


def test_the_demo_page_fits_a_phone_and_leads_to_the_lessons(chromium):
    line = {
        "caption": "a yellow building's roof, drawn",
        "credit": "Somebody, CC BY-SA 4.0.",
        "cosine": 0.7,
        "cosine_other_image": 0.1,
        "seconds_sample": 0.1,
    }
    report = {"model": "m", "images": [line], "samples": 6, "seed": 0, "decoder_steps": 12, "threads": 2}
    shown = chromium.new_page(viewport={"width": 390, "height": 844})
    shown.set_content(demo_page([Demo(Figure("words", figsize=(2, 1)), report)], lessons(ROOT / "out" / "demo")))
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    links = [link.get_attribute("href") for link in shown.get_by_role("listitem").get_by_role("link").all()]
    assert len(links) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert all((ROOT / "out" / "demo" / link).resolve().is_file() for link in links)
    assert shown.get_by_text("0.700").is_visible()
    assert shown.get_by_text("Somebody, CC BY-SA 4.0.").is_visible()
    shown.close()
