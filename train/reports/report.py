"""``python -m train.reports.report RUN [--out FILE]``: figure of a run's curves, and its verdict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ijepa_viz.figures import png, run_figure
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.run_folder import read_log
from train.config import TrainConfig
from train.reports.verdict import verdict


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.reports.report", description="Plot a training run's curves and print its verdict."
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, help="figure to write (default: RUN/report.png)")
    options = parser.parse_args(arguments)
    try:
        rows = read_log(options.run)
        config = config_files.load(TrainConfig, options.run / "config.yaml")
        judged = verdict(rows, config.model.width)
        out = options.out or options.run / "report.png"
        write_file(out, png(run_figure(rows, f"{options.run.name}: {judged.name}")))
    except (OSError, ValueError) as error:
        print(f"train.reports.report: {error}", file=sys.stderr)
        return 1
    print(judged)
    print(out.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
