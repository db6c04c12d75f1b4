"""The command line that ``python -m train`` and ``python -m decoders`` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ijepa_viz import strict_config


class Runnable(Protocol):
    """A training that can be run for a while."""

    def run(self, max_minutes: float | None = None) -> Path:
        """Train; returns the last checkpoint."""
        ...


def training_parser(name: str, description: str) -> argparse.ArgumentParser:
    """``--fname CONFIG [KEY=VALUE ...] [--max-minutes M] [--resume]``."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--fname", required=True, help="the run's YAML config")
    parser.add_argument("--max-minutes", type=float, help="save and stop after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as optimization.lr=1e-3")
    return parser


def run_training(
    name: str,
    description: str,
    kind: type,
    build: Callable[[Any, bool], Runnable],
    arguments: list[str] | None,
) -> int:
    """Parse, build, and run.

    Returns the exit status: 1 with the cause on stderr for anything a user can mend.
    """
    options = training_parser(name, description).parse_intermixed_args(arguments)

    def work() -> None:
        config: Any = strict_config.load(kind, options.fname, options.overrides)
        print(f"The model is in {build(config, options.resume).run(options.max_minutes)}")

    return attempt(name, work)


def attempt(name: str, work: Callable[[], None]) -> int:
    """Do it; returns the exit status, 1 with the cause on stderr for anything a user can mend."""
    try:
        work()
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
