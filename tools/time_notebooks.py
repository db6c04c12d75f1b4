"""How long every notebook takes, run alone from top to bottom: ``python tools/time_notebooks.py [NN ...]``.

Wall-clock seconds with the machine's own number of threads, the kernel's start included, and below each notebook its
slowest cells. Run it with nothing beside; the first run after an installation also compiles what is imported.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from build_gallery import NOTEBOOKS
from nbclient import NotebookClient

_GOAL, _GOAL_OF_ALL = 60, 600


def time_one(path: Path) -> tuple[float, list[tuple[float, str]]]:
    """Seconds of the whole, and (seconds, first line) of every code cell, the slowest first.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    began: dict[int, float] = {}
    cells: list[tuple[float, str]] = []

    def started(cell, cell_index):
        began[cell_index] = time.perf_counter()

    def done(cell, cell_index, **_):
        lines = [line for line in cell.source.splitlines() if line and not line.startswith(("import", "from", "#"))]
        cells.append((time.perf_counter() - began[cell_index], (lines or [""])[0]))

    client = NotebookClient(
        notebook,
        timeout=600,
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        on_cell_execute=started,
        on_cell_executed=done,
    )
    start = time.perf_counter()
    client.execute()
    return time.perf_counter() - start, sorted(cells, reverse=True)


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Time every notebook.")
    parser.add_argument("only", nargs="*", metavar="NN", help="only notebooks whose name starts so")
    parser.add_argument("--cells", type=int, default=3, help="how many of the slowest cells to name")
    options = parser.parse_args()
    total = 0.0
    for path in NOTEBOOKS:
        if options.only and not path.name.startswith(tuple(options.only)):
            continue
        seconds, cells = time_one(path)
        total += seconds
        print(f"{path.stem:32} {seconds:6.1f} s", flush=True)
        for took, line in cells[: options.cells]:
            print(f"    {took:6.1f} s  {line[:90]}", flush=True)
    print(f"all {total:.0f} s; the goals are {_GOAL} s each and {_GOAL_OF_ALL} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
