"""``ijepa-viz export``: a trained model and its decoder as one folder to share, or as ONNX files for the live page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.runtime.outputs import check_output_folder


def _export(options: argparse.Namespace) -> int:
    if (options.folder is None) == (options.onnx is None):
        raise ValueError("Name either FOLDER, for a model to share, or --onnx FOLDER, for the live page.")
    if options.onnx is not None:
        return _export_onnx(options)
    if options.weights or options.autoencoder:
        raise ValueError("--weights and --autoencoder belong to --onnx.")
    check_output_folder(options.folder)
    if options.folder.exists() and any(options.folder.iterdir()):
        raise FileExistsError(f"{options.folder} is not empty: name a new folder.")
    import_libraries()
    import torch

    from decoders.loading import load_decoder, save_decoder
    from decoders.shared_pixels import borrowed, is_of_a_relative
    from ijepa_viz import checkpoints
    from ijepa_viz.checkpoints.training_cost import training_of, write_training
    from ijepa_viz.prediction import check_pair
    from ijepa_viz.runtime.files import folder_or_nothing
    from ijepa_viz.runtime.progress import Progress

    dtype = torch.float16 if options.half else None
    with Progress(f"loading {options.model}"):
        model = checkpoints.load_model(options.model)
        decoder = load_decoder(options.decoder) if options.decoder is not None else None
    if decoder:
        # float16 rounds the weights: the decoder must have been trained on the rounded ones.
        rounded = model.to(dtype).float() if dtype else model
        if is_of_a_relative(decoder, rounded):
            decoder = borrowed(options.decoder, rounded, options.folder.name)
        check_pair(rounded, decoder)
    with Progress(f"writing {options.folder}"), folder_or_nothing(options.folder) as partial:
        checkpoints.save_folder(model, partial, dtype, options.encoders_of)
        checkpoints.copy_objective(options.model, partial, dtype)
        cost = training_of(options.model)
        if cost:
            write_training(partial, cost)
        if decoder:
            save_decoder(decoder, partial / "decoder", dtype)
    for path in sorted(p for p in options.folder.rglob("*") if p.is_file()):
        print(f"{path}  {path.stat().st_size / 2**20:.2f} MiB")
    exact = dtype is None or all(torch.equal(p, p.to(dtype).to(p.dtype)) for p in model.parameters())
    if not decoder and exact and (left_out := _own_decoder(options.model)):
        print(
            f"{options.folder} has no decoder. {options.model} has one: --decoder {left_out} adds it.", file=sys.stderr
        )
    return 0


def _own_decoder(model: str) -> str | None:
    """What ``--decoder`` takes for the decoder that lies with a model; None where there is none."""
    from ijepa_viz.cli.decoder_of import decoder_of

    try:
        return str(decoder_of(model))
    except (FileNotFoundError, ValueError):
        return None


def _export_onnx(options: argparse.Namespace) -> int:
    if options.encoders_of:
        raise ValueError("--encoders-of is of a folder to share, not of ONNX files.")
    if options.half:
        raise ValueError("--half is of a folder to share; with --onnx it is --weights float16, the default.")
    check_output_folder(options.onnx)
    import_libraries()
    from ijepa_viz.cli.onnx_export import default_autoencoder, export_onnx

    named = options.autoencoder or default_autoencoder(options.model)
    autoencoder = None if named == "none" else named
    manifest = export_onnx(options.model, options.onnx, options.decoder, autoencoder, options.weights or "float16")
    for name, graph in manifest["graphs"].items():
        size = f"{graph['bytes'] / 2**20:.2f} MiB"
        print(f"{options.onnx / graph['file']}  {size}  {name}: differs from torch by {graph['difference']:.1e}")
    kept = manifest["kept"]
    print(
        f"mean cosine of predicted and target tokens, drawn scenes: {kept['cosine_files']:.4f}, "
        f"torch {kept['cosine_torch']:.4f}"
    )
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a bundled or published name, a folder such as RUN/step-00008000, or a checkpoint",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help="folder to write; new or empty")
    parser.add_argument(
        "--onnx", metavar="FOLDER", type=Path, help="instead of FOLDER: ONNX files for the live page; new or empty"
    )
    parser.add_argument(
        "--decoder",
        metavar="FOLDER",
        help="a decoder trained on this model, or of a bundled model with the same target encoder, which is then named "
        "and not written again",
    )
    parser.add_argument(
        "--half", action="store_true", help="store float16, half the size; train the decoder on the result"
    )
    parser.add_argument(
        "--encoders-of",
        metavar="NAME",
        help="a bundled model with the same encoders, where the predictor alone was trained (objective predictor): "
        "they are named and not written again",
    )
    parser.add_argument(
        "--weights",
        choices=("float32", "float16", "int8", "mixed"),
        help="with --onnx: how weights are stored; they are computed with in float32 (default: float16). mixed "
        "is 6 and 7 bits for the decoder and 8 for the rest",
    )
    parser.add_argument(
        "--autoencoder",
        metavar="NAME",
        help="with --onnx: a masked autoencoder to compare with (default: the bundled MODEL-mae, if any), or none",
    )


COMMANDS.register("export")(
    Command("write a trained model and its decoder as one folder to share", _arguments, _export)
)
