"""The command line that ``python -m train`` and ``python -m decoders`` share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ijepa_viz.runtime import config_files


class Runnable(Protocol):
    """A training that can be run for a while."""

    def run(self, max_minutes: float | None = None) -> Path:
        """Train; returns the last checkpoint."""
        ...


def training_parser(name: str, description: str) -> argparse.ArgumentParser:
    """``--fname CONFIG [KEY=VALUE ...] [--devices DEVICE ...] [--max-minutes M] [--resume]``."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--fname", required=True, help="the run's YAML config")
    parser.add_argument(
        "--devices", nargs="+", metavar="DEVICE", help="one process each: cuda:0 cuda:1, or cpu once a process"
    )
    parser.add_argument("--max-minutes", type=float, help="save and stop after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as optimization.lr=1e-3")
    return parser


def parse_training(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a :func:`training_parser`; ``devices`` is a list, empty for this process alone."""
    options = parser.parse_intermixed_args(arguments)
    # --devices takes all that follows, settings too.
    given = options.devices or []
    options.devices = [word for word in given if "=" not in word]
    options.overrides += [word for word in given if "=" in word]
    return options


def run_training(
    name: str,
    description: str,
    kind: type,
    build: Callable[[Any, bool], Runnable],
    arguments: list[str] | None,
) -> int:
    """Parse the command line, build the training and run it, in this process or once a device.

    Returns the exit status: 1 with the cause on stderr for errors that a user can mend.
    """
    options = parse_training(training_parser(name, description), arguments)

    def work() -> None:
        config: Any = config_files.load(kind, options.fname, options.overrides)
        print(f"The model is in {build(config, options.resume).run(options.max_minutes)}")

    return run_on_devices(name, options) if options.devices else attempt(name, work)


def run_on_devices(name: str, options: argparse.Namespace, *further: str) -> int:
    """Run the same command once a device, with ``further`` options; returns the exit status."""
    from ijepa_viz.runtime.launcher import launch

    command = [sys.executable, "-m", name, "--fname", options.fname, *options.overrides, *further]
    command += ["--resume"] if options.resume else []
    command += ["--max-minutes", str(options.max_minutes)] if options.max_minutes is not None else []
    status = 0

    def work() -> None:
        nonlocal status
        status = launch(options.devices, command)

    return attempt(name, work) or status


def attempt(name: str, work: Callable[[], None]) -> int:
    """Call ``work``; returns the exit status, 1 with the cause on stderr for errors that a user can mend."""
    try:
        work()
        leave_process_group()
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def leave_process_group() -> None:
    """Destroy torch's process group, where there is one: torch asks for it before the interpreter shuts down."""
    torch = sys.modules.get("torch")  # not imported by the process that starts the others
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def leave(status: int) -> NoReturn:
    """End this process.

    One of several processes skips the interpreter's shutdown, in which torch's threads can deadlock (pytorch issue
    190489) and keep the launcher waiting.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
