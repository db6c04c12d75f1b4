"""The demo: the announcement's figure, a page around it, and a report of what was done and how long it took."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ijepa_viz.checkpoints import fingerprint, write_file
from ijepa_viz.data.examples import Example
from ijepa_viz.figures import completion_grid, png
from ijepa_viz.figures.figure import Figure
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA
from ijepa_viz.prediction import Prediction, Sampler, predict


@dataclass(frozen=True)
class Row:
    """One line of the report: cosines are averages over the hole's tokens."""

    name: str
    caption: str
    hole: tuple[int, int, int, int]
    cosine: float
    cosine_other_image: float
    seconds_predict: float
    seconds_sample: float


@dataclass(frozen=True)
class Demo:
    """A finished demo: the figure, and the numbers behind it."""

    figure: Figure
    report: dict[str, Any]


def check_pair(model: IJEPA, decoder: Sampler) -> None:
    """Raise ValueError unless ``decoder`` was trained on this very model's predictions."""
    if decoder.config.ijepa_sha256 != fingerprint(model):
        raise ValueError(
            f"This decoder was trained on other weights ({decoder.config.ijepa!r}) than this model's: its "
            "pictures would mean nothing. Train one with `python -m decoders`."
        )


def block_of(example: Example, grid: tuple[int, int]) -> Masks:
    """The example's hole on a model's grid."""
    rows, cols = grid
    row, col, height, width = (
        round(v * side / 8) for v, side in zip(example.hole, (rows, cols, rows, cols), strict=True)
    )
    return Masks.from_block(grid, row, col, max(1, height), max(1, width))


def run_demo(
    name: str, model: IJEPA, decoder: Sampler, examples: Sequence[Example], samples: int = 6, seed: int = 0
) -> Demo:
    """Predict and decode every example, each with its control: another image's prediction.

    Raises:
        ValueError: a decoder of another model, or no examples.
    """
    if not examples:
        raise ValueError("The demo needs at least one picture.")
    check_pair(model, decoder)
    predictions, seconds = [], []
    for example in examples:
        start = time.perf_counter()
        predictions.append(predict(model, example.image, block_of(example, model.grid)))
        seconds.append(time.perf_counter() - start)
    rows, lines = [], []
    for i, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        other = _another(predictions, i, model)
        start = time.perf_counter()
        drawn = decoder.sample(prediction, samples, seed=seed)
        took = time.perf_counter() - start
        rows.append((prediction, drawn, decoder.sample(other, min(2, samples), seed=seed)))
        lines.append(
            Row(
                example.name,
                example.caption,
                example.hole,
                round(float(prediction.cosine.mean()), 4),
                round(float(replace_target(other, prediction).cosine.mean()), 4),
                round(seconds[i], 4),
                round(took, 4),
            )
        )
    start = time.perf_counter()
    figure = completion_grid(rows)
    report = {
        "model": name,
        "model_sha256": fingerprint(model),
        "samples": samples,
        "seed": seed,
        "decoder_steps": decoder.config.steps,
        "threads": torch.get_num_threads(),
        "images": [asdict(line) for line in lines],
        "seconds": {
            "predict": round(sum(seconds), 3),
            "sample": round(sum(line.seconds_sample for line in lines), 3),
            "figure": round(time.perf_counter() - start, 3),
        },
    }
    return Demo(figure, report)


def replace_target(other: Prediction, prediction: Prediction) -> Prediction:
    """``other``'s predicted tokens beside ``prediction``'s targets: what its cosine is the control of."""
    return prediction.replaced(other.predicted)


def _another(predictions: Sequence[Prediction], index: int, model: IJEPA) -> Prediction:
    """The next image's prediction for the same hole; a plain grey picture's where there is no other."""
    mine = predictions[index]
    if len(predictions) == 1:
        return predict(model, torch.full_like(mine.image, 0.5), mine.masks)
    image = predictions[(index + 1) % len(predictions)].image
    return predict(model, image, mine.masks)


# --------------------------------------------------------------------------- files


_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5a5a60; --paper: #fff; --line: #d8d8dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #f2f2f4; --soft: #b0b0b8; --paper: #18181b; --line: #3a3a40; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
img { width: 100%; background: #fff; border-radius: 6px; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .35rem .6rem; border-bottom: 1px solid var(--line);
        text-align: left; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
p.soft { color: var(--soft); }
""".strip()


def page(demos: Sequence[Demo]) -> str:
    """One self-contained HTML page: it loads nothing from anywhere."""
    parts = [
        "<h1>What a JEPA expects in the hole</h1>",
        "<p>The model never saw the hidden patches. Its predictor guessed their <em>representation</em>; a "
        "diffusion decoder, which sees that guess and no pixel of the image, drew it several times with "
        "different noise. What the samples share is in the representation; what varies between them is "
        "not.</p>",
    ]
    for demo in demos:
        report = demo.report
        names = ", ".join(line["caption"] for line in report["images"])
        data = base64.b64encode(png(demo.figure)).decode()
        rows = "".join(
            f"<tr><td>{html.escape(line['caption'])}</td><td class=n>{line['cosine']:.3f}</td>"
            f"<td class=n>{line['cosine_other_image']:.3f}</td>"
            f"<td class=n>{line['seconds_sample'] * 1000:.0f}</td></tr>"
            for line in report["images"]
        )
        parts.append(
            f"<h2>{html.escape(report['model'])}</h2>"
            f'<img alt="Original, context and {report["samples"]} decoded samples of: {html.escape(names)}" '
            f'src="data:image/png;base64,{data}">'
            "<table><tr><th>hidden<th class=n>cosine of predicted and target tokens"
            "<th class=n>the same for another image's prediction<th class=n>ms for "
            f"{report['samples']} samples</tr>{rows}</table>"
            f"<p class=soft>Seed {report['seed']}, {report['decoder_steps']} sampling steps, guidance 1.0, "
            f"{report['threads']} threads.</p>"
        )
    body = "\n".join(parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>ijepa_viz demo</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def write_demo(demos: Sequence[Demo], out: Path, seconds_total: float) -> list[Path]:
    """Write ``completions.png`` (one more a further model), ``index.html`` and ``report.json``."""
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    for i, demo in enumerate(demos):
        files["completions.png" if i == 0 else f"completions-{demo.report['model']}.png"] = png(demo.figure)
    files["index.html"] = page(demos).encode()
    report = {"models": [demo.report for demo in demos], "seconds_total": round(seconds_total, 2)}
    files["report.json"] = (json.dumps(report, indent=2) + "\n").encode()
    for name, data in files.items():
        write_file(out / name, data)
    return [out / name for name in files]
