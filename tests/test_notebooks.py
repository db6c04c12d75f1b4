from __future__ import annotations

import ast
import builtins
import io
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import numpy as np
import pytest
from build_gallery import Card, cover, execute, index, page, small
from build_notebooks import STORED, folded, notebook_of
from build_notebooks import main as build
from jupyter_lab import watch
from nbclient.exceptions import CellExecutionError
from PIL import Image

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_notebooks_are_what_their_sources_make():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "build_notebooks.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_copies_for_colab_install_the_project_first_and_are_otherwise_the_same(tmp_path, capsys):
    assert build(["--colab", "https://git.example/someone/ijepa_viz", str(tmp_path)]) == 0
    for path in NOTEBOOKS:
        ours, theirs = (json.loads(p.read_text())["cells"] for p in (path, tmp_path / path.name))
        first = next(i for i, cell in enumerate(theirs) if cell["cell_type"] == "code")
        installation = "".join(theirs.pop(first)["source"])
        assert "ijepa-viz @ git+https://git.example/someone/ijepa_viz" in installation
        stored = [cell for cell in ours if STORED in cell["metadata"].get("tags", [])]
        assert "has no outputs" in "".join(stored[0]["source"])
        assert [cell["source"] for cell in ours if cell not in stored] == [cell["source"] for cell in theirs]


@pytest.mark.slow
def test_an_installation_from_git_has_all_that_a_notebook_needs(tmp_path):
    """As on Colab: no checkout around, the package alone."""
    where = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(where)]
    subprocess.run([*pip, f"git+file://{ROOT}"], check=True)
    program = tmp_path / "notebook.py"
    source = (ROOT / "notebooks" / "src" / "00_start_here.py").read_text()
    program.write_text(source + "\nprint(ijepa_viz.__file__)\n")
    settings = {**os.environ, "PYTHONPATH": str(where), "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "All checks passed." in done.stdout
    assert str(where) in done.stdout


def test_notebooks_are_stripped():
    subprocess.run([sys.executable, "-m", "nbstripout", "--verify", *map(str, NOTEBOOKS)], check=True)
    for path in NOTEBOOKS:
        assert not any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"]), path


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "src").glob("*.py")), ids=lambda p: p.stem)
def test_no_widget_is_taken_off_the_page_that_a_reader_scrolls_back_to(path):
    assert ".close()" not in path.read_text()


SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))


def test_solutions_become_folded_text():
    cell, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    solution = {"tags": ["solution"]}
    cells = [cell("a = 1"), cell("b = 2", metadata=solution), text("It is *two*.", metadata=solution), cell("c = 3")]
    kept = folded(cells)
    assert [c.cell_type for c in kept] == ["code", "markdown", "code"]
    assert kept[1].source.startswith("<details><summary>Solution")
    assert "```python\nb = 2\n```\n\nIt is *two*.\n\n</details>" in kept[1].source


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_run_all_runs_no_solution_and_needs_none(path):
    """Every name that a remaining cell uses is set in a remaining cell before it; for the body of a function, in any."""
    cells = notebook_of(path).cells
    whole = notebook_of(path, solutions=True).cells
    solutions = [c for c in whole if "solution" in c.metadata.get("tags", []) and c.cell_type == "code"]
    assert solutions, "an exercise has a solution"
    code = [c.source for c in cells if c.cell_type == "code"]
    assert not any(c.source in code for c in solutions)
    known, later = set(dir(builtins)), set()
    for source in code:
        nodes = list(ast.walk(ast.parse(source)))
        known |= {n.asname or n.name.partition(".")[0] for n in nodes if isinstance(n, ast.alias)}
        known |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        known |= {n.arg for n in nodes if isinstance(n, ast.arg)}
        known |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        used = [n for n in nodes if isinstance(n, ast.Name)]
        bodies = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.Lambda)]
        deferred = {id(n) for body in bodies for n in ast.walk(body) if isinstance(n, ast.Name)}
        later |= {n.id for n in used if id(n) in deferred}
        missing = {n.id for n in used if id(n) not in deferred} - known
        assert not missing, f"{missing} are set in a solution only, or later"
    assert later <= known, f"{later - known} are set in a solution only"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_every_question_has_a_folded_answer_and_every_exercise_a_conclusion(path):
    cells = notebook_of(path).cells
    texts = [c.source for c in cells if c.cell_type == "markdown"]
    questions = next(text for text in texts if "## Questions" in text)
    asked, answers = questions.partition("## Questions")[2].split("<details><summary>Answers</summary>")
    answers, exercise = answers.split("</details>")
    numbers = [re.findall(r"^(\d+)\.", part, flags=re.MULTILINE) for part in (asked, answers)]
    assert numbers[0] == numbers[1] != []
    assert "## Exercise" in exercise
    solution = next(text for text in texts if text.startswith("<details><summary>Solution"))
    after = re.split(r"^```$", solution, flags=re.MULTILINE)  # what is said of the result, among and after the code
    assert any(len(re.sub(r"```python[\s\S]*", "", part).replace("</details>", "").strip()) > 40 for part in after[1:])
    assert any(text.startswith("## What to take home") for text in texts)


