"""``ijepa-viz predict``: decode the prediction of one block of one image."""

from __future__ import annotations

import argparse

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.cli.pictures import IMAGE_HELP, check_picture, open_picture
from ijepa_viz.runtime.device import add_device_argument, choose_device
from ijepa_viz.runtime.outputs import check_output, figure_file


def _predict(options: argparse.Namespace) -> int:
    check_picture(options.image)
    check_output(options.out)
    if options.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {options.samples}.")
    import_libraries()
    from decoders import load_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.figures import completion_grid, write_figure
    from ijepa_viz.masks import Masks
    from ijepa_viz.prediction import check_pair, predict
    from ijepa_viz.runtime.progress import Progress

    device = choose_device(options.device)
    with Progress(f"loading {options.model}"):
        model = checkpoints.load_model(options.model, device)
        masks = Masks.from_block(model.grid, *options.block)
        decoder = load_decoder(decoder_of(options.model), device)
        check_pair(model, decoder)
    image = open_picture(options.image, decoder.image_size)
    with Progress("predicting"):
        prediction = predict(model, image, masks)
    with Progress(f"decoding {options.samples} samples"):
        samples = decoder.sample(prediction, options.samples, seed=options.seed)
    with Progress(f"drawing {options.out.name}"):
        write_figure(options.out, completion_grid([(prediction, samples)]))
    print(f"{options.out.resolve()}  (mean cosine of predicted and target tokens {prediction.cosine.mean():.3f})")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help=IMAGE_HELP)
    parser.add_argument(
        "--model", metavar="MODEL", default="wild-tiny", help="a model with a decoder (default: wild-tiny)"
    )
    block = ("ROW", "COL", "HEIGHT", "WIDTH")
    parser.add_argument("--block", nargs=4, type=int, required=True, metavar=block, help="target block, in patches")
    parser.add_argument("--samples", type=int, default=6, help="number of samples (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument(
        "--out", type=figure_file, required=True, metavar="FILE", help="figure to write: .png .pdf .svg .jpg .webp"
    )
    add_device_argument(parser)


COMMANDS.register("predict")(Command("decode the prediction of one block of one image", _arguments, _predict))
