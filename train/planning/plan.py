"""``python -m train.planning.plan --fname CONFIG.yaml --gpus 16 --gpu A100-80G``: memory and time of a training.

Nothing is allocated: the objective runs on fake tensors, and the tensors that autograd saves are counted.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from ijepa_viz.data.batches import open_images
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.transforms import Crops
from ijepa_viz.masks import Masks
from ijepa_viz.models import set_activation_checkpointing
from ijepa_viz.models.attention import choose_kernels
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything
from ijepa_viz.runtime.precision import choose_precision
from ijepa_viz.runtime.run_folder import batch_indices
from train import objectives, sharding
from train.config import RegularizerConfig, TrainConfig, sample_masks
from train.planning.cost import flops_per_image, hardware
from train.planning.plan_check import measure

# name -> (dense bf16 operations per second, bytes of memory), from the vendors' data sheets.
GPUS = {
    "A100-40G": (312e12, 40e9),
    "A100-80G": (312e12, 80e9),
    "H100-80G": (989e12, 80e9),
    "H200-141G": (989e12, 141e9),
    "L4-24G": (121e12, 24e9),
    "RTX4090-24G": (165e12, 24e9),
}

_IMAGES = 8  # batch that activations are counted for; they are proportional to it

_QUICK_STEP = 2e11  # operations that take a CPU some seconds: a dry run measures such steps

_ROUNDS = 3  # batches that the count averages over, because masks have random sizes


@dataclass(frozen=True)
class Plan:
    """Memory and arithmetic of a training. Bytes are those of one process.

    Attributes:
        encoder, predictor: number of parameters; the target encoder has as many as the encoder.
        weights: bytes of all networks in float32, and of autocast's copies in bfloat16; with ``run.fsdp`` the local
            shards and the weights gathered at a time.
        gradients, optimizer: bytes, float32; AdamW has two moments per parameter.
        communication: bytes of DDP's buckets, or of the gradients in FSDP's reduce-scatter.
        activations: bytes that autograd saves in one pass; a step has ``optimization.accumulate`` passes.
        flops_per_image, images, flops: operations, forward and backward, per image and of the whole training.
        batch: images per process and pass.
    """

    encoder: int
    predictor: int
    weights: float
    gradients: float
    optimizer: float
    communication: float
    activations: float
    flops_per_image: float
    images: int
    batch: int

    @property
    def memory(self) -> float:
        """Total bytes."""
        return self.weights + self.gradients + self.optimizer + self.communication + self.activations

    @property
    def flops(self) -> float:
        """Floating point operations of the whole training."""
        return self.flops_per_image * self.images

    def days(self, gpus: int, rate: float, utilisation: float) -> float:
        """Days on ``gpus`` devices of ``rate`` operations per second, at a ``utilisation`` of 0 to 1."""
        return self.flops / (gpus * rate * utilisation) / 86400


def activation_bytes(config: TrainConfig, images: int = _IMAGES, device: str = "cpu", fake: bool = True) -> float:
    """Bytes that autograd saves for the backward pass, per image, averaged over masks.

    Every storage counts once, and only what is proportional to the batch: autocast's copies of the weights are not.
    A regularizer's saved tensors are left out.

    Args:
        images: batch size of the count; the constant part is found from twice as many images with the same masks.
        device: "cuda" for the kernels of a GPU.
        fake: False runs real tensors, as a check.
    """
    low = choose_precision(config.run.precision) == "bf16" or device == "cuda"
    config = replace(config, regularizer=RegularizerConfig())
    constant, total = None, 0
    for i in range(_ROUNDS):
        masks = sample_masks(config, images, torch.Generator().manual_seed(i))
        twice = masks[torch.arange(2 * images) % images]
        net = _without_storage(config) if fake else objectives.build(config)
        choose_kernels(net, torch.device(device), torch.bfloat16 if low else torch.float32)
        with FakeTensorMode(allow_non_fake_inputs=True) if fake else contextlib.nullcontext():
            if fake:
                _give_fake_weights(net)
            set_activation_checkpointing(net, config.optimization.activation_checkpointing)
            saved = _saved_bytes(net, masks, config.model.input_shape, low)
            if constant is None:
                constant = 2 * saved - _saved_bytes(net, twice, config.model.input_shape, low)
            total += saved - constant
    return total / _ROUNDS / images


def _saved_bytes(net: objectives.Objective, masks: Masks, shape: tuple[int, ...], low: bool) -> int:
    """Bytes that autograd saves in one forward pass on the images of ``masks``, of ``shape`` each."""
    sizes: dict[int, int] = {}
    storages = []

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        storages.append(storage)  # keeps it alive, so that no address is reused
        return tensor

    images = torch.zeros(len(masks), *shape)
    with saved_tensors_hooks(save, lambda t: t), torch.autocast("cpu", torch.bfloat16, enabled=low):
        net(images, masks, torch.Generator().manual_seed(0))
    return sum(sizes.values())


def _without_storage(config: TrainConfig) -> objectives.Objective:
    """The objective on the meta device."""
    with torch.device("meta"):
        return objectives.build(config)


def _give_fake_weights(net: nn.Module) -> None:
    """Replace meta parameters by fake ones, which have the device and dtype that autocast requires, but no storage."""
    for module in net.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            fake = nn.Parameter(torch.empty(weight.shape), requires_grad=weight.requires_grad)
            module.register_parameter(name, fake)
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype))


def plan(config: TrainConfig, gpus: int = 1, device: str = "cuda") -> Plan:
    """Plan memory and arithmetic of ``config`` on ``gpus`` processes, one on each GPU.

    Raises:
        ValueError: a batch that does not divide among them, or as :func:`train.objectives.build`.
    """
    optimization = config.optimization
    parts = gpus * optimization.accumulate
    if optimization.batch_size % parts:
        raise ValueError(
            f"optimization.batch_size {optimization.batch_size} does not divide among {gpus} GPUs with "
            f"{optimization.accumulate} passes each (optimization.accumulate)."
        )
    net = _without_storage(config)
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    total = sum(p.numel() for p in net.parameters())
    low = device == "cuda" or choose_precision(config.run.precision) == "bf16"
    batch = optimization.batch_size // parts
    weights: float = total * 4 + (total * 2 if low else 0)
    communication = trained * 4 if gpus > 1 else 0
    shards = gpus if config.run.fsdp else 1
    if shards > 1:
        units = [sum(p.numel() for p in unit.parameters()) for unit in sharding.fsdp_units(net)]
        root = total - sum(units)
        # Gathered at a time: the root's weights, and those of the current unit and of the prefetched next one.
        weights = total * 4 / shards + root * (6 if low else 4) + 2 * max(units) * (2 if low else 4)
        communication = 2 * 4 * max(units)
    model = net.model
    return Plan(
        encoder=sum(p.numel() for p in model.encoder.parameters()),
        predictor=sum(p.numel() for p in model.predictor.parameters()) if model.predictor is not None else 0,
        weights=weights,
        gradients=trained * 4 / shards,
        optimizer=trained * 8 / shards,
        communication=communication,
        activations=activation_bytes(config, min(_IMAGES, batch), device) * batch,
        flops_per_image=flops_per_image(config),
        images=optimization.steps * optimization.batch_size,
        batch=batch,
    )


def duration(days: float) -> str:
    """Days, hours, minutes or seconds in words, with two digits that matter.

    >>> duration(12.34), duration(0.3), duration(0.01), duration(1e-5)
    ('12.3 days', '7.2 hours', '14 minutes', '0.9 seconds')
    """
    for unit, length in (("days", 1.0), ("hours", 1 / 24), ("minutes", 1 / 1440)):
        if days >= length * (2 if unit == "days" else 1):
            value = days / length
            return f"{value:.1f} {unit}" if value < 100 and unit != "minutes" else f"{value:.0f} {unit}"
    return f"{days * 86400:.1f} seconds"


def this_gpu() -> str | None:
    """The name in :data:`GPUS` of the GPU of this machine; None where there is none, or another."""
    if not torch.cuda.is_available():
        return None
    name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    return gpu_named(name, memory)


def gpu_named(name: str, memory: float) -> str | None:
    """The name in :data:`GPUS` of the GPU that CUDA calls ``name``, with ``memory`` bytes; None for any other.

    >>> gpu_named("NVIDIA H100 80GB HBM3", 85e9), gpu_named("NVIDIA L40S", 48e9)
    ('H100-80G', None)
    """
    words = re.split(r"[^A-Z0-9]+", name.upper().replace("RTX ", "RTX"))  # an L40 is no L4
    alike = [key for key in GPUS if key.partition("-")[0] in words and abs(GPUS[key][1] - memory) < 0.2 * memory]
    return min(alike, key=lambda key: abs(GPUS[key][1] - memory), default=None)


def as_text(config: TrainConfig, found: Plan, gpus: int, gpu: str, utilisation: float) -> str:
    """The plan as a text of one line for each quantity.

    Raises:
        ValueError: an unknown GPU.
    """
    if gpu not in GPUS:
        raise ValueError(f"No GPU {gpu!r}; there are {', '.join(GPUS)}.")
    rate, memory = GPUS[gpu]
    parts_of_memory = ("weights", "gradients", "optimizer", "communication", "activations")
    split = ", ".join(f"{name} {getattr(found, name) / 1e9:.2f}" for name in parts_of_memory)
    encoder, predictor = (f"{count / 1e6:.1f} M" for count in (found.encoder, found.predictor))
    one, many = ("a clip", "clips") if config.model.frames > 1 else ("an image", "images")
    speed = gpus * rate * utilisation / found.flops_per_image
    time_taken = f"about {duration(found.days(gpus, rate, utilisation))} on {gpus} x {gpu}"
    peak = f"{100 * utilisation:.0f} % of {rate / 1e12:.0f} TFLOP/s"
    lines = [
        f"parameters          encoder {encoder}, predictor {predictor}, target encoder {encoder}",
        f"memory a GPU        {found.memory / 1e9:.1f} GB of {memory / 1e9:.0f} ({gpu}): {split}",
        f"batch               {config.optimization.batch_size}: {found.batch} a GPU"
        + (f" in {config.optimization.accumulate} passes" if config.optimization.accumulate > 1 else ""),
        f"operations          {found.flops_per_image:.3g} {one}, {found.flops:.3g} for {found.images} {many}",
        f"time                {time_taken}, an estimate at {peak}, which small networks do not reach",
        f"data                {speed:.3g} {many} a second are read at that pace, {speed / gpus:.3g} a GPU",
    ]
    if found.memory > memory:
        passes = config.optimization.accumulate
        lines.append(
            f"It does not fit: use more GPUs, optimization.accumulate={2 * passes} (half the activations), "
            "optimization.activation_checkpointing=true, or run.fsdp=true."
        )
    return "\n".join(lines)


def _beside_measured(config: TrainConfig, gpus: int) -> str:
    """Measured memory and speed of one process's part of a batch, unsharded, beside the plan's."""
    optimization = replace(config.optimization, batch_size=config.optimization.batch_size // gpus)
    config = replace(config, optimization=optimization, run=replace(config.run, fsdp=False))
    found = measure(config)
    planned = plan(config, 1, found.device)
    many = "clips" if config.model.frames > 1 else "images"
    return (
        f"measured here       {planned.batch} {many} a pass, {hardware()}: "
        f"peak {found.memory / 1e9:.2f} GB where its plan says {planned.memory / 1e9:.2f}; "
        f"{found.images_per_s:.1f} {many}/s, {found.images_per_s * planned.flops_per_image:.3g} operations per second"
    )


def dry_run(config: TrainConfig, gpu: str | None = None, gpus: int = 1, utilisation: float = 0.4) -> Iterator[str]:
    """Dry run: plan the training, then read one batch. Yields the plan's text first, and the batch's.

    Args:
        gpu: a name in :data:`GPUS`; None is that of this machine, or A100-80G where it has none of them.

    Raises:
        FileNotFoundError, ValueError: as the real run.
    """
    found = plan(config, gpus)
    yield as_text(config, found, gpus, gpu or this_gpu() or "A100-80G", utilisation)
    if found.flops_per_image * config.optimization.batch_size <= _QUICK_STEP:
        speed = measure(config, 3).images_per_s
        taken = f"about {duration(found.images / speed / 86400)} on this machine ({hardware()}), as 3 steps say"
    else:
        taken = f"not known on this machine ({hardware()}): python -m train.planning.plan --measure runs a few steps"
    yield f"                    {taken}"
    started = time.perf_counter()
    source = open_source(config.data.source)
    size, batch = config.model.image_size, config.optimization.batch_size
    chosen = batch_indices(len(source), batch, 0, config.run.seed)
    generator = torch.Generator().manual_seed(config.run.seed * 1_000_003)
    crops = Crops.draw(
        batch, generator, scale=config.data.crop_scale, ratio=config.data.crop_ratio, flip=config.data.horizontal_flip
    )
    # Never the array of all images, which would be written to the cache.
    pictures = open_images(source, size, False, config.data.workers, config.model.frames)
    images = pictures.crops(chosen, crops, torch.device("cpu"))
    masks = sample_masks(config, batch, generator)
    took = time.perf_counter() - started
    shapes = f"context {tuple(masks.context.shape)}, targets {tuple(masks.targets.shape)}"
    kind = "clips" if config.model.frames > 1 else "pictures"
    read = f"{tuple(images.shape)} of {len(source)} {kind} of {source.name} in {took:.1f} s"
    yield f"one batch           {read}; {shapes}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(
        prog="python -m train.planning.plan", description="Plan the memory and time of a training."
    )
    parser.add_argument("--fname", type=Path, required=True, help="YAML config, ours or the reference code's")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--gpu", default="A100-80G", help=", ".join(GPUS))
    parser.add_argument("--utilisation", type=float, default=0.4, help="assumed share of the peak rate, 0 to 1")
    parser.add_argument(
        "--measure", action="store_true", help="also run a few steps of one process's part of a batch here, and compare"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args(arguments)

    def work() -> None:
        from train.reference_yaml import load_config

        config, _, _ = load_config(options.fname, options.overrides, options.gpus)
        config = replace(config, start_from=None)
        if options.measure:  # first, because planning would raise the process's peak
            print(_beside_measured(config, options.gpus))
        print(as_text(config, plan(config, options.gpus), options.gpus, options.gpu, options.utilisation))

    return attempt("train.planning.plan", work)


if __name__ == "__main__":
    sys.exit(main())