def test_every_notebook_has_a_plan_for_a_lesson():
    """Goals, 45 minutes, questions with their answers, misconceptions, slides; a timetable that adds up."""
    for path in NOTEBOOKS:
        plan = (ROOT / "docs" / "teaching" / f"{path.stem}.md").read_text()
        assert [h for h in ("## Goals", "## Timing", "## Ask", "## Misconceptions") if h not in plan] == [], path.stem
        timing = plan.partition("## Timing")[2].partition("\n## ")[0]
        assert sum(map(int, re.findall(r"^\| (\d+) \|", timing, flags=re.MULTILINE))) == 45, path.stem
        asked, answered = (plan.partition(f"## {part}\n")[2].partition("\n## ")[0] for part in ("Ask", "Answers"))
        assert re.findall(r"^\d+\.", asked, re.MULTILINE) == re.findall(r"^\d+\.", answered, re.MULTILINE) != []
        assert f"../../notebooks/{path.name}" in plan
        assert "(index.md#slides-and-handouts)" in plan
        assert len(plan.splitlines()) <= 60, "one page"


# Numbers in the prose that no cell of the notebook prints: the paper's, and what a name or a page holds.
ELSEWHERE = {
    "00_start_here": "4.0",  # a license
    "01_masks": "54.2 15.5 20.2 17.6 9.0 22.0 48.5 256 0.05",  # table 6 of the paper; the widget's masks and a slider
    "02_three_architectures": "1000",  # a command that stands beside its number
    "05_decoder": "160 4.0",  # a command that stands beside its number; a license
    "07_evaluate": "72.9 77.5 79.3 81.1 69.4 73.3 77.3 86.7 72.4 0.85",  # tables 1, 2 and 4 of the paper; a question
    "08_full_scale": "300 448 10 4.0",  # the names and files of published models, and a license
    "09_your_own_data": "43 200",  # the model card of wild-tiny
    "10_film_and_cues": "2404.08471 2506.09985",  # the numbers of papers
}
_CONVENTIONS = "95 0.5"  # per cent of an interval; an AUROC of chance
_CODE = re.compile(r"```[\s\S]*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>")
_NUMBER = re.compile(r"(?<![\w.\-/])\d+(?:\.\d+)?(?![\w/])")


def prose_numbers(text):
    """Numbers of a cell's text: with a point, or of two digits and more; none in code, and no numbers of a list."""
    text = re.sub(r"^ *\d+\. ", "", _CODE.sub(" ", text), flags=re.MULTILINE)
    return [found for found in _NUMBER.findall(text) if "." in found or len(found) > 1]


def test_numbers_of_prose_are_found():
    text = "1. With 41 % of 64 patches, `0.3` aside, 8x8 and ViT-H/14 too, 3 rows and 0.85.\n2. No `[1, 22]`."
    assert prose_numbers(text) == ["41", "64", "0.85"]


def unprinted(cells, printed, elsewhere):
    """Numbers of the prose that are neither printed nor known from elsewhere."""
    known = set(re.findall(r"\d+(?:\.\d+)?", printed)) | set(f"{elsewhere} {_CONVENTIONS}".split())
    return [n for c in cells if c.cell_type == "markdown" for n in prose_numbers(c.source) if n not in known]


def test_a_number_that_no_cell_prints_is_found():
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [text("Of 300 scenes 0.85 are right, in 95 % of 17 runs."), code("count = 300")]
    assert unprinted(cells, "accuracy 0.85 in 17 runs", "") == ["300"]
    assert unprinted(cells, "accuracy 0.851 in 170 runs", "300") == ["0.85", "17"]


def test_no_number_is_excused_that_no_text_mentions():
    for name, excused in ELSEWHERE.items():
        cells = notebook_of(ROOT / "notebooks" / "src" / f"{name}.py").cells
        mentioned = {n for c in cells if c.cell_type == "markdown" for n in prose_numbers(c.source)}
        assert set(excused.split()) - mentioned == set(), name


