"""The live page in a real Chromium: built by a tiny model, with a stand-in for the engine, and no network."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from PIL import Image

from ijepa_viz.cli import main
from ijepa_viz.data.transforms import to_tensor
from ijepa_viz.masks import Masks, sample
from ijepa_viz.masks.rectangles import block_size
from ijepa_viz.models import IJEPA
from ijepa_viz.page.answers import COUNTS, answer_holes
from ijepa_viz.page.build import HERE, build_page, missing_parts
from ijepa_viz.page.explorer_page import explorer_page
from ijepa_viz.page.models_folder import decoder_fingerprints
from ijepa_viz.page.pictures import page_pictures, write_pictures
from ijepa_viz.page.scripts import bundle, painter_module, single_file
from ijepa_viz.prediction import predict
from ijepa_viz.runtime.weights import Weights
from ijepa_viz.widgets import PredictionExplorer

GRID = (8, 8)
STAND_IN = Path(__file__).parent / "page_engine.js"


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    model = IJEPA(replace(TINY, image_size=64)).eval()
    return model, random_decoder(model)


@pytest.fixture(scope="module")
def folder(pair, tmp_path_factory):
    """The page with 14 pictures, answers for two of them and three holes, and the stand-in for the engine."""
    out = tmp_path_factory.mktemp("page")
    build_page(out, *pair, pictures=14, answered=2, holes=3, engine=STAND_IN)
    return out


# ---------------------------------------------------------------------------------------------- what is built


def test_the_sheet_holds_the_very_pixels_of_each_picture(folder):
    index = json.loads((folder / "data/pictures.json").read_text())
    sheet = np.asarray(Image.open(folder / "data/pictures.webp").convert("RGB"))
    expected = page_pictures(64, 14)
    assert [one["id"] for one in index["pictures"]] == [one.id for one in expected]
    assert len({one.id for one in expected}) == len({one.image.tobytes() for one in expected}) == 14
    assert [one.kind for one in expected].count("photograph") == 4
    for i, one in enumerate(expected):
        top, left = i // index["columns"] * 64, i % index["columns"] * 64
        assert np.array_equal(sheet[top : top + 64, left : left + 64], np.asarray(one.image)), one.id


def test_pictures_are_shown_at_the_size_of_the_decoders(tmp_path):
    shown = page_pictures(64, 9, 128)
    own = page_pictures(64, 9)
    assert [(one.id, one.hole, one.image.tobytes()) for one in shown] == [
        (one.id, one.hole, one.image.tobytes()) for one in own
    ]
    scene, photograph = shown[0], shown[8]
    assert (scene.shown.size, photograph.kind, photograph.shown.size) == ((128, 128), "photograph", (128, 128))
    for one in (scene, photograph):  # the same picture, sharper than an enlarged one
        small, large = (np.asarray(image, np.float32) for image in (one.image, one.shown))
        averaged = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(averaged - small).mean() < 8
        enlarged = np.asarray(one.image.resize((128, 128), Image.Resampling.BILINEAR), np.float32)
        assert np.abs(np.diff(large, axis=1)).max() > np.abs(np.diff(enlarged, axis=1)).max()
    files = write_pictures(shown)
    assert json.loads(files["data/pictures.json"])["shown"] == [128, 128]
    assert Image.open(io.BytesIO(files["data/shown.webp"])).size == (16 * 128, 128)
    assert "data/shown.webp" not in write_pictures(own)


def test_an_answer_is_what_the_decoder_draws_in_its_hole(folder, pair):
    model, decoder = pair
    index = json.loads((folder / "data/answers.json").read_text())
    assert index["counts"] == COUNTS
    assert len(index["holes"]) == 3
    assert len(index["cosine"]) == 6
    sheet = np.asarray(Image.open(folder / "data/answers.webp").convert("RGB")).astype(int)
    picture, hole = page_pictures(64, 14)[1], index["holes"][2]
    masks = Masks.from_array(np.array([c == "1" for c in hole]).reshape(GRID))
    prediction = predict(model, to_tensor(picture.image, 64), masks)
    drawn = decoder.sample(prediction, samples=6, seed=0)
    assert np.allclose(index["cosine"][5], prediction.cosine.flatten(), atol=1e-4)
    rows, cols = np.nonzero(drawn.inside.numpy())
    cut = drawn.images[:, :, rows.min() : rows.max() + 1, cols.min() : cols.max() + 1].permute(0, 2, 3, 1)
    each, side = sum(COUNTS.values()), index["tile"][0]
    for i in (0, 5):
        at = 5 * each + i
        top, left = at // index["columns"] * side, at % index["columns"] * side
        shown = sheet[top : top + side, left : left + side].mean(-1).ravel()  # WebP keeps brightness better than colour
        likeness = [np.corrcoef(shown, other.mean(-1).ravel())[0, 1] for other in cut.numpy()]
        assert np.argmax(likeness) == i
        assert likeness[i] > 0.9


def test_holes_with_answers_are_blocks_of_half_the_sides():
    holes = answer_holes(page_pictures(64, 3), GRID)
    assert len(set(holes)) == len(holes) >= 9
    assert {hole.count("1") for hole in holes} == {16}


def test_a_page_without_models_says_so(folder, tmp_path):
    assert missing_parts(folder) == ["models", "ort"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "manifest.json").write_text("{}")
    assert missing_parts(tmp_path) == ["ort"]


def test_impossible_numbers_are_refused(pair, tmp_path):
    with pytest.raises(ValueError, match="1 to 2 of the pictures, got 3"):
        build_page(tmp_path, *pair, pictures=2, answered=3)
    with pytest.raises(ValueError, match="at least one picture"):
        page_pictures(64, 0)


def test_the_command_names_a_wrong_use(tmp_path, capsys):
    assert main(["page", "--out", str(tmp_path), "--only-serve"]) != 0
    assert "--serve PORT" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["page", "--out", str(tmp_path / "file")]) != 0
    assert "is a file" in capsys.readouterr().err


def test_every_script_is_shipped_and_asks_no_other_origin(folder):
    shipped = {path.name for path in folder.glob("*.js")}
    for name in shipped:
        text = (folder / name).read_text()
        assert set(re.findall(r'from "\./([\w.]+)"', text)) <= shipped, name
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name
    html = (folder / "index.html").read_text()
    assert re.findall(r'(?:src|href)="(https?:[^"]*)"', html) == ["https://arxiv.org/abs/2301.08243"]


def test_one_script_of_all_refuses_what_it_cannot_hold(tmp_path):
    (tmp_path / "page.js").write_text('import { a } from "./b.js";\nexport const c = a;\n')
    (tmp_path / "b.js").write_text("const a = 1;\nexport { a };\n")
    text = bundle(tmp_path)
    assert text.index("module_b_js = ") < text.index("module_page_js = ")
    (tmp_path / "b.js").write_text("export default 1;\n")
    with pytest.raises(ValueError, match=r"b\.js: the single file cannot hold 'export default"):
        bundle(tmp_path)
    (tmp_path / "b.js").write_text('import { c } from "./page.js";\nexport const a = 1;\n')
    with pytest.raises(ValueError, match="imports itself"):
        bundle(tmp_path)


# ---------------------------------------------------------------------------------------------- in a browser

pytest.importorskip("playwright")
from jupyter_lab import watch  # noqa: E402

browser = pytest.mark.browser
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def serve(folder):
    """Serve a folder; gives the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def served(folder):
    """Serves the page; yields its port."""
    with serve(folder) as port:
        yield port


