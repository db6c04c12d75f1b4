"""``ijepa-viz predict``: decode the prediction of one block of one image."""

from __future__ import annotations

import argparse
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command
from ijepa_viz.cli.decoder_of import decoder_of


def _predict(options: argparse.Namespace) -> int:
    from decoders import load_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.data.transforms import read_image
    from ijepa_viz.figures import completion_grid, png
    from ijepa_viz.masks import Masks
    from ijepa_viz.prediction import check_pair, predict
    from ijepa_viz.runtime.files import write_file

    image = read_image(options.image)
    model = checkpoints.load_model(options.model)
    masks = Masks.from_block(model.grid, *options.block)
    decoder = load_decoder(decoder_of(options.model))
    check_pair(model, decoder)
    prediction = predict(model, image, masks)
    samples = decoder.sample(prediction, options.samples, seed=options.seed)
    write_file(options.out, png(completion_grid([(prediction, samples)])))
    print(f"{options.out.resolve()}  (mean cosine of predicted and target tokens {prediction.cosine.mean():.3f})")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--model", default="wild-tiny", help="a model with a decoder (default: wild-tiny)")
    block = ("ROW", "COL", "HEIGHT", "WIDTH")
    parser.add_argument("--block", nargs=4, type=int, required=True, metavar=block, help="target block, in patches")
    parser.add_argument("--samples", type=int, default=6, help="number of samples (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="figure to write, .png")


COMMANDS.register("predict")(Command("decode the prediction of one block of one image", _arguments, _predict))
