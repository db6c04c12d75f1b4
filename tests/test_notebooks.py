from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_notebooks_are_what_their_sources_make():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "build_notebooks.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_stripped(path):
    subprocess.run([sys.executable, "-m", "nbstripout", "--verify", str(path)], check=True)
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs")


# How many pictures each shows, widgets' stills included.
PICTURES = {
    "00_start_here": 4, "01_masks": 7, "02_three_architectures": 3, "03_pretrain": 4, "04_what_the_predictor_knows": 6,
    "05_decoder": 5, "06_jepa_vs_generative": 2, "07_evaluate": 1, "08_full_scale": 3, "09_your_own_data": 2,
}  # fmt: skip
# Half a minute to a minute of training each: run with -m slow.
TRAINING = ("02_", "03_", "05_", "09_")
RUNS = [pytest.param(p, marks=pytest.mark.slow if p.name.startswith(TRAINING) else (), id=p.stem) for p in NOTEBOOKS]


@pytest.fixture(scope="module")
def executed(request):
    """The notebooks that this run asks for, each from top to bottom; two at a time, one thread each, as on two cores."""
    asked = [
        item.callspec.params["path"]
        for item in request.session.items
        if item.path == request.path and "executed" in item.fixturenames
    ]

    def execute(path):
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}})
        try:
            client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
        except CellExecutionError as error:
            return error
        return notebook

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as workers:
        return dict(zip(asked, workers.map(execute, asked), strict=True))


@pytest.mark.parametrize("path", RUNS)
def test_notebooks_run_and_check_themselves(path, executed):
    notebook = executed[path]
    if isinstance(notebook, CellExecutionError):
        raise notebook
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert "All checks passed." in "".join(o.get("text", "") for o in outputs)
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= PICTURES.get(path.stem, 1)
