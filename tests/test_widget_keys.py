"""Keys and edges of single widgets, on a bare page: the browser's own keys, empty curves, and crops at a picture's edge."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ijepa_viz.widgets import ArchitectureDiagram, PredictionExplorer, RunMonitor

pytest.importorskip("playwright")
from bare_page import bare_page

pytestmark = pytest.mark.browser


def curve(*points):
    return [{"title": "Loss", "logarithmic": True, "lines": [{"name": "whole", "control": False, "points": points}]}]


def test_curves_without_a_point_or_above_zero_are_said(chromium, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    monitor = RunMonitor(tmp_path / "run")
    page = bare_page(chromium, monitor, panels=curve())
    loss = page.get_by_role("slider", name="Loss")
    assert loss.get_attribute("aria-valuetext") == "nothing measured yet"
    assert axe.run(page).violations_count == 0
    page.evaluate("(panels) => model.set('panels', panels)", curve([100, 0.0], [200, 0.0]))
    assert loss.get_attribute("aria-valuetext") == "whole now 0.00"
    page.evaluate("(panels) => model.set('panels', panels)", curve(*([100 * i, 1.0] for i in range(1, 32))))
    loss.focus()
    page.keyboard.press("PageDown")
    assert "at 2,800 images" in loss.get_attribute("aria-valuetext")
    page.keyboard.press("Control+Home")  # the browser's
    assert "at 2,800 images" in loss.get_attribute("aria-valuetext")
    assert page.errors == []
    page.close()
    monitor.close()


def test_a_crop_at_the_edge_has_only_pixels_of_the_picture(chromium, model, decoder, picture, tmp_path):
    Image.new("RGB", (5, 5), "blue").save(tmp_path / "blue.png")
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    page = bare_page(chromium, explorer)
    page.get_by_text("Files").click()
    page.get_by_label("Own picture", exact=True).set_input_files(tmp_path / "blue.png")
    panel = page.get_by_role("group", name="Crop your picture")
    zoom = panel.get_by_role("slider", name="zoom")
    zoom.fill("2")
    assert zoom.get_attribute("aria-valuetext") == "2.0 times"
    canvas = panel.locator("canvas")
    canvas.focus()
    page.keyboard.press("Control+ArrowLeft")  # the browser's: nothing moves
    for key in ["ArrowRight", "ArrowDown"] * 20:
        page.keyboard.press(key)
    panel.get_by_role("button", name="Use this square").click()
    sent = page.evaluate("model.get('upload')").partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(sent))) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[:2] == (3, 3)
    assert (pixels == (0, 0, 255)).all()
    assert page.errors == []
    page.close()
    explorer.close()


@pytest.mark.parametrize("found", [True, False])
def test_a_crop_begins_at_the_face_that_the_kernel_finds(chromium, model, decoder, picture, tmp_path, found):
    halves = Image.new("RGB", (40, 20), "red")
    halves.paste("blue", (20, 0, 40, 20))
    halves.save(tmp_path / "halves.png")
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    page = bare_page(chromium, explorer, finds_faces=True)
    page.evaluate(
        """(part) => model.on("change:face_wanted", () => {
          const { number, picture } = model.get("face_wanted");
          window.asked = picture;
          model.set("face_found", { number: number - 1, part: [0, 0, 0.5, 1] });  // an older question's
          model.set("face_found", { number, part });
        })""",
        [0.5, 0, 0.5, 1] if found else [],
    )
    page.get_by_text("Files").click()
    page.get_by_label("Own picture", exact=True).set_input_files(tmp_path / "halves.png")
    panel = page.get_by_role("group", name="Crop your picture")
    panel.wait_for()
    told = panel.get_by_text("A cat's face was found")
    if found:
        told.wait_for()
    assert told.count() == int(found)
    panel.get_by_role("button", name="Use this square").click()
    assert page.evaluate("window.asked").startswith("data:image/jpeg")
    sent = page.evaluate("model.get('upload')").partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(sent))) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[:2] == (20, 20)
    wanted = np.zeros((20, 20, 3), np.uint8)
    wanted[..., 2] = 255
    wanted[:, : 0 if found else 10] = (255, 0, 0)  # the middle of the picture is half red
    assert (pixels == wanted).all()
    assert page.errors == []
    page.close()
    explorer.close()


def test_a_pointer_that_leaves_gives_back_the_words_of_the_part_in_focus(chromium, picture):
    diagram = ArchitectureDiagram(
        picture, {"true": (picture, "it"), "small": (picture, "less")}, {"ijepa": [1.0, 0.004]}
    )
    page = bare_page(chromium, diagram, chosen=1)
    assert page.get_by_test_id("energy-ijepa").inner_text() == "0.0040 ×"
    words = page.get_by_test_id("words")
    page.get_by_role("img", name="The predictor predicts").focus()
    page.get_by_role("img", name="The decoder draws").hover()
    assert words.inner_text().startswith("The decoder draws")
    page.mouse.move(0, 0)
    assert words.inner_text().startswith("The predictor predicts")
    page.close()
