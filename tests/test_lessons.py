"""Slides, handouts and the gallery: what a lesson is taught from fits its page, and loads nothing."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import build_gallery
import nbformat
import pytest
from build_gallery import Card, index, page, without_widgets
from build_handouts import FIGURES, find_browser, handout, plan_section, print_pdf, questions_of
from build_notebooks import STORED, notebook_of, slide_types
from build_slides import blocks, deck, packed, plan_of, slides
from jupyter_lab import watch
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
PHONE = {"width": 390, "height": 844}


def picture(width=1300, height=900):
    out = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(out, "png")
    return base64.b64encode(out.getvalue()).decode()


def shown(width=1300, height=900):
    """An output with a picture, as a figure of ours."""
    content = picture(width, height)
    html = f'<img style="max-width: 100%" alt="a green picture" src="data:image/png;base64,{content}">'
    return new_output("display_data", data={"text/html": html, "image/png": content})


def lesson(*cells):
    """A notebook that begins as ours do."""
    first = new_markdown_cell("# A lesson\n\n**Goal.** Learn. **Time.** One minute. **You need** nothing.")
    made = new_notebook(cells=[first, *cells])
    for cell, kind in zip(made.cells, slide_types([*made.cells, new_code_cell("1")]), strict=False):
        cell.metadata["slideshow"] = {"slide_type": kind}
    return made


WIDGET = "application/vnd.jupyter.widget-view+json"
LONG = lesson(
    new_code_cell("import this"),
    new_markdown_cell("## Many words\n\n" + "\n\n".join(" ".join(["word"] * 60) for _ in range(4))),
    new_code_cell("draw()", outputs=[shown(), shown(2000, 300), shown(300, 1800)]),
    new_code_cell("say()", outputs=[new_output("stream", name="stdout", text="\n".join("x" * 100 for _ in range(30)))]),
    new_markdown_cell(
        "## Questions\n\n1. Why?\n2. How?\n\n<details><summary>Answers</summary>\n\n1. So.\n2. Thus.\n\n</details>"
    ),
    new_code_cell("# Your code."),
)


# ---------------------------------------------------------------------------------------------------------- slides


def test_every_cell_of_a_notebook_says_what_it_is_in_a_slide_show():
    """A heading begins a slide; imports, empty cells, the check and the line for GitHub are left out."""
    for source in SOURCES:
        cells = notebook_of(source).cells
        kinds = [cell.metadata["slideshow"]["slide_type"] for cell in cells]
        assert set(kinds) == {"slide", "subslide", "skip"}
        assert kinds[0] == "slide"
        assert kinds[-1] == "skip"
        for cell, kind in zip(cells, kinds, strict=True):
            if cell.cell_type == "markdown" and cell.source.startswith("## "):
                assert kind == "slide"
            if cell.source.startswith("# Your code.") or STORED in cell.metadata.get("tags", []):
                assert kind == "skip"


def test_a_text_is_cut_between_its_blocks():
    text = "One two.\n\n1. first\n2. second\n   goes on\n\n```python\na = 1\n\nb = 2\n```\n\nThe end."
    assert blocks(text) == [
        "One two.",
        "1. first",
        "2. second\n   goes on",
        "```python\na = 1\n\nb = 2\n```",
        "The end.",
    ]
    assert packed(text, 1000) == ["\n\n".join(blocks(text))]
    cut = packed(text, 5)
    assert "\n\n".join(cut) == "\n\n".join(blocks(text))
    assert len(cut) > 2
    assert packed("Long before.\n\nThese:\n\n* one\n* two", 4) == ["Long before.", "These:\n\n* one", "* two"]


def test_a_deck_has_every_answer_on_a_slide_of_its_own_and_for_the_speaker():
    made = deck(LONG, plan="## Timing\n\n45 minutes")
    kinds = [(cell.metadata.slideshow.slide_type, cell.source) for cell in made.cells]
    assert kinds[0][0] == "slide"
    assert kinds[1] == ("notes", "## Timing\n\n45 minutes")
    asked = next(i for i, (_, text) in enumerate(kinds) if text.startswith("## Questions\n"))
    assert "Thus" not in kinds[asked][1]
    assert kinds[asked + 1] == ("notes", "**Answers**\n\n1. So.\n2. Thus.")
    assert kinds[asked + 2][0] == "subslide"
    assert "2. Thus." in kinds[asked + 2][1]
    assert not any("Your code" in text or "import this" in text for _, text in kinds)


_MEASURE = """() => {
  const slide = Reveal.getCurrentSlide();
  const seen = [...slide.querySelectorAll("h1, h2, p, li, pre, img, table")].filter((e) => !e.closest(".notes"));
  const boxes = seen.map((e) => e.getBoundingClientRect());
  const texts = seen.filter((e) => e.matches("p:not(.soft), li, pre") && e.textContent.trim());
  return {
    words: slide.textContent.slice(0, 60), count: seen.length,
    bottom: Math.max(...boxes.map((b) => b.bottom)), right: Math.max(...boxes.map((b) => b.right)),
    top: Math.min(...boxes.map((b) => b.top)), left: Math.min(...boxes.map((b) => b.left)),
    type: Math.min(99, ...texts.map((e) => parseFloat(getComputedStyle(e).fontSize))),
    pictures: seen.filter((e) => e.tagName === "IMG").map((e) => e.getBoundingClientRect()).map((b) => [b.width, b.height]),
  };
}"""


def walk(chromium, file):
    """Measures of every slide at 1280x720, in the order in which a speaker meets them."""
    view = chromium.new_page(viewport={"width": 1280, "height": 720})
    outside, wrong = watch(view, None, files=True), []
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.goto(file.as_uri())
    view.wait_for_function("window.Reveal && Reveal.isReady()")
    found = []
    while True:
        found.append(view.evaluate(_MEASURE))
        if view.evaluate("Reveal.isLastSlide()"):
            break
        view.keyboard.press("Space")
    total = view.evaluate("Reveal.getTotalSlides()")
    view.close()
    assert outside == []
    assert wrong == []
    assert len(found) == total
    return found


def check_slides(found):
    for slide in found:
        assert slide["count"] > 0, "an empty slide"
        assert slide["top"] >= 0, slide
        assert slide["left"] >= 0, slide
        assert slide["bottom"] <= 720, slide
        assert slide["right"] <= 1280, slide
        assert slide["type"] >= 15, slide


@pytest.mark.browser
def test_slides_fit_the_screen_whatever_is_on_them(chromium, tmp_path):
    file = tmp_path / "deck.html"
    file.write_text(slides(LONG, "## Timing\n\n45 minutes"))
    found = walk(chromium, file)
    check_slides(found)
    pictures = [size for slide in found for size in slide["pictures"]]
    assert len(pictures) == 3
    assert all(max(size) > 400 for size in pictures), "a picture too small to be seen"


@pytest.mark.browser
def test_the_texts_of_every_lesson_fit_their_slides(chromium, tmp_path):
    """The notebooks as they are committed, without results, one after the other in one show."""
    every = new_notebook(cells=[cell for source in SOURCES for cell in notebook_of(source).cells])
    file = tmp_path / "all.html"
    file.write_text(slides(every, plan_of(SOURCES[0].stem)))
    found = walk(chromium, file)
    assert len(found) > 10 * len(SOURCES)
    check_slides(found)


# -------------------------------------------------------------------------------------------------------- handouts


def test_every_notebook_has_a_handout_with_its_questions():
    assert list(FIGURES) == [source.stem for source in SOURCES]
    for source in SOURCES:
        assert len(questions_of(source.stem)) >= 3
        assert all(question.endswith(("?", ".", ")")) for question in questions_of(source.stem)), source.stem
        assert plan_section(source.stem, "To hand in")


def check_handout(name, tmp_path):
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chrome or Chromium is installed")
    file = tmp_path / f"{name}.html"
    file.write_text(handout(name))
    printed = print_pdf(browser, file).read_bytes()
    assert len(re.findall(rb"/Type\s*/Page(?![s\w])", printed)) == 1, "more than one page"
    assert b"/MediaBox [0 0 594.9" in printed, "not A4"
    return file


@pytest.mark.browser
@pytest.mark.parametrize("name", ["01_masks", "03_pretrain"])
def test_a_handout_is_one_page_of_a4_with_room_for_answers(name, chromium, tmp_path):
    file = check_handout(name, tmp_path)
    view = chromium.new_page(viewport={"width": 703, "height": 1024})  # the page's inner 186 x 271 mm
    outside = watch(view, None, files=True)
    view.emulate_media(media="print")
    view.goto(file.as_uri())
    room = view.evaluate("[...document.querySelectorAll('.room')].map((r) => r.offsetHeight)")
    assert len(room) == len(questions_of(name))
    assert min(room) > 70, "two lines to write on at least"
    assert view.evaluate("document.images[0].naturalWidth") > 900
    assert len(view.get_by_role("img").get_attribute("alt")) > 20
    for link in view.locator("footer a").all():
        address = link.get_attribute("href")
        assert address.startswith("https://arxiv.org") or (ROOT / "out" / "handouts" / address).resolve().is_file()
    view.emulate_media(media="screen")
    view.set_viewport_size(PHONE)
    assert view.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert outside == []
    view.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_handout_is_one_page(name, tmp_path):
    check_handout(name, tmp_path)


# --------------------------------------------------------------------------------------------------------- gallery


def small_gallery(monkeypatch, tmp_path, cells):
    """The exit status and the folder of a gallery of these notebooks, name -> cell of code."""
    paths = [tmp_path / f"{name}.ipynb" for name in cells]
    for path, cell in zip(paths, cells.values(), strict=True):
        nbformat.write(lesson(new_code_cell("print('begun')"), cell), path)
    monkeypatch.setattr(build_gallery, "NOTEBOOKS", paths)
    monkeypatch.setattr(build_gallery, "demo_card", lambda out, name, title: Card(f"{name}.html", title, "paint"))
    monkeypatch.setattr(build_gallery, "cover", lambda notebook: (base64.b64decode(picture(40, 40)), "green"))
    return build_gallery.main([str(tmp_path / "gallery"), "--timeout", "3"]), tmp_path / "gallery"


def check_gallery(out):
    first = (out / "index.html").read_text()
    assert "a cell failed: ZeroDivisionError: division by zero" in first
    assert "a cell took longer than 3 s" in first
    assert first.count("Did not run to its end") == 2
    assert 'href="02_runs.html"' in first
    assert 'href="slides/02_runs.html"' in first
    assert "This notebook did not run to its end" in (out / "01_slow.html").read_text()
    assert "did not run" not in (out / "02_runs.html").read_text()


CELLS = {
    "00_fails": new_code_cell("1 / 0"),
    "01_slow": new_code_cell("import time\ntime.sleep(60)"),
    "02_runs": new_code_cell("print('done')"),
}


def test_a_failing_and_a_slow_notebook_do_not_lose_the_gallery(monkeypatch, tmp_path):
    def run(notebook, folder, timeout):
        source = notebook.cells[-1].source
        if source == "1 / 0":
            raise CellExecutionError("Traceback", "ZeroDivisionError", "division by zero")
        if "sleep" in source:
            raise CellTimeoutError(f"after {timeout} s")

    monkeypatch.setattr(build_gallery, "_run", run)
    status, out = small_gallery(monkeypatch, tmp_path, CELLS)
    assert status == 1
    check_gallery(out)


@pytest.mark.slow
def test_a_gallery_of_a_failing_and_a_slow_kernel(monkeypatch, tmp_path):
    status, out = small_gallery(monkeypatch, tmp_path, CELLS)
    assert status == 1
    check_gallery(out)
    assert "begun" in (out / "00_fails.html").read_text()
    assert small_gallery(monkeypatch, tmp_path, {"02_runs": CELLS["02_runs"]})[0] == 0


def test_a_page_to_paint_on_begins_with_a_hole_that_it_answers(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("ijepa_viz.widgets.offline.precomputed", lambda explorer, holes: asked.extend(holes) or [])
    card = build_gallery.demo_card(tmp_path, "cats-tiny", "Paint")
    text = (tmp_path / card.file).read_text()
    state = json.loads(re.search(r'id="state">(.*?)</script>', text, re.DOTALL)[1])
    assert len(asked) == 36
    assert state["mask"] in ["".join("01"[int(hidden)] for hidden in hole.ravel()) for hole in asked]
    assert "CC BY-SA 4.0" in text, "the control is predicted from a head of Oxford-IIIT Pet"
    assert '<a href="index.html">' in text


def test_a_notebook_that_stops_is_named_and_the_others_are_kept(monkeypatch, tmp_path, capsys):
    pytest.importorskip("mkdocs", reason="mkdocs is installed by make docs")
    import build_docs

    def run(notebook, folder, timeout):
        if notebook.cells[-1].source == "1 / 0":
            raise CellExecutionError("Traceback", "ZeroDivisionError", "division by zero")

    (tmp_path / "notebooks").mkdir()
    for name in ("00_fails", "02_runs"):
        nbformat.write(lesson(CELLS[name]), tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.setattr(build_gallery, "_run", run)
    monkeypatch.setattr(build_docs, "ROOT", tmp_path)
    monkeypatch.setattr(build_docs, "EXECUTED", tmp_path / "executed")
    assert build_docs.main(["--only-execute"]) == 1
    printed = capsys.readouterr().out
    assert "stopped: a cell failed: ZeroDivisionError: division by zero" in printed
    assert "1 of 2 notebooks did not run to their end" in printed
    assert [path.name for path in (tmp_path / "executed").iterdir()] == ["02_runs.ipynb"]


def test_an_exported_widget_is_a_picture_that_says_so_and_a_progress_bar_is_gone():
    live = shown()
    live.data[WIDGET] = {"model_id": "1"}
    bar = new_output("display_data", data={"text/plain": "50%|###", WIDGET: {"model_id": "2"}})
    stored = new_markdown_cell("*On GitHub?*", metadata={"tags": [STORED]})
    still = without_widgets(lesson(stored, new_code_cell("w", outputs=[bar, live])))
    assert [cell.cell_type for cell in still.cells] == ["markdown", "code"]
    (kept,) = still.cells[1].outputs
    assert WIDGET not in kept.data
    assert "A still" in kept.data["text/html"]
    assert WIDGET in live.data, "the notebook itself is left as it was"
    assert "On GitHub" not in page(lesson(stored))


@pytest.mark.browser
def test_no_page_of_the_gallery_is_wider_than_a_phone(chromium, tmp_path):
    table = "| " + " | ".join(f"column {i}" for i in range(9)) + " |\n" + "|---" * 9 + "|\n" + "| 12.34 " * 9 + "|"
    wide = lesson(
        new_markdown_cell(f"{table}\n\n`{'a_long_name' * 9}`"),
        new_code_cell("x = 1  # " + "long " * 40, outputs=[shown(), new_output("stream", text="y" * 300)]),
    )
    cards = [Card("a.html", "A title", "words", base64.b64decode(picture()), "alt", (("slides/a.html", "slides"),))]
    for name, text in {"page": page(wide, "a cell failed: " + "Z" * 90), "index": index(cards)}.items():
        view = chromium.new_page(viewport=PHONE)
        file = tmp_path / f"{name}.html"
        file.write_text(text)
        view.goto(file.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
        view.close()
