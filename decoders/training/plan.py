"""Plan of a decoder's training: memory, FLOPs and GPU-hours, computed before it starts.

``python -m decoders.training.plan --fname CONFIG.yaml --gpus 8 --tflops 400 [KEY=VALUE ...]``. Everything is computed
on torch's meta device: nothing is downloaded and no weights are allocated.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from decoders.config import DecoderTrainConfig
from decoders.networks.network import build_network
from ijepa_viz import masks as mask_samplers
from ijepa_viz.checkpoints import PUBLISHED, load_model
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything

# Weights, gradients, two moments of AdamW and the EMA, in float32.
_BYTES_TRAINED, _BYTES_FROZEN = 5 * 4, 4


def sizes_of(name: str) -> ModelConfig:
    """Config of an I-JEPA; that of a published one without downloading it.

    Raises:
        FileNotFoundError, ValueError: as ``load_model``.
    """
    if name not in PUBLISHED:
        return load_model(name).config
    size, patch = {"h": "huge", "g": "giant"}[name[9]], int(name[10:12])
    # Published predictors: 12 layers for the huge ones, 16 for the giant (appendix A.1), 384 wide.
    depth = 16 if size == "giant" else 12
    image = 448 if "-448-" in name else 224
    return ModelConfig.of_size(size, image_size=image, patch_size=patch, predictor_depth=depth)


def _holes(config: DecoderTrainConfig, sizes: ModelConfig) -> Masks:
    """Masks of one batch, with blocks of average size."""
    scale = sum(config.hole.scale) / 2
    if sizes.steps > 1:  # the longest holes: half of the steps
        ahead = sizes.steps // 2
        return Masks.future(sizes.grid, sizes.steps, ahead, ahead).repeat(config.optimization.batch_size)
    return mask_samplers.sample(
        "multiblock",
        batch=config.optimization.batch_size,
        grid=sizes.grid,
        generator=torch.Generator().manual_seed(0),
        targets=config.hole.targets,
        target_scale=(scale, scale),
        target_aspect=(1.0, 1.0),
        context_scale=(1.0, 1.0),
    )


def plan(config: DecoderTrainConfig, sizes: ModelConfig, gpus: int, tflops: float) -> dict[str, Any]:
    """Compute the memory, FLOPs and GPU-hours of a run.

    Args:
        config: of the training. sizes: of the I-JEPA.
        gpus: number of GPUs that the batch is divided among.
        tflops: sustained rate of one GPU, in 10^12 operations a second; 40 % of an H100's 990 in bf16 is 400.

    Returns:
        Numbers by name: parameters, FLOPs an image, hours, and gigabytes a GPU.
    """
    masks = _holes(config, sizes)
    with torch.device("meta"):
        ijepa = IJEPA(sizes)
        options = config.network.options
        patch = config.data.patch_size or sizes.patch_size
        time = {"steps": sizes.steps, "tubelet": sizes.tubelet}
        network = build_network(config.network.name, sizes.grid, patch, sizes.width, options, **time)
        one = masks[:1].to("meta")
        images = torch.zeros(1, *((sizes.frames,) if sizes.frames > 1 else ()), 3, *sizes.height_and_width)
        with FlopCounterMode(display=False) as frozen, torch.no_grad():
            ijepa.predict(ijepa.encode_context(images, one), one)
            ijepa.target_encoder(images)
        batch = config.optimization.batch_size // gpus
        blocks, length = batch * config.hole.targets, masks.targets.shape[2]
        activations = _SavedActivations(network)
        with (
            FlopCounterMode(display=False) as trained,
            torch.autograd.graph.saved_tensors_hooks(activations.pack, lambda t: t),
        ):
            network(
                torch.zeros(blocks, length, network.channels),
                torch.zeros(blocks),
                torch.zeros(blocks, length, dtype=torch.long),
                torch.zeros(blocks, length, sizes.width),
                torch.zeros(blocks, dtype=torch.long),
                torch.zeros(blocks, dtype=torch.long),
            )
    steps, size = config.optimization.steps, config.optimization.batch_size
    decoder_flops = 3 * trained.get_total_flops() / batch
    encoded = min(steps, config.data.cached_batches or steps) * size
    total = frozen.get_total_flops() * encoded + decoder_flops * steps * size
    counts = [sum(p.numel() for p in module.parameters()) for module in (ijepa, network)]
    # The widest layer's activations of the frozen encoder, in half precision, for this GPU's share.
    passing = 2 * batch * sizes.num_patches * sizes.width * (1 + sizes.mlp_ratio) * 2
    return {
        "images": steps * size,
        "ijepa_parameters_millions": counts[0] / 1e6,
        "decoder_parameters_millions": counts[1] / 1e6,
        "ijepa_gflops_an_image": frozen.get_total_flops() / 1e9,
        "decoder_gflops_an_image": decoder_flops / 1e9,
        "total_exaflops": total / 1e18,
        "gpu_hours": total / (tflops * 1e12) / 3600,
        "days": total / (tflops * 1e12) / gpus / 86400,
        "gb_ijepa": counts[0] * _BYTES_FROZEN / 1e9 + passing / 1e9,
        "gb_decoder_and_optimizer": counts[1] * _BYTES_TRAINED / 1e9,
        "gb_decoder_activations_bf16": activations.total / 2 / 1e9,
        "gb_cached_features": _cache_bytes(config, sizes, length, patch) / 1e9,
    }


class _SavedActivations:
    """Count of the bytes that autograd saves for the backward pass: each storage once, weights left out."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.total = 0
        self.seen = {p.untyped_storage()._cdata for p in network.parameters()}
        self.alive: list[Tensor] = []  # an address is unique only while its storage is alive

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen.add(storage._cdata)
            self.alive.append(tensor)
            self.total += storage.nbytes()
        return tensor


def _cache_bytes(config: DecoderTrainConfig, sizes: ModelConfig, length: int, patch: int) -> int:
    blocks = config.data.cached_batches * config.optimization.batch_size * config.hole.targets
    return blocks * length * (2 * (2 * sizes.width + 3 * sizes.tubelet * patch**2) + 8)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(
        prog="python -m decoders.training.plan", description="Compute the memory and GPU-hours of a decoder's training."
    )
    parser.add_argument("--fname", required=True, type=Path)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument(
        "--tflops", type=float, required=True, help="sustained rate of one GPU: 400 for an H100 at 40 %%"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args(arguments)

    def work() -> None:
        config = config_files.load(DecoderTrainConfig, options.fname, options.overrides)
        table = plan(config, sizes_of(config.ijepa), options.gpus, options.tflops)
        for name, value in table.items():
            print(f"{name:32} {value:,.3g}" if value < 1000 else f"{name:32} {value:,.0f}")

    return attempt("decoders.training.plan", work)


if __name__ == "__main__":
    sys.exit(main())