@pytest.fixture(scope="module")
def visits(chromium, served):
    """visit(query="", fragment="", viewport=DESK, scheme="light"): the page, its model ready and its hole answered."""
    contexts = []

    def opened(query="", fragment="", viewport=DESK, scheme="light", wait=True, quiet=True):
        phone = viewport is PHONE
        context = chromium.new_context(
            viewport=viewport, color_scheme=scheme, has_touch=phone, is_mobile=phone, reduced_motion="reduce"
        )
        page = context.new_page()
        page.outside, page.errors, page.quiet = watch(page, served), [], quiet
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda m: page.errors.append(m.text) if m.type in ("error", "warning") else None)
        contexts.append((context, page))
        page.goto(f"http://127.0.0.1:{served}/index.html?test&{query}{fragment}")
        if wait:
            page.wait_for_function("document.documentElement.dataset.phase")
            answered(page)
        return page

    def check():
        for _, page in contexts:
            assert page.outside == []
            assert page.errors == [] or not page.quiet

    opened.check = check
    yield opened
    for context, _ in contexts:
        context.close()


@pytest.fixture
def visit(visits):
    yield visits
    visits.check()


@pytest.fixture(scope="module")
def kept(visits):
    """One page for many tests: opening one takes longer than most of them."""
    return visits()


@pytest.fixture
def desk(kept, visits):
    """The page as it opens, on a desk."""
    kept.evaluate(
        """() => { const { store, pictures } = livePage, first = pictures.ids()[0];
        const mask = Array.from({ length: 64 }, (_, i) => (i >> 3 >= 2 && i >> 3 < 6 && i % 8 >= 2 && i % 8 < 6 ? "1" : "0")).join("");
        for (const [name, value] of Object.entries({ picture: first, mask, seed: 0, source: "prediction", steps: 0, guidance: 1 })) store.set(name, value);
        scrollTo(0, 0); store.set("seq", store.get("seq") + 1); }"""
    )
    answered(kept)
    yield kept
    visits.check()


def answered(page):
    page.wait_for_function("livePage.store.get('tokens') && !livePage.store.get('busy')")


def state(page, name):
    return page.evaluate("(name) => livePage.store.get(name)", name)


