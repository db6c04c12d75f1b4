"""``ijepa-viz export``: a trained model and its decoder as one folder to share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command


def _export(options: argparse.Namespace) -> int:
    import torch

    from decoders.loading import load_decoder, save_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.checkpoints.training_cost import training_of, write_training
    from ijepa_viz.prediction import check_pair

    if options.folder.exists() and (not options.folder.is_dir() or any(options.folder.iterdir())):
        raise FileExistsError(f"{options.folder} is not empty: name a new folder.")
    dtype = torch.float16 if options.half else None
    model = checkpoints.load_model(options.model)
    decoder = load_decoder(options.decoder) if options.decoder else None
    if decoder:
        # float16 rounds the weights: the decoder must have been trained on the rounded ones.
        check_pair(model.to(dtype).float() if dtype else model, decoder)
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
    parser.add_argument("model", help="anything that load_model takes, such as RUN/step-00008000")
    parser.add_argument("folder", type=Path, help="folder to write; new or empty")
    parser.add_argument("--decoder", metavar="FOLDER", help="a decoder trained on this model")
    parser.add_argument(
        "--half", action="store_true", help="store float16, half the size; train the decoder on the result"
    )


COMMANDS.register("export")(
    Command("write a trained model and its decoder as one folder to share", _arguments, _export)
)
