"""What all command lines share: a parser that suggests the nearest option, and the options of a training."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.device import add_device_argument
from ijepa_viz.runtime.files import cache_hint


class Runnable(Protocol):
    """A training that can be run for a while."""

    def run(self, max_minutes: float | None = None) -> Path:
        """Train; returns the last checkpoint."""
        ...


class SuggestingParser(argparse.ArgumentParser):
    """An argparse parser whose errors name the nearest option, command or other choice."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but an unknown option is refused first: a missing one is often that one, mistyped."""
        return super().parse_known_args(self._known(args), namespace)

    def parse_known_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, with unknown options refused first: not every version of it calls the method above."""
        return super().parse_known_intermixed_args(self._known(args), namespace)

    def _known(self, args: Any) -> list[str]:
        args = list(sys.argv[1:] if args is None else args)
        for word in args:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break  # what follows is no option, or another parser's
            if re.match(r"--?[A-Za-z]", word) and not self._knows(word.partition("=")[0]):
                self.error(f"unrecognized option {word.partition('=')[0]}.{self._suggestion(word)}")
        return args

    def _knows(self, name: str) -> bool:
        known = self._option_string_actions
        return any(option == name or (name.startswith("--") and option.startswith(name)) for option in known) or (
            not name.startswith("--") and name[:2] in known
        )

    def _suggestion(self, word: str) -> str:
        name, _, value = word.lstrip("-").partition("=")
        if "." in name and any(action.metavar == "KEY=VALUE" for action in self._actions):
            return f" A setting is given without dashes: {name}={value or 'VALUE'}"
        for action in self._get_positional_actions():
            if str(action.metavar or action.dest).lower() == name.lower():
                return f" {action.metavar or action.dest} is given without --{name}."
        near = difflib.get_close_matches(f"--{name}", self._option_string_actions, n=1)
        return f" Did you mean {near[0]}?" if near else f" {self.prog} --help lists the options."

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            near = difflib.get_close_matches(str(value), names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise argparse.ArgumentError(action, f"there is no {value!r}; there are {', '.join(names)}.{hint}")


def print_anything() -> None:
    """Let stdout escape characters that its encoding lacks (a C locale, a Windows code page) instead of raising."""
    # stderr does so by itself. Where stdout is no file (a test, a notebook) there is nothing to configure.
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


# Options of every training, under the names that ijepa-viz's commands give them, and the settings that they stand for.
SETTINGS = {"dtype": "run.precision", "batch": "optimization.batch_size", "log_with": "run.log_with"}


def training_parser(name: str, description: str) -> SuggestingParser:
    """``--fname CONFIG [KEY=VALUE ...] [--device DEVICE] [--dtype D] [--batch N] [--resume | --resume-anyway] ...``."""
    print_anything()  # before --help is printed
    parser = SuggestingParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--fname", required=True, help="the run's YAML config")
    parser.add_argument(
        "--devices", nargs="+", metavar="DEVICE", help="one process each: cuda:0 cuda:1, or cpu once a process"
    )
    add_device_argument(parser)
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16", "auto"), help=f"number format of the computation ({SETTINGS['dtype']})"
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help=f"pictures of an optimizer step, over all devices ({SETTINGS['batch']})"
    )
    parser.add_argument(
        "--log-with",
        metavar="NAMES",
        help=f"trackers beside log.csv: tensorboard, wandb, ..., none or auto ({SETTINGS['log_with']})",
    )
    parser.add_argument("--max-minutes", type=float, help="save and stop after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--resume-anyway", action="store_true", help="the same with settings or data that the run did not have before"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as optimization.lr=1e-3")
    return parser


def parse_training(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a :func:`training_parser`; ``devices`` is a list, empty for this process alone.

    Those of :data:`SETTINGS` are among the overrides.
    """
    options = parser.parse_intermixed_args(arguments)
    # --devices takes all that follows, settings too.
    given = options.devices or []
    options.devices = [word for word in given if "=" not in word]
    options.overrides += [word for word in given if "=" in word]
    for name, key in SETTINGS.items():
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value is None:
            continue
        if any(word.startswith(f"{key}=") for word in options.overrides):
            parser.error(f"{option} and {key}= are the same setting: give one of them.")
        options.overrides.append(f"{key}={value}")
    if options.device != "auto":
        if options.devices:
            parser.error("--device is one device, --devices are several: give one of them.")
        options.devices = [options.device]
    return options


def run_training(
    name: str,
    description: str,
    kind: type,
    build: Callable[[Any, bool, bool], Runnable],
    arguments: list[str] | None,
) -> int:
    """Parse the command line, build the training and run it, in this process or once a device.

    Returns the exit status: 1 with the cause on stderr for errors that a user can mend.
    """
    options = parse_training(training_parser(name, description), arguments)

    def work() -> None:
        config: Any = config_files.load(kind, options.fname, options.overrides)
        print(f"The model is in {build(config, options.resume, options.resume_anyway).run(options.max_minutes)}")

    return run_on_devices(name, options) if options.devices else attempt(name, work)


def run_on_devices(name: str, options: argparse.Namespace, *further: str) -> int:
    """Run the same command once a device, with ``further`` options; returns the exit status."""
    from ijepa_viz.runtime.launcher import launch

    command = [sys.executable, "-m", name, "--fname", options.fname, *options.overrides, *further]
    command += ["--resume"] if options.resume else []
    command += ["--resume-anyway"] if options.resume_anyway else []
    command += ["--max-minutes", str(options.max_minutes)] if options.max_minutes is not None else []
    status = 0

    def work() -> None:
        nonlocal status
        status = launch(options.devices, command)

    return attempt(name, work) or status


def attempt(name: str, work: Callable[[], None]) -> int:
    """Call ``work``; returns the exit status, 1 with the cause on stderr for errors that a user can mend."""
    print_anything()
    try:
        work()
        leave_process_group()
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{name}: {message(error)}", file=sys.stderr)
        return 1
    return 0


def message(error: Exception) -> str:
    """An error's words; of one by the operating system without its number, which says nothing to people."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return " ".join(filter(None, (f"{error.filename}: {error.strerror}.", cache_hint(str(error.filename)))))
    return str(error)


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
