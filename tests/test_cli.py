from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_decoder, size_of
from PIL import Image

from decoders.evaluation.metric import CANDIDATES, DECODER_METRICS
from decoders.loading import load_decoder, save_decoder
from ijepa_viz import checkpoints
from ijepa_viz.checkpoints import bundled_names, load_model, save_folder
from ijepa_viz.checkpoints.training_cost import TrainingCost, training_of, write_training
from ijepa_viz.cli import main
from ijepa_viz.cli.choices import names
from ijepa_viz.cli.evaluate import _FIGURE_ALONE
from ijepa_viz.runtime.device import choose_device
from ijepa_viz.runtime.tensors import fingerprint


@pytest.fixture
def folder(model, tmp_path):
    """A model folder with its decoder, as training leaves it for the command line."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.15)
    save_folder(model, tmp_path / "mine")
    save_decoder(random_decoder(model), tmp_path / "mine" / "decoder")
    return str(tmp_path / "mine")


@pytest.fixture
def photo(tmp_path, picture):
    picture.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_demo_on_ones_own_picture(folder, photo, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--model", folder, "--image", photo, "--out", str(out), "--samples", "2"]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {p.name for p in printed} == {"completions.png", "index.html", "report.json"}
    assert all(p.is_file() for p in printed)
    report = json.loads((out / "report.json").read_text())
    assert report["seconds_total"] > 0
    assert [line["name"] for line in report["models"][0]["images"]] == ["photo"]


def test_predict_writes_the_figure(folder, photo, tmp_path, capsys):
    out = tmp_path / "figure.png"
    command = ["predict", photo, "--model", folder, "--block", "1", "1", "2", "2", "--out", str(out)]
    assert main([*command, "--samples", "3"]) == 0
    first = np.asarray(Image.open(out))
    assert main([*command, "--samples", "3"]) == 0
    assert np.array_equal(first, np.asarray(Image.open(out)))  # the seed is fixed
    assert main([*command, "--samples", "3", "--seed", "1"]) == 0
    assert not np.array_equal(first, np.asarray(Image.open(out)))
    assert "cosine" in capsys.readouterr().out


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_evaluate_writes_its_table(folder, tmp_path, probe, capsys):
    out = tmp_path / "table.json"
    command = ["evaluate", folder, "--probe", probe, "--data", "menagerie:count=60", "--json", str(out)]
    assert main(command) == 0
    table = json.loads(out.read_text())
    assert f"{table['target_encoder']:.4f}" in capsys.readouterr().out
    assert table["train_images"] == table["test_images"] == 60
    for name in ("chance", "colour_thumbnail_8x8", "random_init", "target_encoder"):
        assert 0 <= table[name] <= 1


def test_evaluate_factors_prints_a_row_a_factor(folder, tmp_path, capsys):
    out = tmp_path / "table.json"
    command = ["evaluate", folder, "--probe", "factors", "--json", str(out)]
    assert main([*command, "--data", "menagerie:count=80"]) == 0
    table = json.loads(out.read_text())
    assert table.pop("test_data") == "menagerie (test)"
    assert table.pop("pretraining").startswith("unknown: the model has no record")
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[3:]}
    assert set(lines) == set(table) >= {"species_and_part", "facing", "colour", "texture_phase", "speckle"}
    for name, row in table.items():
        assert set(row) == {"most_frequent", "predicted", "context_mean", "random_init", "target", "position_only"}
        found = row["predicted"]
        assert 0 <= found["low"] <= found["accuracy"] <= found["high"] <= 1
        assert f"{found['accuracy']:.3f} [{found['low']:.3f} {found['high']:.3f}]" in lines[name]


def test_evaluate_names_the_nearest_probe(folder, tmp_path, capsys):
    assert main(["evaluate", folder, "--probe", "linea", "--data", "menagerie:count=60"]) == 1
    assert "Did you mean 'linear'" in capsys.readouterr().err
    (tmp_path / "flat").mkdir()
    for value in (0, 99):
        Image.new("RGB", (40, 40), (value, 0, 0)).save(tmp_path / "flat" / f"{value}.png")
    assert main(["evaluate", folder, "--probe", "factors", "--data", str(tmp_path / "flat")]) == 1
    assert "menagerie" in capsys.readouterr().err


def test_a_metric_is_of_a_decoder_and_a_probe_of_the_features(folder, tmp_path, capsys):
    data = ["--data", "menagerie:count=120"]
    tables = []
    for name in ("--metric", "--probe"):  # --probe is how 0.1 named a metric
        out = tmp_path / f"{name}.json"
        assert main(["evaluate", folder, "--decoder", name, "leakage", *data, "--json", str(out)]) == 0
        tables.append(json.loads(out.read_text()))
    assert tables[0] == tables[1]
    capsys.readouterr()
    assert main(["evaluate", folder, "--metric", "leakage", *data]) == 1
    assert "add --decoder" in capsys.readouterr().err
    assert main(["evaluate", folder, "--decoder", "--metric", "leakage", "--probe", "knn", *data]) == 1
    assert "one of the two" in capsys.readouterr().err
    assert main(["evaluate", folder, "--decoder", "--metric", "leakag", *data]) == 1
    assert "Did you mean 'leakage'" in capsys.readouterr().err


def test_the_sheet_without_a_figure_is_refused_before_anything_is_drawn(folder, tmp_path, monkeypatch, capsys):
    command = ["evaluate", folder, "--decoder", "--data", "menagerie:count=4"]
    with monkeypatch.context() as patch:
        patch.setattr("ijepa_viz.cli.evaluate.import_libraries", lambda: pytest.fail("the work has begun"))
        for name in ("--metric", "--probe"):
            assert main([*command, name, "sheet"]) == 1
            assert "add --figure FILE" in capsys.readouterr().err
    assert main([*command, "--metric", "sheet", "--figure", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").is_file()


def test_metrics_that_only_draw_are_known_by_their_name():
    assert set(_FIGURE_ALONE) <= set(names("decoder metric"))


def test_the_table_names_the_scenes_that_a_metric_drew_itself(folder, tmp_path, monkeypatch):
    own = {"test_data": "scenes of its own", "value": 1.0}
    monkeypatch.setitem(DECODER_METRICS, "ground-truth", lambda *_: dict(own))
    out = tmp_path / "table.json"
    command = ["evaluate", folder, "--decoder", "--data", "menagerie:count=100", "--json", str(out)]
    assert main([*command, "--metric", "ground-truth"]) == 0
    assert json.loads(out.read_text()) == own


def test_the_help_says_how_many_images_a_metric_needs(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert f"at least {CANDIDATES} images" in " ".join(capsys.readouterr().out.split())


def test_info_tells_the_sizes(folder, capsys):
    assert main(["info", folder]) == 0
    printed = capsys.readouterr().out
    assert "grid 4x4" in printed
    assert "width 32, depth 2" in printed


BAD = {
    "text.png": lambda p: p.write_text("hello"),
    "moving.gif": lambda p: Image.new("RGB", (16, 16)).save(
        p, save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]
    ),
    "one.png": lambda p: Image.new("RGB", (1, 1)).save(p),
}


@pytest.mark.parametrize(
    ("name", "words"), [("text.png", "not an image"), ("moving.gif", "animated"), ("one.png", "1x1")]
)
def test_bad_pictures_write_nothing(folder, tmp_path, capsys, name, words):
    BAD[name](tmp_path / name)
    out = tmp_path / "out.png"
    command = ["predict", str(tmp_path / name), "--model", folder, "--block", "1", "1", "2", "2", "--out", str(out)]
    assert main(command) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()
    assert main(["demo", "--model", folder, "--image", str(tmp_path / name), "--out", str(tmp_path / "demo")]) == 1
    assert not (tmp_path / "demo").exists()


def test_converted_pictures_work(folder, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 65535, (40, 40)).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(rng.integers(0, 255, (40, 40, 4), dtype=np.uint8), "CMYK").save(tmp_path / "print.jpg")
    for name in ("deep.png", "print.jpg"):
        out = tmp_path / f"{name}.out.png"
        block = ["--block", "1", "1", "2", "2"]
        assert main(["predict", str(tmp_path / name), "--model", folder, *block, "--out", str(out)]) == 0
        assert out.exists()


@pytest.mark.parametrize(
    ("block", "words"),
    [("3 3 2 2", "leaves the 4x4 grid"), ("0 0 4 4", "hides everything"), ("0 0 0 1", "empty")],
)
def test_bad_blocks_write_nothing(folder, photo, tmp_path, capsys, block, words):
    out = tmp_path / "out.png"
    assert main(["predict", photo, "--model", folder, "--block", *block.split(), "--out", str(out)]) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_an_unknown_model_names_the_nearest(photo, tmp_path, capsys):
    block = ["--block", "1", "1", "2", "2", "--out", str(tmp_path / "x.png")]
    assert main(["predict", photo, "--model", "wild-tyni", *block]) == 1
    assert "Did you mean 'wild-tiny'" in capsys.readouterr().err


def test_a_decoder_of_another_model_is_refused(folder, photo, tmp_path, capsys, model):
    model.encoder.norm.bias.data += 1
    save_folder(model, folder)
    block = ["--block", "1", "1", "2", "2", "--out", str(tmp_path / "x.png")]
    assert main(["predict", photo, "--model", folder, *block]) == 1
    assert "other weights" in capsys.readouterr().err


# --------------------------------------------------------------------------- the bundled models


def test_half_of_a_half_leaves_no_decoder_out_without_a_word(tmp_path, capsys):
    """Its weights are float16 already, so its decoder belongs to the export too."""
    assert main(["export", "film-tiny", str(tmp_path / "film"), "--half"]) == 0
    assert "--decoder film-tiny adds it" in capsys.readouterr().err


def test_the_bundled_models():
    assert bundled_names() == [
        "birds-tiny", "cats-tiny", "film-tiny", "menagerie-tiny", "menagerie-tiny-invariance", "menagerie-tiny-mae",
        "wild-tiny",
    ]  # fmt: skip


# Measured: 0.46 and 0.32 on average.
@pytest.mark.parametrize(("name", "gap"), [("menagerie-tiny", 0.3), ("wild-tiny", 0.2)])
def test_the_bundled_demo(name, gap, tmp_path, capsys, drawn):
    """Predictions know their picture: each is nearer to its own target than another image's prediction is."""
    assert main(["demo", "--model", name, "--out", str(tmp_path)]) == 0
    lines = json.loads((tmp_path / "report.json").read_text())["models"][0]["images"]
    gaps = [line["cosine"] - line["cosine_other_image"] for line in lines]
    assert min(gaps) > 0
    assert np.mean(gaps) > gap
    assert min(size_of(tmp_path / "completions.png")) > 500
    axes = drawn[0].axes
    titles = [axis.get_title() for axis in axes if axis.get_title()]
    assert titles[:3] == ["original", "context", "sample 1"]
    assert titles[-1].startswith("control")
    pictures = [axis.images[0].get_array() for axis in axes]
    assert len(pictures) == len(titles) * len(lines)
    for row in range(len(lines)):
        original, context, *samples = pictures[row * len(titles) : (row + 1) * len(titles)]
        assert not np.array_equal(original, context)
        for sample in samples:
            same = np.isclose(sample, original, atol=1e-6).all(-1).mean()
            assert 0.3 < same < 0.99, "a sample is the picture around the hole, and not in it"


