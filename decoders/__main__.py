"""``python -m decoders --fname CONFIG.yaml [KEY=VALUE ...] [--devices cuda:0 cuda:1] [--resume] ...``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ijepa_viz.registry import as_help, registered_in
from ijepa_viz.runtime.command_line import leave, parse_training, run_training, training_parser
from ijepa_viz.runtime.progress import Progress

_DESCRIPTION = "Train a decoder on a frozen I-JEPA."


def registered() -> str:
    """Help on every name that a config or a saved decoder can choose."""
    here = Path(__file__).parent
    networks = as_help("networks, network.name", registered_in("NETWORKS.register", here / "networks"))
    solvers = registered_in("SOLVERS.register", here / "sampling.py")
    return f"{networks}\n\n{as_help('solvers, decoders.sampling.SOLVERS', solvers)}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = training_parser("decoders", _DESCRIPTION)
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, registered()
        parser.print_help()
        return 0
    parse_training(parser, arguments)  # a mistyped option is refused before the slow imports
    with Progress("importing torch"):
        from decoders.config import DecoderTrainConfig

    def build(config: DecoderTrainConfig, resume: bool, anyway: bool):  # type: ignore[no-untyped-def]
        with Progress("importing accelerate"):
            from decoders.training.trainer import DecoderTrainer

        return DecoderTrainer(config, resume, anyway)

    return run_training("decoders", _DESCRIPTION, DecoderTrainConfig, build, arguments)


if __name__ == "__main__":
    leave(main())
