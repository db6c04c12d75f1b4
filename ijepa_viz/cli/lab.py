"""``ijepa-viz lab``: open the notebooks in JupyterLab."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command
from ijepa_viz.runtime.outputs import check_output_folder

_FIRST = "00_start_here.ipynb"


def cloned_notebooks() -> Path | None:
    """``notebooks/`` of the clone that the package is run from; None for an installed package."""
    root = Path(__file__).resolve().parent.parent.parent
    found = root / "notebooks"
    return found if (root / "pyproject.toml").is_file() and (found / _FIRST).is_file() else None


def installed_notebooks() -> Path | None:
    """The folder of the notebooks that an installed package brought along."""
    # Installed under a name of their own (pyproject.toml): "notebooks" may be any other package's.
    spec = importlib.util.find_spec("ijepa_viz_notebooks")
    places = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    return next((place for place in places if (place / _FIRST).is_file()), None)


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy the notebooks into ``folder``; existing files are kept.

    Returns:
        the files that were written.

    Raises:
        FileNotFoundError: an installation without its notebooks.
    """
    source = cloned_notebooks() or installed_notebooks()
    if source is None or not (source / _FIRST).is_file():
        raise FileNotFoundError("This installation has no notebooks: install the project anew.")
    written = []
    for notebook in sorted(source.glob("*.ipynb")):
        target = folder / notebook.name
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            target.write_bytes(notebook.read_bytes())
            written.append(target)
    return written


def _lab(options: argparse.Namespace) -> int:
    folder = cloned_notebooks() if options.folder is None else None
    if folder is None:
        folder = (options.folder or Path()).resolve()
        check_output_folder(folder)
        print(f"{len(copy_notebooks(folder))} notebooks copied into {folder}; existing files are kept.", flush=True)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--no-browser"] if options.no_browser else []
    # Jupyter refuses root without this flag; the server listens on localhost only.
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command += [f"--LabApp.default_url=/lab/tree/{_FIRST}"]
    return subprocess.call(command)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    parser.add_argument(
        "--folder",
        type=Path,
        help="copy the notebooks there first (default: the notebooks of a clone, else the current folder)",
    )


COMMANDS.register("lab")(Command("open the notebooks in JupyterLab", _arguments, _lab))