@pytest.mark.parametrize("name", ["menagerie-tiny", "wild-tiny"])
def test_shuffled_predictions_are_drawn_differently(name):
    """The samples follow the prediction: its colours differ more between images than between seeds."""
    from decoders import load_decoder
    from ijepa_viz import examples
    from ijepa_viz.checkpoints import load_model
    from ijepa_viz.masks import Masks
    from ijepa_viz.prediction import predict

    model, decoder = load_model(name), load_decoder(name)
    pictures = examples.drawn_scenes() if name.startswith("menagerie") else examples.photographs()
    hole = Masks.from_block(model.grid, 2, 2, 4, 4)
    colours = []
    for example in pictures:
        drawn = decoder.sample(predict(model, example.image, hole), 6)
        colours.append(drawn.images[:, :, drawn.inside].mean(-1))  # (S, 3)
    stacked = torch.stack(colours)
    between, within = stacked.mean(1).std(0).mean(), stacked.std(1).mean()
    assert between > within


@pytest.mark.parametrize("name", ["menagerie-tiny", "wild-tiny"])
def test_every_model_card_has_its_numbers_and_its_command(name, capsys):
    assert main(["info", name]) == 0
    card = capsys.readouterr().out
    for word in ("python -m train --fname", "python -m decoders --fname", "minutes", "kNN", "random init", "thumbnail"):
        assert word in card