def middle(page, row, col):
    page.get_by_test_id("painter").scroll_into_view_if_needed()
    box = page.get_by_test_id("painter").bounding_box()
    return box["x"] + (col + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 8


def stroke(page, start, stop):
    page.mouse.move(*middle(page, *start))
    page.mouse.down()
    page.mouse.move(*middle(page, *stop), steps=4)
    page.mouse.up()


def calls(page, call="sample"):
    return page.evaluate("(call) => engineCalls.filter((one) => one.call === call)", call)


def hidden(page):
    return [i for i, c in enumerate(state(page, "mask")) if c == "1"]


@browser
def test_a_stroke_is_answered_and_the_truth_waits(desk):
    page = desk
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("Drag over the picture to hide a part of it.").wait_for()
    stroke(page, (2, 2), (2, 5))
    answered(page)
    assert hidden(page) == [18, 19, 20, 21]
    assert calls(page)[-1]["hidden"] == [18, 19, 20, 21]
    cells = page.get_by_test_id("samples")
    assert cells.get_by_role("img", name="drawn from the model's prediction").count() == 6
    assert "Cosine of predicted and target tokens: 0.65." in page.locator("[data-part=words]").inner_text()
    assert cells.get_by_role("img", name="The truth is covered").count() == 1
    page.get_by_role("button", name="Reveal the truth").click()
    assert cells.get_by_role("img", name="The truth: the picture as it is").count() == 1
    stroke(page, (5, 5), (5, 5))  # a new question covers it again
    assert cells.get_by_role("img", name="The truth is covered").count() == 1


@browser
def test_a_picture_and_an_answer_are_there_before_the_model(visit):
    page = visit(query="held=1", wait=False)
    page.wait_for_function("document.documentElement.dataset.painted")
    page.wait_for_function("livePage.store.get('result')")
    assert state(page, "phase") == "loading"
    assert page.evaluate("livePage.store.get('result').images.length") == 6
    assert page.locator("[data-part=words]").inner_text().startswith("Computed before.")
    stroke(page, (0, 0), (0, 2))  # asked already: answered when the model is there
    assert "The model is on its way" in page.locator("[data-part=words]").inner_text()
    page.evaluate("letGo()")
    page.wait_for_function("document.documentElement.dataset.phase === 'ready'")
    answered(page)
    assert calls(page)[-1]["hidden"] == hidden(page)


@browser
def test_the_choices_reach_the_engine(desk):
    page = desk
    page.get_by_label("another picture's", exact=True).check()
    answered(page)
    assert (calls(page)[-1]["source"], calls(page)[-1]["other"]) == ("another", True)
    page.get_by_text("A control: drawn from what the model expects in another picture").wait_for()
    page.get_by_label("the prediction", exact=True).check()
    page.get_by_label("one step (the blur)").check()
    answered(page)
    assert calls(page)[-1]["steps"] == 1
    page.get_by_label("one step (the blur)").uncheck()
    page.get_by_role("button", name="Other noise").click()
    answered(page)
    assert calls(page)[-1]["seed"] == 6
    page.get_by_label("guidance").fill("2.5")
    answered(page)
    assert calls(page)[-1]["guidance"] == 2.5


@browser
@pytest.mark.slow
def test_a_newer_stroke_ends_an_older_question(visit):
    page = visit(query="slow=120")
    stroke(page, (0, 0), (0, 0))
    stroke(page, (7, 7), (7, 7))
    answered(page)
    assert {0, 63} <= set(page.evaluate("livePage.store.get('result').hidden"))
    assert state(page, "error") == ""


@browser
def test_a_network_that_fails_is_no_silence(visit):
    page = visit(query="fails=1", wait=False, quiet=False)
    page.get_by_role("alert").filter(has_text="The model could not answer: the network is broken").first.wait_for()
    assert state(page, "busy") is False


@browser
def test_the_chain_tells_this_hole(desk):
    page = desk
    chain = page.locator("#chain")
    chain.get_by_text("16 of 64 are hidden; the other 48 are the context.").wait_for()
    chain.get_by_text("turns the 48 visible patches into 48 tokens of 6 numbers each").wait_for()
    first = hidden(page)[0]
    chain.get_by_text(f"from {0.5 + first / 128:.2f} to").wait_for()
    # Equal tokens are equal colours, and those of the stand-in are known.
    pixel = "(name) => { const c = document.querySelector(`#chain [aria-label='${name}']`); const [r, k] = [%d, %d]; return [...c.getContext('2d').getImageData(24 * k + 12, 24 * r + 12, 1, 1).data]; }"
    at = pixel % (first // 8, first % 8)
    expected = [round(255 * (first * (d + 1) % 10) / 10) for d in range(3)]
    assert np.abs(np.array(page.evaluate(at, "16 predicted tokens as colours")[:3]) - expected).max() <= 1
    slider = chain.get_by_role("slider", name="step")
    slider.fill("1")
    chain.get_by_text("step 1 of 4: 75 % noise").wait_for()
    slider.fill("4")
    chain.get_by_text("step 4 of 4: 0 % noise").wait_for()


@browser
@pytest.mark.slow
def test_sections_ask_only_when_they_are_seen(visit):
    page = visit()
    before = len(calls(page))
    assert calls(page, "reconstruct") == []
    page.get_by_role("button", name="Controls", exact=True).click()
    page.wait_for_function("document.querySelectorAll('#controls .place.full').length === 13")
    asked = calls(page)[before:]
    assert [(c["source"], c["steps"] == 1, c["samples"]) for c in asked][:5] == [
        ("prediction", False, 3), ("another", False, 3), ("nothing", False, 3), ("target", False, 3), ("prediction", True, 1),
    ]  # fmt: skip
    page.get_by_role("button", name="Pixels", exact=True).click()
    page.wait_for_function("document.querySelectorAll('#generative .place.full').length === 6")
    assert len(calls(page, "reconstruct")) == 1


@browser
def test_a_round_of_the_game_counts(desk):
    page = desk
    page.get_by_role("button", name="Start a round").click()
    page.get_by_label("I expect").fill("a head")
    page.get_by_role("button", name="Show both sides").click()
    own = (
        page.locator("#game .side")
        .first.locator("img")
        .first.evaluate(
            "(img) => { const c = document.createElement('canvas'); c.width = c.height = 64; const p = c.getContext('2d'); p.drawImage(img, 0, 0);"
            " const d = p.getImageData(0, 0, 64, 64).data; let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] === 0 && d[i + 1] === 160; return n > 100; }"
        )
    )
    page.get_by_role("button", name="A is the model's" if own else "B is the model's").click()
    page.get_by_text("1 of 1 right.").wait_for()
    page.get_by_text("You expected: a head.").wait_for()
    page.get_by_role("button", name="Next round").click()
    page.get_by_role("button", name="End the game").click()
    page.get_by_role("button", name="Start a round").wait_for()


@browser
def test_a_block_is_picked_before_the_reveal_and_counted(desk):
    page = desk
    page.get_by_role("button", name="Start a round").click()
    page.get_by_role("button", name="Pick a block").click()
    blocks = page.get_by_role("group", name="Which block was cut out here?").get_by_role("button")
    blocks.first.wait_for()
    assert blocks.count() == 5
    # Only the true block is the picture's at the hole.
    right = page.evaluate(
        """async () => {
          const read = async (source) => { const image = new Image(); image.src = source; await image.decode(); return image; };
          const { candidates, truth, hole } = livePage.game.get("game_round");
          const whole = await read(truth), first = hole.indexOf("1"), side = whole.width / 8;
          const pen = new OffscreenCanvas(4 * side, 4 * side).getContext("2d", { willReadFrequently: true });
          const pixels = (...from) => { pen.drawImage(...from, 0, 0, 4 * side, 4 * side); return String(pen.getImageData(0, 0, 4 * side, 4 * side).data); };
          const own = pixels(whole, (first % 8) * side, Math.floor(first / 8) * side, 4 * side, 4 * side);
          const found = [];
          for (const one of candidates) { const image = await read(one); found.push(pixels(image, 0, 0, image.width, image.height) === own); }
          return found;
        }"""
    )
    assert sorted(right) == [False] * 4 + [True]
    blocks.nth(right.index(True)).press("Enter")
    assert blocks.nth(right.index(True)).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Show both sides").click()
    page.get_by_role("button", name="A is the model's").click()
    page.get_by_text("Your block is the true one.").wait_for()
    page.get_by_text("Blocks: 1 of 1 right. Guessing alone gets at least that many in 20 % of such games.").wait_for()
    page.get_by_role("button", name="Next round").click()
    page.get_by_role("button", name="Pick a block").click()
    blocks.first.wait_for()
    assert page.locator("#game .blocks [aria-pressed=true]").count() == 0
    page.get_by_role("button", name="End the game").click()


@browser
def test_a_link_brings_back_picture_hole_noise_and_source(desk, visit):
    page = desk
    page.get_by_role("button", name=re.compile("drawn scene 0")).click()
    stroke(page, (0, 0), (0, 3))
    page.get_by_role("radio", name="nothing").check()
    page.get_by_role("button", name="Other noise").click()
    answered(page)
    mine = {name: state(page, name) for name in ("picture", "mask", "seed", "source")}
    assert mine["picture"] == "scene-0"
    assert mine["seed"] == 6
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Share").click()
    page.get_by_text("Link copied.").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    again = visit(fragment="#" + link.split("#")[1])
    assert {name: state(again, name) for name in mine} == mine
    assert calls(again)[-1]["hidden"] == hidden(page)


@browser
def test_addresses_are_read_back_or_refused_in_words(desk):
    page = desk
    rng = np.random.default_rng(0)
    masks = ["".join("1" if c else "0" for c in rng.random(n) < 0.4) for n in (4, 9, 15, 64, 196)]
    read = page.evaluate(
        "async (masks) => { const { holeToHex, hexToHole } = await import('./store.js'); return masks.map((m) => hexToHole(holeToHex(m), m.length)); }", masks
    )  # fmt: skip
    assert read == masks
    found = page.evaluate(
        """async (texts) => { const { fromAddress } = await import('./store.js');
        return texts.map((t) => fromAddress(t, { pictures: ['a'], sources: ['prediction'], count: 9 })); }""",
        [
            "#picture=a&hole=fff",
            "#picture=b",
            "#hole=0000",
            "#seed=-1",
            "#from=me",
            "#seed=7&hole=f08",
            "",
            "#hole=xyz",
        ],
    )
    assert ["hole" in one["problem"] or "picture" in one["problem"] or "seed" in one["problem"] or "source" in one["problem"] for one in found] == [
        True, True, True, True, True, False, False, True,
    ]  # fmt: skip
    assert found[5] == {"problem": "", "mask": "111100001", "seed": 7}


@browser
def test_an_error_of_no_known_cause_leaves_the_answers_from_before(visit):
    page = visit(query="broken=1")
    page.get_by_text("the runtime is broken").first.wait_for()
    assert state(page, "phase") == "precomputed"
    assert page.locator("#paint .cells .place.full").count() == 6
    page.quiet = False  # the console is told as well


@browser
def test_without_a_masked_autoencoder_its_section_says_so_and_compares_the_rest(visit):
    page = visit(query="alone=1")
    page.get_by_role("button", name="Pixels", exact=True).click()
    page.get_by_text("exported without a masked autoencoder").wait_for()
    page.wait_for_function("document.querySelectorAll('#generative .place.full').length === 5")
    assert not page.locator("#generative .tile", has_text="masked autoencoder").is_visible()
    assert page.locator("[data-part=problem]").inner_text() == ""
    assert not any(call["call"] == "reconstruct" for call in calls(page))


@browser
def test_cosines_and_explanations_are_read_by_keys(desk):
    page = desk
    tile = page.locator("#chain [data-part=tokens] canvas").first
    tile.focus()
    patch = page.locator("#chain [data-part=patch]")
    assert patch.inner_text() == "row 3, column 3: cosine 0.64"
    tile.press("ArrowRight")
    assert patch.inner_text() == "row 3, column 4: cosine 0.65"
    tile.press("ArrowUp")
    assert patch.inner_text() == "row 2, column 4: not hidden"
    page.locator("#paint [data-part=guidance]").focus()
    assert "Above 1, drawings are pushed" in page.locator("#paint [data-part=tip]").inner_text()


@browser
def test_a_browser_that_lacks_something_is_told_and_shown_answers_from_before(visit):
    page = visit(query="lacks=simd")
    page.get_by_text("no WebAssembly with SIMD").wait_for()
    assert state(page, "phase") == "precomputed"
    index = page.evaluate("livePage.asker.engine.index")
    page.get_by_role("button", name="Clear").click()
    stroke(page, (6, 6), (6, 6))
    answered(page)
    assert state(page, "mask") in index["holes"]  # the nearest hole that is known
    assert page.locator("#paint [data-part=words]").inner_text().startswith("Computed before.")
    page.get_by_role("radio", name="the target").check()
    answered(page)
    assert page.locator("#paint .cells .place.full").count() == COUNTS["target"]
    assert page.get_by_role("button", name="Other noise").is_disabled()
    page.get_by_role("button", name=re.compile("drawn scene 0")).click()
    page.get_by_role("alert").filter(has_text="no answer was computed before for this picture").first.wait_for()
    page.quiet = False  # which the console is told as well


@browser
@pytest.mark.slow
def test_an_own_picture_is_cropped_by_hand_and_stays_here(visit):
    page = visit()
    image = Image.new("RGB", (400, 200), (10, 20, 200))
    image.paste((250, 200, 0), (200, 0, 400, 200))
    out = io.BytesIO()
    image.save(out, "png")
    page.locator("#paint .row-of-pictures input[type=file]").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": out.getvalue()}
    )
    crop = page.get_by_role("application", name=re.compile("The square of your picture"))
    for _ in range(20):
        crop.press("ArrowRight")
    page.get_by_role("button", name="Use this square").click()
    answered(page)
    assert state(page, "picture") == "own"
    pixels = page.evaluate("[...livePage.pictures.pixels('own')]")
    assert np.abs(np.array(pixels).reshape(64, 64, 4)[..., :3] - (250, 200, 0)).max() <= 2
    page.get_by_role("button", name="Share").click()
    page.get_by_text("no link can hold it").wait_for()
    assert "#" not in page.url
    page.get_by_text("this picture is out of its world").wait_for()


@browser
def test_keys_alone_paint_and_answer(desk):
    page = desk
    page.get_by_role("button", name="Clear").click()
    page.get_by_test_id("painter").press("ArrowUp")
    page.get_by_test_id("painter").press(" ")
    answered(page)
    assert len(hidden(page)) == 1
    page.get_by_test_id("painter").press("Shift+ArrowRight")
    page.get_by_test_id("painter").press("Control+z")
    answered(page)
    assert len(hidden(page)) == 1


@browser
def test_a_phone_has_one_card_at_a_time_and_a_finger_paints(visit):
    page = visit(viewport=PHONE)
    shown = "[...document.querySelectorAll('main > section')].filter((s) => s.offsetHeight).map((s) => s.id)"
    assert page.evaluate(shown) == ["paint"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Clear").click()
    page.touchscreen.tap(*middle(page, 3, 3))
    answered(page)
    assert hidden(page) == [27]
    # Picture and drawings are seen at once.
    painter, cells = (page.locator(s).bounding_box() for s in ("#paint canvas[role=application]", "#paint .cells"))
    assert cells["y"] + cells["height"] - painter["y"] < 844 - 64
    page.get_by_role("button", name="Next: how the drawings come about").click()
    assert page.evaluate(shown) == ["chain"]
    page.get_by_role("button", name="Words", exact=True).click()
    assert page.evaluate(shown) == ["words"]
    for name in ("Game", "Masks", "Controls", "Pixels"):
        page.get_by_role("button", name=name, exact=True).click()
        assert page.evaluate("document.documentElement.scrollWidth") == 390, name


@browser
@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE), ("light", PHONE)])
def test_axe_finds_nothing_wrong(visit, scheme, viewport):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(viewport=viewport, scheme=scheme)
    page.get_by_role("button", name="Game", exact=True).click()
    page.get_by_role("button", name="Start a round").click()
    page.get_by_role("button", name="Show both sides").click()
    for card in (
        ("paint", "game", "chain", "controls", "generative", "masks", "words") if viewport is PHONE else ("game",)
    ):
        page.locator(f"nav button[data-to={card}]").click()
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


