"""Training and test sets of evaluations: held out by content, matched by name, never the same pictures."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from decoders.evaluation import DECODER_METRICS
from ijepa_viz.cli import main
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.overlap import drop_shared, refuse_overlap
from ijepa_viz.data.scan import scan
from ijepa_viz.data.splits import Splits, hold_out, match_classes, train_and_test
from ijepa_viz.inspections import retrieval
from ijepa_viz.inspections.inspection import InspectionInput
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.probes import PROBES
from ijepa_viz.probes.features import FeatureBank


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = ModelConfig(
        image_size=32,
        patch_size=8,
        width=32,
        depth=2,
        heads=2,
        predictor_width=16,
        predictor_depth=1,
        predictor_heads=2,
    )
    return IJEPA(sizes).eval()


def noise(seed, size=32):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8))


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def colour(value, seed):
    pixels = np.asarray(value) + np.random.default_rng(seed).integers(-20, 20, (32, 32, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "owl": (40, 40, 200)}


def noise_folder(path, count=100):
    for i in range(count):
        for j, name in enumerate(("heads", "tails")):
            save(path / name / f"{i}.jpg", noise(2 * i + j), quality=95)
    return path


def contents(source):
    return {np.asarray(source[i]).tobytes() for i in range(len(source))}


@pytest.mark.parametrize("probe", ["knn", "linear", "low-shot", "all"])
def test_random_labels_read_chance(tmp_path, model, probe):
    table = PROBES[probe](model, Splits(str(noise_folder(tmp_path / "noise"))))
    assert table.get("test_images", 40) == 40
    found = []

    def collect(rows):
        for name, value in rows.items():
            if isinstance(value, dict):
                collect({n: next(iter(v.values())) if isinstance(v, dict) else v for n, v in value.items()})
            elif name.startswith(("target_encoder", "random_init", "colour")):
                found.append(value)

    collect(table)
    # 40 coins: 0.5 +- 0.16 is two standard deviations; learning from the test pictures reads 0.9 and more.
    assert len(found) >= 5
    assert max(found) < 0.78
    assert abs(np.mean(found) - 0.5) < 0.12


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_share_of_each_class_is_held_out(tmp_path, share):
    for i in range(30):
        save(tmp_path / "many" / f"{i}.png", noise(i))
    for i in range(10):
        save(tmp_path / "few" / f"{i}.png", noise(100 + i))
    train, test = hold_out(open_source(str(tmp_path)), share)
    assert np.bincount(test.labels).tolist() == [round(10 * share), round(30 * share)]
    assert not contents(train) & contents(test)
    assert contents(train) | contents(test) == contents(open_source(str(tmp_path)))
    refuse_overlap(train, test)


@pytest.mark.parametrize("share", [0.9, 0.999])
def test_a_share_leaves_a_picture_of_each_class_to_learn_from(tmp_path, share):
    for i in range(4):
        save(tmp_path / "a" / f"{i}.png", noise(i))
        save(tmp_path / "b" / f"{i}.png", noise(100 + i))
    train, test = hold_out(open_source(str(tmp_path)), share)
    assert np.bincount(train.labels).tolist() == [1, 1]
    assert np.bincount(test.labels).tolist() == [3, 3]


def test_a_share_of_one_of_two_parts_says_of_which(tmp_path):
    for i in range(20):
        save(tmp_path / ("train", "test")[i % 2] / "ab"[i // 2 % 2] / f"{i}.png", noise(i))
    splits = Splits(str(tmp_path), test_share=0.3)
    assert splits.rule == f"0.3 of each class of the part {tmp_path / 'train'}, held out by content"


def test_class_names_are_matched_in_either_form_of_unicode(tmp_path):
    for i, place in enumerate(("train/caf\u00e9", "train/tea", "test/cafe\u0301")):
        save(tmp_path / place / "x.png", noise(i))
    test, missing = match_classes(open_source(str(tmp_path)), open_source(str(tmp_path), "test"))
    assert (test.labels.tolist(), missing) == ([0], ["tea"])


def shards(path, first, count, labels):
    cells = []
    for i in range(count):
        out = io.BytesIO()
        noise(first + i).save(out, "PNG")
        cells.append(out.getvalue())
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": cells, "label": labels}), path)


@pytest.mark.parametrize("label", [-1, None])
def test_a_test_part_without_labels_is_said_to_have_none(tmp_path, model, label):
    shards(tmp_path / "train-0.parquet", 0, 30, [i % 2 for i in range(30)])
    shards(tmp_path / "test-0.parquet", 30, 4, pa.array([label] * 4, pa.int64()))
    for probe in ("knn", "linear", "low-shot"):
        with pytest.raises(ValueError, match=r"none of the 4 pictures of .* \(test\) has one"):
            PROBES[probe](model, Splits(str(tmp_path)))


def test_labels_may_be_any_numbers(tmp_path, model):
    tables = []
    for name, factor in (("small", 1), ("large", 10**9)):
        shards(tmp_path / name / "x.parquet", 0, 40, [factor * (i % 2) for i in range(40)])
        tables.append({probe: PROBES[probe](model, Splits(str(tmp_path / name))) for probe in ("knn", "linear")})
    assert tables[0] == tables[1]


def test_the_control_of_retrieval_is_of_pictures_from_all_of_the_data(model, monkeypatch):
    # Sorted by class, as folders are: the first 256 of these are of one class.
    others = torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)
    others[500:] = 200
    seen = []
    real = retrieval.maps.controls
    monkeypatch.setattr(
        retrieval.maps, "controls", lambda model, images, masks: seen.append(images) or real(model, images, masks)
    )
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    inputs = InspectionInput(model, image, Masks.from_block(model.grid, 1, 1, 2, 2), others)
    retrieval.inspect_retrieval(inputs, k=2)
    assert (len(seen[0]), seen[0].float().mean()) == (256, 100)


def test_the_held_out_share_depends_on_content_alone(tmp_path):
    for i in range(20):
        save(tmp_path / "one/a" / f"{i}.png", noise(i))
        save(tmp_path / "two/a/deeper" / f"{99 - i}.bmp", noise(i))
        # Copies stay on one side, whatever their names and format.
        save(tmp_path / "two/a" / f"copy {i}.png", noise(i))
    _, first = hold_out(open_source(str(tmp_path / "one")))
    train, second = hold_out(open_source(str(tmp_path / "two")))
    assert contents(first) == contents(second)
    assert (len(first), len(second)) == (4, 8)
    assert not contents(train) & contents(second)


def test_pictures_in_both_sets_are_counted_and_refused_or_dropped(tmp_path, model):
    for i in range(30):
        save(tmp_path / "a" / "xy"[i % 2] / f"{i}.png", noise(i))
    for i in range(24, 40):
        # A lossless copy in another format, under another name.
        save(tmp_path / "b" / "xy"[i % 2] / f"other {i}.bmp", noise(i))
    train, test = open_source(str(tmp_path / "a")), open_source(str(tmp_path / "b"))
    with pytest.raises(ValueError, match=r"6 of the 16 test pictures .* training pictures"):
        refuse_overlap(train, test)
    with pytest.raises(ValueError, match="6 of the 16"):
        PROBES["knn"](model, Splits(str(tmp_path / "a"), str(tmp_path / "b")))
    kept, dropped = drop_shared(train, test)
    assert (len(kept), dropped) == (10, 6)
    splits = Splits(str(tmp_path / "a"), str(tmp_path / "b"), without_shared=True)
    assert PROBES["knn"](model, splits)["test_images"] == 10
    assert "without 6" in splits.rule
    with pytest.raises(ValueError, match="none is left"):
        drop_shared(train, open_source(str(tmp_path / "a")))


@pytest.mark.parametrize("metric", ["rank", "realism"])
def test_decoder_metrics_refuse_them_too(tmp_path, model, metric):
    folder = noise_folder(tmp_path, 4)
    with pytest.raises(ValueError, match="8 of the 8 test pictures"):
        DECODER_METRICS[metric](model, None, lambda split: open_source(str(folder)))


def test_scenes_of_one_seed_are_the_same_and_of_another_are_not():
    train, test = open_source("menagerie:count=30"), open_source("menagerie:count=20", "test")
    refuse_overlap(train, test)
    with pytest.raises(ValueError, match="20 of the 20"):
        refuse_overlap(train, open_source("menagerie:count=20"))
    some, other = hold_out(train, 0.3)
    refuse_overlap(some, other)
    assert np.array_equal(
        other.render(1, 3, 32),
        np.stack(
            [
                train.render(i, i + 1, 32)[0]
                for i in np.flatnonzero(np.isin(scan(train).digests, scan(other).digests))[1:3]
            ]
        ),
    )


@pytest.mark.parametrize("kind", ["folders", "parquet"])
def test_labels_are_matched_by_name(tmp_path, model, kind):
    train_names, test_names = ["cat", "dog", "owl"], ["owl", "cat"]
    for part, names, count in (("train", train_names, 20), ("test", test_names, 5)):
        cells, labels = [], []
        for label, name in enumerate(names):
            for i in range(count):
                image = colour(COLOURS[name], [label, i, len(part)])
                if kind == "folders":
                    save(tmp_path / part / name / f"{i}.png", image)
                else:
                    out = io.BytesIO()
                    image.save(out, "PNG")
                    cells.append(out.getvalue())
                    labels.append(label)
        if kind == "parquet":
            features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
            note = json.dumps({"info": {"features": features}})
            rows = pa.table({"image": cells, "label": labels})
            pq.write_table(rows.replace_schema_metadata({"huggingface": note}), tmp_path / f"{part}-0.parquet")
    for probe in ("knn", "linear"):
        table = PROBES[probe](model, Splits(str(tmp_path)))
        assert table["colour_thumbnail_8x8"] == 1.0
        assert table["classes_without_test_images"] == "dog"
        assert table["chance"] == pytest.approx(1 / 3)


def test_unknown_classes_and_names_on_one_side_are_refused(tmp_path):
    for i, place in enumerate(("a/cat", "a/dog", "b/cat", "b/wolf")):
        save(tmp_path / place / "x.png", noise(i))
    a, b = open_source(str(tmp_path / "a")), open_source(str(tmp_path / "b"))
    with pytest.raises(ValueError, match=r"classes wolf, which .* does not have"):
        match_classes(a, b)
    b.classes = ()
    with pytest.raises(ValueError, match="has numbers only"):
        match_classes(a, b)
    a.classes, b.labels = (), np.array([0, 7])
    with pytest.raises(ValueError, match="labels 7"):
        match_classes(a, b)


def test_chance_is_of_the_classes_that_there_are(tmp_path, model):
    cells = []
    for i in range(60):
        out = io.BytesIO()
        noise(i).save(out, "PNG")
        cells.append(out.getvalue())
    pq.write_table(pa.table({"image": cells, "label": [[3, 7, 900][i % 3] for i in range(60)]}), tmp_path / "x.parquet")
    assert PROBES["knn"](model, Splits(str(tmp_path)))["chance"] == pytest.approx(1 / 3)


def test_one_class_is_no_question(tmp_path, model):
    for i in range(40):
        save(tmp_path / "dataset" / "ab"[i % 2] / f"{i}.png", noise(i))
    with pytest.raises(ValueError, match="one folder further down"):
        PROBES["knn"](model, Splits(str(tmp_path)))
    assert PROBES["knn"](model, Splits(str(tmp_path / "dataset")))["test_images"] == 8


def test_a_class_of_one_picture_cannot_be_held_out(tmp_path):
    save(tmp_path / "a/1.png", noise(1))
    save(tmp_path / "b/1.png", noise(2))
    save(tmp_path / "b/2.png", noise(3))
    with pytest.raises(ValueError, match="Class 'a'"):
        hold_out(open_source(str(tmp_path)))


def test_the_command_says_what_it_tests_on(tmp_path, capsys):
    folder = noise_folder(tmp_path / "noise", 60)
    out = tmp_path / "out.json"
    arguments = ["evaluate", "wild-tiny", "--probe", "knn", "--data", str(folder), "--json", str(out)]
    assert main(arguments) == 0
    table = json.loads(out.read_text())
    assert table["test_data"] == "a fifth of each class, held out by content"
    assert (table["train_images"], table["test_images"]) == (96, 24)
    assert table["target_encoder"] < 0.8
    assert main([*arguments, "--test-share", "0.5"]) == 0
    assert json.loads(out.read_text())["test_images"] == 60
    capsys.readouterr()
    assert main([*arguments, "--test-data", str(folder)]) != 0
    assert "120 of the 120 test pictures" in capsys.readouterr().err
    assert main([*arguments, "--test-data", str(folder), "--test-share", "0.5"]) != 0
    assert "not both" in capsys.readouterr().err


def test_both_parts_of_a_split_are_compared_once(tmp_path):
    pair = train_and_test(Splits("menagerie:count=40"))
    assert (pair.train.split, pair.test.split, pair.missing) == ("train", "test", [])
    bank_error = "needs labels of 'class'"
    for i in range(30):
        save(tmp_path / f"{i}.png", noise(i))
    with pytest.raises(ValueError, match=bank_error):
        FeatureBank(
            IJEPA(ModelConfig(image_size=32, patch_size=8, width=32, depth=1, heads=2)), Splits(str(tmp_path))
        ).labels()


def test_a_part_of_drawn_scenes_is_known_as_a_part(tmp_path):
    train = open_source("menagerie:count=30")
    with pytest.raises(ValueError, match="5 of the 5"):
        refuse_overlap(train, train.subset(np.arange(5), "some"))


def test_every_picture_is_decoded_once_for_all_checks(tmp_path, monkeypatch):
    read = []
    for i, place in enumerate(("a/x", "a/y", "b/y", "b/x")):
        for j in range(3):
            save(tmp_path / place / f"{j}.png", noise(10 * min(i, 2) + j if (i, j) != (2, 0) else 10))
    from ijepa_viz.data import folders

    original = folders.read_image
    monkeypatch.setattr(folders, "read_image", lambda source: (read.append(str(source)), original(source))[1])
    pair = train_and_test(Splits(str(tmp_path / "a"), str(tmp_path / "b"), without_shared=True))
    assert len(pair.test) == 5
    assert sorted(read) == sorted(set(read))
    assert len(read) == 12
