"""``ijepa-viz features``: features of many pictures, with their names and labels, in one file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_model, positive
from ijepa_viz.runtime.outputs import check_output, ending

if TYPE_CHECKING:
    from ijepa_viz.data.source import Source

_ENDINGS = (".parquet", ".npz", ".safetensors")


def _features(options: argparse.Namespace) -> int:
    check_output(options.out)
    tokens = options.tokens or options.pool == "none"
    import_libraries()
    from ijepa_viz.data.labels import merge_labels
    from ijepa_viz.probes.feature_files import write_features
    from ijepa_viz.probes.layers import layer_numbers
    from ijepa_viz.runtime.precision import choose_precision
    from ijepa_viz.runtime.progress import Progress
    from ijepa_viz.runtime.tensors import fingerprint

    with Progress(f"loading {options.model}"):
        model = open_model(options.model, options)
    layers = layer_numbers(options.layers, model.config.depth)
    parts = _open(options)
    labels, classes = merge_labels([_labels(source) for source in parts])
    width, count = model.config.width, model.grid[0] * model.grid[1]
    shapes: dict[str, tuple[int, ...]] = {}
    if options.pool == "mean":
        shapes |= {f"layer_{number}": (width,) for number in layers}
    if tokens:
        shapes |= {f"tokens_{number}": (count, width) for number in layers}
    about = {
        "model": options.model,
        "encoder": "target",
        "encoder_sha256": fingerprint(model.target_encoder),
        "data": options.data,
        "image_size": model.config.image_size,
        "grid": list(model.grid),
        "layers": list(layers),
        "norm": "the encoder's final LayerNorm, after every layer",
        "precision": choose_precision(options.dtype),
        "classes": classes,
    }
    notes: list[str] = []
    started = time.perf_counter()
    with Progress(f"features of {options.data}", sum(map(len, parts)), "img") as bar:

        def rows() -> Iterator[dict[str, Any]]:
            start = 0
            for source in parts:
                numbers = labels[start : start + len(source)]
                start += len(source)
                yield from _rows(model, source, numbers, classes, layers, tokens, options, bar, notes)

        written = write_features(options.out, rows(), shapes, about)
    seconds = time.perf_counter() - started
    for note in notes:
        print(note, file=sys.stderr)
    columns = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    size = options.out.stat().st_size / 2**20
    print(f"{written} pictures, {columns}; {written / seconds:.1f} pictures a second")
    print(f"{options.out.resolve()}  {size:.2f} MiB")
    return 0


def _open(options: argparse.Namespace) -> list[Source]:
    """The parts of ``--data`` that are asked for, each with at most its share of ``--limit`` pictures."""
    from ijepa_viz.data.batches import evenly
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.data.unreadable import say_notes

    first = open_source(options.data, "test" if options.split == "test" else "train")
    if options.split != "all" and first.split is None:
        raise ValueError(f"{first.name} has one part only: leave --split out.")
    parts = [first]
    if options.split == "all" and first.split is not None:
        parts.append(open_source(options.data, "test"))
    for source in parts:
        say_notes(source)
    total = sum(map(len, parts))
    if options.limit is None or options.limit >= total:
        return parts
    shares = [options.limit - options.limit * len(parts[1]) // total if len(parts) > 1 else options.limit]
    shares += [options.limit - shares[0]] if len(parts) > 1 else []
    return [part.subset(evenly(len(part), share), "limit") for part, share in zip(parts, shares, strict=True) if share]


def _labels(source: Source) -> tuple[Any, list[str]]:
    import numpy as np

    if source.labels is None:
        return np.full(len(source), -1, np.int64), []
    return source.labels, list(source.classes)


def _rows(
    model: Any,
    source: Source,
    labels: Any,
    classes: list[str],
    layers: tuple[int, ...],
    tokens: bool,
    options: argparse.Namespace,
    bar: Any,
    notes: list[str],
) -> Iterator[dict[str, Any]]:
    """Rows of one part of the data set, a batch at a time."""
    from ijepa_viz.data.picture_stream import PictureStream
    from ijepa_viz.probes.feature_stream import stream_features

    stream = PictureStream(source, model.config.image_size, options.batch, strict=options.strict_data)
    done = 0
    for found in stream_features(model.target_encoder, stream, layers, tokens):
        own = labels[found.pictures.indices]
        row: dict[str, Any] = {
            "name": [source.name_of(int(i)) for i in found.pictures.indices],
            "split": [source.split or ""] * len(own),
            "class": [(classes[label] if classes else str(label)) if label >= 0 else "" for label in own],
            "label": own,
        }
        if options.pool == "mean":
            row |= {f"layer_{number}": value for number, value in found.pooled.items()}
        yield row | {f"tokens_{number}": value for number, value in found.tokens.items()}
        now = int(found.pictures.indices[-1]) + 1  # with those left out
        bar.update(now - done)
        done = now
    notes += filter(None, [stream.note()])


def features_file(text: str) -> Path:
    """The path of a file of features to write; ``type=`` of an argparse option."""
    try:
        ending(text, _ENDINGS)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a bundled or published name, a folder, or a checkpoint")
    parser.add_argument("--data", required=True, help="pictures: a folder, parquet or tar files, or a named data set")
    parser.add_argument(
        "--out", type=features_file, required=True, metavar="FILE", help="file to write: .parquet .npz .safetensors"
    )
    parser.add_argument(
        "--layers", default="last", metavar="LAYERS", help="numbers from 1, or last, such as 1,4,last (default: last)"
    )
    parser.add_argument(
        "--pool",
        choices=("mean", "none"),
        default="mean",
        help="mean: the average of each picture's tokens, as evaluate takes it; none: the tokens only (default: mean)",
    )
    parser.add_argument("--tokens", action="store_true", help="also write the tokens, one a patch")
    parser.add_argument(
        "--split", choices=("all", "train", "test"), default="all", help="part of --data, where it has two"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="at most so many pictures, evenly spaced")
    parser.add_argument(
        "--strict-data", action="store_true", help="refuse unreadable pictures instead of skipping them"
    )
    add_compute_arguments(parser)


COMMANDS.register("features")(
    Command("write the features of many pictures, with names and labels, to a file", _arguments, _features)
)