@browser
def test_the_masks_section_hides_its_first_mask_in_the_picture(desk):
    page = desk
    page.get_by_role("button", name="Hide the targets of the first mask in my picture").click()
    answered(page)
    assert 10 <= len(hidden(page)) <= 54
    assert calls(page)[-1]["hidden"] == hidden(page)


# ---------------------------------------------------------------------------------------------- masks


@pytest.fixture(scope="module")
def script(chromium, served):
    """A page that imports the mask sampler as ``sampler``."""
    page = chromium.new_page()
    page.goto(f"http://127.0.0.1:{served}/data/site.json")
    page.evaluate("async () => { globalThis.sampler = await import('/multiblock.js'); }")
    yield page
    page.close()


@browser
def test_block_sizes_are_python_s(script):
    rng = np.random.default_rng(0)
    cases = [[float(a), float(r), [int(h), int(w)]] for a, r, h, w in zip(
        rng.uniform(0.3, 250, 400), np.exp(rng.uniform(-1.5, 1.5, 400)), rng.integers(1, 17, 400), rng.integers(1, 17, 400), strict=True)]  # fmt: skip
    cases += [[k * k / 4, 1.0, [16, 16]] for k in range(1, 33)]  # halves, which Python rounds to even
    found = script.evaluate("(cases) => cases.map((c) => sampler.blockSize(...c))", cases)
    assert found == [list(block_size(a, r, tuple(limit))) for a, r, limit in cases]


