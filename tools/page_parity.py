"""Compare what the live page's networks draw with what Python draws: same pictures, holes and noise.

    python tools/page_parity.py out/page                       # the folder's own weights, in headless Chromium
    python tools/page_parity.py out/page --weights float32     # the same networks, exported anew with other weights
    python tools/page_parity.py out/page --read 200            # and how a recogniser reads the samples of both

The folder needs the engine's scripts, models/ and ort/ (``make page``). Differences are of the hole's pixels, in
255ths, over all channels and samples. ``--read`` draws with the same files by onnxruntime
in Python.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page_latency import browser_tools, served
from torch import Tensor

from decoders import Decoder, load_decoder
from ijepa_viz import load_model, predict
from ijepa_viz.data import menagerie
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA

SCRIPTS = ("engine.js", "worker.js", "networks.js", "sampler.js")

# What is asked of the page's samples: so many 255ths from Python's.
WANTED = 2.0

# What the recogniser reads.
_FACTORS = ("species", "part", "facing")

_LOAD = """async (backend) => {
  const { createEngine } = await import("./engine.js");
  window.engine = await createEngine({ backend });
  return [engine.backend, engine.note];
}"""

# Only the hole's pixels, as base64: whole pictures as JSON would take longer than drawing them.
_DRAW = """async ({ image, hidden, samples, seed }) => {
  const bytes = Uint8ClampedArray.from(atob(image), (c) => c.charCodeAt(0));
  const { images } = await engine.sample({ image: bytes, hidden, samples, seed });
  return images.map((one) => btoa(Array.from(one, (v) => String.fromCharCode(v)).join("")));
}"""


@dataclass(frozen=True)
class Case:
    """A picture, (H, W, 3) uint8 of the model's size, the patches of its hole, and the first sample's seed."""

    image: np.ndarray
    hidden: list[int]
    seed: int

    def masks(self, grid: tuple[int, int]) -> Masks:
        """The hole as a mask of a grid."""
        inside = np.zeros(grid[0] * grid[1], bool)
        inside[self.hidden] = True
        return Masks.from_array(inside.reshape(grid))


def parity_cases(count: int = 20, grid: tuple[int, int] = (8, 8), size: int = 64) -> Iterator[Case]:
    """Held-out drawn scenes with seeds and holes: rectangles, and as many scattered patches, in turn."""
    rows, cols = grid
    generator = np.random.default_rng(26)
    for i in range(count):
        if i % 2:
            most = rows * cols // 2 - 2
            hidden = sorted(int(v) for v in generator.choice(rows * cols, generator.integers(1, most), replace=False))
        else:
            height, width = generator.integers(1, 6, 2)
            row, col = generator.integers(0, rows + 1 - height), generator.integers(0, cols + 1 - width)
            hidden = [int(r * cols + c) for r in range(row, row + height) for c in range(col, col + width)]
        yield Case(menagerie.scene(100 + i, size, seed=1).image, hidden, int(generator.integers(0, 2**31)))


def drawn_by_python(model: IJEPA, decoder: Decoder, case: Case, samples: int) -> Tensor:
    """(samples, 3, n) in 255ths, whole numbers: pixels of the hole at the decoder's resolution, rows first."""
    prediction = predict(model, case.image, case.masks(model.grid))
    drawn = decoder.sample(prediction, samples=samples, seed=case.seed)
    return (drawn.images[..., drawn.inside].clamp(0, 1) * 255).round()


def drawn_by_page(page: Any, decoder: Decoder, case: Case, samples: int) -> Tensor:
    """The same of an engine in an open page."""
    rgba = np.dstack([case.image, np.full(case.image.shape[:2], 255, np.uint8)])
    asked = {"image": base64.b64encode(rgba.tobytes()).decode(), "hidden": case.hidden}
    found = page.evaluate(_DRAW, {**asked, "samples": samples, "seed": case.seed})
    rows, cols = decoder.network.grid
    patch = decoder.network.config.patch_size
    pixels = np.stack([np.frombuffer(base64.b64decode(text), np.uint8) for text in found])
    pictures = torch.from_numpy(pixels.reshape(-1, rows * patch, cols * patch, 4)[..., :3].copy()).permute(0, 3, 1, 2)
    inside = case.masks((rows, cols)).hidden_pixels(patch)[0]
    return pictures[..., inside].float()


def open_engine(page: Any, url: str, backend: str = "wasm") -> tuple[str, str]:
    """Load the engine in a page of :func:`page_latency.served`: the backend that it has, and why if it is another."""
    page.goto(url)
    has, note = page.evaluate(_LOAD, backend)
    return has, note


