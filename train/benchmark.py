"""``python -m train.benchmark``: speed and memory of a training step, part by part, beside a plain implementation.

Medians over rounds after a warm-up. Every round runs all variants, so that a slowdown of the machine affects all.
"plain" is a straightforward implementation of the same model: textbook attention, Python loops over images for crops
and masks, and over parameters for the optimizer and the EMA.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.data.transforms import normalise, random_resized_crop
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig, gather_targets, target_layer_norm
from ijepa_viz.models.attention import choose_kernels, key_mask
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything
from ijepa_viz.runtime.outputs import check_output, table_file, write_table
from ijepa_viz.runtime.precision import choose_precision
from train.config import MaskConfig, TrainConfig, sample_masks
from train.ema import ema_update
from train.optimizer import adamw
from train.planning.cost import flops_per_image
from train.planning.plan_check import peak_memory

# name -> (size, image size, patch size, predictor width, predictor depth).
SIZES: dict[str, tuple[str, int, int, int, int]] = {
    "ViT-Ti/8@64": ("tiny", 64, 8, 96, 6),
    "ViT-S/8@64": ("small", 64, 8, 192, 6),
    "ViT-B/16@224": ("base", 224, 16, 384, 6),
    "ViT-L/16@224": ("large", 224, 16, 384, 12),
    "ViT-H/14@224": ("huge", 224, 14, 384, 12),
}
PARTS = ("data", "masks", "target", "context", "predictor", "backward", "optimizer", "teacher")


class StepTimer:
    """Seconds of each part of a step; synchronises with the GPU before it reads the time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the duration of the ``with`` block to part ``name``."""
        start = self._now()
        yield
        self.seconds[name] += self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


@dataclass
class Step:
    """One variant of a training step: ``run(timer)`` performs and times it; ``flops`` is its arithmetic."""

    name: str
    run: Callable[[StepTimer], None]
    flops: float


def config_of(size: str, context: str = "separate") -> TrainConfig:
    """Config of the benchmarked training: the paper's masks, unbiased, four targets.

    Raises:
        ValueError: an unknown size.
    """
    if size not in SIZES:
        raise ValueError(f"No size {size!r}; there are {', '.join(SIZES)}.")
    name, image, patch, width, depth = SIZES[size]
    heads = 3 if name == "tiny" else None
    options: dict[str, Any] = {} if heads is None else {"predictor_heads": heads}
    model = ModelConfig.of_size(
        name, image_size=image, patch_size=patch, predictor_width=width, predictor_depth=depth,
        predictor_context=context, **options,
    )  # fmt: skip
    return TrainConfig(model=model, mask=MaskConfig("multiblock", {"mode": "unbiased"}))


def trainer_step(name: str, config: TrainConfig, batch: int, device: torch.device, low: bool, compiled: bool) -> Step:
    """The training step of :mod:`train.trainer`, timed part by part."""
    torch.manual_seed(0)
    model = IJEPA(config.model).to(device)
    choose_kernels(model, device, torch.bfloat16 if low else torch.float32)
    optimizer = adamw(model, 1e-3, device)
    pixels = torch.randint(0, 256, (batch, 3, *config.model.height_and_width), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    encoder: Any = torch.compile(model.encoder, dynamic=True) if compiled else model.encoder
    teacher: Any = torch.compile(model.target_encoder, dynamic=True) if compiled else model.target_encoder
    predictor: Any = torch.compile(model.predictor, dynamic=True) if compiled else model.predictor

    def run(timer: StepTimer) -> None:
        with timer.part("data"):
            crops = random_resized_crop(pixels.to(device), config.model.image_size, generator)
            images = normalise(crops)
        with timer.part("masks"):
            masks = sample_masks(config, batch, generator).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            with timer.part("target"), torch.no_grad():
                tokens = teacher(images).float()
                target = gather_targets(target_layer_norm(tokens), masks)
            with timer.part("context"):
                context = encoder(images, masks.context, masks.context_valid)
            with timer.part("predictor"):
                loss = F.smooth_l1_loss(predictor(context, masks).float(), target)
        with timer.part("backward"):
            loss.backward()
        with timer.part("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        with timer.part("teacher"):
            ema_update(model, 0.996)

    return Step(name, run, flops_per_image(config) * batch)


# --------------------------------------------------------------------------- the plain implementation


class _PlainAttention(nn.Module):
    """Textbook attention: the full matrix of scores of every head, masked entries included."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = attention.num_heads, attention.qkv, attention.proj

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = qkv[0], qkv[1], qkv[2]
        scores = torch.matmul(queries, keys.transpose(-2, -1)) * (width // self.heads) ** -0.5
        if attn_mask is not None:
            scores = scores + attn_mask
        weights = F.softmax(scores, dim=-1)
        return self.proj(torch.matmul(weights, values).transpose(1, 2).reshape(batch, length, width))


def _plain_masks(batch: int, config: TrainConfig, generator: torch.Generator) -> Masks:
    """Sample masks image by image and pad them; the distribution is that of the batched sampler."""
    rows, cols = config.model.grid
    draws = torch.rand(3, generator=generator).tolist()
    scale, aspect = 0.15 + 0.05 * draws[0], 0.75 * 2 ** draws[1]
    height = max(1, min(rows, round((rows * cols * scale * aspect) ** 0.5)))
    width = max(1, min(cols, round((rows * cols * scale / aspect) ** 0.5)))
    side = max(1, min(rows, round((rows * cols * (0.85 + 0.15 * draws[2])) ** 0.5)))
    contexts, targets = [], []
    for _ in range(batch):
        while True:
            hidden, blocks = torch.zeros(rows, cols, dtype=torch.bool), []
            for _ in range(4):
                top = int(torch.randint(rows - height + 1, (1,), generator=generator))
                left = int(torch.randint(cols - width + 1, (1,), generator=generator))
                block = torch.zeros(rows, cols, dtype=torch.bool)
                block[top : top + height, left : left + width] = True
                hidden |= block
                blocks.append(block.flatten().nonzero().flatten())
            top = int(torch.randint(rows - side + 1, (1,), generator=generator))
            left = int(torch.randint(cols - side + 1, (1,), generator=generator))
            visible = torch.zeros(rows, cols, dtype=torch.bool)
            visible[top : top + side, left : left + side] = True
            kept = (visible & ~hidden).flatten().nonzero().flatten()
            if len(kept) >= min(10, rows * cols // 4):
                break
        contexts.append(kept)
        targets.append(torch.stack(blocks))
    valid = torch.arange(max(map(len, contexts))) < torch.tensor([len(c) for c in contexts])[:, None]
    padded = nn.utils.rnn.pad_sequence(contexts, batch_first=True)
    return Masks(torch.where(valid, padded, padded[:, :1]), torch.stack(targets), (rows, cols), valid)


def _plain_predict(predictor: Any, context: Tensor, masks: Masks) -> Tensor:
    """Run every predictor layer on all tokens, (B, K, D) -> (B, M, T, D)."""
    batch, blocks, patches = masks.targets.shape
    positions = predictor.predictor_pos_embed[0]
    context = predictor.predictor_embed(context) + positions[masks.context]
    queries = (predictor.mask_token[0] + positions[masks.targets]).to(context.dtype)
    x = torch.cat([context[:, None].expand(-1, blocks, -1, -1), queries], dim=2).flatten(0, 1)
    mask = None
    if masks.context_valid is not None:
        mask = key_mask(masks.context_valid, patches).repeat_interleave(blocks, dim=0)
    for layer in predictor.predictor_blocks:
        x = layer(x, attn_mask=mask)
    x = predictor.predictor_norm(x[:, context.shape[1] :])
    return predictor.predictor_proj(x).view(batch, blocks, patches, -1)


def plain_step(config: TrainConfig, batch: int, device: torch.device, low: bool) -> Step:
    """The training step in the plain implementation."""
    torch.manual_seed(0)
    model = IJEPA(config.model).to(device)
    for module in model.modules():
        if hasattr(module, "buckets"):
            module.buckets = 1  # type: ignore[assignment]  # padding is computed as well
        if hasattr(module, "attn"):
            module.attn = _PlainAttention(module.attn)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, foreach=False, fused=False)
    pixels = torch.randint(0, 256, (batch, 3, *config.model.height_and_width), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)

    def run(timer: StepTimer) -> None:
        with timer.part("data"):
            crops = [random_resized_crop(one[None], config.model.image_size, generator) for one in pixels]
            images = normalise(torch.cat(crops).to(device))
        with timer.part("masks"):
            masks = _plain_masks(batch, config, generator).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            with timer.part("target"), torch.no_grad():
                tokens = model.target_encoder(images).float()
                target = gather_targets(target_layer_norm(tokens), masks)
            with timer.part("context"):
                context = model.encoder(images, masks.context, masks.context_valid)
            with timer.part("predictor"):
                loss = F.smooth_l1_loss(_plain_predict(model.predictor, context, masks).float(), target)
        with timer.part("backward"):
            loss.backward()
        with timer.part("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        with timer.part("teacher"), torch.no_grad():
            for old, new in zip(model.target_encoder.parameters(), model.encoder.parameters(), strict=True):
                old.data.mul_(0.996).add_(new.detach().data, alpha=0.004)

    return Step("plain", run, flops_per_image(config) * batch)


# --------------------------------------------------------------------------- measuring


def matrix_rate(device: torch.device, low: bool, seconds: float = 1.0) -> float:
    """Operations per second of one large matrix product, as the machine's attainable peak."""
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if low else torch.float32
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    timer = StepTimer(device)
    rates: list[float] = []
    for _ in range(3):
        a @ b
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(rates) < 5:
        timer.seconds["data"] = 0.0
        with timer.part("data"):
            a @ b
        rates.append(2 * side**3 / timer.seconds["data"])
    return statistics.median(rates)


def measure(steps: list[Step], batch: int, device: torch.device, rounds: int, warm_up: int = 10) -> dict[str, Any]:
    """Variant -> images per second, operations per second, and milliseconds of each part; medians over ``rounds``."""
    times: dict[str, list[dict[str, float]]] = {step.name: [] for step in steps}
    for turn in range(warm_up + rounds):
        for step in steps:
            timer = StepTimer(device)
            step.run(timer)
            if turn >= warm_up:
                times[step.name].append(timer.seconds)
    results = {}
    for step in steps:
        rows = times[step.name]
        whole = statistics.median(sum(parts.values()) for parts in rows)
        milliseconds = {part: 1000 * statistics.median(parts[part] for parts in rows) for part in PARTS}
        results[step.name] = {"images_per_s": batch / whole, "flops_per_s": step.flops / whole, **milliseconds}
    return results


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(
        prog="python -m train.benchmark", description="Measure speed and memory of a training step."
    )
    parser.add_argument("--size", default="ViT-Ti/8@64", help=", ".join(SIZES))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    parser.add_argument("--variants", nargs="+", default=["plain", "exact", "shared"], metavar="NAME",
                        help="of plain, exact, shared, exact-compiled, shared-compiled")  # fmt: skip
    parser.add_argument("--json", type=table_file, metavar="FILE", help="also write the table: .json or .csv")
    options = parser.parse_args(arguments)

    def work() -> None:
        check_output(options.json)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        low = choose_precision(options.precision) == "bf16"
        variants: dict[str, Callable[[], Step]] = {
            "plain": lambda: plain_step(config_of(options.size), options.batch, device, low)
        }
        for context, name in (("separate", "exact"), ("shared", "shared")):
            for compiled in (False, True):
                title = f"{name}-compiled" if compiled else name
                variants[title] = lambda t=title, c=context, k=compiled: trainer_step(  # type: ignore[misc]
                    t, config_of(options.size, c), options.batch, device, low, k
                )
        unknown = [name for name in options.variants if name not in variants]
        if unknown:
            raise ValueError(f"No variant {unknown[0]!r}; there are {', '.join(variants)}.")
        found = measure([variants[name]() for name in options.variants], options.batch, device, options.rounds)
        rate = matrix_rate(device, low)
        memory = peak_memory(device)
        threads = torch.get_num_threads()
        print(f"{options.size}, batch {options.batch}, {'bf16' if low else 'fp32'}, {device.type}, {threads} threads")
        print(f"matrix products alone: {rate / 1e9:.1f} GFLOP/s; peak memory of all variants: {memory / 1e9:.2f} GB")
        first = found[options.variants[0]]["images_per_s"]
        print(f"{'':16} {'images/s':>9} {'times':>6} {'share':>6} " + " ".join(f"{p:>9}" for p in PARTS) + "  (ms)")
        for name, row in found.items():
            parts = " ".join(f"{row[part]:9.1f}" for part in PARTS)
            share = row["flops_per_s"] / rate
            print(f"{name:16} {row['images_per_s']:9.1f} {row['images_per_s'] / first:6.2f} {share:6.1%} {parts}")
        if options.json:
            table = {"matrix_flops_per_s": rate, "memory_bytes": memory, "threads": threads, "variants": found}
            write_table(options.json, table)

    return attempt("train.benchmark", work)


if __name__ == "__main__":
    sys.exit(main())