@browser
@pytest.mark.parametrize("mode", ["unbiased", "faithful"])
def test_masks_keep_the_rules_on_every_grid(script, mode):
    found = script.evaluate(
        """(mode) => { const all = []; for (let rows = 3; rows <= 16; rows++) for (const cols of [3, 8, rows]) for (const seed of [0, 1]) {
          for (const m of sampler.multiblock(8, [rows, cols], sampler.generator(seed), { mode })) all.push([[rows, cols], m]); } return all; }""",
        mode,
    )
    for (rows, cols), mask in found:
        context = mask["context"]
        assert len(mask["targets"]) == 4
        assert context == sorted(set(context))
        assert context
        assert context[0] >= 0
        assert context[-1] < rows * cols
        for block in mask["targets"]:
            r, c = np.divmod(np.array(block), cols)
            assert len(block) == (np.ptp(r) + 1) * (np.ptp(c) + 1)  # a full rectangle
            assert r.max() < rows - (mode == "faithful")
            assert c.max() < cols - (mode == "faithful")
        if mode == "unbiased":
            assert not set(context) & {p for block in mask["targets"] for p in block}


@browser
@pytest.mark.slow
@pytest.mark.parametrize(("mode", "grid"), [("unbiased", (8, 8)), ("faithful", (14, 14)), ("unbiased", (5, 9))])
def test_masks_are_distributed_as_python_s(script, mode, grid):
    batches, each = 60, 16
    theirs = script.evaluate(
        """([mode, grid, batches, each]) => Array.from({ length: batches }, (_, seed) => sampler.multiblock(each, grid, sampler.generator(seed), { mode })).flat()""",
        [mode, list(grid), batches, each],
    )
    total = grid[0] * grid[1]
    seen, away = np.zeros((len(theirs), total)), np.zeros((len(theirs), total))
    for i, mask in enumerate(theirs):
        seen[i, mask["context"]] = 1
        away[i, [p for block in mask["targets"] for p in block]] = 1
    ours_seen, ours_away = [], []
    for seed in range(batches):
        masks = sample("multiblock", batch=each, grid=grid, generator=torch.Generator().manual_seed(seed), mode=mode)
        context = torch.zeros(each, total).scatter_add_(1, masks.context, masks.valid.float())
        ours_seen.append(context.clamp(max=1))
        ours_away.append(masks.hidden.flatten(1).float())
    for mine, other in ((torch.cat(ours_seen).numpy(), seen), (torch.cat(ours_away).numpy(), away)):
        # Sizes are common to a batch, so a batch is one draw: means of 60, within four standard errors of the difference.
        def batch_means(x):
            return x.reshape(batches, each, -1).mean(1)

        error = np.sqrt((batch_means(mine).var(0) + batch_means(other).var(0)) / batches)
        assert (np.abs(mine.mean(0) - other.mean(0)) <= 4.5 * error + 0.02).all()
        assert (
            abs(mine.sum(1).mean() - other.sum(1).mean())
            <= 4 * np.sqrt(2 * batch_means(mine).sum(1).var() / batches) + 0.3
        )