def gaps(found: Sequence[Tensor], expected: Sequence[Tensor]) -> dict[str, float]:
    """Differences of samples, case by case, in 255ths: of all pixels together, and the largest mean of a case."""
    each = [(f - e).abs() for f, e in zip(found, expected, strict=True)]
    pixels = torch.cat([gap.flatten() for gap in each])
    means = [float(gap.mean()) for gap in each]
    return {
        "mean": float(pixels.mean()),
        "p95": float(pixels.float().quantile(0.95))
        if len(pixels) < 2**24
        else float(np.percentile(pixels.numpy(), 95)),
        "max": float(pixels.max()),
        "worst_case_mean": max(means),
        "cases_within": float(sum(mean <= WANTED for mean in means)),
        "cases": float(len(means)),
    }


def between_samples(expected: Sequence[Tensor]) -> float:
    """Mean difference of two samples of one hole, in 255ths: how much the noise alone changes."""
    return float(torch.cat([(one[0] - one[1]).abs().flatten() for one in expected]).mean())


def site(folder: Path, page: Path, model: str, weights: str) -> Path:
    """A folder with the page's engine and runtime, and the model exported anew with these weights."""
    from ijepa_viz.cli.onnx_export import export_onnx

    folder.mkdir(parents=True)
    export_onnx(model, folder / "models", weights=weights)
    (folder / "ort").symlink_to((page / "ort").resolve())
    for name in SCRIPTS:
        shutil.copy(page / name, folder)
    return folder


def by_onnxruntime(decoder: Decoder, folder: Path) -> Decoder:
    """The decoder with the networks of an export in place of its own, computed by onnxruntime."""
    drawing = copy.deepcopy(decoder)
    for name, network in (("denoise", drawing.network), ("denoise_tokens", drawing.pipeline.token_network)):
        if network is not None:
            object.__setattr__(network, "forward", _Step(folder, name, drawing.network.grid[1]))
    return drawing


class _Step:
    """Forward pass of a decoder's network by a file of the export."""

    def __init__(self, folder: Path, name: str, cols: int) -> None:
        self.session, self.cols = session_of_export(folder, name), cols

    def __call__(self, noisy: Tensor, sigma: Tensor, patch_indices: Tensor, *given: Tensor) -> Tensor:
        row, col = patch_indices // self.cols, patch_indices % self.cols
        sides = [int((at.amax(1) - at.amin(1)).max()) + 1 for at in (row, col)]
        names = ("noisy", "sigma", "patch_indices", "tokens", "conditioning", "token_source", "box")
        return _run(
            self.session, dict(zip(names, (noisy, sigma, patch_indices, *given, torch.zeros(sides)), strict=True))
        )


def session_of_export(folder: Path, name: str) -> Any:
    """Onnxruntime's session of a network of an export."""
    import gzip

    from ijepa_viz.page.onnx_files import session_of

    path = folder / json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["graphs"][name]["file"]
    data = path.read_bytes()
    return session_of(gzip.decompress(data) if path.suffix == ".gz" else data)


def _run(session: Any, given: dict[str, Tensor]) -> Tensor:
    """Last output of a network; inputs that it does not read are left out."""
    known = {node.name for node in session.get_inputs()}
    feeds = {name: value.contiguous().numpy() for name, value in given.items() if name in known}
    return torch.from_numpy(session.run(None, feeds)[-1])


def readings(model: IJEPA, decoder: Decoder, folder: Path, count: int, train: int) -> dict[str, Any]:
    """A recogniser's accuracy on single samples of ``count`` held-out scenes: by torch, and by the export's networks.

    Args:
        folder: of the export. train: scenes whose real blocks the recogniser learns from.

    Returns:
        By factor, (right by torch, right by the export, read alike); and under "gap" the differences of the samples.
    """
    from decoders.evaluation.classifier import predict_logits
    from decoders.evaluation.metric import sample_blocks
    from decoders.evaluation.scenes import block_images, draw_scenes, scene_blocks, train_block_classifier
    from ijepa_viz.data.transforms import normalise
    from ijepa_viz.probes.factors import relabelled

    training, scenes = draw_scenes(model, train, seed=2001), draw_scenes(model, count, seed=2002)
    recogniser = train_block_classifier(model, training)
    blocks = scene_blocks(model, scenes)
    images = normalise(scenes.images / 255)
    tokens = _run(
        session_of_export(folder, "predict"),
        {"images": images, "context": scenes.masks.context, "targets": scenes.masks.targets},
    ).flatten(0, 1)
    drawn = [
        sample_blocks(decoder, blocks.predicted, blocks.patch_indices),
        sample_blocks(by_onnxruntime(decoder, folder), tokens, blocks.patch_indices),
    ]
    answers = [predict_logits(recogniser, block_images(model, pixels)) for pixels in drawn]
    table: dict[str, Any] = {}
    for factor in _FACTORS:
        truth = relabelled(scenes, training, factor)
        own, other = (answer[factor].argmax(1) for answer in answers)
        table[factor] = [float((x == y).float().mean()) for x, y in ((own, truth), (other, truth), (own, other))]
    each = [[(pixels * 127.5 + 127.5).round() for pixels in some] for some in drawn]
    return {**table, "gap": gaps(each[1], each[0])}


