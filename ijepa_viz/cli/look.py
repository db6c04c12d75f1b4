"""``ijepa-viz look``: inspect one prediction."""

from __future__ import annotations

import argparse
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command
from ijepa_viz.cli.tables import as_text

_BLOCK = ("ROW", "COL", "HEIGHT", "WIDTH")


def _look(options: argparse.Namespace) -> int:
    import torch

    from ijepa_viz import checkpoints
    from ijepa_viz.data import menagerie
    from ijepa_viz.data.arrays import arrays
    from ijepa_viz.data.transforms import read_image, to_tensor
    from ijepa_viz.data.unreadable import open_readable
    from ijepa_viz.figures import png
    from ijepa_viz.inspections import INSPECTIONS, InspectionInput
    from ijepa_viz.masks import Masks
    from ijepa_viz.runtime.files import write_file

    inspect = INSPECTIONS[options.inspection]
    model = checkpoints.load_model(options.model).eval()
    size = model.config.image_size
    if options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}.")
    if options.scenes is not None and options.inspection != "position":
        raise ValueError(f"--scenes is for --inspection position, not {options.inspection}: leave it out.")
    scheme, _, index = options.image.partition(":")
    if scheme == "scene" and index.isdigit():
        # Seed 1 is the test seed, never trained on.
        image = torch.from_numpy(menagerie.scene(int(index), size, seed=1).image).permute(2, 0, 1).float() / 255
    else:
        image = to_tensor(read_image(Path(options.image)), size)
    others = arrays(open_readable(options.data or f"menagerie:count={options.limit}"), size)[: options.limit]
    images = torch.from_numpy(others.copy()).permute(0, 3, 1, 2)
    masks = Masks.from_block(model.grid, *options.block)
    table = inspect(InspectionInput(model, image, masks, images, options.scenes))
    write_file(options.out, png(table.pop("figure")))
    print(as_text(table))
    print(options.out.resolve())
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a bundled or published name, a folder, or a checkpoint")
    parser.add_argument("image", metavar="IMAGE", help="an image file, or scene:INDEX for a drawn scene")
    parser.add_argument("--block", nargs=4, type=int, required=True, metavar=_BLOCK, help="target block, in patches")
    # --probe is the option's name in 0.1.
    parser.add_argument("--inspection", "--probe", required=True, metavar="NAME", help="an inspection listed below")
    parser.add_argument("--data", help="other images, for controls and retrieval (default: drawn scenes)")
    parser.add_argument("--limit", type=int, default=2000, help="most images of --data to use (default: 2000)")
    parser.add_argument("--scenes", type=int, help="position: number of drawn scenes to fit the part classifier on")
    parser.add_argument("--out", type=Path, required=True, help="figure to write, .png")


def _epilog() -> str:
    from ijepa_viz.inspections import INSPECTIONS

    return INSPECTIONS.described("inspections")


COMMANDS.register("look")(Command("inspect one prediction: a figure and its numbers", _arguments, _look, _epilog))
