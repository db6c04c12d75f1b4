"""``ijepa-viz cka``: how alike the layers of models represent pictures, by linear CKA."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_model, positive
from ijepa_viz.cli.tables import as_text
from ijepa_viz.runtime.outputs import check_output, figure_file, json_file, write_table

if TYPE_CHECKING:
    from ijepa_viz.data.source import Source
    from ijepa_viz.figures.cka import Similarity

_RANDOM = "random init"


def _cka(options: argparse.Namespace) -> int:
    check_output(options.out, options.json)
    if len(set(options.models)) < len(options.models):
        raise ValueError("A model is named twice: its layers are compared with each other anyway.")
    import_libraries()
    from ijepa_viz.data.batches import evenly
    from ijepa_viz.data.unreadable import open_readable
    from ijepa_viz.figures import cka_figure, write_figure
    from ijepa_viz.probes.similarity import FEWEST

    source = open_readable(options.data, options.split)
    source = source.subset(evenly(len(source), options.limit), "limit")
    if len(source) < FEWEST:
        raise ValueError(f"CKA needs at least {FEWEST} pictures, and {source.name} has {len(source)}.")
    found = [_features(name, options, source) for name in options.models]
    lines = _panels(options.models, found)
    table = _table(lines, len(source))
    print(as_text(table))
    if options.json:
        panels = [{**vars(one), "values": one.values.tolist()} for line in lines for one in line]
        write_table(options.json, {**table, "data": options.data, "tokens": options.tokens, "panels": panels})
    write_figure(options.out, cka_figure(lines, len(source)))
    print(options.out.resolve())
    widest = max(int(one.shape[1]) for _, *encoders in found for features in encoders for one in features)
    if len(source) < widest:
        print(
            f"{len(source)} pictures are fewer than {widest} features: CKA has no bias, but it is noisy. A larger "
            "--limit is steadier.",
            file=sys.stderr,
        )
    return 0


def _features(name: str, options: argparse.Namespace, source: Source) -> tuple[tuple[int, ...], Any, Any]:
    """Numbers of the layers, and their features (n, D) by the model's target encoder and by a random one."""
    import torch

    from ijepa_viz.data.picture_stream import PictureStream
    from ijepa_viz.models import Encoder
    from ijepa_viz.probes.layers import layer_numbers
    from ijepa_viz.probes.similarity import picture_features
    from ijepa_viz.runtime.computation import compute_in
    from ijepa_viz.runtime.precision import choose_precision
    from ijepa_viz.runtime.progress import Progress

    with Progress(f"loading {name}"):
        model = open_model(name, options)
    config = model.config
    layers = (
        tuple(range(1, config.depth + 1)) if options.layers == "all" else layer_numbers(options.layers, config.depth)
    )
    torch.manual_seed(0)
    random_init = Encoder(config).eval().to(model.device)
    compute_in(random_init, choose_precision(options.dtype), options.batch)
    values = []
    for what, encoder in (("features", model.target_encoder), ("features of random init", random_init)):
        with Progress(f"{what}: {name}", len(source), "img") as bar:
            stream = PictureStream(source, config.image_size, options.batch)
            values.append(picture_features(encoder, _counted(stream, bar), layers, options.tokens))
    return layers, values[0], values[1]


def _counted(stream: Any, bar: Any) -> Any:
    for batch in stream:
        yield batch
        bar.update(len(batch))


def _panels(names: list[str], found: list[tuple[tuple[int, ...], Any, Any]]) -> list[list[Similarity]]:
    """A row of panels for each model: with every model, and with its random init."""
    from ijepa_viz.figures.cka import Similarity
    from ijepa_viz.probes.similarity import cka_matrix

    short = _short(names)
    lines = []
    for own, (layers, features, random_init) in zip(short, found, strict=True):
        line = [
            Similarity(own, other, layers, theirs, cka_matrix(features, values))
            for other, (theirs, values, _) in zip(short, found, strict=True)
        ]
        lines.append([*line, Similarity(own, _RANDOM, layers, layers, cka_matrix(features, random_init))])
    return lines


def _short(names: list[str]) -> list[str]:
    """The last parts of paths that tell the names apart."""
    for count in range(1, 6):
        short = ["/".join(Path(name).parts[-count:]) for name in names]
        if len(set(short)) == len(names):
            return short
    return names


def _table(lines: list[list[Similarity]], pictures: int) -> dict[str, Any]:
    table: dict[str, Any] = {"pictures": pictures}
    for i, line in enumerate(lines):
        for one in line[i:]:
            values = {"first_layers": float(one.values[0, 0]), "last_layers": float(one.values[-1, -1])}
            if one.rows == one.cols:  # a layer with itself is 1
                values = {"first_and_last_layer": float(one.values[0, -1])}
            table[f"{one.rows} and {one.cols}"] = values
    return table


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="one model, or several to compare")
    parser.add_argument("--data", required=True, help="pictures: a folder, parquet or tar files, or a named data set")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="part of --data (default: test)")
    parser.add_argument(
        "--limit", type=positive, default=1000, metavar="N", help="most pictures, evenly spaced (default: 1000)"
    )
    parser.add_argument(
        "--layers", default="all", help="all, or numbers from 1 and last, such as 1,4,last (default: all)"
    )
    parser.add_argument(
        "--tokens",
        action="store_true",
        help="one token a picture, at a random place, instead of the mean of its tokens",
    )
    parser.add_argument("--json", type=json_file, metavar="FILE", help="also write all numbers")
    parser.add_argument(
        "--out", type=figure_file, required=True, metavar="FILE", help="figure to write: .png .pdf .svg .jpg .webp"
    )
    add_compute_arguments(parser)


COMMANDS.register("cka")(
    Command(
        "compare how layers and models represent pictures, by linear CKA: a figure and its numbers", _arguments, _cka
    )
)
