"""``python -m decoders --fname CONFIG.yaml [KEY=VALUE ...] [--devices cuda:0 cuda:1] [--resume] ...``."""

from __future__ import annotations

import argparse
import sys

from ijepa_viz.runtime.command_line import leave, run_training, training_parser

_DESCRIPTION = "Train a decoder on a frozen I-JEPA."


def registered() -> str:
    """Help on every name that a config or a saved decoder can choose. Its imports are slow: built on --help only."""
    from decoders.networks import NETWORKS
    from decoders.sampling import SOLVERS

    networks = NETWORKS.described("networks, network.name")
    return f"{networks}\n\n{SOLVERS.described('solvers, decoders.sampling.SOLVERS')}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        parser = training_parser("decoders", _DESCRIPTION)
        parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, registered()
        parser.print_help()
        return 0
    from decoders.config import DecoderTrainConfig

    def build(config: DecoderTrainConfig, resume: bool):  # type: ignore[no-untyped-def]
        from decoders.training.trainer import DecoderTrainer  # late: a typo in the config need not wait for torch

        return DecoderTrainer(config, resume)

    return run_training("decoders", _DESCRIPTION, DecoderTrainConfig, build, arguments)


if __name__ == "__main__":
    leave(main())
