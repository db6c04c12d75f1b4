"""``python -m train --fname CONFIG.yaml [KEY=VALUE ...] [--devices cuda:0 cuda:1] [--resume] ...``."""

from __future__ import annotations

import argparse
import os
import sys

from ijepa_viz.runtime.command_line import attempt, leave, parse_training, run_on_devices, training_parser


def parser() -> argparse.ArgumentParser:
    """The options of ``python -m train``."""
    found = training_parser("train", "Pretrain an I-JEPA, or another objective of train/objectives/.")
    found.add_argument("--init-from", metavar="MODEL", help="start from these weights (start_from)")
    found.add_argument("--strict-data", action="store_true", help="refuse damaged pictures instead of skipping them")
    found.add_argument(
        "--dry-run", action="store_true", help="build the model without memory, print the plan, read one batch, stop"
    )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_training(parser(), arguments)
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
            from train.planning.plan import rehearse

            print(rehearse(config))
            return
        from train.trainer import Trainer  # late: a typo in the config need not wait for torch

        print(f"The model is in {Trainer(config, options.resume or resume).run(options.max_minutes)}")

    if options.devices:
        return run_on_devices("train", options, *["--dry-run"] * options.dry_run)
    return attempt("train", work)


if __name__ == "__main__":
    leave(main())
