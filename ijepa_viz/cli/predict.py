"""``ijepa-viz predict``: decode the prediction of one block of one image, or measure that of a folder of images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_decoder, open_model, positive
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.cli.hints import hint_at_fit, hint_at_kind
from ijepa_viz.cli.pictures import IMAGE_HELP, check_picture, open_picture
from ijepa_viz.cli.tables import rows_file
from ijepa_viz.runtime.outputs import FIGURE_ENDINGS, check_output, ending

_COLUMNS = ("name", "split", "class", "cosine", "energy", "cosine_of_another", "energy_of_another")

# Pictures whose predictions are the controls.
_CONTROLS = 16
_MANY = (".parquet", ".tar")


def _predict(options: argparse.Namespace) -> int:
    many = _is_many(options.image)
    if not many:
        check_picture(options.image)
    _check_ending(options.image, options.out, many)
    check_output(options.out)
    given = [f"--{name}" for name in ("samples", "seed") if getattr(options, name) is not None]
    if many and options.fit != "crop":
        raise ValueError(f"Many pictures are cropped to one size: --fit {options.fit} is for one picture.")
    if many and given:
        raise ValueError(f"Of many pictures nothing is sampled: leave out {' and '.join(given)}.")
    import_libraries()
    return _predict_many(options) if many else _predict_one(options)


def _is_many(text: str) -> bool:
    path = Path(text)
    return path.is_dir() or (path.is_file() and path.suffix.lower() in _MANY)


def _check_ending(image: str, out: Path, many: bool) -> None:
    found = ending(out, (*FIGURE_ENDINGS, ".csv"))
    if many and found != ".csv":
        what = "a folder: name one image file in it" if Path(image).is_dir() else "a file of many pictures: name one"
        raise ValueError(f"{image} is {what} for a figure, or a .csv file for a table of them all, not {out.name}.")
    if not many and found == ".csv":
        raise ValueError(f"Of one picture there is a figure ({', '.join(FIGURE_ENDINGS)}): {out.name} is for a folder.")


def _predict_one(options: argparse.Namespace) -> int:
    from ijepa_viz.data.fitting import place
    from ijepa_viz.figures import completion_grid, write_figure
    from ijepa_viz.masks import Masks
    from ijepa_viz.prediction import check_pair, predict
    from ijepa_viz.runtime.progress import Progress

    with Progress(f"loading {options.model}"):
        model = open_model(options.model, options)
        decoder = open_decoder(decoder_of(options.model), options)
        check_pair(model, decoder)
    image = open_picture(options.image, decoder.image_size)
    config = model.config
    hint_at_fit(options.image, image, config, options.fit)
    hint_at_kind(options.image, image, options.model, options.fit)
    grid = place((image.height, image.width), config.image_size, config.patch_size, options.fit).grid
    masks = Masks.from_block(grid, *options.block)
    with Progress("predicting"):
        prediction = predict(model, image, masks, fit=options.fit)
        decoder = decoder.at(grid)
    count = 6 if options.samples is None else options.samples
    with Progress(f"decoding {count} samples"):
        samples = decoder.sample(prediction, count, seed=options.seed or 0)
    with Progress(f"drawing {options.out.name}"):
        write_figure(options.out, completion_grid([(prediction, samples)]))
    print(f"{options.out.resolve()}  (mean cosine of predicted and target tokens {prediction.cosine.mean():.3f})")
    return 0


def _predict_many(options: argparse.Namespace) -> int:
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.data.picture_stream import PictureStream
    from ijepa_viz.data.unreadable import say_notes
    from ijepa_viz.masks import Masks
    from ijepa_viz.runtime.progress import Progress

    with Progress(f"loading {options.model}"):
        model = open_model(options.model, options)
        masks = Masks.from_block(model.grid, *options.block)
        if model.predictor is None:
            raise ValueError(f"This model has an encoder only, so it cannot predict. {model.why_no_predictor}")
    # A folder of two parts is read whole, as there is nothing to be learned from one of them.
    sources = [open_source(options.image)]
    if sources[0].split is not None:
        sources.append(open_source(options.image, "test"))
    streams = [PictureStream(source, model.config.image_size, options.batch) for source in sources]
    sums: dict[str, list[float]] = {name: [] for name in _COLUMNS[3:]}
    total = sum(map(len, sources))
    with rows_file(options.out, _COLUMNS) as write, Progress(f"predicting {options.image}", total, "img") as bar:
        for row in _rows(model, streams, masks, _controls(model, sources, masks)):
            write({name: f"{value:.6f}" if isinstance(value, float) else value for name, value in row.items()})
            for name, values in sums.items():
                if name in row:
                    values.append(row[name])
            bar.update()
    for stream in streams:
        say_notes(stream.source)
        if note := stream.note():
            print(note, file=sys.stderr)
    if len(streams) > 1:
        print(f"Means over both parts of {options.image}: the column split tells them apart.", file=sys.stderr)
    for name, values in sums.items():
        if values:
            print(f"{name:20} {sum(values) / len(values):.4f}  mean of {len(values)} pictures")
    if alone := len(sums["cosine"]) - len(sums["cosine_of_another"]):
        print(
            f"{alone} of {len(sums['cosine'])} pictures have no control, as there is no other picture, or only copies: "
            "without one a high cosine says little.",
            file=sys.stderr,
        )
    print(options.out.resolve())
    return 0


def _controls(model: Any, sources: list[Any], masks: Any) -> tuple[Any, Any]:
    """Pictures (n, 3, size, size) uint8 evenly spaced in the data, over all classes, and their predictions."""
    import torch

    from ijepa_viz.data.batches import evenly
    from ijepa_viz.data.picture_stream import PictureStream
    from ijepa_viz.prediction import predict

    found = []
    for source in sources:
        some = source.subset(evenly(len(source), _CONTROLS // len(sources)), "limit")
        found += [pictures.pixels for pictures in PictureStream(some, model.config.image_size, _CONTROLS)]
    pixels = torch.cat(found)
    return pixels, predict(model, pixels.float() / 255, masks).predicted


def _rows(model: Any, streams: list[Any], masks: Any, controls: tuple[Any, Any]) -> Iterator[dict[str, Any]]:
    """One row a picture; the control is the prediction from the next one of the control pictures that is another."""
    import torch.nn.functional as F

    from ijepa_viz.inspections.inspection import copies_between
    from ijepa_viz.prediction import predict

    shown, predicted = controls
    number = 0
    for stream in streams:
        source = stream.source
        for pictures in stream:
            found = predict(model, pictures.pixels.float() / 255, masks, batch=len(pictures))
            copies = copies_between(pictures.pixels, shown)
            cosine, energy = found.cosine.mean((1, 2)), found.energy.mean((1, 2))
            for i, index in enumerate(pictures.indices):
                label = -1 if source.labels is None else int(source.labels[index])
                name = source.classes[label] if label >= 0 and len(source.classes) else ""
                row = {"name": source.name_of(int(index)), "split": source.split or ""}
                row |= {"class": name or (str(label) if label >= 0 else "")}
                row |= {"cosine": float(cosine[i]), "energy": float(energy[i])}
                differs = (~copies[i]).nonzero()[:, 0].tolist()
                if differs:  # a copy of the picture is no control of it
                    other, target = predicted[differs[number % len(differs)]], found.target[i]
                    row["cosine_of_another"] = float(F.cosine_similarity(other, target, dim=-1).mean())
                    row["energy_of_another"] = float(F.smooth_l1_loss(other, target))
                number += 1
                yield row


def predict_file(text: str) -> Path:
    """The path of a figure, or of a table of many pictures; ``type=`` of an argparse option."""
    try:
        ending(text, (*FIGURE_ENDINGS, ".csv"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image", metavar="IMAGE", help=f"{IMAGE_HELP}; or a folder, a parquet or a tar file, for a table of them all"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        default="wild-tiny",
        help="a model, with a decoder for one image (default: wild-tiny)",
    )
    block = ("ROW", "COL", "HEIGHT", "WIDTH")
    parser.add_argument("--block", nargs=4, type=int, required=True, metavar=block, help="target block, in patches")
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "native"),
        default="crop",
        help="one image of other proportions than the model's: crop to them, pad to them, or its own grid "
        "(default: crop)",
    )
    parser.add_argument("--samples", type=positive, help="number of samples of one image (default: 6)")
    parser.add_argument("--seed", type=int, help="seed of the samples (default: 0)")
    parser.add_argument(
        "--out",
        type=predict_file,
        required=True,
        metavar="FILE",
        help="figure to write: .png .pdf .svg .jpg .webp; of a folder: a .csv with the cosine and the energy of every "
        "picture's prediction, beside those of the prediction from another picture",
    )
    add_compute_arguments(parser)


COMMANDS.register("predict")(
    Command("decode the prediction of one block of one image, or measure that of many", _arguments, _predict)
)
