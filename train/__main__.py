"""``python -m train --fname CONFIG.yaml [KEY=VALUE ...] [--devices cuda:0 cuda:1] [--resume] ...``."""

from __future__ import annotations

import argparse
import os
import sys

from ijepa_viz.training_cli import attempt, training_parser


def parser() -> argparse.ArgumentParser:
    """The options of ``python -m train``."""
    found = training_parser("train", "Pretrain an I-JEPA, or another objective of train/objectives/.")
    found.add_argument(
        "--devices", nargs="+", metavar="DEVICE", help="one process each: cuda:0 cuda:1, or cpu once a process"
    )
    found.add_argument("--init-from", metavar="MODEL", help="start from these weights (start_from)")
    found.add_argument("--strict-data", action="store_true", help="refuse damaged pictures instead of skipping them")
    found.add_argument(
        "--dry-run", action="store_true", help="build the model without memory, print the plan, read one batch, stop"
    )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    told = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_intermixed_args(told)
    # --devices takes all that follows, settings too.
    devices = [word for word in options.devices or [] if "=" not in word]
    overrides = options.overrides + [word for word in options.devices or [] if "=" in word]
    if options.strict_data:
        overrides.append("data.strict=true")
    if options.init_from:
        overrides.append(f"start_from={options.init_from}")

    def work() -> None:
        from train.reference_yaml import load_config

        config, resume, notes = load_config(
            options.fname, overrides, int(os.environ.get("WORLD_SIZE", "1")), options.dry_run
        )
        if int(os.environ.get("RANK", "0")) == 0:
            for note in notes:
                print(note, file=sys.stderr)
        if options.dry_run:
            from train.plan import rehearse

            print(rehearse(config))
            return
        from train.trainer import Trainer  # late: a typo in the config need not wait for torch

        print(f"The model is in {Trainer(config, options.resume or resume).run(options.max_minutes)}")

    if devices:
        return attempt_launch(devices, options, overrides)
    return attempt("train", work)


def attempt_launch(devices: list[str], options: argparse.Namespace, overrides: list[str]) -> int:
    """The same command once a device; returns the exit status."""
    from train.launcher import launch

    command = [sys.executable, "-m", "train", "--fname", options.fname, *overrides]
    command += ["--resume"] if options.resume else []
    command += ["--dry-run"] if options.dry_run else []
    command += ["--max-minutes", str(options.max_minutes)] if options.max_minutes else []
    status = 0

    def work() -> None:
        nonlocal status
        status = launch(devices, command)

    return attempt("train", work) or status


if __name__ == "__main__":
    sys.exit(main())