# ---------------------------------------------------------------------------------------------- the single file


@browser
def test_the_single_file_opens_from_the_disk(chromium, folder, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(single_file(folder))
    page = chromium.new_page(viewport=DESK)
    outside, errors = watch(page, None, files=True), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    page.goto(f"{path.as_uri()}?test")
    page.wait_for_function("document.documentElement.dataset.phase === 'ready'")
    answered(page)
    stroke(page, (0, 0), (0, 2))
    answered(page)
    assert {0, 1, 2} <= set(hidden(page))
    assert page.locator("#paint .cells .place.full").count() == 6
    assert outside == []
    assert errors == []
    page.close()


@browser
@pytest.mark.slow
def test_a_folder_opened_from_the_disk_says_what_to_do(chromium, folder):
    page = chromium.new_page()
    page.goto((folder / "index.html").as_uri())
    page.get_by_role("alert").filter(has_text="python -m http.server").first.wait_for()
    page.close()


@browser
def test_a_rectangular_picture_is_painted_on_a_page_of_rectangles(chromium, tmp_path):
    torch.manual_seed(0)
    model = IJEPA(replace(TINY, image_size=(64, 96))).eval()
    build_page(tmp_path, model, random_decoder(model), pictures=10, answered=2, holes=2, engine=STAND_IN)
    index = json.loads((tmp_path / "data/pictures.json").read_text())
    assert index["size"] == [64, 96]
    sheet = np.asarray(Image.open(tmp_path / "data/pictures.webp").convert("RGB"))
    expected = page_pictures((64, 96), 10)[9]
    assert (expected.kind, expected.image.size) == ("photograph", (96, 64))
    assert np.array_equal(sheet[:64, 9 * 96 : 10 * 96], np.asarray(expected.image))
    with serve(tmp_path) as port:
        page = chromium.new_page(viewport=DESK)
        page.goto(f"http://127.0.0.1:{port}/index.html?test&lacks=simd")
        page.wait_for_function("document.documentElement.dataset.phase")
        answered(page)
        shapes = page.evaluate(
            """() => { const first = document.querySelector("#paint .cells .tile:nth-child(2) canvas");
            return ["#paint canvas[role=application]", "#paint .cells .place", "#chain .place"].map((s) => document.querySelector(s).getBoundingClientRect())
              .map((box) => box.width / box.height).concat(first.width / first.height); }"""
        )
        assert shapes == pytest.approx([1.5] * 4, abs=0.02)
        # Outside the hole a drawing is the picture itself.
        mask, images, pixels = page.evaluate(
            "(() => { const r = livePage.store.get('result'); return [r.mask, [...r.images[0]], [...livePage.pictures.pixels(r.picture)]]; })()"
        )
        seen = ~np.kron(np.array([c == "1" for c in mask]).reshape(8, 12), np.ones((8, 8), bool))
        drawn, truth = (np.array(values).reshape(64, 96, 4)[..., :3] for values in (images, pixels))
        assert np.array_equal(drawn[seen], truth[seen])
        assert np.abs(drawn[~seen] - truth[~seen]).mean() > 5
        page.close()


def exported(folder, model, decoder):
    """What the explorer reads of an export and of the runtime, beside the stand-in for the engine; the manifest."""
    for name in ("models", "ort"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "ort" / "files.json").write_text("{}")
    (folder / "models" / "reconstruct.onnx").write_bytes(b"not for an explorer")
    manifest = folder / "models" / "manifest.json"
    known = {"weights_sha256": Weights(model).sha256(), "decoder": {"weights_sha256": decoder_fingerprints(decoder)}}
    manifest.write_text(json.dumps(known | {"graphs": {"reconstruct": {"file": "reconstruct.onnx"}}}))
    return manifest


@browser
def test_an_explorer_of_the_browser_answers_in_an_exported_notebook(chromium, pair, folder, tmp_path, monkeypatch):
    nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
    picture = page_pictures(64, 1)[0].image
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no out/page here or above: run `make page`"):
        PredictionExplorer(*pair, picture, engine="browser")
    with pytest.raises(ValueError, match="leave alternatives out"):
        PredictionExplorer(*pair, picture, engine="browser", alternatives={"other": pair})
    built = tmp_path / "out" / "page"
    shutil.copytree(folder, built)
    exported(built, *pair)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    explorer = PredictionExplorer(*pair, picture, engine="browser", samples=2)
    data, _ = explorer._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"}  # no view of a widget, which would want a kernel
    assert "MB of this output" in data["text/html"]
    assert base64.b64encode(b"not for an explorer").decode() not in data["text/html"]
    monkeypatch.setattr("ijepa_viz.page.explorer_page._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="MB into the notebook, more than 0: export the model smaller"):
        explorer._repr_mimebundle_()
    explorer.close()
    output = nbformat.v4.new_output("execute_result", data, execution_count=1)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("explorer", outputs=[output])])
    body, _ = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(notebook)
    (tmp_path / "notebook.html").write_text(body)
    page = chromium.new_page(viewport=DESK)
    outside, errors = watch(page, None, files=True), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "notebook.html").as_uri())
    frame = page.wait_for_selector("iframe").content_frame()
    frame.wait_for_function("globalThis.model?.engine && !model.get('busy') && model.get('pictures').length === 2")
    before = frame.evaluate("engineCalls.length")
    frame.get_by_test_id("painter").press("ArrowUp")
    frame.get_by_test_id("painter").press(" ")
    frame.wait_for_function(f"engineCalls.length >= {before + 2} && !model.get('busy')")
    high, inside = page.evaluate(
        "(f => [f.clientHeight, f.contentDocument.body.offsetHeight])(document.querySelector('iframe'))"
    )
    assert high == pytest.approx(inside, abs=2)
    assert outside == errors == []
    page.close()


