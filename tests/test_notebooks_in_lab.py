"""Every notebook in JupyterLab, in a real Chromium, with a real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright")
from jupyter_lab import open_notebook, run_all, watch
from widgets_in_lab import notebooks_in_lab

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def one_lab(chromium, tmp_path_factory):
    """A JupyterLab for all notebooks: its port and folder."""
    with notebooks_in_lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


# What Chromium and JupyterLab say by themselves, whatever the notebook.
_NOT_OURS = ("net::ERR_FAILED", "status of 404")
_STATE = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.toJSON().cells;
  const outputs = cells.flatMap((cell) => cell.outputs || []);
  return {
    failed: outputs.filter((o) => o.output_type === 'error').map((o) => o.evalue),
    checked: outputs.some((o) => JSON.stringify(o.text || '').includes('All checks passed.')),
    // Where widgets stand: cells far from what is looked at are not on the page.
    widgets: cells.flatMap((cell, i) =>
      (cell.outputs || []).some((o) => o.data && o.data['application/vnd.jupyter.widget-view+json']) ? [i] : []),
  };
}"""


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_notebook_runs_in_jupyterlab(chromium, one_lab, path):
    """Run all: no error, no request out, nothing on the console, and each widget is on the page and not a text."""
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    port, _ = one_lab
    outside = watch(page, port)
    said = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    open_notebook(page, port, path.name)
    said.clear()  # of JupyterLab's own start
    run_all(page)
    page.wait_for_function(f"() => {{ const s = ({_STATE})(); return s.checked || s.failed.length; }}", timeout=900_000)
    state = page.evaluate(_STATE)
    assert state["failed"] == []
    assert state["checked"]
    for place in state["widgets"]:
        page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", place)
        cell = f"window.jupyterapp.shell.currentWidget.content.widgets[{place}].node"
        page.wait_for_function(f"() => {cell}.isConnected && {cell}.querySelector('.ijv')")
    assert bool(state["widgets"]) == ("ijepa_viz.widgets" in path.read_text())
    assert page.get_by_text("Error displaying widget").count() == 0
    assert outside == []
    assert [line for line in said if not any(known in line for known in _NOT_OURS)] == []
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