def test_menagerie_tiny_beats_its_baselines():
    """A fast version of the card's kNN: fewer pictures, the same comparison."""
    from ijepa_viz.checkpoints import load_model
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.probes.knn import knn_table

    counts = {"train": 1500, "test": 500}
    table = knn_table(
        load_model("menagerie-tiny"), lambda split: open_source(f"menagerie:count={counts[split]}", split)
    )
    assert table["target_encoder"] > table["random_init"]
    assert table["target_encoder"] > table["colour_thumbnail_8x8"]


def test_wild_tiny_beats_its_baselines(photos):
    """On real photographs, where the environment names some."""
    from ijepa_viz.checkpoints import load_model
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.probes.features import FeatureBank
    from ijepa_viz.probes.knn import knn_accuracy

    shards = {"train": "train-00000-of-00010.parquet", "test": "train-00009-of-00010.parquet"}
    bank = FeatureBank(load_model("wild-tiny"), lambda split: open_source(str(photos / shards[split])), limit=1500)
    table = bank.table(knn_accuracy)
    assert table["target_encoder"] > table["random_init"]
    assert table["target_encoder"] > table["colour_thumbnail_8x8"]


def test_a_model_without_a_decoder_is_told_how_to_get_one(model, tmp_path, capsys):
    save_folder(model, tmp_path / "step-00000007")
    assert main(["demo", "--model", str(tmp_path / "step-00000007"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "has no decoder in it" in said
    assert "python -m decoders" in said
    assert main(["info", str(tmp_path)]) == 1
    assert "its newest checkpoint is" in capsys.readouterr().err


def test_evaluate_draws_accuracy_against_cost(folder, tmp_path, capsys, drawn):
    out = tmp_path / "cost.png"
    twin = tmp_path / "twin"
    assert main(["export", folder, str(twin)]) == 0
    command = ["evaluate", folder, str(twin), "--probe", "linear", "--data", "menagerie:count=60"]
    kept = tmp_path / "kept.json"
    assert main([*command, "--figure", str(out), "--json", str(kept)]) == 1
    said = capsys.readouterr()
    assert "no training.json" in said.err
    assert "target_encoder" not in said.out  # refused before anything was computed
    assert not kept.exists()
    write_training(twin, TrainingCost("ijepa", 1000, 0.5, 1e12, "a test"))
    table = tmp_path / "table.json"
    assert main([*command, "--figure", str(out), "--json", str(table)]) == 0
    rows = json.loads(table.read_text())
    assert min(size_of(out)) > 200
    left, right = drawn[0].axes
    assert "FLOPs" in left.get_xlabel()
    assert "hours" in right.get_xlabel()
    for axis, amount in ((left, 1e12), (right, 0.5)):
        points = {tuple(point) for line in axis.lines for point in line.get_xydata()}
        points |= {tuple(point) for dots in axis.collections for point in dots.get_offsets()}
        assert (amount, rows[str(twin)]["target_encoder"]) in points
    assert set(rows) == {folder, str(twin)}
    assert rows[folder] == rows[str(twin)]  # the same weights
    assert main([*command[:3], "--probe", "low-shot", *command[5:], "--figure", str(out)]) == 0
    again = tmp_path / "again"
    assert main(["export", str(twin), str(again)]) == 0
    assert training_of(again) == TrainingCost("ijepa", 1000, 0.5, 1e12, "a test")  # the record travels
    assert main(["evaluate", folder, str(twin), "--decoder", "x", "--data", "menagerie:count=60"]) == 1
    assert "name one" in capsys.readouterr().err


def test_export_halves_a_model_and_keeps_its_decoder_with_it(folder, tmp_path, capsys):
    half, whole = tmp_path / "half", tmp_path / "whole"
    assert main(["export", folder, str(whole), "--decoder", f"{folder}/decoder"]) == 0
    assert fingerprint(load_model(whole)) == fingerprint(load_model(folder))
    assert load_decoder(whole / "decoder").config.ijepa_sha256 == fingerprint(load_model(whole))
    # Rounded, it is another model than the decoder learned from.
    assert main(["export", folder, str(half), "--half", "--decoder", f"{folder}/decoder"]) == 1
    assert "trained on other weights" in capsys.readouterr().err
    assert not half.exists()
    assert main(["export", folder, str(half), "--half"]) == 0
    assert "has no decoder" not in capsys.readouterr().err  # the one that it has is of other weights
    plain = tmp_path / "plain"
    assert main(["export", folder, str(plain)]) == 0
    assert f"--decoder {folder}/decoder adds it" in capsys.readouterr().err
    sizes = [(path / "model.safetensors").stat().st_size for path in (half, whole)]
    assert sizes[0] < 0.6 * sizes[1]
    near = zip(load_model(half).parameters(), load_model(folder).parameters(), strict=True)
    assert all(torch.equal(a, b.half().float()) for a, b in near)
    assert main(["export", folder, str(half)]) == 1  # nothing is overwritten
    assert "not empty" in capsys.readouterr().err


# --------------------------------------------------------------------------- words of the command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predct"], "Did you mean 'predict'?"),
        (["look", "m", "i", "--inspecton", "maps"], "unrecognized option --inspecton. Did you mean --inspection?"),
        (["look", "m", "i", "--inspection", "map", "--out", "x.png"], "Did you mean 'maps'?"),
        (["info", "--model", "wild-tiny"], "MODEL is given without --model."),
        (["demo", "-ot", "x"], "unrecognized option -ot. Did you mean --out?"),
        (["predict", "i", "--device", "gpu"], "A GPU is cuda."),
        (["predict", "i", "--device", "1"], "Did you mean cuda:1?"),
        (["push", "wild-tiny"], "required: OWNER/NAME"),
    ],
)
def test_usage_errors_name_the_mend(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_a_training_s_options_and_settings_are_told_apart(capsys):
    import train.__main__

    for arguments, words in (
        (["--fnme", "x"], "unrecognized option --fnme. Did you mean --fname?"),
        (["--fname", "x", "--optimization.lr=1"], "given without dashes: optimization.lr=1"),
    ):
        with pytest.raises(SystemExit):
            train.__main__.main(arguments)
        assert words in capsys.readouterr().err


def test_values_that_look_like_options_and_abbreviations_still_pass():
    from ijepa_viz.runtime.command_line import SuggestingParser

    parser = SuggestingParser()
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--number", type=float)
    parser.add_argument("-n", type=int)
    assert parser.parse_args(["--num", "-1.5", "a"]).number == -1.5
    assert parser.parse_args(["-n3"]).n == 3
    assert parser.parse_args(["--number=-2", "--", "--not-an-option"]).rest == ["--not-an-option"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("scene:abc", "scene:NUMBER with a whole number"),
        ("scene:", "scene:NUMBER"),
        ("scene:-1", "scene:NUMBER"),
        ("{folder}", "is a folder: name one image file in it"),
        ("{folder}/phto.png", "Did you mean {folder}/photo.png?"),
    ],
)
@pytest.mark.parametrize("command", ["look", "predict", "demo"])
def test_a_picture_that_is_not_there(command, image, words, photo, tmp_path, capsys):
    image, words = (text.format(folder=tmp_path) for text in (image, words))
    block = ["--block", "1", "1", "2", "2", "--out", str(tmp_path / "out.png")]
    options = {
        "look": ["look", "no-model", image, "--inspection", "maps", *block],
        "predict": ["predict", image, *block],
    }
    assert main(options.get(command, ["demo", "--image", image])) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Errno" not in said


def test_predict_draws_scenes_as_look_does(folder, tmp_path, drawn):
    block = ["--block", "1", "1", "2", "2", "--out", str(tmp_path / "out.png")]
    assert main(["predict", "scene:3", "--model", folder, "--samples", "1", *block]) == 0
    from ijepa_viz.data import menagerie

    shown = drawn[0].axes[0].images[0].get_array()
    assert np.allclose(shown, menagerie.scene(3, 32, seed=1).image / 255)


# Measured: 0.1 s idle, where torch alone takes 2 to 10 s; here beside other work.
@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ijepa_viz.cli", "--version"],
        ["-m", "ijepa_viz.cli", "--help"],
        ["-m", "ijepa_viz.cli", "look", "--help"],
        ["-m", "ijepa_viz.cli", "predict"],
        ["-m", "ijepa_viz.cli", "look", "m", "scene:x", "--block", "1", "1", "1", "1", "--inspection", "maps", "--out", "x.png"],
        ["-m", "train", "--help"],
        ["-m", "decoders", "--help"],
        ["-m", "decoders", "--fnam", "x", "--fast"],
    ],
)  # fmt: skip
def test_help_and_usage_errors_import_no_torch(command):
    program = "import runpy, sys; sys.argv = sys.argv[1:]\n"
    program += f"try: runpy.run_module({command[1]!r}, run_name='__main__', alter_sys=True)\n"
    program += (
        "finally: sys.stderr.write('SLOW ' + ' '.join({'torch', 'matplotlib', 'diffusers', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, *command[1:]], capture_output=True, text=True)
    assert done.stderr.endswith("SLOW "), done.stderr[-500:]
    assert "usage:" in done.stdout + done.stderr or "ijepa-viz" in done.stdout + done.stderr


def test_the_names_in_help_are_the_registered_ones():
    """Help reads them from the files; the registries import these."""
    from decoders.evaluation import DECODER_METRICS
    from ijepa_viz.cli import choices
    from ijepa_viz.inspections import INSPECTIONS
    from ijepa_viz.probes import PROBES

    for kind, registry in (("inspection", INSPECTIONS), ("probe", PROBES), ("decoder metric", DECODER_METRICS)):
        assert choices.names(kind) == {name: inspect.getdoc(entry) for name, entry in registry.items()}


# --------------------------------------------------------------------------- devices


@pytest.mark.parametrize(("gpus", "names"), [(0, {"auto": "cpu", "cpu": "cpu"}),
    (2, {"auto": "cuda:0", "cpu": "cpu", "cuda": "cuda:0", "cuda:1": "cuda:1", " CUDA:1 ": "cuda:1"})])  # fmt: skip
def test_a_device_by_its_name(gpus, names, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name, device in names.items():
        assert choose_device(name) == torch.device(device)
    absent = {"cuda:7": "There is no device cuda:7 here", "mps": "takes an Apple GPU", "gpu": "no device 'gpu'"}
    if not gpus:
        absent["cuda"] = "There is no device cuda here.*--device cpu"
    for name, words in absent.items():
        with pytest.raises(ValueError, match=words):
            choose_device(name)


@pytest.mark.parametrize("command", ["demo", "predict", "look"])
def test_every_command_computes_on_the_device_that_was_asked_for(command, folder, photo, tmp_path, monkeypatch, capsys):
    """The meta device computes nothing: the first use of its numbers fails, which shows that it was used."""
    asked = []
    block = ["--block", "1", "1", "2", "2", "--out", str(tmp_path / "x.png")]
    options = {
        "demo": ["demo", "--model", folder, "--image", photo, "--out", str(tmp_path / "out")],
        "predict": ["predict", photo, "--model", folder, *block],
        "look": ["look", folder, photo, "--inspection", "maps", "--limit", "8", *block],
    }[command]
    monkeypatch.setattr("ijepa_viz.cli.compute.choose_device", lambda name: asked.append(name) or torch.device("meta"))
    loaded = []
    load = checkpoints.load_model
    monkeypatch.setattr(checkpoints, "load_model", lambda *a, **k: loaded.append(load(*a, **k)) or loaded[-1])
    assert main([*options, "--device", "cuda:1"]) == 1
    capsys.readouterr()
    assert set(asked) == {"cuda:1"}
    assert loaded[0].device == torch.device("meta")


def test_an_absent_device_is_said(folder, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "x.png"
    command = [
        "predict",
        photo,
        "--model",
        folder,
        "--block",
        "1",
        "1",
        "2",
        "2",
        "--out",
        str(out),
        "--device",
        "cuda",
    ]
    assert main(command) == 1
    assert "There is no device cuda here" in capsys.readouterr().err
    assert not out.exists()


# --------------------------------------------------------------------------- silence


def test_look_says_what_it_does(folder, photo, tmp_path, monkeypatch, capsys):
    """Every part that takes long with a large model or many images is watched."""
    from ijepa_viz.runtime import progress

    begun = []
    add = progress.Watch.add
    monkeypatch.setattr(progress.Watch, "add", lambda self, one: begun.append(one.description) or add(self, one))
    block = ["--block", "1", "1", "2", "2", "--out", str(tmp_path / "x.png"), "--limit", "12", "--scenes", "3"]
    assert main(["look", folder, photo, "--inspection", "position", *block]) == 0
    for words in (
        "importing torch",
        "loading ",
        "drawing scenes",
        "inspecting: position",
        "part classifier",
        "linear classifier",
    ):
        assert any(words in one for one in begun), begun
    assert "so far" not in capsys.readouterr().err  # short work is silent
