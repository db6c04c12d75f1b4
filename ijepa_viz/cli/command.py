"""The commands of ``ijepa-viz`` and their registry."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from ijepa_viz.registry import Registry
from ijepa_viz.runtime.progress import Progress


@dataclass(frozen=True)
class Command:
    """One command of ``ijepa-viz``.

    Attributes:
        help: one line.
        add_arguments: adds the options to the parser.
        run: runs the command, returns the exit status. Heavy imports belong in here.
        epilog: further help, built on --help only; it may import slow modules.
        intermixed: options may stand between positionals that can be left out, which argparse fills too early.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    epilog: Callable[[], str] | None = None
    intermixed: bool = False


COMMANDS: Registry[Command] = Registry("command")


def import_libraries() -> None:
    """Import torch and what takes as long, with a word about it: before, a command checks what it can without."""
    with Progress("importing torch"):
        import ijepa_viz.figures
        import ijepa_viz.models  # noqa: F401
