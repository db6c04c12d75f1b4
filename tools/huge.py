"""A random ViT-H/14 in the reference format through the whole toolkit: time and memory of each step beside its plan.

``python tools/huge.py [--size huge] [--out FOLDER] [--pictures 2] [--stages load,features,...] [--json FILE]`` writes
5.2 GB to ``--out`` (a temporary folder by default, removed at the end) and takes a few minutes of one core. Each step
is the command or function that users call, in a process of its own.

The plan of the time is the number of operations of the networks, counted on torch's meta device, divided by this
machine's rate of a matrix product of the model's size; the plan of the memory is Python with its libraries, the weights
that are read, and what the step keeps. The table has CPU seconds: what a core that does nothing else would take.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from decoders import load_decoder
from decoders.__main__ import main as train_decoder
from decoders.config import DecoderTrainConfig
from decoders.training.plan import plan as decoder_plan
from ijepa_viz.checkpoints import load_model, save_reference
from ijepa_viz.cli import main as ijepa_viz
from ijepa_viz.cli.command import import_libraries
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.models.config import SIZES
from ijepa_viz.prediction import predict
from ijepa_viz.runtime import config_files

CONFIG = Path("decoders/configs/in1k-vith14-128px.yaml")
BLOCK = (5, 5, 6, 6)
STEPS, BATCH, CACHED, SAMPLES = 10, 2, 2, 4


@dataclass(frozen=True)
class Row:
    """One step of the table: CPU seconds and GiB, planned and measured; seconds by the clock too."""

    name: str
    planned_seconds: float
    cpu_seconds: float
    clock_seconds: float
    peak_gib: float
    planned_gib: float


@dataclass(frozen=True)
class Operations:
    """GFLOP of one picture: the target encoder, context encoder and predictor, and a pass of the decoder."""

    target: float
    predicted: float
    decoder: float


def count(sizes: ModelConfig, config: DecoderTrainConfig) -> tuple[Operations, dict[str, float]]:
    """Operations of one picture, and the plan of the decoder's training."""
    masks = Masks.from_block(sizes.grid, *BLOCK).to("meta")
    with torch.device("meta"):
        model, images = IJEPA(sizes), torch.zeros(1, 3, 224, 224)
        with torch.no_grad(), FlopCounterMode(display=False) as whole:
            model.target_encoder(images)
        with torch.no_grad(), FlopCounterMode(display=False) as predicted:
            model.predict(model.encode_context(images, masks), masks)
    table = decoder_plan(config, sizes, 1, 1.0)
    blocks = 3 * config.hole.targets
    decoder = table["decoder_gflops_an_image"] / blocks
    return Operations(whole.get_total_flops() / 1e9, predicted.get_total_flops() / 1e9, decoder), table


def rate() -> float:
    """GFLOP a CPU second of a product of ViT-H's size, in float32."""
    x, weights = torch.randn(256, 1280), torch.randn(5120, 1280)
    taken = []
    for _ in range(6):
        start = time.process_time()
        x @ weights.T
        taken.append(time.process_time() - start)
    return 2 * 256 * 1280 * 5120 / 1e9 / sorted(taken)[2]


def peak() -> float:
    """Largest memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measured(name: str, work: Callable[[], Any], seconds: float, gib: float) -> Row:
    """Run ``work`` in a forked process; libraries are imported already, weights are not loaded."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    told: Any = multiprocessing.get_context("fork").SimpleQueue()

    def child() -> None:
        cpu, clock = time.process_time(), time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            status = work()
        assert not isinstance(status, int) or status == 0, f"{name} failed"
        told.put((time.process_time() - cpu, time.perf_counter() - clock, peak()))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{name} failed.")
    row = Row(name, seconds, *told.get(), gib)
    print(json.dumps(asdict(row)), file=sys.stderr, flush=True)
    return row


def draw(folder: Path, number: int) -> None:
    """Generated pictures of 320x280 pixels with coarse structure and noise."""
    folder.mkdir(exist_ok=True)
    for i in range(number):
        rng = np.random.default_rng(i)
        coarse = Image.fromarray(rng.integers(0, 256, (7, 8, 3), dtype=np.uint8)).resize((320, 280), 3)
        noise = rng.integers(-12, 13, (280, 320, 3))
        Image.fromarray((np.asarray(coarse).astype(int) + noise).clip(0, 255).astype(np.uint8)).save(
            folder / f"{i}.png"
        )


def make(sizes: ModelConfig, path: Path) -> None:
    """A random checkpoint, as the reference code writes it."""
    with torch.device("meta"):
        model = IJEPA(sizes)
    model = model.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.uniform_(-0.035, 0.035)
    save_reference(model, path)


def sample(checkpoint: Path, decoder: Path, picture: Path) -> None:
    """Predict one picture and draw samples at 128 px."""
    model = load_model(checkpoint).eval()
    prediction = predict(model, picture, Masks.from_block(model.grid, *BLOCK))
    found = load_decoder(decoder).sample(prediction, samples=SAMPLES)
    assert found.images.shape == (SAMPLES, 3, 128, 128)


