"""``python -m train.planning.cost --fname CONFIG.yaml``: floating point operations of a training, counted by torch."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything
from train import objectives
from train.config import RegularizerConfig, TrainConfig, sample_masks
from train.objectives.predictor import PredictorObjective

_BATCH = 32  # images that each count averages over, because masks have random sizes


def flops_per_image(config: TrainConfig) -> float:
    """Floating point operations of a training step per image, forward and backward, averaged over mask sizes.

    Counted by torch's FlopCounterMode while the objective runs on the meta device, without computing. The
    regularizer's arithmetic, a thousandth of the networks', is left out. Of ``data.cached_batches`` the encoding is
    shared among the steps that use it.

    Raises:
        ValueError: as :func:`train.objectives.build`.
    """
    total, rounds = 0.0, 4  # each batch has one size of target blocks
    with torch.device("meta"):
        objective = objectives.build(replace(config, regularizer=RegularizerConfig()))
    for i in range(rounds):
        masks = sample_masks(config, _BATCH, torch.Generator().manual_seed(i)).to("meta")
        images = torch.zeros(_BATCH, *config.model.input_shape, device="meta")
        with FlopCounterMode(display=False) as counter:
            objective(images, masks)["loss"].backward()
        total += counter.get_total_flops() / _BATCH / rounds
        if isinstance(objective, PredictorObjective) and config.data.cached_batches:
            with FlopCounterMode(display=False) as counter:
                objective.encode(images, masks)
            once = min(1.0, config.data.cached_batches / config.optimization.steps)
            total -= (1 - once) * counter.get_total_flops() / _BATCH / rounds
    return total


def hardware() -> str:
    """Name of the device that a run on this machine uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"one CPU thread ({platform.machine()})" if torch.get_num_threads() == 1 else f"CPU ({platform.machine()})"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(
        prog="python -m train.planning.cost", description="Count the floating point operations of a training."
    )
    parser.add_argument("--fname", type=Path, required=True, help="YAML config of the training")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args(arguments)

    def work() -> None:
        config = config_files.load(TrainConfig, options.fname, options.overrides)
        per_image = flops_per_image(config)
        images = config.optimization.steps * config.optimization.batch_size
        one, many = ("a clip", "clips") if config.model.frames > 1 else ("an image", "images")
        print(f"{per_image:.4g} operations {one}, {per_image * images:.4g} for {images} {many}")

    return attempt("train.planning.cost", work)


if __name__ == "__main__":
    sys.exit(main())