def measure(options: argparse.Namespace, browser: Any) -> list[dict[str, Any]]:
    """One row of differences for each kind of weights."""
    model, decoder = load_model(options.model).eval(), load_decoder(options.model)
    size = model.config.height_and_width[0]
    cases = list(parity_cases(options.cases, model.grid, size))
    expected = [drawn_by_python(model, decoder, case, options.samples) for case in cases]
    noise = between_samples(expected) if options.samples > 1 else None
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for weights in options.weights:
            own = json.loads((options.folder / "models" / "manifest.json").read_text(encoding="utf-8"))["weights"]
            folder = options.folder
            if weights not in ("own", own):
                folder = site(Path(scratch) / weights, options.folder, options.model, weights)
            with served(folder) as url:
                page = browser.new_page()
                backend, note = open_engine(page, url, options.backend)
                found = [drawn_by_page(page, decoder, case, options.samples) for case in cases]
                page.close()
            total = sum(path.stat().st_size for path in (folder / "models").iterdir())
            row: dict[str, Any] = {"weights": own if weights == "own" else weights, "backend": backend, "note": note}
            row |= {"bytes": total, **gaps(found, expected), "between_samples": noise}
            print(_sentence(row), flush=True)
            if options.read:
                row["read"] = readings(model, decoder, folder / "models", options.read, options.train)
                print(_read_sentence(row["read"], options.read), flush=True)
            rows.append(row)
    return rows


def _sentence(row: dict[str, Any]) -> str:
    noise = row["between_samples"]
    backend = f"{row['backend']} ({row['note']})" if row["note"] else row["backend"]
    return (
        f"{row['weights']}, {row['bytes'] / 1e6:.1f} MB of networks, {backend}: "
        f"samples differ from Python's by mean {row['mean']:.2f}, p95 {row['p95']:.1f}, max {row['max']:.0f} of 255; "
        f"largest mean of a case {row['worst_case_mean']:.2f}, {row['cases_within']:.0f} of {row['cases']:.0f} cases "
        f"within {WANTED:.0f} on average" + (f"; two samples differ by {noise:.1f}" if noise is not None else "")
    )


def _read_sentence(read: dict[str, Any], count: int) -> str:
    parts = []
    for factor in _FACTORS:
        torchs, exports, alike = read[factor]
        parts.append(f"{factor} {torchs:.3f} and {exports:.3f}, alike {alike:.3f}")
    gap = read["gap"]
    return (
        f"right on {count} scenes, by torch and by onnxruntime: {'; '.join(parts)}; samples differ by mean "
        f"{gap['mean']:.2f}, {gap['cases_within']:.0f} of {gap['cases']:.0f} within {WANTED:.0f} on average, "
        f"the largest mean is {gap['worst_case_mean']:.2f}"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the page")
    parser.add_argument("--model", default="menagerie-tiny")
    parser.add_argument("--weights", nargs="+", default=["own"], help="own, float32, float16, int8, mixed")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--samples", type=int, default=3, help="of each case")
    parser.add_argument("--backend", default="wasm", choices=("auto", "wasm", "webgpu"))
    parser.add_argument("--flags", nargs="*", default=[], help="further flags of Chromium, without their dashes")
    parser.add_argument("--read", type=int, default=0, help="scenes that a recogniser reads; 0 is none")
    parser.add_argument("--train", type=int, default=4000, help="scenes that the recogniser learns from")
    parser.add_argument("--json", type=Path, help="also write the numbers as JSON")
    options = parser.parse_args()
    sync_playwright, program = browser_tools()
    if not (options.folder / "models" / "manifest.json").is_file():
        sys.exit(f"{options.folder} holds no networks: `make page` writes them.")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", *(f"--{flag}" for flag in options.flags)]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        rows = measure(options, browser)
        browser.close()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
