"""The ``ijepa-viz`` command: the one place that composes the library and the decoders."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with the cause on stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"ijepa-viz: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ijepa-viz", description="See what a JEPA predicts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="make the announcement's figure")
    demo.add_argument("--model", help="a bundled model, or a folder with a decoder/ in it (default: all bundled)")
    demo.add_argument("--image", nargs="+", type=Path, help="your own pictures (a 4x4 hole in the middle)")
    demo.add_argument("--out", type=Path, default=Path("out/demo"), help="where the files go")
    demo.add_argument("--samples", type=int, default=6)
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)

    predict = commands.add_parser("predict", help="decode what a model expects in one block of one picture")
    predict.add_argument("image", type=Path)
    predict.add_argument("--model", default="wild-tiny")
    predict.add_argument("--block", nargs=4, type=int, required=True, metavar=("ROW", "COL", "HEIGHT", "WIDTH"))
    predict.add_argument("--samples", type=int, default=6)
    predict.add_argument("--seed", type=int, default=0)
    predict.add_argument("--out", type=Path, required=True, help="the figure to write, .png")
    predict.set_defaults(run=_predict)

    evaluate = commands.add_parser("evaluate", help="what a model's features hold, beside baselines")
    evaluate.add_argument("models", nargs="+", metavar="MODEL", help="one, or several to compare")
    evaluate.add_argument(
        "--probe",
        metavar="NAME",
        help="knn (the default), linear, low-shot, count, distance, all, pixels or factors; with --decoder leakage "
        "(the default), rank, ground-truth, own-eye, variation, calibration, realism, few-steps, hole-size or sheet",
    )
    evaluate.add_argument(
        "--decoder",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="test the model's decoder, or the one in FOLDER, instead of its features",
    )
    evaluate.add_argument("--data", required=True, help="pictures; for kNN and linear labelled, to learn from")
    evaluate.add_argument("--test-data", help="pictures to test on (default: --data's test split)")
    evaluate.add_argument("--strict-data", action="store_true", help="refuse damaged pictures instead of skipping them")
    evaluate.add_argument("--json", type=Path, help="write the table here as well")
    evaluate.add_argument(
        "--figure",
        type=Path,
        help="write the picture of it here, .png; of features: accuracy against the training's cost",
    )
    evaluate.set_defaults(run=_evaluate)

    look = commands.add_parser("look", help="look inside one prediction: a figure and its numbers")
    look.add_argument("model")
    look.add_argument("image", help="a picture, or scene:INDEX for a drawn scene")
    look.add_argument("--block", nargs=4, type=int, required=True, metavar=("ROW", "COL", "HEIGHT", "WIDTH"))
    look.add_argument("--probe", required=True, metavar="NAME", help="maps, retrieval, components, position, ablation")
    look.add_argument("--data", help="other pictures: controls, and what is searched (default: drawn scenes)")
    look.add_argument("--limit", type=int, default=2000, help="use at most so many of them")
    look.add_argument("--scenes", type=int, help="position: drawn scenes that its reader of parts is fitted on")
    look.add_argument("--out", type=Path, required=True, help="the figure to write, .png")
    look.set_defaults(run=_look)

    info = commands.add_parser("info", help="sizes and model card of a model")
    info.add_argument("model")
    info.set_defaults(run=_info)

    export = commands.add_parser("export", help="write a trained model, and its decoder, as one folder to share")
    export.add_argument("model", help="whatever load_model takes, such as RUN/step-00008000")
    export.add_argument("folder", type=Path, help="the folder to write; it must not exist, unless it is empty")
    export.add_argument("--decoder", metavar="FOLDER", help="a decoder trained on this very model")
    export.add_argument("--half", action="store_true", help="float16: half the size. Train the decoder on the result")
    export.set_defaults(run=_export)

    lab = commands.add_parser("lab", help="open the notebooks in JupyterLab")
    lab.add_argument("--no-browser", action="store_true")
    lab.set_defaults(run=_lab)
    return parser


def _demo(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    from decoders import load_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.data import examples
    from ijepa_viz.data.transforms import read_image
    from ijepa_viz.demo import run_demo, write_demo

    decoded = [name for name in checkpoints.bundled_names() if (checkpoints.find_bundled(name) / "decoder").is_dir()]
    names = [options.model] if options.model else decoded
    own = [examples.Example(path.stem, read_image(path), (2, 2, 4, 4), path.name) for path in options.image or []]
    demos = []
    for name in names:
        model = checkpoints.load_model(name)
        decoder = load_decoder(_decoder_of(name))
        drawn = examples.drawn_scenes(model.config.image_size) if name.startswith("menagerie") else []
        shown = own or drawn or examples.photographs()
        demos.append(run_demo(name, model, decoder, shown, options.samples, options.seed))
    for path in write_demo(demos, options.out, time.perf_counter() - start):
        print(path.resolve())
    return 0


def _predict(options: argparse.Namespace) -> int:
    from decoders import load_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.data.transforms import read_image
    from ijepa_viz.demo import check_pair
    from ijepa_viz.figures import completion_grid, png
    from ijepa_viz.masks import Masks
    from ijepa_viz.prediction import predict

    image = read_image(options.image)
    model = checkpoints.load_model(options.model)
    masks = Masks.from_block(model.grid, *options.block)
    decoder = load_decoder(_decoder_of(options.model))
    check_pair(model, decoder)
    prediction = predict(model, image, masks)
    samples = decoder.sample(prediction, options.samples, seed=options.seed)
    checkpoints.write_file(options.out, png(completion_grid([(prediction, samples)])))
    print(f"{options.out.resolve()}  (mean cosine of predicted and target tokens {prediction.cosine.mean():.3f})")
    return 0


def _look(options: argparse.Namespace) -> int:
    import torch

    from ijepa_viz import checkpoints
    from ijepa_viz.data import menagerie
    from ijepa_viz.data.soundness import open_readable
    from ijepa_viz.data.sources import arrays
    from ijepa_viz.data.transforms import read_image, to_tensor
    from ijepa_viz.figures import png
    from ijepa_viz.figures.looks import LOOKS, Question
    from ijepa_viz.masks import Masks

    look = LOOKS[options.probe]
    model = checkpoints.load_model(options.model).eval()
    size = model.config.image_size
    if options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}.")
    if options.scenes is not None and options.probe != "position":
        raise ValueError(f"--scenes is for --probe position, not {options.probe}: leave it out.")
    scheme, _, index = options.image.partition(":")
    if scheme == "scene" and index.isdigit():
        # Of the seed whose scenes are never trained on.
        image = torch.from_numpy(menagerie.scene(int(index), size, seed=1).image).permute(2, 0, 1).float() / 255
    else:
        image = to_tensor(read_image(Path(options.image)), size)
    others = arrays(open_readable(options.data or f"menagerie:count={options.limit}"), size)[: options.limit]
    pictures = torch.from_numpy(others.copy()).permute(0, 3, 1, 2)
    table = look(Question(model, image, Masks.from_block(model.grid, *options.block), pictures, options.scenes))
    checkpoints.write_file(options.out, png(table.pop("figure")))
    print(_as_text(table))
    print(options.out.resolve())
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from ijepa_viz import checkpoints
    from ijepa_viz.costs import training_of
    from ijepa_viz.data.soundness import open_readable
    from ijepa_viz.demo import check_pair
    from ijepa_viz.figures import cost_figure, factor_figure, png
    from ijepa_viz.figures.costs import known_costs
    from ijepa_viz.probes import PROBES

    probe = PROBES[options.probe or "knn"] if options.decoder is None else None
    if options.decoder and len(options.models) > 1:
        raise ValueError("A decoder belongs to one model: name one.")
    # What no figure can be drawn of is refused before anything is computed.
    if options.figure and options.probe == "factors" and len(options.models) > 1:
        raise ValueError("The factors' picture is of one model: name one.")
    costs = {}
    if options.figure and probe and options.probe != "factors":
        costs = {name: training_of(name) for name in options.models}
        known_costs(costs)

    def split(name: str):  # type: ignore[no-untyped-def]  # Source is imported late
        source = options.test_data if name == "test" and options.test_data else options.data
        return open_readable(source, name, options.strict_data)

    tables = {}
    for name in options.models:
        model = checkpoints.load_model(name)
        if probe:
            tables[name] = probe(model, split)
            continue
        from decoders import load_decoder
        from decoders.faithfulness import INSTRUMENTS

        instrument = INSTRUMENTS[options.probe or "leakage"]
        decoder = load_decoder(options.decoder or _decoder_of(name))
        check_pair(model, decoder)
        tables[name] = instrument(model, decoder, split)
    figure = next(iter(tables.values())).pop("figure", None)
    table = tables if len(tables) > 1 else next(iter(tables.values()))
    # Numbers first: a figure that cannot be drawn must not cost what took minutes.
    for name, one in tables.items():
        print(f"{name}\n{_as_text(one)}\n" if len(tables) > 1 else _as_text(one))
    if options.json:
        checkpoints.write_file(options.json, (json.dumps(table, indent=2) + "\n").encode())
    if options.figure and options.probe == "factors":
        figure = factor_figure(tables[options.models[0]], options.models[0])
    elif options.figure and probe:
        figure = cost_figure(tables, costs, options.probe or "knn")
    if options.figure:
        if figure is None:
            raise ValueError("This one draws no picture: leave --figure out.")
        checkpoints.write_file(options.figure, png(figure))
    return 0


def _as_text(table: dict[str, Any]) -> str:
    """A probe's result for people: a line a number, or a line a section with its numbers in columns."""
    sections = {name: value for name, value in table.items() if isinstance(value, dict)}
    lines = [f"{name:34} {_cell(value)}" for name, value in table.items() if name not in sections]
    if sections:
        columns = list(dict.fromkeys(column for row in sections.values() for column in row))
        wide = max(22, *map(len, columns))
        lines.append(" ".join([f"{'':18}", *(f"{c:>{wide}}" for c in columns)]))
        for name, row in sections.items():
            lines.append(" ".join([f"{name:18}", *(f"{_cell(row.get(c, '')):>{wide}}" for c in columns)]).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        middle, low, high = value.values()
        return f"{middle:.3f} [{low:.3f} {high:.3f}]"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _info(options: argparse.Namespace) -> int:
    from ijepa_viz import checkpoints

    model = checkpoints.load_model(options.model)
    config = model.config
    rows, cols = model.grid
    print(f"{options.model}: images {config.image_size} px, patches {config.patch_size} px, grid {rows}x{cols}")
    print(f"encoder: width {config.width}, depth {config.depth}, {config.heads} heads, {_count(model.encoder)}")
    if model.predictor is None:
        print("predictor: none (an encoder-only checkpoint)")
    else:
        print(
            f"predictor: width {config.predictor_width}, depth {config.predictor_depth}, "
            f"{config.predictor_heads} heads, {_count(model.predictor)}"
        )
    if options.model in checkpoints.bundled_names():
        print()
        print((checkpoints.find_bundled(options.model) / checkpoints.CARD).read_text())
    return 0


def _export(options: argparse.Namespace) -> int:
    import torch

    from decoders.loading import load_decoder, save_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.costs import training_of, write_training
    from ijepa_viz.demo import check_pair

    if options.folder.exists() and (not options.folder.is_dir() or any(options.folder.iterdir())):
        raise FileExistsError(f"{options.folder} is not empty: name a new folder.")
    dtype = torch.float16 if options.half else None
    model = checkpoints.load_model(options.model)
    decoder = load_decoder(options.decoder) if options.decoder else None
    if decoder:
        # Halving rounds the weights: the decoder must have learned from what will be read back.
        check_pair(model.to(dtype).float() if dtype else model, decoder)
    checkpoints.save_folder(model, options.folder, dtype)
    checkpoints.copy_objective(options.model, options.folder, dtype)
    cost = training_of(options.model)
    if cost:
        write_training(options.folder, cost)
    if decoder:
        save_decoder(decoder, options.folder / "decoder", dtype)
    for path in sorted(p for p in options.folder.rglob("*") if p.is_file()):
        print(f"{path}  {path.stat().st_size / 2**20:.2f} MiB")
    return 0


def _decoder_of(model: str) -> str | Path:
    """What ``load_decoder`` takes for a model: its folder's ``decoder/``, or a bundled name.

    Raises:
        FileNotFoundError: a folder without one.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    if not (folder / "decoder").is_dir():
        raise FileNotFoundError(
            f"{folder} has no decoder in it. Train one, `python -m decoders --fname CONFIG ijepa={folder}`, and put "
            f"both into one folder: `ijepa-viz export {folder} FOLDER --decoder RUN/step-XXXXXXXX`."
        )
    return folder / "decoder"


def _count(module) -> str:  # type: ignore[no-untyped-def]  # torch is imported late
    total = sum(p.numel() for p in module.parameters())
    return f"{total / 1e6:.2f} M parameters"


def _lab(options: argparse.Namespace) -> int:
    notebooks = Path(__file__).resolve().parent.parent / "notebooks"
    first = notebooks / "00_start_here.ipynb"
    if not first.exists():
        raise FileNotFoundError(f"{first} is missing: the notebooks come with a clone of the project.")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebooks}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--no-browser"] if options.no_browser else []
    # Root needs to say so; the server listens on this machine only.
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command += [f"--LabApp.default_url=/lab/tree/{first.name}"]
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())