def main() -> int:
    """Run the stages and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=tuple(SIZES), default="huge", help="of the model, with patches of 14 px")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint and results (default: a temporary one)")
    parser.add_argument("--pictures", type=int, default=2, help="pictures of each step (default: 2)")
    parser.add_argument("--stages", help="some of them only, joined by commas")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import_libraries()
    with contextlib.ExitStack() as stack:
        root = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        sizes = ModelConfig.of_size(options.size, patch_size=14, predictor_depth=12)
        rows = stages(
            sizes, root, options.pictures, options.stages and [name.strip() for name in options.stages.split(",")]
        )
    print("| step | CPU s, planned | CPU s | s by the clock | GiB, planned | GiB, peak |\n|---|---|---|---|---|---|")
    for row in rows:
        numbers = f"{row.planned_seconds:.0f} | {row.cpu_seconds:.0f} | {row.clock_seconds:.0f}"
        print(f"| {row.name} | {numbers} | {row.planned_gib:.1f} | {row.peak_gib:.1f} |")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


def stages(sizes: ModelConfig, root: Path, pictures: int, only: list[str] | None) -> list[Row]:
    """Measure every stage, or those in ``only``, in order."""
    os.environ["IJEPA_VIZ_CACHE"] = str(root / "cache")
    checkpoint, data, run = root / "huge.pth.tar", root / "pictures", root / "decoder"
    settings = [f"ijepa={checkpoint}", f"data.source={data}", f"data.cached_batches={CACHED}", "data.keep=true"]
    settings += [f"optimization.steps={STEPS}", f"optimization.batch_size={BATCH}", "optimization.warmup=2"]
    settings += [f"run.folder={run}", "run.log_with=none", "run.precision=fp32", "run.log_every=1"]
    config = config_files.load(DecoderTrainConfig, CONFIG, settings)
    cost, table = count(sizes, config)
    speed, base = rate(), measured("Python and its libraries", lambda: None, 0.0, 0.0).peak_gib
    print(f"{speed:.0f} GFLOP a CPU second; {base:.2f} GiB before; {cost}", file=sys.stderr, flush=True)
    one = encoder_gib(sizes)
    three = table["ijepa_parameters_millions"] * 1e6 * 4 / 2**30
    index = pictures * sizes.grid[0] * sizes.grid[1] * sizes.width * 4 / 2**30
    trained = (table["gb_decoder_and_optimizer"] + 2 * table["gb_decoder_activations_bf16"]) * 1e9 / 2**30
    draw(data, max(pictures, 2 * BATCH))
    picture = data / "0.png"
    look = ["look", str(checkpoint), str(picture), "--data", str(data), "--limit", str(pictures + 1), "--device", "cpu"]
    look += ["--block", *map(str, BLOCK), "--batch", "1"]
    predicted = cost.predicted + cost.target
    training = CACHED * BATCH * predicted + STEPS * BATCH * config.hole.targets * 3 * cost.decoder
    sheet = BATCH * (predicted + 4 * 24 * cost.decoder)
    plans: dict[str, tuple[Callable[[], Any], float, float]] = {
        "load": (lambda: load_model(checkpoint) and None, 0.0, 0.0),  # the file is mapped: weights are read when used
        "features": (
            lambda: ijepa_viz(["features", str(checkpoint), "--data", str(data), "--limit", str(pictures), "--out",
                               str(root / "features.parquet"), "--device", "cpu"]),
            pictures * cost.target, one,
        ),
        "maps": (
            lambda: ijepa_viz([*look, "--inspection", "maps", "--out", str(root / "maps.png")]),
            predicted + pictures * cost.predicted, three,
        ),
        "retrieval": (
            lambda: ijepa_viz([*look, "--inspection", "retrieval", "--out", str(root / "retrieval.png")]),
            predicted + pictures * (cost.predicted + cost.target), three + 2 * index,
        ),
        "attention": (
            lambda: ijepa_viz([*look, "--inspection", "attention", "--layers", "1,last", "--out",
                               str(root / "attention.png")]),
            predicted + cost.predicted / 4, three,
        ),
        "decoder, 10 steps": (
            lambda: train_decoder(["--fname", str(CONFIG), *settings]), training + sheet, three + trained,
        ),
        "sampling at 128 px": (
            lambda: sample(checkpoint, run / f"step-{STEPS:08d}", picture),
            predicted + SAMPLES * 24 * cost.decoder, three + table["decoder_parameters_millions"] * 4e6 / 2**30,
        ),
    }  # fmt: skip
    known = [name.partition(",")[0] for name in plans]
    if unknown := sorted(set(only or ()) - set(known)):
        sys.exit(f"There are no stages {', '.join(unknown)}; there are {', '.join(known)}.")
    if not checkpoint.is_file():
        measured("checkpoint", lambda: make(sizes, checkpoint), 0.0, three)
    return [
        measured(name, work, gflop / speed, base + gib)
        for name, (work, gflop, gib) in plans.items()
        if only is None or name.partition(",")[0] in only
    ]


def encoder_gib(sizes: ModelConfig) -> float:
    """Memory of one encoder's weights."""
    with torch.device("meta"):
        return sum(p.numel() for p in IJEPA(sizes).encoder.parameters()) * 4 / 2**30


if __name__ == "__main__":
    sys.exit(main())
