"""``ijepa-viz evaluate``: probes of features, and metrics of decoders, beside their baselines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command
from ijepa_viz.cli.decoder_of import _decoder_of
from ijepa_viz.cli.tables import _as_text


def _evaluate(options: argparse.Namespace) -> int:
    from ijepa_viz import checkpoints
    from ijepa_viz.checkpoints.training_cost import training_of
    from ijepa_viz.data.unreadable import open_readable
    from ijepa_viz.figures import cost_figure, factor_figure, png
    from ijepa_viz.figures.costs import known_costs
    from ijepa_viz.prediction import check_pair
    from ijepa_viz.probes.probe import PROBES
    from ijepa_viz.runtime.files import write_file

    probe = PROBES[options.probe or "knn"] if options.decoder is None else None
    if options.decoder and len(options.models) > 1:
        raise ValueError("A decoder belongs to one model: name one.")
    # What no figure can be drawn of is refused before anything is computed.
    if options.figure and options.probe == "factors" and len(options.models) > 1:
        raise ValueError("The factors' picture is of one model: name one.")
    costs = {}
    if options.figure and probe and options.probe != "factors":
        costs = {name: training_of(name) for name in options.models}
        known_costs(costs)

    def split(name: str):  # type: ignore[no-untyped-def]  # Source is imported late
        source = options.test_data if name == "test" and options.test_data else options.data
        return open_readable(source, name, options.strict_data)

    tables = {}
    for name in options.models:
        model = checkpoints.load_model(name)
        if probe:
            tables[name] = probe(model, split)
            continue
        from decoders import load_decoder
        from decoders.evaluation.metric import INSTRUMENTS

        instrument = INSTRUMENTS[options.probe or "leakage"]
        decoder = load_decoder(options.decoder or _decoder_of(name))
        check_pair(model, decoder)
        tables[name] = instrument(model, decoder, split)
    figure = next(iter(tables.values())).pop("figure", None)
    table = tables if len(tables) > 1 else next(iter(tables.values()))
    # Numbers first: a figure that cannot be drawn must not cost what took minutes.
    for name, one in tables.items():
        print(f"{name}\n{_as_text(one)}\n" if len(tables) > 1 else _as_text(one))
    if options.json:
        write_file(options.json, (json.dumps(table, indent=2) + "\n").encode())
    if options.figure and options.probe == "factors":
        figure = factor_figure(tables[options.models[0]], options.models[0])
    elif options.figure and probe:
        figure = cost_figure(tables, costs, options.probe or "knn")
    if options.figure:
        if figure is None:
            raise ValueError("This one draws no picture: leave --figure out.")
        write_file(options.figure, png(figure))
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="one, or several to compare")
    parser.add_argument("--probe", metavar="NAME", help="of the features, one of those below (default: knn)")
    parser.add_argument(
        "--decoder",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="evaluate the model's decoder, or the one in FOLDER, instead of its features",
    )
    parser.add_argument("--metric", metavar="NAME", help="of the decoder, one of those below (default: leakage)")
    parser.add_argument("--data", required=True, help="pictures; for kNN and linear labelled, to learn from")
    parser.add_argument("--test-data", help="pictures to test on (default: --data's test split)")
    parser.add_argument("--strict-data", action="store_true", help="refuse damaged pictures instead of skipping them")
    parser.add_argument("--json", type=Path, help="write the table here as well")
    parser.add_argument(
        "--figure",
        type=Path,
        help="write the picture of it here, .png; of features: accuracy against the training's cost",
    )


def _epilog() -> str:
    from decoders.evaluation import INSTRUMENTS
    from ijepa_viz.probes import PROBES

    return f"{PROBES.described('probes of features')}\n\n{INSTRUMENTS.described('metrics of decoders, --metric')}"


COMMANDS.register("evaluate")(
    Command("evaluate what a model's features hold, or its decoder, beside baselines", _arguments, _evaluate, _epilog)
)
