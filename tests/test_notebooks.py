from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from build_gallery import cover, execute, index, page, small
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
        assert [cell["source"] for cell in ours] == [cell["source"] for cell in theirs]


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


# How many pictures each shows, widgets' stills included.
PICTURES = {
    "00_start_here": 4, "01_masks": 7, "02_three_architectures": 4, "03_pretrain": 4, "04_what_the_predictor_knows": 6,
    "05_decoder": 5, "06_jepa_vs_generative": 3, "07_evaluate": 1, "08_full_scale": 3, "09_your_own_data": 2,
}  # fmt: skip
# A minute and more each on a slow machine, of training or of thousands of scenes to draw and read: run with -m slow.
LONG = ("02_", "03_", "05_", "06_", "07_", "09_")
RUNS = [pytest.param(p, marks=pytest.mark.slow if p.name.startswith(LONG) else (), id=p.stem) for p in NOTEBOOKS]


@pytest.fixture(scope="module")
def executed(request):
    """The notebooks that this run asks for, each from top to bottom; one at a time where other tests run beside."""
    asked = [
        item.callspec.params["path"]
        for item in request.session.items
        if item.path == request.path and "executed" in item.fixturenames
    ]

    def attempt(path):
        try:
            return execute(path)
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
    cards = [("a.html", "A <b> title", "A *goal* & more.", small(out.getvalue()), 'a "green" square'),
             ("b.html", "B", "No picture.", None, "")]  # fmt: skip
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
