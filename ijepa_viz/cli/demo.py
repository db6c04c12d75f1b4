"""``ijepa-viz demo``: original, context and decoded samples by bundled models, with a control, and a page around it."""

from __future__ import annotations

import argparse
import base64
import html
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_decoder, open_model
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.cli.hints import cat_face_words, say_once
from ijepa_viz.cli.lab import cloned_notebooks, installed_notebooks
from ijepa_viz.cli.pictures import IMAGE_HELP, check_picture, open_picture
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.outputs import check_output_folder
from ijepa_viz.runtime.progress import Progress, track

# torch and matplotlib take seconds, and are imported where the work begins: --help needs neither.
if TYPE_CHECKING:
    from PIL.Image import Image

    from ijepa_viz.data.picture_size import ImageSize
    from ijepa_viz.examples import Example
    from ijepa_viz.figures.figure import Figure
    from ijepa_viz.models import IJEPA
    from ijepa_viz.prediction import Prediction, Sampler


def _demo(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    for text in options.image or []:
        check_picture(text)
    check_output_folder(options.out)
    if options.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {options.samples}.")
    import_libraries()
    from ijepa_viz import examples

    names = [options.model] if options.model else _FACES
    demos = []
    for name in track(names, "demo", "model"):
        with Progress(f"loading {name}"):
            model = open_model(name, options)
            decoder = open_decoder(decoder_of(name), options)
            size = decoder.image_size
            kind = examples.kind_of(name) or examples.PHOTOGRAPHS
            own = [
                examples.Example(Path(text).stem, _own_picture(text, size, kind), (2, 2, 4, 4), Path(text).name)
                for text in options.image or []
            ]
            shown = own or examples.of_kind(kind, size)[:_SHOWN] or examples.photographs()
        demos.append(run_demo(name, model, decoder, shown, options.samples, options.seed))
    for path in write_demo(demos, options.out, time.perf_counter() - start):
        print(path.resolve())
    return 0


def _own_picture(text: str, size: ImageSize, kind: str) -> Image:
    """The picture of an IMAGE argument; for a model of cats' faces cut to the face, where OpenCV finds one.

    Where none is found or looked for, that is said: the model answers for any picture, and knows nothing but faces.
    """
    from ijepa_viz import examples
    from ijepa_viz.data.cat_faces import can_find_faces, find_cat_face

    picture = open_picture(text, size)
    if kind != examples.CATS:
        return picture
    box = find_cat_face(picture) if can_find_faces() else None
    if box is not None:
        return picture.crop(box)
    say_once(cat_face_words(text, picture))
    return picture


# Models that the demo shows where none is named, and images of each.
_FACES = ("menagerie-tiny", "cats-tiny")
_SHOWN = 8


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
    credit: str


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
    import torch

    from ijepa_viz.figures import completion_grid
    from ijepa_viz.prediction import check_pair, predict
    from ijepa_viz.runtime.tensors import fingerprint

    if not examples:
        raise ValueError("The demo needs at least one image.")
    check_pair(model, decoder)
    predictions, seconds = [], []
    for example in track(examples, "predicting", "image"):
        start = time.perf_counter()
        predictions.append(predict(model, example.image, example.masks(model.grid)))
        predictions[-1].cosine.sum().item()  # a GPU is still at work when the call returns
        seconds.append(time.perf_counter() - start)
    rows, lines = [], []
    pairs = list(zip(examples, predictions, strict=True))
    for i, (example, prediction) in enumerate(track(pairs, f"decoding by {name}", "image")):
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
                example.credit,
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
    import torch

    from ijepa_viz.prediction import predict

    mine = predictions[index]
    following = (one.image for one in (*predictions[index + 1 :], *predictions[:index]))
    other = next((image for image in following if not torch.equal(image, mine.image)), torch.full_like(mine.image, 0.5))
    return predict(model, other, mine.masks)


_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5a5a60; --paper: #fff; --line: #d8d8dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #f2f2f4; --soft: #b0b0b8; --paper: #18181b; --line: #3a3a40; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
img { width: 100%; background: #fff; border-radius: 6px; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .35rem .6rem; border-bottom: 1px solid var(--line);
        text-align: left; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
p.soft { color: var(--soft); }
@media (max-width: 30rem) { td, th { padding: .3rem .2rem; font-size: .8rem; overflow-wrap: anywhere; } }
""".strip()


def lessons(out: Path) -> str:
    """The lessons to go on with, as HTML: links to a clone's notebooks, to built pages where there are any."""
    folder = cloned_notebooks()
    items = []
    for path in sorted((folder or installed_notebooks() or out).glob("[0-9][0-9]_*.ipynb")):
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
        title = html.escape("".join(first).splitlines()[0].lstrip("# "))
        built = [path.parent.parent / "out" / kind / f"{path.stem}.html" for kind in ("docs/tutorials", "gallery")]
        target = next((page for page in built if page.is_file()), path)
        link = html.escape(Path(os.path.relpath(target, out)).as_posix(), quote=True)
        items.append(f'<li><a href="{link}">{title}</a></li>' if folder else f"<li>{title}</li>")
    if not items:
        return ""
    opened = "make lab" if folder else "ijepa-viz lab"
    return (
        "<h2>Lessons</h2><p>Paint a hole of your own, and see what lies behind these pictures: "
        f"<code>{opened}</code> opens the notebooks in JupyterLab.</p><ol start=0>{''.join(items)}</ol>"
    )


def page(demos: Sequence[Demo], further: str = "") -> str:
    """Render a self-contained HTML page, without any request; ``further`` is HTML for its end."""
    from ijepa_viz.figures import png

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
        credits = " ".join(dict.fromkeys(line["credit"] for line in report["images"] if line["credit"]))
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
            f"{report['threads']} threads. {html.escape(credits)}</p>"
        )
    body = "\n".join([*parts, further])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>ijepa_viz demo</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def write_demo(demos: Sequence[Demo], out: Path, seconds_total: float) -> list[Path]:
    """Write ``completions.png`` (``completions-NAME.png`` for further models), ``index.html`` and ``report.json``."""
    from ijepa_viz.figures import png

    files: dict[str, bytes] = {}
    for i, demo in enumerate(demos):
        files["completions.png" if i == 0 else f"completions-{demo.report['model']}.png"] = png(demo.figure)
    files["index.html"] = page(demos, lessons(out)).encode()
    report = {"models": [demo.report for demo in demos], "seconds_total": round(seconds_total, 2)}
    files["report.json"] = (json.dumps(report, indent=2) + "\n").encode()
    for name, data in files.items():
        write_file(out / name, data)
    return [out / name for name in files]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="MODEL", help="a bundled model, or a folder that contains decoder/ (default: all bundled)"
    )
    parser.add_argument(
        "--image", nargs="+", metavar="IMAGE", help=f"{IMAGE_HELP}; the centre is hidden (default: examples)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), metavar="FOLDER", help="folder to write (default: out/demo)"
    )
    parser.add_argument("--samples", type=int, default=6, help="samples an image (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    add_compute_arguments(parser)


COMMANDS.register("demo")(
    Command(
        "a figure and a page of example images: original, context, and samples decoded into the hidden part",
        _arguments,
        _demo,
    )
)
