"""Ablation of what prevents collapse: ``python -m train.reports.collapse --out FOLDER``.

A joint-embedding loss has a trivial minimum, one embedding for all inputs. Stop-gradient, EMA, predictor, regularizer
and the LayerNorm of the targets are removed from one short run, alone and together, and each run gets a verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ijepa_viz.figures import write_figure
from ijepa_viz.figures.figure import Figure
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything
from ijepa_viz.runtime.outputs import check_output_folder, write_table
from ijepa_viz.runtime.run_folder import read_log
from train.config import TrainConfig
from train.reports.verdict import Verdict, verdict
from train.trainer import Trainer

_NO_REGULARIZER = "regularizer.name=none"

# name -> config overrides.
ABLATIONS: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "no regularizer": (_NO_REGULARIZER,),
    "no stop-gradient": ("objective.options={stop_gradient: false}",),
    "no stop-gradient, no regularizer": ("objective.options={stop_gradient: false}", _NO_REGULARIZER),
    "no EMA": ("optimization.ema=[0.0, 0.0]",),
    "no EMA, no regularizer": ("optimization.ema=[0.0, 0.0]", _NO_REGULARIZER),
    "frozen teacher": ("optimization.ema=[1.0, 1.0]",),
    "no predictor": ("model.predictor_depth=0",),
    "no predictor, no regularizer": ("model.predictor_depth=0", _NO_REGULARIZER),
    "no LayerNorm of targets": ("objective.options={target_normalisation: none}",),
    "no LayerNorm of targets, no regularizer": ("objective.options={target_normalisation: none}", _NO_REGULARIZER),
    "all removed": (
        "objective.options={stop_gradient: false, target_normalisation: none}",
        "model.predictor_depth=0",
        _NO_REGULARIZER,
    ),
}

CONFIG = Path(__file__).parent.parent / "configs" / "collapse.yaml"


def run_ablation(name: str, folder: Path, overrides: Sequence[str] = ()) -> tuple[list[dict[str, str]], Verdict]:
    """Train one ablation; returns the rows of its log and its verdict.

    Raises:
        FloatingPointError: the loss is not finite.
        OSError: the run's folder exists, or cannot be written.
    """
    config = config_files.load(TrainConfig, CONFIG, [*ABLATIONS[name], *overrides, f"run.folder={folder}"])
    Trainer(config).run()
    rows = read_log(folder)
    return rows, verdict(rows, config.model.width, config.data.eval_test)


def summary(rows: Sequence[Mapping[str, str]], judged: Verdict) -> dict[str, Any]:
    """Final numbers of a log, and the verdict."""
    first, last = rows[0], rows[-1]
    names = ("rankme", "knn", "knn_random_init", "cosine", "cosine_other")
    numbers = {name: float(last[name]) for name in names if last.get(name)}  # a run without eval_source has no kNN
    spread = float(last["spread_images"]) / float(first["spread_images"])
    return {"verdict": judged.name, "spread_images_left": spread, **numbers}


def draw(logs: Mapping[str, Sequence[Mapping[str, str]]], judged: Mapping[str, Verdict]) -> Figure:
    """One panel for each run: spread over images and over tokens, as a share of its first value."""
    columns = min(3, len(logs))
    panel_rows = -(-len(logs) // columns)
    figure = Figure(
        "Spread of the target encoder's features in the baseline and in its ablations.",
        figsize=(3.1 * columns, 2.3 * panel_rows + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(panel_rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(logs) :]:
        axis.set_axis_off()
    for axis, (name, rows) in zip(axes.flat, logs.items(), strict=False):
        for column, label in (("spread_images", "over images at a patch index"), ("spread_tokens", "over tokens")):
            points = [(int(r["step"]), float(r[column])) for r in rows if r.get(column)]
            x, y = zip(*points, strict=True)
            axis.plot(x, [v / y[0] for v in y], label=label)
        axis.axhline(0, color="0.6", linewidth=0.8)
        healthy = judged[name].healthy
        axis.set_title(f"{name}\n{judged[name].name}", fontsize=8.5, color="#007A5A" if healthy else "#B3410A")
        axis.grid(alpha=0.25)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("spread of features, share of the first", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(
        prog="python -m train.reports.collapse", description="Train ablations of what prevents collapse."
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for runs, table and figure")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=list(ABLATIONS), help="names of ablations (default: all)"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of train/configs/collapse.yaml")
    options = parser.parse_intermixed_args(arguments)
    # argparse gives --only all words that follow it, overrides too.
    options.overrides += [name for name in options.only if "=" in name]
    options.only = [name for name in options.only if "=" not in name]
    logs, verdicts = {}, {}

    def work() -> None:
        check_output_folder(options.out)
        unknown = [name for name in options.only if name not in ABLATIONS]
        if unknown:
            raise ValueError(f"No ablation {unknown[0]!r}; there are: {'; '.join(ABLATIONS)}.")
        for name in options.only:
            folder = options.out / name.replace(",", "").replace(" ", "-")
            logs[name], verdicts[name] = run_ablation(name, folder, options.overrides)
            print(f"{name}: {verdicts[name]}")
        table = {name: summary(logs[name], verdicts[name]) for name in logs}
        write_table(options.out / "collapse.json", table)
        write_figure(options.out / "collapse.png", draw(logs, verdicts))
        print((options.out / "collapse.png").resolve())

    return attempt("train.reports.collapse", work)


if __name__ == "__main__":
    sys.exit(main())
