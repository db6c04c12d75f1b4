"""``ijepa-viz look``: inspect one prediction."""

from __future__ import annotations

import argparse
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command
from ijepa_viz.cli.tables import _as_text


def _look(options: argparse.Namespace) -> int:
    import torch

    from ijepa_viz import checkpoints
    from ijepa_viz.data import menagerie
    from ijepa_viz.data.arrays import arrays
    from ijepa_viz.data.transforms import read_image, to_tensor
    from ijepa_viz.data.unreadable import open_readable
    from ijepa_viz.figures import png
    from ijepa_viz.inspections.inspection import LOOKS, Question
    from ijepa_viz.masks import Masks
    from ijepa_viz.runtime.files import write_file

    look = LOOKS[options.probe]
    model = checkpoints.load_model(options.model).eval()
    size = model.config.image_size
    if options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}.")
    if options.scenes is not None and options.probe != "position":
        raise ValueError(f"--scenes is for --probe position, not {options.probe}: leave it out.")
    scheme, _, index = options.image.partition(":")
    if scheme == "scene" and index.isdigit():
        # Of the seed whose scenes are never trained on.
        image = torch.from_numpy(menagerie.scene(int(index), size, seed=1).image).permute(2, 0, 1).float() / 255
    else:
        image = to_tensor(read_image(Path(options.image)), size)
    others = arrays(open_readable(options.data or f"menagerie:count={options.limit}"), size)[: options.limit]
    pictures = torch.from_numpy(others.copy()).permute(0, 3, 1, 2)
    table = look(Question(model, image, Masks.from_block(model.grid, *options.block), pictures, options.scenes))
    write_file(options.out, png(table.pop("figure")))
    print(_as_text(table))
    print(options.out.resolve())
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model")
    parser.add_argument("image", help="a picture, or scene:INDEX for a drawn scene")
    parser.add_argument("--block", nargs=4, type=int, required=True, metavar=("ROW", "COL", "HEIGHT", "WIDTH"))
    parser.add_argument("--inspection", "--probe", required=True, metavar="NAME", help="one of those below")
    parser.add_argument("--data", help="other pictures: controls, and what is searched (default: drawn scenes)")
    parser.add_argument("--limit", type=int, default=2000, help="use at most so many of them")
    parser.add_argument("--scenes", type=int, help="position: drawn scenes that its classifier of parts is fitted on")
    parser.add_argument("--out", type=Path, required=True, help="the figure to write, .png")


def _epilog() -> str:
    from ijepa_viz.inspections import LOOKS

    return LOOKS.described("inspections")


COMMANDS.register("look")(Command("inspect one prediction: a figure and its numbers", _arguments, _look, _epilog))
