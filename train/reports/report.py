"""``python -m train.reports.report RUN [--out FILE]``: figure of a run's curves, and its verdict."""

from __future__ import annotations

import sys
from pathlib import Path

from ijepa_viz.figures import run_figure, write_figure
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything
from ijepa_viz.runtime.outputs import check_output, figure_file
from ijepa_viz.runtime.run_folder import read_log
from train.config import TrainConfig
from train.reports.verdict import verdict


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(
        prog="python -m train.reports.report", description="Plot a training run's curves and print its verdict."
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument(
        "--out",
        type=figure_file,
        metavar="FILE",
        help="figure to write: .png .pdf .svg .jpg .webp (default: RUN/report.png)",
    )
    options = parser.parse_args(arguments)

    def work() -> None:
        check_output(options.out)
        rows = read_log(options.run)
        config = config_files.load(TrainConfig, options.run / "config.yaml")
        judged = verdict(rows, config.model.width, config.data.eval_test)
        out = options.out or options.run / "report.png"
        write_figure(out, run_figure(rows, f"{options.run.name}: {judged.name}"))
        print(judged)
        print(out.resolve())

    return attempt("train.reports.report", work)


if __name__ == "__main__":
    sys.exit(main())
