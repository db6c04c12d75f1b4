"""``ijepa-viz look``: inspect one prediction."""

from __future__ import annotations

import argparse

from ijepa_viz.cli.choices import help_on, name_of
from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_model
from ijepa_viz.cli.pictures import IMAGE_HELP, check_picture, open_picture
from ijepa_viz.cli.tables import as_text
from ijepa_viz.runtime.outputs import check_output, figure_file

_BLOCK = ("ROW", "COL", "HEIGHT", "WIDTH")


def _look(options: argparse.Namespace) -> int:
    # What is wrong in the command is said before the slow imports, and those before the slow reading.
    check_picture(options.image)
    check_output(options.out)
    if options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}.")
    if options.scenes is not None and options.inspection != "position":
        raise ValueError(f"--scenes is for --inspection position, not {options.inspection}: leave it out.")
    if options.layers is not None and options.inspection != "attention":
        raise ValueError(f"--layers is for --inspection attention, not {options.inspection}: leave it out.")
    import_libraries()
    import torch

    from ijepa_viz.data.arrays import arrays
    from ijepa_viz.data.batches import evenly
    from ijepa_viz.data.transforms import to_tensor
    from ijepa_viz.data.unreadable import open_readable
    from ijepa_viz.figures import write_figure
    from ijepa_viz.inspections import INSPECTIONS, InspectionInput
    from ijepa_viz.masks import Masks
    from ijepa_viz.runtime.progress import Progress

    inspect = INSPECTIONS[options.inspection]
    with Progress(f"loading {options.model}"):
        model = open_model(options.model, options)
    size = model.config.image_size
    masks = Masks.from_block(model.grid, *(options.block or _central(model.grid)))
    image = to_tensor(open_picture(options.image, size), size)
    others = arrays(open_readable(options.data or f"menagerie:count={options.limit}"), size)
    images = torch.from_numpy(others[evenly(len(others), options.limit)]).permute(0, 3, 1, 2)
    inputs = InspectionInput(model, image, masks, images, options.scenes, options.layers)
    with Progress(f"inspecting: {options.inspection}"):
        table = inspect(inputs)
    with Progress(f"drawing {options.out.name}"):
        write_figure(options.out, table.pop("figure"))
    print(as_text(table))
    print(options.out.resolve())
    return 0


def _central(grid: tuple[int, int]) -> tuple[int, int, int, int]:
    """The block in the middle, of half the height and half the width."""
    rows, cols = grid
    height, width = max(1, rows // 2), max(1, cols // 2)
    return (rows - height) // 2, (cols - width) // 2, height, width


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a bundled or published name, a folder, or a checkpoint")
    parser.add_argument("image", metavar="IMAGE", help=IMAGE_HELP)
    parser.add_argument(
        "--block", nargs=4, type=int, metavar=_BLOCK, help="target block, in patches (default: the middle of the image)"
    )
    # --probe is the option's name in 0.1.
    parser.add_argument(
        "--inspection",
        "--probe",
        type=name_of("inspection"),
        required=True,
        metavar="NAME",
        help="an inspection listed below",
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
        "--out", type=figure_file, required=True, metavar="FILE", help="figure to write: .png .pdf .svg .jpg .webp"
    )
    add_compute_arguments(parser)


def _epilog() -> str:
    return help_on("inspection", "inspections")


COMMANDS.register("look")(Command("inspect one prediction: a figure and its numbers", _arguments, _look, _epilog))
