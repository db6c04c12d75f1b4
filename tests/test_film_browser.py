"""FilmExplorer in JupyterLab: a real kernel answers a cue, a film and a number of seen frames, by keyboard."""

from __future__ import annotations

import nbformat
import pytest
from jupyter_lab import lab, open_notebook, run_all, watch

_CODE = """
import torch
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.widgets import FilmExplorer
sizes = {"width": 32, "depth": 1, "heads": 2, "predictor_width": 32, "predictor_depth": 1, "predictor_heads": 2}
config = ModelConfig(image_size=32, patch_size=8, frames=8, tubelet=2, cue_tokens=8, cue_vocabulary=57, **sizes)
FilmExplorer(IJEPA(config).eval())
"""


@pytest.mark.slow
def test_the_kernel_answers_what_is_chosen_on_the_page(chromium, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(_CODE.strip())]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "films.ipynb")
    with lab(folder, tmp_path / "private") as port:
        page = chromium.new_page(viewport={"width": 1200, "height": 900})
        outside = watch(page, port)
        open_notebook(page, port, "films.ipynb")
        run_all(page)
        page.wait_for_selector("[data-testid=film-status]", timeout=120_000)

        def answered(number: int) -> None:
            page.wait_for_function(
                f"() => document.querySelector('[data-testid=film-status]').dataset.shown === '{number}'",
                timeout=60_000,
            )

        answered(-1)  # what the constructor showed
        before = page.get_by_test_id("film-status").inner_text()
        page.get_by_label("cue A").fill("the brown dog stops")
        page.keyboard.press("Enter")
        answered(1)
        assert "the brown dog stops: cosine" in page.get_by_test_id("film-status").inner_text() != before
        assert page.get_by_role("group", name="A: the brown dog stops").count() == 1
        page.get_by_label("cue A").fill("the brown dgo stops")
        page.keyboard.press("Enter")
        answered(2)
        assert "Did you mean 'dog'" in page.get_by_role("alert").first.inner_text()
        assert outside == []
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.close()
