"""``python -m train --fname CONFIG.yaml [KEY=VALUE ...] [--devices cuda:0 cuda:1] [--resume] ...``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import ijepa_viz
from ijepa_viz.registry import as_help, registered_in
from ijepa_viz.runtime.command_line import attempt, leave, parse_training, run_on_devices, training_parser
from ijepa_viz.runtime.progress import Progress


def registered() -> str:
    """Help on every name that a config can choose, read from the files, since importing them takes seconds."""
    here = Path(__file__).parent
    library = Path(ijepa_viz.__file__).parent
    drawn = library / "data" / "menagerie"
    data = registered_in("register", library / "data", drawn / "scene_source.py", drawn / "film_clip.py")
    places = {
        "objectives, objective.name": registered_in("OBJECTIVES.register", here / "objectives"),
        "regularizers, regularizer.name": registered_in("REGULARIZERS.register", here / "regularizers.py"),
        "mask strategies, mask.strategy": registered_in("register", library / "masks"),
        "data sets, data.source; a folder, parquet files or a Hugging Face id as well": data,
    }
    return "\n\n".join(as_help(title, entries) for title, entries in places.items())


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
        with Progress("importing torch"):
            from train.reference_yaml import load_config

        config, resume, notes = load_config(
            options.fname, options.overrides, int(os.environ.get("WORLD_SIZE", "1")), options.dry_run
        )
        if int(os.environ.get("RANK", "0")) == 0:
            for note in notes:
                print(note, file=sys.stderr)
        if options.dry_run:
            from train.planning.plan import dry_run

            for text in dry_run(config):
                print(text, flush=True)
            return
        with Progress("importing accelerate"):  # late: config errors are reported before it
            from train.trainer import Trainer

        trainer = Trainer(config, options.resume or resume, options.resume_anyway)
        print(f"The model is in {trainer.run(options.max_minutes)}")

    if options.devices:
        return run_on_devices("train", options, *["--dry-run"] * options.dry_run)
    return attempt("train", work)


if __name__ == "__main__":
    leave(main())
