"""``ijepa-viz lab``: open the notebooks in JupyterLab."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command


def _lab(options: argparse.Namespace) -> int:
    notebooks = Path(__file__).resolve().parent.parent.parent / "notebooks"
    first = notebooks / "00_start_here.ipynb"
    if not first.exists():
        raise FileNotFoundError(f"{first} is missing: the notebooks come with a clone of the project.")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebooks}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--no-browser"] if options.no_browser else []
    # Root needs to say so; the server listens on this machine only.
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command += [f"--LabApp.default_url=/lab/tree/{first.name}"]
    return subprocess.call(command)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-browser", action="store_true")


COMMANDS.register("lab")(Command("open the notebooks in JupyterLab", _arguments, _lab))