# How many pictures each shows, widgets' stills included.
PICTURES = {
    "00_start_here": 5, "01_masks": 7, "02_three_architectures": 5, "03_pretrain": 5, "04_what_the_predictor_knows": 6,
    "05_decoder": 6, "06_jepa_vs_generative": 3, "07_evaluate": 1, "08_full_scale": 3, "09_your_own_data": 4,
    "10_film_and_cues": 6,
}  # fmt: skip
# A minute and more each on a slow machine, of training or of thousands of scenes to draw and read: run with -m slow.
LONG = ("02_", "03_", "05_", "06_", "07_", "09_", "10_")
RUNS = [pytest.param(p, marks=pytest.mark.slow if p.name.startswith(LONG) else (), id=p.stem) for p in NOTEBOOKS]


@pytest.fixture(scope="module")
def executed(request, tmp_path_factory):
    """The notebooks that this run asks for, each from top to bottom; one at a time where other tests run beside."""
    asked = [
        item.callspec.params["path"]
        for item in request.session.items
        if item.path == request.path and "executed" in item.fixturenames
    ]

    folder = tmp_path_factory.mktemp("with-solutions")

    def attempt(path):
        """The notebook with its solutions as cells that run."""
        whole = folder / path.name
        nbformat.write(notebook_of(ROOT / "notebooks" / "src" / f"{path.stem}.py", solutions=True), whole)
        try:
            return execute(whole)
        except CellExecutionError as error:
            return error

    alone = "PYTEST_XDIST_WORKER" not in os.environ
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1) if alone else 1) as workers:
        return dict(zip(asked, workers.map(attempt, asked), strict=True))


@pytest.mark.parametrize("path", RUNS)
def test_notebooks_run_and_check_themselves(path, executed):
    notebook = executed[path]
    if isinstance(notebook, CellExecutionError):
        raise notebook
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    printed = "".join(o.get("text", "") for o in outputs)
    assert "All checks passed." in printed
    assert max(map(len, printed.splitlines())) <= 100, "JupyterLab breaks a longer line in the middle of a word"
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= PICTURES.get(path.stem, 1)
    assert unprinted(notebook.cells, printed, ELSEWHERE.get(path.stem, "")) == [], "numbers that no cell prints"


@pytest.mark.browser
@pytest.mark.parametrize("path", RUNS)
def test_exported_pages_show_every_picture_offline(path, executed, chromium, tmp_path):
    """The page of the gallery, opened with the network blocked: every picture is drawn and has words."""
    notebook = executed[path]
    if isinstance(notebook, CellExecutionError):
        pytest.skip("it did not run; the test above says why")
    file = tmp_path / "page.html"
    file.write_text(page(notebook))
    view = chromium.new_page(viewport={"width": 1100, "height": 900})
    outside = watch(view, None, files=True)
    wrong = []
    view.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    view.goto(file.as_uri())
    pictures = view.evaluate(
        """() => [...document.images].map((i) => ({ alt: i.alt, width: i.complete ? i.naturalWidth : 0 }))"""
    )
    shown = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= len(shown) >= PICTURES.get(path.stem, 1)
    assert all(picture["width"] > 20 for picture in pictures)
    assert all(len(picture["alt"]) > 20 and "No description" not in picture["alt"] for picture in pictures)
    assert "widget-view" not in file.read_text()
    assert outside == []
    assert wrong == []
    view.close()
    png, alt = cover(notebook)
    with Image.open(io.BytesIO(small(png))) as picture:
        assert min(picture.size) > 100
        assert np.asarray(picture.convert("RGB")).std() > 1, "the cover is blank"
    assert alt


def test_the_first_page_escapes_and_shows_its_pictures(chromium, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    with Image.new("RGB", (40, 40), "green") as image:
        out = io.BytesIO()
        image.save(out, "png")
    cards = [
        Card("a.html", "A <b> title", "A *goal* & more.", small(out.getvalue()), 'a "green" square'),
        Card("b.html", "B", "No picture."),
    ]
    file = tmp_path / "index.html"
    file.write_text(index(cards))
    view = chromium.new_page()
    outside = watch(view, None, files=True)
    view.goto(file.as_uri())
    assert view.locator("li").count() == 2
    assert view.get_by_role("link").first.inner_text() == "A <b> title"
    assert view.locator("li p").first.inner_text() == "A goal & more."
    assert view.locator("img").get_attribute("alt") == 'a "green" square'
    assert Axe().run(view).violations_count == 0
    assert outside == []
    view.close()
