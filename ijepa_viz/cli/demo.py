"""``ijepa-viz demo``: the announcement's figure for bundled models, with its control, and a page around it."""

from __future__ import annotations

import argparse
import base64
import html
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ijepa_viz.cli.command import COMMANDS, Command
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.examples import Example
from ijepa_viz.figures import completion_grid, png
from ijepa_viz.figures.figure import Figure
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, Sampler, check_pair, predict
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.tensors import fingerprint


def _demo(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    from decoders import load_decoder
    from ijepa_viz import checkpoints, examples
    from ijepa_viz.cli.demo import run_demo, write_demo
    from ijepa_viz.data.transforms import read_image

    decoded = [name for name in checkpoints.bundled_names() if (checkpoints.find_bundled(name) / "decoder").is_dir()]
    names = [options.model] if options.model else decoded
    own = [examples.Example(path.stem, read_image(path), (2, 2, 4, 4), path.name) for path in options.image or []]
    demos = []
    for name in names:
        model = checkpoints.load_model(name)
        decoder = load_decoder(decoder_of(name))
        drawn = examples.drawn_scenes(model.config.image_size) if name.startswith("menagerie") else []
        shown = own or drawn or examples.photographs()
        demos.append(run_demo(name, model, decoder, shown, options.samples, options.seed))
    for path in write_demo(demos, options.out, time.perf_counter() - start):
        print(path.resolve())
    return 0


@dataclass(frozen=True)
class Row:
    """One image of the report; cosines are means over the tokens of the target block."""

    name: str
    caption: str
    hole: tuple[int, int, int, int]
    cosine: float
    cosine_other_image: float
    seconds_predict: float
    seconds_sample: float


@dataclass(frozen=True)
class Demo:
    """One model's figure and report."""

    figure: Figure
    report: dict[str, Any]


def run_demo(
    name: str, model: IJEPA, decoder: Sampler, examples: Sequence[Example], samples: int = 6, seed: int = 0
) -> Demo:
    """Predict and decode every example, each with its control, another image's prediction.

    Raises:
        ValueError: a decoder of another model, or no examples.
    """
    if not examples:
        raise ValueError("The demo needs at least one image.")
    check_pair(model, decoder)
    predictions, seconds = [], []
    for example in examples:
        start = time.perf_counter()
        predictions.append(predict(model, example.image, example.masks(model.grid)))
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
    """``prediction`` with the predicted tokens of ``other``, whose cosine is the control."""
    return prediction.replaced(other.predicted)


def _another(predictions: Sequence[Prediction], index: int, model: IJEPA) -> Prediction:
    """The next image's prediction for the same target block; that of a uniform grey image if there is no other."""
    mine = predictions[index]
    if len(predictions) == 1:
        return predict(model, torch.full_like(mine.image, 0.5), mine.masks)
    image = predictions[(index + 1) % len(predictions)].image
    return predict(model, image, mine.masks)


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
    """Render a self-contained HTML page, without any request."""
    parts = [
        "<h1>What a JEPA expects in the hole</h1>",
        "<p>The context encoder sees the visible patches only. The predictor predicts the <em>representation</em> of "
        "the hidden ones; a diffusion decoder, conditioned on that prediction and on no pixel of the image, draws "
        "several samples with different noise. What the samples share is in the representation; what varies between "
        "them is not.</p>",
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
    """Write ``completions.png`` (``completions-NAME.png`` for further models), ``index.html`` and ``report.json``."""
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


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a bundled model, or a folder that contains decoder/ (default: all bundled)")
    parser.add_argument("--image", nargs="+", type=Path, help="image files, with a 4x4 target block in the centre")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="output folder (default: out/demo)")
    parser.add_argument("--samples", type=int, default=6, help="samples an image (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")


COMMANDS.register("demo")(Command("make the announcement's figure for the bundled models", _arguments, _demo))
