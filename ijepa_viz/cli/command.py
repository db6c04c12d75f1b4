"""What a command is, and the registry of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from ijepa_viz.registry import Registry


@dataclass(frozen=True)
class Command:
    """One command of ``ijepa-viz``.

    Attributes:
        help: one line.
        add_arguments: fills its parser.
        run: does it, returns the exit status. Heavy imports belong in here.
        epilog: more help, made when it is asked for; it may import what ``help`` must not wait for.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    epilog: Callable[[], str] | None = None


COMMANDS: Registry[Command] = Registry("command")
