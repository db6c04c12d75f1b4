"""``ijepa-viz evaluate``: probes of features, and metrics of decoders, beside their baselines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ijepa_viz.cli.choices import help_on, names
from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_decoder, open_model
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.cli.tables import as_text
from ijepa_viz.registry import unknown_name
from ijepa_viz.runtime.device import choose_device
from ijepa_viz.runtime.outputs import check_output, check_output_folder, figure_file, table_file, write_table
from ijepa_viz.runtime.progress import Progress

if TYPE_CHECKING:
    from ijepa_viz.data.splits import Splits


# Metrics whose work is all for the figure, known before the slow imports.
_FIGURE_ALONE = ("sheet",)


def _evaluate(options: argparse.Namespace) -> int:
    check_output(options.json, options.figure)
    _check(options)
    if options.save_head:
        check_output_folder(options.save_head)
        _refuse_another_head(options.save_head)
    import_libraries()
    choose_device(options.device)
    split = _split(options)
    found, figure = (_probe_models if options.decoder is None else _evaluate_decoder)(options, split)
    tables = {name: _with_test_data(name, one, split) for name, one in found.items()}
    table = tables if len(tables) > 1 else next(iter(tables.values()))
    # The file first, then the numbers: an error of what comes after must not discard minutes of computation.
    if options.json:
        write_table(options.json, table)
    for name, one in tables.items():
        print(f"{name}\n{as_text(one)}\n" if len(tables) > 1 else as_text(one))
    if options.figure:
        from ijepa_viz.figures import write_figure

        drawn = figure()
        if drawn is None:
            raise ValueError("This metric draws no figure: leave --figure out.")
        write_figure(options.figure, drawn)
    return 0


def _refuse_another_head(folder: Path) -> None:
    """As :func:`ijepa_viz.probes.head.refuse_another_head`, before the slow imports."""
    if any((folder / name).exists() for name in ("head.json", "head.safetensors")):
        raise FileExistsError(f"{folder} holds a head already: it is not replaced. Name another folder, or remove it.")


def _with_test_data(model: str, table: dict[str, Any], split: Splits) -> dict[str, Any]:
    """The table with what was tested on, and how much of that the model was trained on."""
    if "test_data" in table:  # of a metric that draws scenes of its own, and says whose training draws the same
        return table
    from ijepa_viz.checkpoints.pretraining_data import pretraining_note

    return {**table, "test_data": split.rule, "pretraining": pretraining_note(model, split("test"))}


def _check(options: argparse.Namespace) -> None:
    probes, metrics = names("probe"), names("decoder metric")
    if options.metric and options.probe:
        raise ValueError("--metric is of the decoder, --probe of the features: give one of the two.")
    if options.metric in probes and options.metric not in metrics:
        raise ValueError(f"{options.metric} is a probe of the features: --probe {options.metric}, without --decoder.")
    kind, known = ("probe", probes) if options.decoder is None and not options.metric else ("decoder metric", metrics)
    name = options.metric or options.probe  # --decoder --probe NAME is how 0.1 named a metric
    if name and name not in {**probes, **metrics}:
        raise ValueError(unknown_name(kind, name, list(known)))
    if options.decoder is None and options.metric:
        raise ValueError(f"--metric {options.metric} is of a decoder: add --decoder.")
    if options.decoder is not None and options.probe in probes and options.probe not in metrics:
        raise ValueError(f"{options.probe} is a probe of the features: leave --decoder out.")
    if options.decoder is not None and name in _FIGURE_ALONE and not options.figure:
        raise ValueError(f"The metric {name} draws a figure and measures nothing else: add --figure FILE.")
    if options.save_head and (options.decoder is not None or options.probe != "linear" or len(options.models) > 1):
        raise ValueError(
            "--save-head keeps the linear classifier of one model: add --probe linear, and name one model."
        )
    if options.decoder and len(options.models) > 1:
        raise ValueError("A decoder belongs to one model: name one.")


def _split(options: argparse.Namespace) -> Splits:
    from ijepa_viz.data.splits import Splits

    return Splits(
        options.data,
        options.test_data,
        options.test_share,
        strict=options.strict_data,
        without_shared=options.drop_shared,
    )


def _probe_models(options: argparse.Namespace, split: Splits) -> tuple[dict[str, dict[str, Any]], Any]:
    """Tables of the probe by model, and a function that draws their figure."""
    from ijepa_viz.checkpoints.training_cost import training_of
    from ijepa_viz.figures import cost_figure, factor_figure, film_places_figure
    from ijepa_viz.figures.accuracy_against_cost import recorded_costs
    from ijepa_viz.probes import PROBES

    name = options.probe or "knn"
    probe = PROBES[name]
    costs = {}
    # Figures that cannot be drawn are refused before anything is computed.
    if options.figure and name == "factors" and len(options.models) > 1:
        raise ValueError("The figure of the factors is of one model: name one.")
    if options.figure and name == "film" and len(options.models) > 1:
        raise ValueError("The figure of films is of one model: name one.")
    if options.figure and name not in ("factors", "film"):
        costs = {model: training_of(model) for model in options.models}
        recorded_costs(costs)
    tables = {}
    for model in options.models:
        with Progress(f"probe {name} of {model}"):
            loaded = open_model(model, options)
            tables[model] = _fit_head(options, loaded, split) if options.save_head else probe(loaded, split)
    if name == "factors":
        return tables, lambda: factor_figure(tables[options.models[0]], options.models[0])
    if name == "film":
        only = options.models[0]
        about = f"Places read of the futures that {only} predicts of {tables[only]['films']} drawn films."
        return tables, lambda: film_places_figure(tables[only]["place"], about)
    return tables, lambda: cost_figure(tables, costs, name)


def _fit_head(options: argparse.Namespace, model: Any, split: Splits) -> dict[str, Any]:
    """The table of the linear probe; its classifier is written to ``--save-head``."""
    from ijepa_viz.probes.head import fit_head, save_head
    from ijepa_viz.runtime.precision import choose_precision

    precision = choose_precision(options.dtype)
    table, head = fit_head(model, split, options.models[0], options.data, split.rule, precision)
    save_head(head, options.save_head)
    return {**table, "head": str(options.save_head)}


def _evaluate_decoder(options: argparse.Namespace, split: Splits) -> tuple[dict[str, dict[str, Any]], Any]:
    """Table of the decoder metric by model, and a function that gives its figure, or None."""
    from decoders.evaluation import DECODER_METRICS
    from ijepa_viz.prediction import check_pair

    # --decoder --probe NAME is how 0.1 named a metric.
    metric = DECODER_METRICS[options.metric or options.probe or "leakage"]
    tables = {}
    for name in options.models:
        model = open_model(name, options)
        decoder = open_decoder(options.decoder or decoder_of(name), options)
        check_pair(model, decoder)
        tables[name] = metric(model, decoder, split)
    figures = [table.pop("figure", None) for table in tables.values()]
    return tables, lambda: figures[0]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="one model, or several to compare")
    parser.add_argument("--probe", metavar="NAME", help="probe of the features, listed below (default: knn)")
    parser.add_argument(
        "--decoder",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="evaluate the model's decoder, or the one in FOLDER, instead of its features",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="metric of the decoder, listed below (default: leakage); it needs at least 100 images to test on, rank "
        "also to fit on; sheet takes any number, and of the menagerie some metrics draw scenes of their own",
    )
    parser.add_argument("--data", required=True, help="images to fit on; labelled ones for kNN and linear probes")
    parser.add_argument(
        "--test-data",
        help="images to test on (default: the test part of --data, or a fifth of it, held out by content)",
    )
    parser.add_argument(
        "--test-share", type=float, metavar="SHARE", help="hold out this share of each class of --data, such as 0.3"
    )
    parser.add_argument(
        "--drop-shared",
        action="store_true",
        help="test without the pictures that are also in the training part, instead of refusing",
    )
    parser.add_argument("--strict-data", action="store_true", help="refuse unreadable images instead of skipping them")
    parser.add_argument("--json", type=table_file, metavar="FILE", help="also write the table: .json or .csv")
    parser.add_argument(
        "--figure",
        type=figure_file,
        metavar="FILE",
        help="write the figure: .png .pdf .svg .jpg .webp; of features: accuracy against the cost of training",
    )
    parser.add_argument(
        "--save-head",
        type=Path,
        metavar="FOLDER",
        help="--probe linear: keep the classifier of the last layer's features, for ijepa-viz classify",
    )
    add_compute_arguments(parser)


def _epilog() -> str:
    probes = help_on("probe", "probes of features, --probe")
    return f"{probes}\n\n{help_on('decoder metric', 'metrics of decoders, --metric')}"


COMMANDS.register("evaluate")(
    Command("evaluate a model's features, or its decoder, beside baselines", _arguments, _evaluate, _epilog)
)
