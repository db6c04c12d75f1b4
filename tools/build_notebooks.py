"""Write notebooks/*.ipynb from notebooks/src/*.py, stripped; ``--check`` only tells whether they agree.

``--colab ADDRESS FOLDER`` writes copies for Google Colab instead, which install the project from the git repository
at ADDRESS first. Cell ids are the cells' numbers, so that building twice gives the same bytes. Cells tagged
``solution`` become folded text: *Run All* runs none of them, and a reader opens them after trying. The tests run them.
Every cell says what it is in a slide show, so that ``jupyter nbconvert --to slides`` works; ``tools/build_slides.py``
makes decks that fit the screen and need no network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).parent.parent / "notebooks"

# Colab brings torch and ipywidgets, and shows other packages' widgets only when asked to.
COLAB = """# On Google Colab: install the project, and allow its widgets.
%pip install --quiet "ijepa-viz @ git+{address}" anywidget
from google.colab import output

output.enable_custom_widget_manager()"""


SOLUTION = "solution"
STORED = "stored"  # the tag of the cell that says where outputs are, for those who read the file without running it
_STORED = (
    "*On GitHub? This file has no outputs. [Its main figure](images/{name}.png); `make docs` writes a page with all of "
    "them, out/docs/tutorials/{name}.html.*"
)


def notebook_of(source: Path, solutions: bool = False) -> nbformat.NotebookNode:
    """The notebook of a source file.

    Args:
        solutions: keep solutions as cells that run, instead of folding them.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata.pop("jupytext", None)
    if not solutions:
        notebook.cells = folded(notebook.cells)
        place = nbformat.v4.new_markdown_cell(_STORED.format(name=source.stem), metadata={"tags": [STORED]})
        notebook.cells.insert(1, place)
    for cell, kind in zip(notebook.cells, slide_types(notebook.cells), strict=True):
        cell.metadata["slideshow"] = {"slide_type": kind}
    return notebook


def slide_types(cells: list[nbformat.NotebookNode]) -> list[str]:
    """What each cell is in a slide show: a heading begins a slide, other cells lie below it.

    Left out are the imports, the cells of an exercise that wait for the reader's code, the notebook's own check, and
    where its outputs are.
    """
    code = [i for i, cell in enumerate(cells) if cell.cell_type == "code"]
    kinds = []
    for i, cell in enumerate(cells):
        if STORED in cell.metadata.get("tags", []):
            kinds.append("skip")
        elif cell.cell_type == "markdown":
            kinds.append("slide" if cell.source.startswith(("# ", "## ")) else "subslide")
        elif i in (code[0], code[-1]) or not _statements(cell.source):
            kinds.append("skip")
        else:
            kinds.append("subslide")
    return kinds


def _statements(source: str) -> str:
    """A cell's code without its comments and empty lines."""
    return "".join(line for line in source.splitlines() if line.strip() and not line.startswith("#"))


def folded(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Each run of cells tagged ``solution`` as one cell of text, with its code to copy, below "Solution"."""
    kept: list[nbformat.NotebookNode] = []
    inside: list[str] = []
    for cell in [*cells, None]:
        if cell is not None and SOLUTION in cell.metadata.get("tags", []):
            inside.append(f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source)
            continue
        if inside:
            summary = "<details><summary>Solution: copy it into a cell to run it</summary>"
            text = "\n\n".join([summary, *inside, "</details>"])
            kept.append(nbformat.v4.new_markdown_cell(text, metadata={"tags": [SOLUTION]}))
            inside = []
        if cell is not None:
            kept.append(cell)
    return kept


def written(notebook: nbformat.NotebookNode) -> str:
    """A notebook as its JSON text."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = str(number)
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def for_colab(source: Path, address: str) -> nbformat.NotebookNode:
    """The notebook of a source file with the installation in front of its first cell of code."""
    notebook = notebook_of(source)
    notebook.cells = [cell for cell in notebook.cells if STORED not in cell.metadata.get("tags", [])]
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, nbformat.v4.new_code_cell(COLAB.format(address=address)))
    return notebook


def main(arguments: list[str] | None = None) -> int:
    """Build, or with ``--check`` compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--colab", nargs=2, metavar=("ADDRESS", "FOLDER"))
    options = parser.parse_args(arguments)
    folder = Path(options.colab[1]) if options.colab else ROOT
    folder.mkdir(parents=True, exist_ok=True)
    status = 0
    for source in sorted((ROOT / "src").glob("*.py")):
        target = folder / f"{source.stem}.ipynb"
        text = written(for_colab(source, options.colab[0]) if options.colab else notebook_of(source))
        if not options.check:
            target.write_text(text, encoding="utf-8")
            print(target)
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            print(f"{target} is not what {source} makes: run `make notebooks`.")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
