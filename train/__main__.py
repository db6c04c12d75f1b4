"""``python -m train --fname CONFIG.yaml [KEY=VALUE ...] [--devices cuda:0 cuda:1] [--resume] ...``."""

from __future__ import annotations

import argparse
import os
import sys

from ijepa_viz.runtime.command_line import attempt, leave, parse_training, run_on_devices, training_parser


def registered() -> str:
    """Help on every name that a config can choose. Its imports are slow, so it is built on --help only."""
    from ijepa_viz.data.source import SOURCES
    from ijepa_viz.masks import STRATEGIES
    from ijepa_viz.registry import import_files
    from train.objectives import OBJECTIVES
    from train.regularizers import REGULARIZERS

    import_files("ijepa_viz.data")
    return "\n\n".join(
        (
            OBJECTIVES.described("objectives, objective.name"),
            REGULARIZERS.described("regularizers, regularizer.name"),
            STRATEGIES.described("mask strategies, mask.strategy"),
            SOURCES.described("data sets, data.source; a folder, parquet files or a Hugging Face id as well"),
        )
    )


def parser() -> argparse.ArgumentParser:
    """Command-line options of ``python -m train``."""
    options = training_parser("train", "Pretrain an I-JEPA, or another objective of train/objectives/.")
    options.add_argument("--init-from", metavar="MODEL", help="initial weights (start_from)")
    options.add_argument(
        "--strict-data", action="store_true", help="raise on unreadable images instead of skipping them"
    )
    options.add_argument(
        "--dry-run", action="store_true", help="plan memory and time, read one batch, and stop; nothing is written"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    accepted = parser()
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        accepted.formatter_class, accepted.epilog = argparse.RawDescriptionHelpFormatter, registered()
    options = parse_training(accepted, arguments)
    if options.strict_data:
        options.overrides.append("data.strict=true")
    if options.init_from:
        options.overrides.append(f"start_from={options.init_from}")

    def work() -> None:
        from train.reference_yaml import load_config

        config, resume, notes = load_config(
            options.fname, options.overrides, int(os.environ.get("WORLD_SIZE", "1")), options.dry_run
        )
        if int(os.environ.get("RANK", "0")) == 0:
            for note in notes:
                print(note, file=sys.stderr)
        if options.dry_run:
            from train.planning.plan import dry_run

            print(dry_run(config))
            return
        from train.trainer import Trainer  # late: config errors are reported before the slow imports

        print(f"The model is in {Trainer(config, options.resume or resume).run(options.max_minutes)}")

    if options.devices:
        return run_on_devices("train", options, *["--dry-run"] * options.dry_run)
    return attempt("train", work)


if __name__ == "__main__":
    leave(main())
