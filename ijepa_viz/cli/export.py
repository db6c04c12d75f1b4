"""``ijepa-viz export``: a trained model and its decoder as one folder to share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.runtime.outputs import check_output_folder


def _export(options: argparse.Namespace) -> int:
    check_output_folder(options.folder)
    if options.folder.exists() and any(options.folder.iterdir()):
        raise FileExistsError(f"{options.folder} is not empty: name a new folder.")
    import_libraries()
    import torch

    from decoders.loading import load_decoder, save_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.checkpoints.training_cost import training_of, write_training
    from ijepa_viz.prediction import check_pair
    from ijepa_viz.runtime.progress import Progress

    dtype = torch.float16 if options.half else None
    with Progress(f"loading {options.model}"):
        model = checkpoints.load_model(options.model)
        decoder = load_decoder(options.decoder) if options.decoder else None
    if decoder:
        # float16 rounds the weights: the decoder must have been trained on the rounded ones.
        check_pair(model.to(dtype).float() if dtype else model, decoder)
    with Progress(f"writing {options.folder}"):
        checkpoints.save_folder(model, options.folder, dtype)
        checkpoints.copy_objective(options.model, options.folder, dtype)
        cost = training_of(options.model)
        if cost:
            write_training(options.folder, cost)
        if decoder:
            save_decoder(decoder, options.folder / "decoder", dtype)
    for path in sorted(p for p in options.folder.rglob("*") if p.is_file()):
        print(f"{path}  {path.stat().st_size / 2**20:.2f} MiB")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a bundled or published name, a folder such as RUN/step-00008000, or a checkpoint",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder to write; new or empty")
    parser.add_argument("--decoder", metavar="FOLDER", help="a decoder trained on this model")
    parser.add_argument(
        "--half", action="store_true", help="store float16, half the size; train the decoder on the result"
    )


COMMANDS.register("export")(
    Command("write a trained model and its decoder as one folder to share", _arguments, _export)
)
