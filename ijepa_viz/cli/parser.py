"""The ``ijepa-viz`` command line, built from the registered commands."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ijepa_viz import __version__
from ijepa_viz.cli.command import COMMANDS, Command
from ijepa_viz.registry import import_files
from ijepa_viz.runtime.command_line import SuggestingParser, message, print_anything


class _Parser(SuggestingParser):
    """A parser that builds its epilog on --help only, because that reads many files."""

    command: Command | None = None
    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, with positionals and options in any order where the command asks for that."""
        if self._within or self.command is None or not self.command.intermixed:
            return super().parse_known_args(args, namespace)
        self._within = True  # the intermixed parsing calls this method
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False

    def format_help(self) -> str:
        if self.command and self.command.epilog:
            self.epilog = self.command.epilog()
        return super().format_help()


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``ijepa-viz``, with every registered command."""
    import_files("ijepa_viz.cli")  # a command's file registers itself
    parser = _Parser(prog="ijepa-viz", description="See what a JEPA predicts.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, command in COMMANDS.items():
        own = commands.add_parser(
            name, help=command.help, description=command.help, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        own.command = command
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with the cause on stderr."""
    print_anything()
    options = build_parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # such as `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush fails as well
        return 0
    except KeyboardInterrupt:
        print("ijepa-viz: interrupted.", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(f"ijepa-viz: {message(error)}", file=sys.stderr)
        return 1
