"""Collapse on purpose: ``python -m train.reports.collapse --out FOLDER`` breaks a short run in many ways.

What keeps a joint-embedding model from the answer that is always right, the same embedding for everything? Here each
safeguard (stop-gradient, moving average, predictor, regularizer, LayerNorm of the targets) is switched off, alone and
together, and the monitor says what became of the features.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ijepa_viz.figures import png
from ijepa_viz.figures.figure import Figure
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.run_folder import read_log
from train.config import TrainConfig
from train.monitor import Verdict, verdict
from train.trainer import Trainer

_NO_REGULARIZER = "regularizer.name=none"

# A new one needs one line: what is broken -> the keys that break it.
SWITCHES: dict[str, tuple[str, ...]] = {
    "nothing broken": (),
    "no regularizer": (_NO_REGULARIZER,),
    "no stop-gradient": ("objective.options={stop_gradient: false}",),
    "no stop-gradient, no regularizer": ("objective.options={stop_gradient: false}", _NO_REGULARIZER),
    "no moving average": ("optimization.ema=[0.0, 0.0]",),
    "no moving average, no regularizer": ("optimization.ema=[0.0, 0.0]", _NO_REGULARIZER),
    "teacher never moves": ("optimization.ema=[1.0, 1.0]",),
    "no predictor": ("model.predictor_depth=0",),
    "no predictor, no regularizer": ("model.predictor_depth=0", _NO_REGULARIZER),
    "no LayerNorm of targets": ("objective.options={target_normalisation: none}",),
    "no LayerNorm of targets, no regularizer": ("objective.options={target_normalisation: none}", _NO_REGULARIZER),
    "no safeguard at all": (
        "objective.options={stop_gradient: false, target_normalisation: none}",
        "model.predictor_depth=0",
        _NO_REGULARIZER,
    ),
}

_CONFIG = Path(__file__).parent.parent / "configs" / "collapse.yaml"


def run_switch(name: str, folder: Path, overrides: Sequence[str] = ()) -> tuple[list[dict[str, str]], Verdict]:
    """Train one broken run; returns its log and what the monitor says of it.

    Raises:
        FloatingPointError: the loss is no number any more.
        OSError: the run's folder is there already, or cannot be written.
    """
    config = config_files.load(TrainConfig, _CONFIG, [*SWITCHES[name], *overrides, f"run.folder={folder}"])
    Trainer(config).run()
    rows = read_log(folder)
    return rows, verdict(rows, config.model.width)


def summary(rows: Sequence[Mapping[str, str]], judged: Verdict) -> dict[str, Any]:
    """The last numbers of a log, and the verdict."""
    first, last = rows[0], rows[-1]
    names = ("rankme", "knn", "knn_random_init", "cosine", "cosine_other")
    numbers = {name: float(last[name]) for name in names if last.get(name)}  # kNN is not in every run
    spread = float(last["spread_images"]) / float(first["spread_images"])
    return {"verdict": judged.name, "spread_images_left": spread, **numbers}


def draw(logs: Mapping[str, Sequence[Mapping[str, str]]], judged: Mapping[str, Verdict]) -> Figure:
    """One small panel a run: spread over images and over tokens, the share left of what it was at first."""
    columns = 4
    lines = -(-len(logs) // columns)
    figure = Figure(
        "The spread of the target encoder's features in healthy and in deliberately broken runs.",
        figsize=(3.1 * columns, 2.3 * lines + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(logs) :]:
        axis.set_axis_off()
    for axis, (name, rows) in zip(axes.flat, logs.items(), strict=False):
        for column, label in (("spread_images", "over images at a place"), ("spread_tokens", "over tokens")):
            points = [(int(r["step"]), float(r[column])) for r in rows if r.get(column)]
            x, y = zip(*points, strict=True)
            axis.plot(x, [v / y[0] for v in y], label=label)
        axis.axhline(0, color="0.6", linewidth=0.8)
        good = judged[name].healthy
        axis.set_title(f"{name}\n{judged[name].name}", fontsize=8.5, color="#007A5A" if good else "#B3410A")
        axis.grid(alpha=0.25)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("spread of the target encoder's features, share of the first look's", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.reports.collapse", description="Break a run in many ways.")
    parser.add_argument("--out", type=Path, required=True, help="the folder for runs, table and figure; new")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(SWITCHES), help="some of the switches")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of train/configs/collapse.yaml")
    options = parser.parse_intermixed_args(arguments)
    # --only takes all that follows, settings too.
    options.overrides += [name for name in options.only if "=" in name]
    options.only = [name for name in options.only if "=" not in name]
    logs, verdicts = {}, {}
    try:
        unknown = [name for name in options.only if name not in SWITCHES]
        if unknown:
            raise ValueError(f"No switch {unknown[0]!r}; there are: {'; '.join(SWITCHES)}.")
        for name in options.only:
            folder = options.out / name.replace(",", "").replace(" ", "-")
            logs[name], verdicts[name] = run_switch(name, folder, options.overrides)
            print(f"{name}: {verdicts[name]}")
        table = {name: summary(logs[name], verdicts[name]) for name in logs}
        write_file(options.out / "collapse.json", (json.dumps(table, indent=2) + "\n").encode())
        write_file(options.out / "collapse.png", png(draw(logs, verdicts)))
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"train.reports.collapse: {error}", file=sys.stderr)
        return 1
    print((options.out / "collapse.png").resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
