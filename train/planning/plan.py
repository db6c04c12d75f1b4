"""``python -m train.planning.plan --fname CONFIG.yaml --gpus 16 --gpu A100-80G``: what a training needs.

Nothing is allocated: the objective runs once on tensors without storage, and what autograd keeps is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from ijepa_viz.data.batches import Streamed
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.transforms import Crops
from ijepa_viz.masks import Masks
from ijepa_viz.models import set_recompute
from ijepa_viz.models.attention import choose_kernels
from ijepa_viz.runtime.command_line import attempt
from ijepa_viz.runtime.precision import choose_precision
from ijepa_viz.runtime.run_folder import batch_indices
from train import objectives, sharding
from train.config import RegularizerConfig, TrainConfig, sample_masks
from train.planning.cost import flops_an_image, hardware
from train.planning.plan_check import measure

# name: (dense bf16 operations a second, bytes of memory), from the makers' data sheets.
GPUS = {
    "A100-40G": (312e12, 40e9),
    "A100-80G": (312e12, 80e9),
    "H100-80G": (989e12, 80e9),
    "H200-141G": (989e12, 141e9),
    "L4-24G": (121e12, 24e9),
    "RTX4090-24G": (165e12, 24e9),
}

_PICTURES = 8  # that the activations are counted for; they grow in proportion

_ROUNDS = 3  # masks are of random size


@dataclass(frozen=True)
class Plan:
    """What a training needs. Bytes are of one process.

    Attributes:
        encoder, predictor: parameters; the target encoder has as many as the encoder.
        weights: bytes of all networks in float32 and, where autocast keeps them, in bfloat16; with ``run.fsdp`` a
            share of them and what is gathered at a time.
        gradients, optimizer: bytes, float32; AdamW keeps two numbers a parameter.
        exchange: of DDP's buckets, or of the gradients that are being added up and divided among processes.
        activations: bytes that autograd keeps for one part of a step (``optimization.accumulate``).
        flops_an_image, images, flops: operations, forward and backward, of an image and of the whole training.
        batch: pictures a process and part.
    """

    encoder: int
    predictor: int
    weights: float
    gradients: float
    optimizer: float
    exchange: float
    activations: float
    flops_an_image: float
    images: int
    batch: int

    @property
    def memory(self) -> float:
        """Bytes in all."""
        return self.weights + self.gradients + self.optimizer + self.exchange + self.activations

    @property
    def flops(self) -> float:
        """Operations of the whole training."""
        return self.flops_an_image * self.images

    def days(self, gpus: int, rate: float, utilisation: float) -> float:
        """Days on ``gpus`` devices of ``rate`` operations a second, of which a share is used."""
        return self.flops / (gpus * rate * utilisation) / 86400


def activation_bytes(config: TrainConfig, pictures: int = _PICTURES, device: str = "cpu", fake: bool = True) -> float:
    """Bytes that autograd keeps between forward and backward, per image, averaged over masks.

    Every storage counts once, and only what grows with the batch: autocast's copies of the weights do not. What a
    regularizer keeps is left out.

    Args:
        pictures: that it is counted on; what does not grow is found from twice as many with the same masks.
        device: "cuda" for the kernels that a GPU would use.
        fake: False runs real tensors, to check.
    """
    low = choose_precision(config.run.precision) == "bf16" or device == "cuda"
    config = replace(config, regularizer=RegularizerConfig())
    constant, total = None, 0
    for i in range(_ROUNDS):
        masks = sample_masks(config, pictures, torch.Generator().manual_seed(i))
        twice = masks[torch.arange(2 * pictures) % pictures]
        net = _without_storage(config) if fake else objectives.build(config)
        choose_kernels(net, torch.device(device), torch.bfloat16 if low else torch.float32)
        with FakeTensorMode(allow_non_fake_inputs=True) if fake else contextlib.nullcontext():
            if fake:
                _give_fake_weights(net)
            set_recompute(net, config.optimization.recompute)
            kept = _kept(net, masks, config.model.image_size, low)
            if constant is None:
                constant = 2 * kept - _kept(net, twice, config.model.image_size, low)
            total += kept - constant
    return total / _ROUNDS / pictures


def _kept(net: objectives.Objective, masks: Masks, image_size: int, low: bool) -> int:
    """Bytes that autograd keeps for one step on the pictures of ``masks``."""
    kept: dict[int, int] = {}
    storages = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        storages.append(storage)  # alive, so that no address is used twice
        return tensor

    images = torch.zeros(len(masks), 3, image_size, image_size)
    with saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", torch.bfloat16, enabled=low):
        net(images, masks, torch.Generator().manual_seed(0))
    return sum(kept.values())


def _without_storage(config: TrainConfig) -> objectives.Objective:
    with torch.device("meta"):
        return objectives.build(config)


def _give_fake_weights(net: nn.Module) -> None:
    """Tensors that have a device and a number format, which autocast asks for, and still no storage."""
    for module in net.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            fake = nn.Parameter(torch.empty(weight.shape), requires_grad=weight.requires_grad)
            module.register_parameter(name, fake)
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype))


def plan(config: TrainConfig, gpus: int = 1, device: str = "cuda") -> Plan:
    """What ``config`` needs on ``gpus`` processes.

    Raises:
        ValueError: a batch that does not divide among them, or as :func:`train.objectives.build`.
    """
    optimization = config.optimization
    parts = gpus * optimization.accumulate
    if optimization.batch_size % parts:
        raise ValueError(
            f"optimization.batch_size {optimization.batch_size} does not divide among {gpus} GPUs with "
            f"{optimization.accumulate} parts each."
        )
    net = _without_storage(config)
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    every = sum(p.numel() for p in net.parameters())
    low = device == "cuda" or choose_precision(config.run.precision) == "bf16"
    batch = optimization.batch_size // parts
    weights: float = every * 4 + (every * 2 if low else 0)
    exchange = trained * 4 if gpus > 1 else 0
    shares = gpus if config.run.fsdp else 1
    if shares > 1:
        pieces = [sum(p.numel() for p in piece.parameters()) for piece in sharding.parts(net)]
        root = every - sum(pieces)
        # The root's weights stay gathered; of the pieces, the one that computes and the next one.
        weights = every * 4 / shares + root * (6 if low else 4) + 2 * max(pieces) * (2 if low else 4)
        exchange = 2 * 4 * max(pieces)
    model = net.model
    return Plan(
        encoder=sum(p.numel() for p in model.encoder.parameters()),
        predictor=sum(p.numel() for p in model.predictor.parameters()) if model.predictor is not None else 0,
        weights=weights,
        gradients=trained * 4 / shares,
        optimizer=trained * 8 / shares,
        exchange=exchange,
        activations=activation_bytes(config, min(_PICTURES, batch), device) * batch,
        flops_an_image=flops_an_image(config),
        images=optimization.steps * optimization.batch_size,
        batch=batch,
    )


def told(config: TrainConfig, found: Plan, gpus: int, gpu: str, utilisation: float) -> str:
    """The plan for people.

    Raises:
        ValueError: an unknown GPU.
    """
    if gpu not in GPUS:
        raise ValueError(f"No GPU {gpu!r}; there are {', '.join(GPUS)}.")
    rate, memory = GPUS[gpu]
    shares = ("weights", "gradients", "optimizer", "exchange", "activations")
    split = ", ".join(f"{name} {getattr(found, name) / 1e9:.2f}" for name in shares)
    encoder, predictor = (f"{count / 1e6:.1f} M" for count in (found.encoder, found.predictor))
    days = f"{found.days(gpus, rate, utilisation):.2f} days on {gpus} x {gpu}"
    lines = [
        f"parameters          encoder {encoder}, predictor {predictor}, target encoder {encoder}",
        f"memory a GPU        {found.memory / 1e9:.1f} GB of {memory / 1e9:.0f} ({gpu}): {split}",
        f"batch               {config.optimization.batch_size}: {found.batch} a GPU"
        + (f" in {config.optimization.accumulate} parts" if config.optimization.accumulate > 1 else ""),
        f"operations          {found.flops_an_image:.3g} an image, {found.flops:.3g} for {found.images} images",
        f"time                {days} at {100 * utilisation:.0f} % of {rate / 1e12:.0f} TFLOP/s",
    ]
    if found.memory > memory:
        parts = config.optimization.accumulate
        lines.append(
            f"It does not fit: more GPUs, optimization.accumulate={2 * parts} (half the activations a part), "
            "optimization.recompute=true, or run.fsdp=true."
        )
    return "\n".join(lines)


def _beside_measured(config: TrainConfig, gpus: int) -> str:
    """One process's share of a batch, unsharded, on this machine and in the plan."""
    optimization = replace(config.optimization, batch_size=config.optimization.batch_size // gpus)
    config = replace(config, optimization=optimization, run=replace(config.run, fsdp=False))
    found = measure(config)
    planned = plan(config, 1, found.device)
    return (
        f"measured here       {planned.batch} pictures a part, {hardware()}: "
        f"peak {found.memory / 1e9:.2f} GB where its plan says {planned.memory / 1e9:.2f}; "
        f"{found.images_per_s:.1f} images/s, {found.images_per_s * planned.flops_an_image:.3g} operations a second"
    )


def rehearse(config: TrainConfig, gpu: str = "A100-80G", gpus: int = 1, utilisation: float = 0.4) -> str:
    """A dry run: the plan, and one batch read from the data, in words.

    Raises:
        FileNotFoundError, ValueError: what the real run would say.
    """
    words = told(config, plan(config, gpus), gpus, gpu, utilisation)
    started = time.perf_counter()
    source = open_source(config.data.source)
    size, batch = config.model.image_size, config.optimization.batch_size
    # A few pictures are enough for a dry run: they come again.
    chosen = np.resize(batch_indices(len(source), min(batch, len(source)), 0, config.run.seed), batch)
    generator = torch.Generator().manual_seed(config.run.seed * 1_000_003)
    crops = Crops.draw(
        batch, generator, scale=config.data.crop_scale, ratio=config.data.crop_ratio, flip=config.data.horizontal_flip
    )
    # Never the array of all pictures, which would be written to the cache.
    pictures = Streamed(source, size, config.data.workers)
    images = pictures.crops(chosen, crops, torch.device("cpu"))
    masks = sample_masks(config, batch, generator)
    took = time.perf_counter() - started
    shapes = f"context {tuple(masks.context.shape)}, targets {tuple(masks.targets.shape)}"
    read = f"{tuple(images.shape)} of {len(source)} pictures of {source.name} in {took:.1f} s"
    return f"{words}\none batch           {read}; {shapes}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.planning.plan", description="What a training will need.")
    parser.add_argument("--fname", type=Path, required=True, help="a YAML file of ours or of the reference code's")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--gpu", default="A100-80G", help=", ".join(GPUS))
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the peak rate that is used")
    parser.add_argument("--measure", action="store_true", help="also take steps on one process's share and compare")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args(arguments)

    def work() -> None:
        from train.reference_yaml import load_config

        config, _, _ = load_config(options.fname, options.overrides, options.gpus)
        config = replace(config, start_from=None)
        if options.measure:  # first: what planning holds for a while would raise the peak
            print(_beside_measured(config, options.gpus))
        print(told(config, plan(config, options.gpus), options.gpus, options.gpu, options.utilisation))

    return attempt("train.planning.plan", work)


if __name__ == "__main__":
    sys.exit(main())