@browser
def test_an_exported_explorer_answers_without_a_kernel(chromium, pair, folder, tmp_path):
    explorer = PredictionExplorer(*pair, page_pictures(64, 1)[0].image, samples=2, seed=3)
    with pytest.raises(FileNotFoundError, match="make page"):
        explorer_page(explorer, tmp_path, "t")
    built = tmp_path / "built"
    shutil.copytree(folder, built)
    manifest = exported(built, *pair)
    manifest.write_text('{"weights_sha256": "of another"}')
    with pytest.raises(ValueError, match="other weights"):
        explorer_page(explorer, built, "t")
    other = json.loads(exported(built, *pair).read_text())
    manifest.write_text(json.dumps(other | {"decoder": {"weights_sha256": ["of another"]}}))
    with pytest.raises(ValueError, match="another decoder"):
        explorer_page(explorer, built, "t")
    for changed in ({"steps": 99}, {"solver": {"name": "sde-dpm++"}}):
        manifest.write_text(json.dumps(other | {"decoder": other["decoder"] | changed}))
        with pytest.raises(ValueError, match=r"samples with another (steps|fresh_noise) than this decoder"):
            explorer_page(explorer, built, "t")
    exported(built, *pair)
    path = tmp_path / "explorer.html"
    path.write_text(explorer_page(explorer, built, "An <explorer>", "words"))
    explorer.close()
    page = chromium.new_page(viewport=DESK)
    outside, errors = watch(page, None, files=True), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    done = "model.engine && !model.get('busy') && model.get('result_seq') === model.get('seq')"
    page.wait_for_function(done)
    stroke(page, (0, 0), (0, 2))
    page.wait_for_function(done)
    last = calls(page)[-1]
    assert (last["source"], last["samples"], last["seed"]) == ("prediction", 2, 3)
    assert last["hidden"] == [i for i, c in enumerate(page.evaluate("model.get('mask')")) if c == "1"]
    assert {0, 1, 2} <= set(last["hidden"])
    assert page.evaluate("model.get('pictures').length") == 2
    assert page.evaluate("model.get('cosines')[1]") == pytest.approx(0.5 + 1 / 128)
    page.locator("label:has-text('decode') select").select_option("other")
    page.wait_for_function(done)
    assert (calls(page)[-1]["source"], calls(page)[-1]["other"]) == ("another", True)
    page.locator("label:has-text('steps') input").fill("2")
    page.locator("label:has-text('steps') input").press("Enter")
    page.wait_for_function(done)
    assert calls(page)[-1]["steps"] == 2
    page.get_by_role("button", name="drawn scene 1").click()
    page.wait_for_function(done)
    assert page.evaluate("model.get('image') === model.get('gallery')[model.get('chosen')].picture")
    assert outside == []
    assert errors == []
    page.close()


