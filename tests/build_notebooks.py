"""Write notebooks/*.ipynb from notebooks/src/*.py, stripped; ``--check`` only tells whether they agree.

Cell ids are the cells' numbers, so that building twice gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).parent.parent / "notebooks"


def built(source: Path) -> str:
    """The notebook of a source file as its JSON text."""
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = str(number)
    notebook.metadata.pop("jupytext", None)
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def main() -> int:
    """Build, or with ``--check`` compare; returns the exit status."""
    status = 0
    for source in sorted((ROOT / "src").glob("*.py")):
        target = ROOT / f"{source.stem}.ipynb"
        text = built(source)
        if "--check" in sys.argv:
            if not target.exists() or target.read_text() != text:
                print(f"{target} is not what {source} makes: run `make notebooks`.")
                status = 1
        else:
            target.write_text(text)
            print(target)
    return status


if __name__ == "__main__":
    sys.exit(main())
