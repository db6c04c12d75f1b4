"""Features of many pictures in a file, and heads on top of them, against transformers, naive loops and ``evaluate``."""

from __future__ import annotations

import argparse
import copy
import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from PIL import Image
from transformers import IJepaConfig, IJepaModel

from decoders.loading import save_decoder
from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.cli import main
from ijepa_viz.cli.parser import build_parser
from ijepa_viz.data.batches import evenly
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.picture_stream import PictureStream
from ijepa_viz.data.scan import scan
from ijepa_viz.data.transforms import normalise, square, to_tensor
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import predict
from ijepa_viz.probes.feature_files import ENDINGS, read_features, write_features
from ijepa_viz.probes.head import load_head, save_head
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.probes.layers import layer_numbers, layer_tokens
from ijepa_viz.runtime.computation import compute_in


@pytest.fixture
def folder(model, tmp_path):
    """A model folder, with features that differ from picture to picture."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    save_folder(model, tmp_path / "mine")
    save_decoder(random_decoder(model), tmp_path / "mine" / "decoder")
    return str(tmp_path / "mine")


def draw(index: int, kind: str) -> Image.Image:
    """A noisy 40x36 picture that is reddish or bluish."""
    rng = np.random.default_rng(index + (1000 if kind == "blue" else 0))
    pixels = rng.integers(0, 160, (36, 40, 3), dtype=np.uint8)
    pixels[..., 0 if kind == "red" else 2] += 90
    return Image.fromarray(pixels)


@pytest.fixture
def pictures(tmp_path):
    """Two classes in a training and a test part; one file is no picture."""
    root = tmp_path / "pictures"
    for part, count in (("train", 24), ("test", 10)):
        for kind in ("blue", "red"):
            (root / part / kind).mkdir(parents=True)
            for i in range(count):
                draw(i + 100 * (part == "test"), kind).save(root / part / kind / f"{i:02}.png")
    (root / "train" / "blue" / "05.png").write_bytes(b"no picture")
    return str(root)


# --------------------------------------------------------------------------- layers


def test_layers_are_named_by_number_or_last():
    assert layer_numbers("1,4, last", 12) == (1, 4, 12)
    assert layer_numbers([12, "last", 2], 12) == (12, 2)
    for wrong in ("0", "13", "-1", "first", "", "1,,2"):
        with pytest.raises(ValueError, match="1 to 12, or last"):
            layer_numbers(wrong, 12)
    with pytest.raises(ValueError, match="at least one"):
        layer_numbers([], 12)


def test_tokens_of_layers_are_those_of_the_papers_protocol_and_leave_nothing_behind(model):
    images = torch.randn(2, 3, 32, 32)
    expected = model.encoder(images, layers=2).chunk(2, dim=-1)
    found = layer_tokens(model.encoder, images, (2, 1))
    assert list(found) == [2, 1]
    assert torch.equal(found[1], expected[0])
    assert torch.equal(found[2], expected[1])
    assert not any(block._forward_hooks for block in model.encoder.blocks)


def test_features_are_those_of_transformers(tmp_path, pictures):
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    torch.manual_seed(0)
    theirs = IJepaModel(IJepaConfig(**sizes, image_size=32, patch_size=8, layer_norm_eps=1e-6)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    theirs.save_pretrained(tmp_path / "hf")
    out = tmp_path / "features.parquet"
    command = ["features", str(tmp_path / "hf"), "--data", pictures, "--out", str(out), "--tokens", "--batch", "7"]
    assert main([*command, "--layers", "2,last"]) == 0
    found = read_features(out)
    source = {part: open_source(pictures, part) for part in ("train", "test")}
    place = {(part, s.name_of(i)): (s, i) for part, s in source.items() for i in range(len(s))}
    for row in (0, 3, 30, len(found) - 1):
        own, index = place[found.splits[row], found.names[row]]
        pixels = normalise(to_tensor(own[index], 32))[None]
        with torch.no_grad():
            answer = theirs(pixels, output_hidden_states=True)
            second = theirs.layernorm(answer.hidden_states[2])[0]
        last = answer.last_hidden_state[0]
        for name, tokens in (("3", last), ("2", second)):
            assert np.abs(found.values[f"tokens_{name}"][row] - tokens.numpy()).max() < 1e-5
            assert np.abs(found.values[f"layer_{name}"][row] - tokens.mean(0).numpy()).max() < 1e-5


# --------------------------------------------------------------------------- files


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_holds_features_names_and_labels(folder, pictures, tmp_path, ending, capsys):
    out = tmp_path / "out" / f"features{ending}"
    command = ["features", folder, "--data", pictures, "--out", str(out), "--batch", "5"]
    assert main([*command, "--layers", "1,last", "--tokens"]) == 0
    printed = capsys.readouterr()
    assert "67 pictures" in printed.out
    assert "Left out 1 of 48 pictures" in printed.err
    assert "blue/05.png" in printed.err
    found = read_features(out)
    assert {name: value.shape for name, value in found.values.items()} == {
        "layer_1": (67, 32), "layer_2": (67, 32), "tokens_1": (67, 16, 32), "tokens_2": (67, 16, 32),
    }  # fmt: skip
    assert found.splits == ["train"] * 47 + ["test"] * 20
    assert found.about["classes"] == ["blue", "red"]
    assert found.classes == ["blue" if label == 0 else "red" for label in found.labels]
    assert found.names[0] == "blue/00.png"
    assert "blue/05.png" not in found.names[:47]
    assert all(np.allclose(found.values[f"tokens_{n}"].mean(1), found.values[f"layer_{n}"], atol=1e-5) for n in (1, 2))
    assert [p.name for p in out.parent.iterdir()] == [out.name]
    assert main([*command, "--pool", "none", "--split", "test", "--limit", "4"]) == 0
    few = read_features(out)
    assert list(few.values) == ["tokens_2"]
    assert np.array_equal(
        few.values["tokens_2"],
        found.values["tokens_2"][
            [
                i
                for i, n in enumerate(found.names)
                if (found.splits[i], n) in set(zip(few.splits, few.names, strict=True))
            ]
        ],
    )


def test_parquet_and_npz_and_safetensors_open_in_their_own_libraries(folder, pictures, tmp_path):
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    tables = {}
    for ending in ENDINGS:
        out = tmp_path / f"features{ending}"
        assert main(["features", folder, "--data", pictures, "--out", str(out)]) == 0
        if ending == ".parquet":
            table = pq.read_table(out)
            assert table.column_names == ["name", "split", "class", "label", "layer_2"]
            tables[ending] = np.array(table.column("layer_2").to_pylist(), np.float32)
        elif ending == ".npz":
            with np.load(out, allow_pickle=False) as data:
                assert data["name"][0] == "blue/00.png"
                tables[ending] = data["layer_2"]
        else:
            tables[ending] = load_file(out)["layer_2"]
    for values in tables.values():
        assert np.array_equal(values, tables[".parquet"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_error_leaves_no_part_and_the_old_file(tmp_path, ending):
    out = tmp_path / f"f{ending}"
    out.write_bytes(b"old")

    def rows():
        yield {"name": ["a"], "split": [""], "class": [""], "label": np.array([-1]), "layer_1": np.zeros((1, 4), "f4")}
        raise ValueError("the disk of the pictures is gone")

    with pytest.raises(ValueError, match="is gone"):
        write_features(out, rows(), {"layer_1": (4,)}, {})
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith((".", "f"))] == [out.name]
    assert out.read_bytes() == b"old"
    with pytest.raises(ValueError, match="no file of features"):
        read_features(out)


def test_parquet_is_written_in_groups_and_none_is_kept(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr("ijepa_viz.probes.feature_files._GROUP_BYTES", 8 * 160)

    def rows():
        for i in range(10):
            text = {"name": [f"{i}-{k}" for k in range(4)], "split": [""] * 4, "class": [""] * 4}
            yield {**text, "label": np.full(4, -1), "layer_1": np.full((4, 40), i, np.float32)}

    assert write_features(tmp_path / "f.parquet", rows(), {"layer_1": (40,)}, {}) == 40
    assert pq.ParquetFile(tmp_path / "f.parquet").num_row_groups == 5
    assert read_features(tmp_path / "f.parquet").values["layer_1"][:, 0].tolist() == [
        i for i in range(10) for _ in range(4)
    ]


def test_names_that_safetensors_cannot_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ijepa_viz.probes.feature_files._LONGEST_HEADER", 300)
    row = {
        "name": ["a" * 400],
        "split": [""],
        "class": [""],
        "label": np.array([-1]),
        "layer_1": np.zeros((1, 4), "f4"),
    }
    with pytest.raises(ValueError, match=r"write \.parquet"):
        write_features(tmp_path / "f.safetensors", iter([row]), {"layer_1": (4,)}, {})
    assert list(tmp_path.iterdir()) == []


def test_wrong_options_are_refused(folder, pictures, tmp_path, capsys):
    command = ["features", folder, "--data", pictures]
    for more, words in (
        (["--out", str(tmp_path / "f.csv")], ".parquet, .npz, .safetensors"),
        (["--out", str(tmp_path / "f.npz"), "--batch", "0"], "whole number from 1"),
    ):
        with pytest.raises(SystemExit):
            main([*command, *more])
        assert words in capsys.readouterr().err
    for more, words in (
        (["--layers", "3"], "no layer '3': this model's are 1 to 2"),
        (["--strict-data"], "blue/05.png"),
    ):
        assert main([*command, "--out", str(tmp_path / "f.npz"), *more]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "f.npz").exists()
    assert (
        main(["features", folder, "--data", f"{pictures}/train", "--split", "test", "--out", str(tmp_path / "f.npz")])
        == 1
    )
    assert "one part only" in capsys.readouterr().err


def test_knn_of_the_exported_features_is_that_of_evaluate(folder, pictures, tmp_path):
    out, table = tmp_path / "f.npz", tmp_path / "knn.json"
    assert main(["features", folder, "--data", pictures, "--out", str(out)]) == 0
    assert main(["evaluate", folder, "--data", pictures, "--probe", "knn", "--json", str(table)]) == 0
    found = read_features(out)
    train, test = (np.array(found.splits) == part for part in ("train", "test"))
    values, labels = torch.from_numpy(found.values["layer_2"]), torch.from_numpy(found.labels)
    ours = knn_accuracy(values[train], labels[train], values[test], labels[test])
    evaluated = json.loads(table.read_text())
    assert ours == evaluated["target_encoder"]
    assert evaluated["train_images"] == train.sum()
    # A naive vote, picture by picture.
    x = found.values["layer_2"]
    mean, std = x[train].mean(0), x[train].std(0, ddof=1)
    x = (x - mean) / std
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    right = 0
    for row in np.flatnonzero(test):
        near = np.argsort(-(x[train] @ x[row]), kind="stable")[:20]
        right += int(np.bincount(found.labels[train][near], minlength=2).argmax() == found.labels[row])
    assert ours == right / test.sum()


# --------------------------------------------------------------------------- the stream


def test_the_stream_reads_a_few_batches_ahead_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    (tmp_path / "many").mkdir()
    for i in range(40):
        draw(i, "red").save(tmp_path / "many" / f"{i:02}.png")
    source = open_source(str(tmp_path / "many"))
    read, plain = [], source.read
    source.read = lambda index: (read.append(index), plain(index))[1]
    stream = PictureStream(source, 32, 4, with_digests=True)
    batches = iter(stream)
    first = next(batches)
    assert max(read) < 4 * 4
    assert np.array_equal(first.pixels[2].permute(1, 2, 0).numpy(), np.asarray(square(plain(2), 32)))
    rest = [first, *batches]
    assert np.concatenate([batch.indices for batch in rest]).tolist() == list(range(40))
    assert np.array_equal(np.concatenate([batch.digests for batch in rest]), scan(source).digests)
    assert stream.note() == ""
    early = iter(PictureStream(source, 32, 4))
    next(early)
    early.close()  # whoever has seen enough waits for nothing


def test_drawn_scenes_stream_as_they_are_drawn():
    source = open_source("menagerie:count=5", "test")
    found = list(PictureStream(source, 32, 2, with_digests=True))
    pixels = torch.cat([batch.pixels for batch in found])
    assert np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), source.render(0, 5, 32))
    assert np.array_equal(np.concatenate([batch.digests for batch in found]), scan(source).digests)


def test_a_data_set_without_a_readable_picture_is_an_error(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"No picture of .* can be read.*a\.png"):
        list(PictureStream(open_source(str(tmp_path / "bad")), 32))


def test_pictures_are_named_by_their_place(tmp_path, pictures):
    import io
    import tarfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    draw(0, "red").save(buffer, "PNG")
    cells = [{"bytes": buffer.getvalue(), "path": "a.png"}, {"bytes": buffer.getvalue(), "path": None}]
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet")
    found = open_source(str(tmp_path / "x.parquet"))
    assert [found.name_of(i) for i in range(2)] == ["a.png", "1"]
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        entry = tarfile.TarInfo("deep/0007.png")
        entry.size = len(buffer.getvalue())
        archive.addfile(entry, io.BytesIO(buffer.getvalue()))
    assert open_source(str(tmp_path / "x.tar")).name_of(0) == "deep/0007"
    source = open_source(pictures)
    assert source.subset(np.array([30, 2]), "two").name_of(0) == source.name_of(30)
    assert open_source("menagerie:count=3").name_of(2) == "2"


# --------------------------------------------------------------------------- heads


@pytest.fixture
def head(folder, pictures, tmp_path, capsys):
    out = tmp_path / "head"
    command = ["evaluate", folder, "--data", pictures, "--probe", "linear", "--save-head", str(out)]
    assert main([*command, "--json", str(tmp_path / "linear.json")]) == 0
    capsys.readouterr()
    return out


def test_a_head_is_what_evaluate_measured_and_knows_where_it_comes_from(folder, pictures, head, tmp_path, capsys):
    table, found = json.loads((tmp_path / "linear.json").read_text()), load_head(head)
    card = found.card
    assert (card.model, card.data, card.classes) == (folder, pictures, ["blue", "red"])
    assert (card.pictures, card.test_pictures) == (47, 20)
    assert card.accuracy == table["target_encoder"]
    assert sorted(p.name for p in head.iterdir()) == ["head.json", "head.safetensors"]
    out = tmp_path / "classes.csv"
    assert main(["classify", pictures, "--head", str(head), "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 20
    assert sum(row["class"] == row["predicted"] for row in rows) / 20 == pytest.approx(card.accuracy)
    assert f"accuracy {card.accuracy:.4f} [" in capsys.readouterr().out
    # The classes and probabilities of one picture by hand.
    model = load_model(folder)
    source = open_source(pictures, "test")
    with torch.no_grad():
        tokens = model.encode_target(normalise(to_tensor(source[3], 32))[None])
    x = (tokens.mean(1)[0] - found.mean) / found.std
    likely = torch.softmax(x @ found.weights + found.bias, 0)
    assert rows[3]["name"] == source.name_of(3)
    assert float(rows[3]["probability"]) == pytest.approx(float(likely.max()), abs=1e-3)
    assert rows[3]["predicted"] == card.classes[int(likely.argmax())]


def test_pictures_that_a_head_learned_from_are_named_and_not_counted(pictures, head, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    for kind in ("blue", "red"):
        (mixed / kind).mkdir(parents=True)
        for i in range(3):
            draw(i, kind).save(mixed / kind / f"copy{i}.bmp")  # of training pictures, in another format
            draw(500 + i, kind).save(mixed / kind / f"new{i}.png")
    out = tmp_path / "classes.csv"
    assert main(["classify", str(mixed), "--head", str(head), "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.open()))
    assert {row["name"]: row["trained_on"] for row in rows} == {
        f"{kind}/{name}{i}.{end}": known
        for kind in ("blue", "red") for i in range(3) for name, end, known in (("copy", "bmp", "yes"), ("new", "png", "no"))
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "6 of the 12 pictures" in printed
    assert "on 6 others" in printed


def test_one_picture_is_classified_to_stdout(head, tmp_path, capsys):
    draw(900, "red").save(tmp_path / "one.png")
    assert main(["classify", str(tmp_path / "one.png"), "--head", str(head)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["name"] for row in rows] == ["one.png"]
    assert rows[0]["predicted"] in ("blue", "red")


def test_one_picture_that_cannot_be_classified_is_said_before_anything_is_written(head, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    frames = [draw(i, "red") for i in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    for name, words in (
        (
            "text.png",
            "text.png is not an image that Pillow can read: if another program opens it, save it there as PNG or JPEG.",
        ),
        ("moving.gif", "moving.gif holds 3 frames: it is animated"),
        ("txt.png", f"There is no image file {tmp_path}/txt.png. Did you mean {tmp_path}/text.png?"),
    ):
        assert main(["classify", str(tmp_path / name), "--head", str(head)]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert words in said.err
        assert "Left out" not in said.err


def test_a_head_whose_model_was_moved_asks_for_its_place(folder, head, tmp_path, capsys):
    draw(3, "red").save(tmp_path / "own.png")
    command = ["classify", str(tmp_path / "own.png"), "--head", str(head)]
    assert main(command) == 0
    before = capsys.readouterr().out
    Path(folder).rename(tmp_path / "moved")
    assert main(command) == 1
    assert re.search("trained on the features of .*mine', which is not there now.*--model", capsys.readouterr().err)
    assert main([*command, "--model", str(tmp_path / "moved")]) == 0
    assert capsys.readouterr().out == before


def test_a_head_refuses_another_model_and_damage(folder, pictures, head, tmp_path, capsys):
    torch.manual_seed(5)
    save_folder(IJEPA(TINY), tmp_path / "other")
    command = ["classify", pictures, "--head", str(head)]
    assert main([*command, "--model", str(tmp_path / "other")]) == 1
    assert "has another encoder" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "other")]) == 1
    assert "holds no head" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "nowhere")]) == 1
    assert "no folder" in capsys.readouterr().err
    weights = head / "head.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert main(command) == 1
    assert "sha256 differs" in capsys.readouterr().err


def test_a_head_tells_its_number_format_and_another_one_is_refused(folder, pictures, head, tmp_path, capsys):
    assert load_head(head).card.precision == "fp32"
    command = ["classify", pictures, "--out", str(tmp_path / "c.csv"), "--head"]
    assert main([*command, str(head), "--dtype", "bf16"]) == 1
    assert "computed in fp32, these would be in bf16. Add --dtype fp32" in capsys.readouterr().err
    assert not (tmp_path / "c.csv").exists()
    half = tmp_path / "half"
    fit = ["evaluate", folder, "--data", pictures, "--probe", "linear", "--dtype", "bf16", "--save-head", str(half)]
    assert main(fit) == 0
    assert load_head(half).card.precision == "bf16"
    assert main([*command, str(half)]) == 1
    assert main([*command, str(half), "--dtype", "bf16"]) == 0
    capsys.readouterr()
    # A head of an earlier version does not tell.
    card = json.loads((head / "head.json").read_text())
    del card["precision"]
    (head / "head.json").write_text(json.dumps(card))
    assert main([*command, str(head)]) == 0
    assert "does not tell the number format" in capsys.readouterr().err


def test_a_head_is_never_replaced(folder, pictures, head, tmp_path, capsys):
    before = (head / "head.safetensors").read_bytes()
    command = ["evaluate", folder, "--data", pictures, "--probe", "linear", "--save-head"]
    assert main([*command, str(head)]) == 1
    assert "holds a head already" in capsys.readouterr().err
    with pytest.raises(FileExistsError, match="holds a head already"):
        save_head(load_head(head), head)
    assert (head / "head.safetensors").read_bytes() == before


def test_an_interrupted_head_leaves_nothing(head, tmp_path, monkeypatch):
    found = load_head(head)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ijepa_viz.probes.head.write_config", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_head(found, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_classes_that_a_head_does_not_know_are_no_errors_of_it(head, tmp_path, capsys):
    for kind, count in (("green", 3), ("red", 2), ("teal", 1)):
        (tmp_path / "some" / kind).mkdir(parents=True)
        for i in range(count):
            draw(700 + 10 * count + i, "red").save(tmp_path / "some" / kind / f"{i}.png")
    command = ["classify", "--head", str(head), "--out", str(tmp_path / "c.csv")]
    assert main([*command, str(tmp_path / "some")]) == 0
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    right = sum(row["class"] == row["predicted"] for row in rows)
    printed = capsys.readouterr().out
    assert "4 of the 6 pictures" in printed
    assert "are of the classes green, teal, which the head does not know" in printed
    assert re.search(rf"accuracy {right / 2:.4f} \[0\.\d+, [01]\.\d+\] on 2 others", printed)
    (tmp_path / "some" / "red").rename(tmp_path / "red")
    assert main([*command, str(tmp_path / "some")]) == 0
    printed = capsys.readouterr().out
    assert "There is no accuracy" in printed
    assert "accuracy 0" not in printed


def test_a_head_is_kept_of_the_linear_probe_of_one_model(folder, pictures, tmp_path, capsys):
    for more in ([], ["--probe", "knn"], ["--decoder"]):
        assert main(["evaluate", folder, "--data", pictures, "--save-head", str(tmp_path / "h"), *more]) == 1
        assert "add --probe linear" in capsys.readouterr().err
    assert not (tmp_path / "h").exists()


# --------------------------------------------------------------------------- many predictions


def test_predict_of_a_folder_is_a_table(folder, pictures, tmp_path, capsys):
    out = tmp_path / "p.csv"
    command = ["predict", pictures, "--model", folder, "--block", "1", "1", "2", "2"]
    assert main([*command, "--out", str(out), "--batch", "6"]) == 0
    printed = capsys.readouterr()
    assert "mean of 67 pictures" in printed.out
    assert "Left out 1 of 48" in printed.err
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 67
    model, source = load_model(folder), open_source(pictures)
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    names = [source.name_of(i) for i in range(len(source))]
    alone = [predict(model, source[names.index(rows[k]["name"])], mask) for k in range(8)]
    # Controls are evenly spaced in both parts, so that they are of all classes; a copy of the picture is passed over.
    parts = [source, open_source(pictures, "test")]
    spaced = [(part, int(i)) for part in parts for i in evenly(len(part), 8)]
    assert len({part.labels[i] for part, i in spaced}) > 1
    shown = [part.name_of(i) for part, i in spaced if part is source]
    everyone = [predict(model, part[i], mask) for part, i in spaced]
    assert {row["split"] for row in rows} == {"train", "test"}
    for k, (row, found) in enumerate(zip(rows, alone, strict=False)):
        assert row["class"] == "blue"
        own = shown.index(row["name"]) if row["name"] in shown else None
        controls = [one for n, one in enumerate(everyone) if n != own]
        assert float(row["cosine"]) == pytest.approx(float(found.cosine.mean()), abs=1e-5)
        assert float(row["energy"]) == pytest.approx(float(found.energy.mean()), abs=1e-5)
        other = controls[k % len(controls)].predicted
        control = torch.cosine_similarity(other, found.target, dim=-1).mean()
        assert float(row["cosine_of_another"]) == pytest.approx(float(control), abs=1e-5)
    for image, name, words in (
        (pictures, "p.png", "or a .csv file"),
        (f"{pictures}/test/red/00.png", "p.csv", "for a folder"),
    ):
        assert main(["predict", image, *command[2:], "--out", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().err


def test_predict_of_one_picture_says_that_it_has_no_control(folder, pictures, tmp_path, capsys):
    first = sorted((Path(pictures) / "train" / "red").iterdir())[0]
    for copies, words in ((1, "1 of 1 pictures have no control"), (2, "2 of 2 pictures have no control")):
        for i in range(copies):
            (tmp_path / "one").mkdir(exist_ok=True)
            shutil.copy(first, tmp_path / "one" / f"{i}.png")
        out = tmp_path / "p.csv"
        assert (
            main(
                ["predict", str(tmp_path / "one"), "--model", folder, "--block", "1", "1", "2", "2", "--out", str(out)]
            )
            == 0
        )
        assert words in capsys.readouterr().err
        assert [row["cosine_of_another"] for row in csv.DictReader(out.open())] == [""] * copies


def test_bfloat16_is_near(folder, pictures, tmp_path):
    found = {}
    for dtype in ("fp32", "bf16"):
        out = tmp_path / f"{dtype}.npz"
        assert main(["features", folder, "--data", pictures, "--out", str(out), "--dtype", dtype, "--limit", "8"]) == 0
        found[dtype] = read_features(out)
    values = [one.values["layer_2"] for one in found.values()]
    assert not np.array_equal(*values)
    assert np.abs(values[0] - values[1]).max() < 0.1
    assert found["bf16"].about["precision"] == "bf16"


# --------------------------------------------------------------------------- device, number format, batch


def test_networks_compute_in_parts_and_the_numbers_stay(model):
    masks = Masks(torch.tensor([[0, 1]] * 5), torch.arange(10, 15).view(5, 1, 1), (4, 4))
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = model.predict(model.encode_context(images, masks), masks), model.encode_target(images)
    whole_encoder = copy.deepcopy(model.target_encoder)
    sizes = []
    for network in (model.encoder, model.target_encoder, model.predictor):
        plain = network.forward
        network.forward = lambda *a, plain=plain, **k: (sizes.append(len(a[0])), plain(*a, **k))[1]
        compute_in(network, "fp32", 2)
    with torch.no_grad():
        found = model.predict(model.encode_context(images, masks), masks), model.encode_target(images)
    assert sizes == [2, 2, 1] * 3
    in_parts = layer_tokens(model.target_encoder, images, (1,))[1]
    assert torch.allclose(in_parts, layer_tokens(whole_encoder, images, (1,))[1], atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    with pytest.raises(ValueError, match="at least one picture"):
        compute_in(model.encoder, batch=0)


def test_every_command_that_computes_has_the_same_three_options():
    parser = build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    found = {}
    for name, own in commands.choices.items():
        options = {
            o: (a.default, a.help)
            for a in own._actions
            for o in a.option_strings
            if o in ("--device", "--dtype", "--batch")
        }
        if options:
            found[name] = options
    assert set(found) >= {"demo", "predict", "evaluate", "look", "features", "classify"}
    assert all(len(options) == 3 and options == found["look"] for options in found.values())


def test_a_class_is_known_by_its_letters_and_not_by_its_bytes():
    from ijepa_viz.cli.classify import _Score

    score = _Score(["Caf\u00e9", "Zoo"])
    for known, predicted in (("Cafe\u0301", "Caf\u00e9"), ("Zoo", "Caf\u00e9")):
        score.add({"trained_on": "no", "class": known, "predicted": predicted})
    assert (score.right, score.unknown, score.counts) == (1, {}, {"Caf\u00e9": 1, "Zoo": 1})


def test_random_init_computes_as_the_model_does(model):
    from ijepa_viz.runtime.computation import compute_in, compute_like

    ours, theirs = copy.deepcopy(model.encoder), copy.deepcopy(model.encoder)
    images = torch.rand(3, 3, *model.config.height_and_width)
    exact = theirs(images)
    compute_like(theirs, ours)
    assert torch.equal(theirs(images), exact)
    compute_in(ours, "bf16", 2)
    compute_like(theirs, ours)
    assert torch.equal(theirs(images), ours(images))
    assert not torch.equal(theirs(images), exact)
