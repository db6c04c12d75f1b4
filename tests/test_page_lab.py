"""The explorer whose model runs in the browser: in JupyterLab with its kernel gone, and in an exported HTML page."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import random_decoder

from decoders import save_decoder
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.page import runtime_files

pytest.importorskip("playwright")
from jupyter_lab import lab, open_notebook, run_all, watch

PAGE = Path(runtime_files.__file__).parent
DESK = {"width": 1400, "height": 1000}

_CELL = """
import numpy as np
import ijepa_viz
from decoders import load_decoder
from ijepa_viz.widgets import PredictionExplorer
picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
explorer = PredictionExplorer(
    ijepa_viz.load_model("model"), load_decoder("model/decoder"), picture, engine="browser", samples=2)
explorer
"""

# The answer to the newest stroke is there.
_ANSWERED = "globalThis.model?.engine && !model.get('busy') && model.get('result_seq') === model.get('seq')"


def stroke(page, frame):
    """Drag over the first row of the explorer in a frame; its patches are hidden and answered by other pictures."""
    frame.wait_for_function(f"{_ANSWERED} && model.get('pictures').length === 2", timeout=60_000)
    before = frame.evaluate("model.get('pictures')")
    painter = frame.get_by_test_id("painter")
    painter.scroll_into_view_if_needed()
    frame.wait_for_function("new Promise((go) => setTimeout(() => go(true), 200))")  # the frame finds its height
    box = painter.bounding_box()
    y = box["y"] + box["height"] / 8
    page.mouse.move(box["x"] + box["width"] / 8, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 5 * box["width"] / 8, y, steps=4)
    page.mouse.up()
    frame.wait_for_function(f"model.get('seq') > 0 && {_ANSWERED}", timeout=60_000)
    assert frame.evaluate("model.get('mask')").startswith("111")
    assert frame.evaluate("model.get('error')") == ""
    pictures = frame.evaluate("model.get('pictures')")
    assert len(pictures) == 2
    assert not set(pictures) & set(before)
    assert all(cosine > -2 for cosine in frame.evaluate("model.get('cosines')")[:3])


@pytest.mark.browser
def test_an_explorer_of_the_browser_answers_in_jupyterlab_and_in_its_export(chromium, model, tmp_path):
    """The real engine with a tiny model: the frame of the output holds all of it, so no kernel and no server is asked."""
    pytest.importorskip("onnxruntime", reason="pip install 'ijepa-viz[page]'")
    nbconvert = pytest.importorskip("nbconvert")
    from ijepa_viz.cli.onnx_export import export_onnx

    runtime = PAGE.parent.parent / "out" / "page" / "ort"
    if not (runtime / runtime_files.FILES).is_file():
        pytest.skip("onnxruntime-web is not there: `make page` fetches it")
    work = tmp_path / "work"
    built = work / "out" / "page"
    shutil.copytree(PAGE, built, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    save_folder(model, work / "model")
    save_decoder(random_decoder(model), work / "model" / "decoder")
    export_onnx(str(work / "model"), built / "models", weights="mixed")
    (built / "ort").symlink_to(runtime)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(_CELL.strip())])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = work / "explorer.ipynb"
    nbformat.write(notebook, path)
    with lab(work, tmp_path / "private") as port:
        page = chromium.new_page(viewport=DESK)
        outside = watch(page, port)
        open_notebook(page, port, path.name)
        run_all(page)
        frame = page.wait_for_selector(".jp-OutputArea iframe[title=PredictionExplorer]").content_frame()
        frame.wait_for_function(_ANSWERED, timeout=60_000)
        page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        stroke(page, frame)
        assert outside == []
        page.close()
    body, _ = nbconvert.HTMLExporter().from_filename(path)
    alone = tmp_path / "explorer.html"
    alone.write_text(body)
    page = chromium.new_page(viewport=DESK)
    outside, errors = watch(page, None, files=True), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(alone.as_uri())
    stroke(page, page.wait_for_selector("iframe[title=PredictionExplorer]").content_frame())
    # The template of nbconvert asks for MathJax and require.js, which are no part of the explorer.
    assert [url for url in outside if "cloudflare" not in url and "jsdelivr" not in url] == []
    assert errors == []
    page.close()
