"""The speeds this project promises, measured: warm-up, then the median, side by side in one run.

``make benchmark``, or ``python tools/benchmark.py --json FILE``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from decoders import Decoder, load_decoder
from decoders.decoder import Cancelled
from ijepa_viz import Masks, examples, load_model, predict
from ijepa_viz import masks as mask_samplers
from ijepa_viz.data import menagerie
from ijepa_viz.inspections.retrieval import TokenIndex
from ijepa_viz.models.attention import plain
from ijepa_viz.prediction import Prediction
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.probes.linear import linear_accuracy


def median_ms(act: Callable[[], object], repeats: int, warm_up: int = 3) -> float:
    """The median time of ``act``, in milliseconds."""
    for _ in range(warm_up):
        act()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def first_preview(decoder: Decoder, prediction: Prediction) -> None:
    """Six samples, cancelled as soon as there is something to be seen: the sketch of two stages, or the first step."""
    if decoder.sketch(prediction) is not None:
        return
    with contextlib.suppress(Cancelled):
        decoder.sample(prediction, 6, callback=lambda step: True)


def attention(fused: bool, dtype: torch.dtype) -> None:
    """Forward and backward through 512 sequences of 36 tokens: a small predictor's batch."""
    kernel = F.scaled_dot_product_attention if fused else plain
    queries, keys, values = (torch.randn(512, 2, 36, 32, dtype=dtype, requires_grad=True) for _ in range(3))
    out = kernel(queries, keys, values)
    out.backward(torch.ones_like(out))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[tuple[str, float, str]] = []
    generator = torch.Generator().manual_seed(0)
    for label, strategy, settings in (
        ("multiblock, unbiased", "multiblock", {}),
        ("multiblock, faithful", "multiblock", {"mode": "faithful"}),
        ("rasterized", "rasterized", {}),
        ("block", "block", {}),
        ("random", "random", {}),
    ):
        took = median_ms(
            lambda s=strategy, o=settings: mask_samplers.sample(s, batch=128, grid=(8, 8), generator=generator, **o),
            200,
            20,
        )
        rows.append((f"masks, batch 128, 8x8: {label}", took, "ms (goal 1)"))
    image = examples.photographs()[0].image
    for name in ("menagerie-tiny", "wild-tiny"):
        model, decoder = load_model(name), load_decoder(name)
        hole = Masks.from_block(model.grid, 2, 2, 4, 4)
        prediction = predict(model, image, hole)
        rows.append((f"{name}: predict a 4x4 hole", median_ms(lambda m=model, h=hole: predict(m, image, h), 20), "ms"))
        took = median_ms(lambda d=decoder, p=prediction: d.sample(p, 6), 10)
        rows.append((f"{name}: six samples, {decoder.config.steps} steps", took, "ms (goal 500)"))
        took = median_ms(lambda d=decoder, p=prediction: first_preview(d, p), 10)
        rows.append((f"{name}: ... until the first preview", took, "ms (goal 100)"))
    rows.append(("memory until here, at its highest", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB"))
    model = load_model("wild-tiny")
    pictures = torch.randn(32, 3, 64, 64)
    for kind in ("fp32", "bf16"):

        def encode(enabled: bool = kind == "bf16") -> None:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                model.encode_target(pictures)

        rows.append((f"encode 32 pictures of 64 px in {kind}", median_ms(encode, 5, 2), "ms"))
        for fused in (True, False):
            dtype = torch.bfloat16 if kind == "bf16" else torch.float32
            took = median_ms(lambda f=fused, d=dtype: attention(f, d), 5, 2)
            rows.append((f"attention and its gradient in {kind}, {'fused' if fused else 'plain'}", took, "ms"))
    for width in (128, 512):  # the last layer, and the last four, of the bundled models
        # Class centres in noise: about as hard to separate as the photographs are.
        y, t = torch.arange(40_000) % 96, torch.arange(4_800) % 96
        centres = 0.3 * torch.randn(96, width)
        train, test = (centres[labels] + torch.randn(len(labels), width) for labels in (y, t))
        for probe in (knn_accuracy, linear_accuracy):
            start = time.perf_counter()
            probe(train, y, test, t)
            label = f"{probe.__name__}, 40 000 and 4800 features of {width}"
            rows.append((label, time.perf_counter() - start, "s (goal 60)"))
    index = TokenIndex(torch.randn(4000, 64, 128), (8, 8))
    block = torch.randn(9, 128)
    for label, at in (("anywhere", None), ("at its own place", (3, 3))):
        took = median_ms(lambda a=at: index.blocks(block, (3, 3), at=a), 20)
        rows.append((f"the nearest of 4000 images to a 3x3 block, {label}", took, "ms"))
    menagerie.scenes(0, 50)
    start = time.perf_counter()
    menagerie.scenes(100, 400)
    rows.append(("menagerie, 64 px, one process", 300 / (time.perf_counter() - start), "scenes/s"))
    start = time.perf_counter()
    menagerie.scenes(1000, 9000)
    rows.append(
        ("menagerie, 64 px, all cores, start-up included", 8000 / (time.perf_counter() - start), "scenes/s (goal 300)")
    )
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for label, value, unit in rows:
        print(f"{label:60} {value:9.2f} {unit}")
    if options.json:
        options.json.write_text(
            json.dumps({label: value for label, value, _ in rows}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
