"""``ijepa-viz look``: inspect one prediction, of one model, of several side by side, or of a run over time."""

from __future__ import annotations

import argparse
from pathlib import Path

from ijepa_viz.cli.choices import help_on, name_of
from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, positive
from ijepa_viz.cli.pictures import IMAGE_HELP, check_picture, is_picture
from ijepa_viz.cli.side_by_side import look_at_one, look_at_several
from ijepa_viz.cli.tables import as_text
from ijepa_viz.runtime.outputs import FIGURE_ENDINGS, FILM_ENDINGS, check_film, check_output, ending

_BLOCK = ("ROW", "COL", "HEIGHT", "WIDTH")


def _look(options: argparse.Namespace) -> int:
    # What is wrong in the command is said before the slow imports, and those before the slow reading.
    _find_image(options)
    check_picture(options.image)
    check_output(options.out)
    if options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}.")
    several = bool(options.models) or options.over_time
    if options.inspection is None:
        if not several:
            raise ValueError("Name what to look at: --inspection NAME (ijepa-viz look --help lists them).")
        options.inspection = "hole"
    if options.scenes is not None and options.inspection != "position":
        raise ValueError(f"--scenes is for --inspection position, not {options.inspection}: leave it out.")
    if options.layers is not None and options.inspection != "attention":
        raise ValueError(f"--layers is for --inspection attention, not {options.inspection}: leave it out.")
    _check_several(options)
    import_libraries()
    from ijepa_viz.figures import write_figure
    from ijepa_viz.runtime.progress import Progress

    if several:
        return look_at_several(options)
    table, _ = look_at_one(options, options.model)
    with Progress(f"drawing {options.out.name}"):
        write_figure(options.out, table.pop("figure"))
    print(as_text(table))
    print(options.out.resolve())
    return 0


def _find_image(options: argparse.Namespace) -> None:
    """Put IMAGE in its place: MODEL can be left out beside ``--models``, which takes an IMAGE that follows it."""
    if options.image is None and options.models and is_picture(options.models[-1]):
        options.image = options.models.pop()
    if options.image is None:
        options.model, options.image = None, options.model
    if options.image is None:
        raise ValueError("Name a picture: ijepa-viz look MODEL IMAGE, or look IMAGE --models MODEL [MODEL ...].")
    if options.model is None and not options.models:
        raise ValueError(
            f"Name a model and a picture, there is {options.image} alone: ijepa-viz look MODEL IMAGE, or look IMAGE "
            "--models MODEL [MODEL ...]."
        )


def _check_several(options: argparse.Namespace) -> None:
    """Refuse options that do not belong together."""
    if options.models and options.over_time:
        raise ValueError("--over-time is of one run, --models of several models: give one of the two.")
    if options.checkpoints is not None and not options.over_time:
        raise ValueError("--checkpoints is for --over-time: leave it out.")
    if options.out.suffix.lower() in FILM_ENDINGS:
        check_film(options.out)
    if options.out.suffix.lower() in FILM_ENDINGS and not options.over_time:
        raise ValueError(
            f"{options.out} ends in {options.out.suffix}, and a film is of a run: add --over-time, or name a figure "
            "(.png, .pdf, .svg)."
        )
    if options.over_time and not Path(options.model).is_dir():
        raise FileNotFoundError(f"--over-time takes a run's folder, and there is no folder {options.model}.")


def look_file(text: str) -> Path:
    """The path of a figure or of a film to write; ``type=`` of an argparse option."""
    try:
        ending(text, (*FIGURE_ENDINGS, *FILM_ENDINGS))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a bundled or published name, a folder, or a checkpoint; with --over-time a run's folder; can be left out "
        "with --models",
    )
    parser.add_argument("image", metavar="IMAGE", nargs="?", help=IMAGE_HELP)
    parser.add_argument(
        "--block", nargs=4, type=int, metavar=_BLOCK, help="target block, in patches (default: the middle of the image)"
    )
    parser.add_argument(
        "--fit",
        choices=("crop", "native"),
        default="crop",
        help="a picture of other proportions than the model's: crop to them, or its own grid (default: crop)",
    )
    # --probe is the option's name in 0.1.
    parser.add_argument(
        "--inspection",
        "--probe",
        type=name_of("inspection"),
        metavar="NAME",
        help="an inspection listed below (default with --models and --over-time: hole)",
    )
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="MODEL", help="models side by side, MODEL before them"
    )
    parser.add_argument(
        "--over-time",
        action="store_true",
        help="every checkpoint that the run MODEL kept (run.keep_every), as a strip or film: --out FILE.gif, .mp4",
    )
    parser.add_argument(
        "--checkpoints",
        type=positive,
        metavar="N",
        help="--over-time: most checkpoints, evenly spaced (default: 8 in a strip, 60 in a film)",
    )
    parser.add_argument("--data", help="other images, for controls and retrieval (default: drawn scenes)")
    parser.add_argument(
        "--limit", type=int, default=2000, help="most images of --data to use, evenly spaced (default: 2000)"
    )
    parser.add_argument(
        "--layers",
        metavar="LAYERS",
        help="attention: numbers from 1, or last (default: first, middle, last)",
    )
    parser.add_argument("--scenes", type=int, help="position: number of drawn scenes to fit the part classifier on")
    parser.add_argument(
        "--out",
        type=look_file,
        required=True,
        metavar="FILE",
        help="figure to write: .png .pdf .svg .jpg .webp; of --over-time also a film: .gif",
    )
    add_compute_arguments(parser)


def _epilog() -> str:
    return help_on("inspection", "inspections")


COMMANDS.register("look")(Command("inspect one prediction: a figure and its numbers", _arguments, _look, _epilog, True))