def test_the_painter_is_the_widgets_own():
    text = painter_module()
    surface = (HERE.parent / "widgets" / "painter_surface.js").read_text()
    assert surface in text
    assert "export default" not in text


# ---------------------------------------------------------------------------------------------- slow


@browser
@pytest.mark.slow
def test_memory_is_flat_over_200_strokes(visit):
    page = visit()
    session = page.context.new_cdp_session(page)

    def heap():
        for _ in range(3):
            session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"], page.evaluate("document.querySelectorAll('*').length")

    def strokes(count):
        for i in range(count):
            stroke(page, (i % 8, i % 5), (i % 8, i % 5 + 2))
            answered(page)

    strokes(20)
    before, nodes = heap()
    strokes(200)
    after, nodes_after = heap()
    assert nodes_after == nodes
    assert after - before < 8e6, (before, after)  # undo keeps 200 strokes


@browser
@pytest.mark.slow
def test_the_built_page_answers_with_its_own_model(chromium, tmp_path):
    """``make page``, then IJEPA_VIZ_TEST_PAGE=out/page: the whole chain, from the folder and from the single file."""
    built = os.environ.get("IJEPA_VIZ_TEST_PAGE")
    if not built:
        pytest.skip("IJEPA_VIZ_TEST_PAGE is not set: no built page to test")
    assert sum(path.stat().st_size for path in Path(built).rglob("*") if path.is_file()) <= 30e6
    (tmp_path / "page.html").write_text(single_file(Path(built)))
    with serve(Path(built)) as port:
        for address in (f"http://127.0.0.1:{port}/index.html", (tmp_path / "page.html").as_uri()):
            page = chromium.new_page(viewport=DESK)
            outside, errors = watch(page, port, files=True), []
            page.on("pageerror", lambda error: errors.append(str(error)))  # noqa: B023
            page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)  # noqa: B023
            page.goto(f"{address}?test", timeout=120_000)
            page.wait_for_function("document.documentElement.dataset.phase === 'ready'", timeout=120_000)
            page.wait_for_function("livePage.store.get('tokens') && !livePage.store.get('busy')", timeout=120_000)
            previews, answers = [], []
            for i in range(4):
                stroke(page, (i, 7), (i + 1, 7))
                page.wait_for_function("livePage.store.get('tokens') && !livePage.store.get('busy')", timeout=120_000)
                previews.append(state(page, "firstPreview"))
                answers.append(state(page, "took"))
            print(f"{address}: preview {np.median(previews):.0f} ms, six samples {np.median(answers):.0f} ms")
            tokens = page.evaluate(
                "(() => { const t = livePage.store.get('tokens'); return [t.visible.length, t.hidden.length, [...t.cosine]]; })()"
            )
            assert tokens[0] + tokens[1] == 64
            assert all(-1 <= value <= 1 for value in tokens[2])
            assert outside == []
            assert errors == []
            page.close()
