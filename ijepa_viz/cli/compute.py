"""The options ``--device``, ``--dtype`` and ``--batch``, the same on every command that runs a model on pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ijepa_viz.runtime.device import add_device_argument, choose_device

if TYPE_CHECKING:
    import torch

    from ijepa_viz.models import IJEPA

BATCH = 32


def add_compute_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, ``--dtype`` and ``--batch``."""
    add_device_argument(parser)
    parser.add_argument(
        "--dtype",
        choices=("fp32", "bf16", "auto"),
        default="fp32",
        help="number format of the computation; bf16 by autocast, auto where the device is faster with it "
        "(default: fp32, which numbers are comparable in)",
    )
    parser.add_argument(
        "--batch",
        type=positive,
        default=BATCH,
        metavar="N",
        help=f"most pictures that a network computes at once; memory grows with it (default: {BATCH})",
    )


def open_model(source: str, options: argparse.Namespace) -> IJEPA:
    """The model, in evaluation mode, on the device and computing as the options of a command say."""
    from ijepa_viz import checkpoints
    from ijepa_viz.runtime.computation import compute_in
    from ijepa_viz.runtime.precision import choose_precision

    model = checkpoints.load_model(source, _device(options)).eval()
    for network in (model.encoder, model.target_encoder, model.predictor):
        if network is not None:
            compute_in(network, choose_precision(options.dtype), options.batch)
    return model


def open_decoder(source: Any, options: argparse.Namespace) -> Any:
    """The decoder, on the device and computing as the options of a command say."""
    from decoders.loading import load_decoder, networks_of
    from ijepa_viz.runtime.computation import compute_in
    from ijepa_viz.runtime.precision import choose_precision

    decoder = load_decoder(source, _device(options))
    for network in networks_of(decoder).values():
        compute_in(network, choose_precision(options.dtype))
    return decoder


def _device(options: argparse.Namespace) -> torch.device:
    return choose_device(options.device)


def positive(text: str) -> int:
    """A whole number from 1; ``type=`` of an argparse option."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return number
