"""``ijepa-viz classify``: classes of pictures by a head that ``evaluate --save-head`` trained."""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_model
from ijepa_viz.cli.pictures import check_picture, is_picture
from ijepa_viz.cli.tables import rows_file
from ijepa_viz.runtime.outputs import check_output, ending

if TYPE_CHECKING:
    from ijepa_viz.data.source import Source
    from ijepa_viz.probes.head import Head

_COLUMNS = ("name", "class", "predicted", "probability", "second", "second_probability", "trained_on")


def _classify(options: argparse.Namespace) -> int:
    check_output(options.out)
    if _is_one(options.pictures):
        check_picture(options.pictures)
    if not options.head.is_dir():
        raise FileNotFoundError(f"There is no folder {options.head}: --head names what evaluate --save-head wrote.")
    import_libraries()
    from ijepa_viz.data.picture_stream import PictureStream
    from ijepa_viz.data.unreadable import say_notes
    from ijepa_viz.probes.head import load_head
    from ijepa_viz.runtime.precision import choose_precision
    from ijepa_viz.runtime.progress import Progress

    head = load_head(options.head)
    head.check_precision(choose_precision(options.dtype))
    if not head.card.precision:
        print(f"{options.head} does not tell the number format that it was fitted in.", file=sys.stderr)
    name = options.model or head.card.model
    source = _open(options.pictures, options.split)
    with Progress(f"loading {name}"):
        model = _open_model(name, options)
        head.check(model, name)
    say_notes(source)
    stream = PictureStream(
        source, model.config.image_size, options.batch, with_digests=True, strict=options.strict_data
    )
    score = _Score(head.card.classes)
    with rows_file(options.out, _COLUMNS) as write, Progress(f"classifying {source.name}", len(source), "img") as bar:
        for rows in _rows(model, head, stream):
            for row in rows:
                write(row)
                score.add(row)
            bar.update(len(rows))
    if note := stream.note():
        print(note, file=sys.stderr)
    for line in score.lines(head, source):
        print(line, file=sys.stderr if options.out is None else sys.stdout)
    if options.out:
        print(options.out.resolve())
    return 0


def _open_model(name: str, options: argparse.Namespace) -> Any:
    """The model; where it is not found, the error says that ``--model`` names another place."""
    try:
        return open_model(name, options)
    except FileNotFoundError as error:
        if options.model:
            raise
        raise FileNotFoundError(
            f"{options.head} was trained on the features of {name!r}, which is not there now: name the model's place "
            f"by --model. {error}"
        ) from error


def _is_one(pictures: str) -> bool:
    """Whether one picture is meant, there or not, and no data set."""
    path = Path(pictures)
    if path.exists():
        return path.is_file() and path.suffix.lower() not in (".parquet", ".tar")
    # A colon is of a data set's name, and * of a pattern.
    return not {":", "*"} & set(pictures) and is_picture(pictures)


def _open(pictures: str, split: str) -> Source:
    """One picture as a data set of its own, or what ``open_source`` takes.

    Raises:
        ValueError: a picture that cannot be read.
    """
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.data.source import Source
    from ijepa_viz.data.transforms import read_image

    if _is_one(pictures):
        image = read_image(Path(pictures))
        return Source(name=pictures, read=lambda _: image, count=1, key=lambda _: Path(pictures).name)
    return open_source(pictures, split)


def _rows(model: Any, head: Head, stream: Any) -> Iterator[list[dict[str, Any]]]:
    import torch

    from ijepa_viz.probes.feature_stream import stream_features

    source, classes = stream.source, head.card.classes
    depth = model.config.depth
    for found in stream_features(model.target_encoder, stream, (depth,)):
        likely, order = head(torch.from_numpy(found.pooled[depth])).sort(1, descending=True)
        known = head.trained_on(found.pictures.digests)
        rows = []
        for i, index in enumerate(found.pictures.indices):
            label = -1 if source.labels is None else int(source.labels[index])
            row: dict[str, Any] = {"name": source.name_of(int(index)), "class": ""}
            if label >= 0:
                row["class"] = source.classes[label] if len(source.classes) else str(label)
            for rank, prefix in ((0, ""), (1, "second")):
                if rank < len(classes):
                    row[prefix or "predicted"] = classes[int(order[i, rank])]
                    row[f"{prefix}_probability".lstrip("_")] = f"{float(likely[i, rank]):.4f}"
            row["trained_on"] = "yes" if known[i] else "no"
            rows.append(row)
        yield rows


class _Score:
    """Right and wrong answers on pictures of the head's classes that it was not trained on."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = {_composed(name): name for name in classes}
        self.pictures = self.seen = self.right = 0
        self.counts: dict[str, int] = {}
        self.unknown: dict[str, int] = {}

    def add(self, row: dict[str, Any]) -> None:
        """Count a row."""
        self.pictures += 1
        if row["trained_on"] == "yes":
            self.seen += 1
        elif row["class"]:
            # Of one spelling, and so one class: macOS writes an accent as a character of its own.
            known = self.classes.get(_composed(row["class"]))
            counts, name = (self.unknown, row["class"]) if known is None else (self.counts, known)
            counts[name] = counts.get(name, 0) + 1
            self.right += known is not None and known == row["predicted"]

    def lines(self, head: Head, source: Source) -> Iterator[str]:
        """What to say of them."""
        from ijepa_viz.probes.intervals import wilson

        tested, where = sum(self.counts.values()), f"{self.pictures} pictures of {source.name}"
        if self.seen:
            yield f"{self.seen} of the {where} are among those that the head was trained on."
        if self.unknown:
            count = sum(self.unknown.values())
            yield (
                f"{count} of the {where} are of {_words('class', sorted(self.unknown))}, which the head does not know: "
                f"it answers with one of its own, {_few(sorted(self.classes.values()))}, and they are left out of the "
                "accuracy."
            )
            if not tested:
                yield "There is no accuracy: no labelled picture is of a class that the head knows."
        if tested:
            most, count = max(self.counts.items(), key=lambda pair: pair[1])
            others = " others" if self.seen or self.unknown else ""
            low, high = wilson(self.right, tested)
            yield (
                f"accuracy {self.right / tested:.4f} [{low:.4f}, {high:.4f}] on {tested}{others} (always {most!r}: "
                f"{count / tested:.4f}; on "
                f"the head's own test pictures {head.card.accuracy:.4f})"
            )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _words(noun: str, names: list[str]) -> str:
    plural = "" if len(names) == 1 else "es"
    return f"the {noun}{plural} {_few(names)}"


def csv_file(text: str) -> Path:
    """The path of a CSV file to write; ``type=`` of an argparse option."""
    try:
        ending(text, (".csv",))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", metavar="PICTURES", help="a picture, a folder, parquet or tar files, or a data set")
    parser.add_argument(
        "--head", type=Path, required=True, metavar="FOLDER", help="a head, which evaluate --save-head wrote"
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="the head's model, where it is no longer where it was; another is refused"
    )
    parser.add_argument(
        "--split",
        choices=("train", "test"),
        default="test",
        help="part of PICTURES, where there are two (default: test)",
    )
    parser.add_argument("--out", type=csv_file, metavar="FILE", help="CSV file to write (default: to stdout)")
    parser.add_argument(
        "--strict-data", action="store_true", help="refuse unreadable pictures instead of skipping them"
    )
    add_compute_arguments(parser)


COMMANDS.register("classify")(
    Command("classify pictures by a head that evaluate --save-head trained", _arguments, _classify)
)
