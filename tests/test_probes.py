from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import size_of

from ijepa_viz.checkpoints import save_folder
from ijepa_viz.probes.features import FeatureBank, pooled_features, standardise, thumbnail_features
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.probes.linear import fit_linear, linear_accuracy


def test_knn_against_a_naive_loop():
    torch.manual_seed(0)
    train, test = torch.randn(80, 5), torch.randn(30, 5)
    y, t = torch.randint(0, 3, (80,)), torch.randint(0, 3, (30,))
    mean, std = train.numpy().mean(0), train.numpy().std(0, ddof=1)
    a, b = ((x.numpy() - mean) / std for x in (train, test))
    right = 0
    for i in range(30):
        cosines = [float(a[j] @ b[i] / np.linalg.norm(a[j]) / np.linalg.norm(b[i])) for j in range(80)]
        near = np.argsort(cosines)[::-1][:7]
        right += np.bincount(y.numpy()[near], minlength=3).argmax() == int(t[i])
    assert abs(knn_accuracy(train, y, test, t, k=7) - right / 30) < 1e-9


def test_linear_against_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(0)
    centres = torch.randn(5, 12)
    y, t = torch.arange(300) % 5, torch.arange(200) % 5
    train, test = 1.5 * centres[y] + 2 * torch.randn(300, 12) + 3, 1.5 * centres[t] + 2 * torch.randn(200, 12) + 3
    x, z = standardise(train, test)
    penalty = 1e-2
    # scikit-learn minimises C sum(cross-entropy) + |w|^2 / 2.
    theirs = LogisticRegression(C=1 / (penalty * 300), tol=1e-8, max_iter=5000).fit(x.numpy(), y.numpy())
    weights, bias = fit_linear(x, y, penalty)
    assert np.abs(weights.numpy().T - theirs.coef_).max() < 5e-3
    shift = bias.numpy() - theirs.intercept_  # a shift common to all classes changes nothing
    assert np.ptp(shift) < 5e-3
    assert linear_accuracy(train, y, test, t, penalty) == pytest.approx(theirs.score(z.numpy(), t.numpy()))


def test_tables_read_the_last_and_the_last_four_layers(model):
    from ijepa_viz.data.opening import open_source

    bank = FeatureBank(model, lambda name: open_source("menagerie:count=60", name), limit=50)
    table = bank.table(knn_accuracy)
    assert (table["train_images"], table["test_images"]) == (50, 50)
    assert set(table) >= {"chance", "colour_thumbnail_8x8", "random_init", "target_encoder"}
    assert set(table) >= {"random_init_last_2_layers", "target_encoder_last_2_layers"}  # this model has two
    seen = []
    bank.table(lambda x, y, a, b: seen.append((x.shape[1], a.shape[1])) or 0.0)
    assert seen == [(192, 192), (32, 32), (64, 64), (32, 32), (64, 64)]


def test_pictures_without_a_label_are_left_out():
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.probes.features import labelled

    source = open_source("menagerie:count=30")
    everything, truth = labelled(source, 32)
    source.labels = np.where(np.arange(30) % 3 == 0, truth.numpy(), -1)
    pictures, labels = labelled(source, 32)
    assert torch.equal(labels, truth[::3])
    assert torch.equal(pictures, everything[::3])
    assert len(labelled(source, 32, limit=4)[0]) == 4
    source.labels = None
    with pytest.raises(ValueError, match="needs labels"):
        labelled(source, 32)


def test_knn_finds_what_is_there_and_chance_where_there_is_nothing():
    torch.manual_seed(0)
    labels = torch.arange(400) % 4
    separate = torch.eye(4)[labels] * 5 + torch.randn(400, 4)
    assert knn_accuracy(separate[:300], labels[:300], separate[300:], labels[300:]) > 0.95
    noise = torch.randn(400, 4)
    assert knn_accuracy(noise[:300], labels[:300], noise[300:], labels[300:]) < 0.4


def test_thumbnails_are_mean_colours():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    ours = thumbnail_features(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    for picture, row in zip(pictures, ours, strict=True):
        by_hand = picture.reshape(8, 8, 8, 8, 3).mean((1, 3))
        assert np.abs(row.view(3, 8, 8).permute(1, 2, 0).numpy() - by_hand).max() < 1e-3


def test_features_are_averages_of_tokens(model):
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    from ijepa_viz.data.transforms import normalise

    tokens = model.target_encoder(normalise(images / 255))
    assert torch.allclose(pooled_features(model.target_encoder, images, batch=2), tokens.mean(1), atol=1e-5)
    last_two = pooled_features(model.target_encoder, images, layers=2)
    assert last_two.shape == (5, 64)
    assert torch.allclose(last_two[:, 32:], tokens.mean(1), atol=1e-5)


def test_ridge_against_least_squares_with_the_penalty_as_rows():
    from ijepa_viz.probes.pixels import ridge_r2

    torch.manual_seed(0)
    x, z = torch.randn(90, 6), torch.randn(40, 6)
    weights = torch.randn(6, 4)
    y, t = x @ weights + torch.randn(90, 4) + 2, z @ weights + torch.randn(40, 4) + 2
    mean, std = x.mean(0), x.std(0)
    a, b = ((v - mean) / std for v in (x, z))
    rows = np.concatenate([a.numpy(), np.eye(6) * 30**0.5])
    solution = np.linalg.lstsq(rows, np.concatenate([(y - y.mean(0)).numpy(), np.zeros((6, 4))]), rcond=None)[0]
    error = ((b.numpy() @ solution + y.mean(0).numpy() - t.numpy()) ** 2).sum()
    expected = 1 - error / ((t - y.mean(0)).numpy() ** 2).sum()
    assert abs(ridge_r2(x, y, z, t) - expected) < 1e-4


def test_the_pixel_probe_reads_what_tokens_hold(model):
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.probes.pixels import pixel_table

    table = pixel_table(model, open_source("menagerie:count=90"))
    # Random target tokens of a small ViT are nearly the pixels themselves; a random predictor knows little.
    assert table["target_tokens"] > table["random_init_predicted_tokens"]
    assert table["target_tokens"] > table["mean_visible_colour"]


# --------------------------------------------------------------------------- factors


def test_factor_questions_hide_what_they_say(model):
    from ijepa_viz.data import menagerie
    from ijepa_viz.data.menagerie.creatures import PART
    from ijepa_viz.probes.factors import REGIONS, draw_factor_scenes

    questions = draw_factor_scenes(40, 64, (8, 8), block=3, seed=5)
    assert questions.masks.targets.shape == (40, 1, 9)
    assert questions.masks.context.shape == (40, 55)
    found, found_at = {}, []
    for index in range(400):
        scene = menagerie.scene(index, 64, 5)
        found[scene.image.tobytes()] = scene
        found_at.append(scene.image.tobytes())
    for i in range(40):
        scene = found[questions.images[i].permute(1, 2, 0).numpy().tobytes()]
        species, part = questions.classes["species_and_part"][questions.labels["species_and_part"][i]].split()
        assert species == scene.subject.species
        assert questions.classes["facing"][questions.labels["facing"][i]] == scene.subject.facing
        hidden = np.zeros(64, bool)
        hidden[questions.masks.targets[i, 0].numpy()] = True
        assert not hidden[questions.masks.context[i].numpy()].any()
        pixels = hidden.reshape(8, 8).repeat(8, 0).repeat(8, 1)
        own = scene.owners == scene.count
        there = own & np.isin(scene.parts, [PART[name] for name in REGIONS[part]])
        assert there[pixels].sum() >= 0.5 * there.sum() > 0
        assert own[pixels].sum() <= 0.65 * own.sum()
        assert int(questions.scenes[i]) == next(k for k in range(400) if found_at[k] == scene.image.tobytes())
        at = [(int(y * 64), int(x * 64)) for x, y in scene.details if x < 1 and y < 1]
        seen = any(pixels[y, x] and scene.owners[y, x] == 0 for y, x in at)
        answer = questions.classes["background_detail"][questions.labels["background_detail"][i]]
        assert answer == ("one or more" if seen else "none")


def test_factor_probes_know_what_is_there_and_not_what_is_not():
    from ijepa_viz.probes.factors import linear_probe_probabilities, score

    torch.manual_seed(0)
    labels = torch.arange(600) % 3
    features = torch.randn(600, 10)
    features[:, :3] += 3 * torch.eye(3)[labels]
    known = score(linear_probe_probabilities(features[:400], labels[:400], features[400:]), labels[400:])
    assert known["low"] <= known["accuracy"] <= known["high"]
    assert known["low"] > 0.9
    features = torch.randn(600, 10)
    unknown = score(linear_probe_probabilities(features[:400], labels[:400], features[400:]), labels[400:])
    assert unknown["low"] < 1 / 3 < unknown["high"]


def test_factor_probes_are_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    from ijepa_viz.probes.factors import linear_probe_probabilities

    torch.manual_seed(0)
    labels = torch.randint(0, 4, (500,))
    features = torch.randn(500, 6) + torch.randn(4, 6)[labels]
    expected = LogisticRegression(C=1 / 50, max_iter=1000, tol=1e-8).fit(features[:400], labels[:400])
    found = linear_probe_probabilities(features[:400], labels[:400], features[400:])
    assert torch.allclose(found.double(), torch.tensor(expected.predict_proba(features[400:])).double(), atol=1e-3)


def test_a_side_that_each_thing_shows_elsewhere_is_read_together_with_it():
    from ijepa_viz.probes.factors import class_map, linear_probe_probabilities, marginalise, score

    torch.manual_seed(0)
    thing, side = torch.randint(0, 2, (2, 1200))
    finer = 2 * thing + side
    # Exclusive or: the same direction means left for one thing and right for the other.
    features = torch.stack([4.0 * thing, 2.0 * (thing ^ side), 1.0 * (thing & side)], 1) + 0.3 * torch.randn(1200, 3)
    features = (features - features.mean(0)) / features.std(0)
    together = linear_probe_probabilities(features[:1000], finer[:1000], features[1000:])
    assert torch.equal(class_map(finer, side), torch.tensor([0, 1, 0, 1]))
    found = marginalise(together, finer[:1000], side[:1000])
    naive = torch.stack([together[:, 0] + together[:, 2], together[:, 1] + together[:, 3]], 1)
    assert torch.allclose(found, naive)
    alone = linear_probe_probabilities(features[:1000], side[:1000], features[1000:])
    assert score(found, side[1000:])["low"] > score(alone, side[1000:])["high"]


@pytest.mark.parametrize(("right", "total"), [(0, 20), (7, 20), (20, 20), (950, 1000)])
def test_the_interval_of_an_accuracy_is_wilsons(right, total):
    """The ends are where the score test's statistic is the 97.5 % point: (share - p)^2 = z^2 p (1 - p) / total."""
    from scipy.stats import norm

    from ijepa_viz.probes.intervals import accuracy_with_interval

    share, z = right / total, norm.ppf(0.975)
    roots = np.roots([1 + z**2 / total, -(2 * share + z**2 / total), share**2])
    found = accuracy_with_interval(right, total)
    assert found == pytest.approx({"accuracy": share, "low": min(roots), "high": max(roots)}, abs=1e-9)


def test_representations_for_factors_see_what_they_say(model):
    from ijepa_viz.probes.factors import draw_factor_scenes, representations

    questions = draw_factor_scenes(12, 32, (4, 4), block=2, seed=3)
    found = representations(model, questions)
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        "predicted": (12, 128), "context_mean": (12, 32), "random_init": (12, 128), "target": (12, 128),
        "position_only": (12, 128),
    }  # fmt: skip
    # Other pixels in the hidden block change the target and nothing else.
    corner = questions.masks.targets[:, 0, 0]
    for i, place in enumerate(corner.tolist()):
        row, col = divmod(place, 4)
        questions.images[i, :, row * 8 : row * 8 + 8, col * 8 : col * 8 + 8] = 0
    again = representations(model, questions)
    for name in found:
        assert torch.equal(found[name], again[name]) == (name != "target"), name
    # Position alone is the same for the same place.
    same = [(i, j) for i in range(12) for j in range(i) if corner[i] == corner[j]]
    assert same
    assert all(torch.allclose(found["position_only"][i], found["position_only"][j], atol=1e-5) for i, j in same)


# --------------------------------------------------------------------------- few labels, count, distance


def test_low_shot_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    from ijepa_viz.probes.intervals import mean_with_interval
    from ijepa_viz.probes.low_shot import draw_labels, low_shot_accuracy

    torch.manual_seed(0)
    centres = 1.5 * torch.randn(6, 10)
    y, t = torch.arange(600) % 6, torch.arange(400) % 6
    train, test = centres[y] + 1.5 * torch.randn(600, 10), centres[t] + 1.5 * torch.randn(400, 10)
    ours = low_shot_accuracy(train, y, test, t, per_class=5, draws=5, seed=3)
    generator = torch.Generator().manual_seed(3)
    x, z = standardise(train, test)
    theirs = []
    for _ in range(5):
        some = draw_labels(y, 5, generator)
        assert torch.equal(y[some].bincount(), torch.full((6,), 5))
        fitted = LogisticRegression(tol=1e-8, max_iter=5000).fit(x[some].numpy(), y[some].numpy())
        theirs.append(fitted.score(z.numpy(), t.numpy()))
    assert ours == pytest.approx(theirs, abs=0.005)
    found = mean_with_interval(ours)
    from scipy import stats

    low, high = stats.t.interval(0.95, 4, loc=np.mean(ours), scale=stats.sem(ours))
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-3)


def test_labels_are_drawn_by_share_or_number():
    from ijepa_viz.probes.low_shot import draw_labels

    labels = torch.tensor([0] * 300 + [1] * 20)
    some = draw_labels(labels, 0.01, torch.Generator().manual_seed(0))
    assert labels[some].tolist() == [0, 0, 0, 1]
    assert len(set(some.tolist())) == 4
    with pytest.raises(ValueError, match="class 1 has 20"):
        draw_labels(labels, 21, torch.Generator())


def test_scenes_know_how_many_and_how_far():
    from ijepa_viz.data import menagerie
    from ijepa_viz.data.opening import open_source

    source = open_source("menagerie:count=50", "test")
    counts, facing, far = (source.truths[name]() for name in ("count", "facing", "distance"))
    for i in range(50):
        things = menagerie.scene(i, 32, seed=1).things
        assert counts[i] == len(things) - 1
        assert facing[i] == (min(things, key=lambda thing: thing.depth).facing == "right")
        nearest = min(thing.depth for thing in things)
        assert far[i] == sum(nearest > edge for edge in menagerie.DISTANCES)


def test_a_clevr_folder_is_labelled_as_vtab_does(tmp_path):
    import json

    from PIL import Image

    from ijepa_viz.data.opening import open_source

    scenes = []
    for i, depths in enumerate([[7.9, 9.0, 11], [8.0, 8.7, 9.1, 12], [9.5] * 10, [10.0, 10.2, 14]]):
        name = f"CLEVR_val_{i:06d}.png"
        (tmp_path / "images" / "val").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 32), (i * 40, 0, 0)).save(tmp_path / "images" / "val" / name)
        things = [{"pixel_coords": [10, 20, depth]} for depth in depths]
        scenes.append({"image_filename": name, "objects": things})
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "CLEVR_val_scenes.json").write_text(json.dumps({"scenes": scenes}))
    source = open_source(f"clevr:{tmp_path}", "test")
    assert len(source) == 4
    assert source[2].getpixel((0, 0)) == (80, 0, 0)
    assert source.truths["count"]().tolist() == [0, 1, 7, 0]
    # VTAB: class c holds edges[c] <= distance < edges[c + 1] of 0, 8, 8.5, 9, 9.5, 10, 100.
    assert source.truths["distance"]().tolist() == [0, 1, 4, 5]
    with pytest.raises(FileNotFoundError, match="CLEVR_train_scenes"):
        open_source(f"clevr:{tmp_path}", "train")
    (tmp_path / "scenes" / "CLEVR_val_scenes.json").write_text('{"scenes": [{}]}')
    with pytest.raises(ValueError, match="not a CLEVR scene file"):
        open_source(f"clevr:{tmp_path}", "test")


def test_all_probes_at_once_are_those_one_by_one(model):
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.probes.knn import knn_table
    from ijepa_viz.probes.low_shot import all_tables, count_table, distance_table, low_shot_table

    def split(name):
        return open_source("menagerie:count=120", name)

    table = all_tables(model, split)
    assert (table["train_images"], table["test_images"]) == (120, 120)
    for name, alone in (("knn", knn_table), ("count", count_table), ("distance", distance_table)):
        expected = alone(model, split)
        common = ("train_images", "test_images", "classes_without_test_images")
        assert {k: v for k, v in expected.items() if k not in common} == table[name]
    assert table["1 % of the labels"] == low_shot_table(model, split)["1 % of the labels"]
    sources = {name: open_source("menagerie:count=30", name) for name in ("train", "test")}
    for source in sources.values():
        source.truths = {}
    with pytest.raises(ValueError, match=r"labels of 'count'.*it has class"):
        count_table(model, sources.__getitem__)
    for source in sources.values():
        source.labels = None
    with pytest.raises(ValueError, match="nothing to probe"):
        all_tables(model, sources.__getitem__)


def test_the_factors_picture_has_every_bar(model, tmp_path, drawn):
    from ijepa_viz.cli import main
    from ijepa_viz.probes.factors import FACTORS

    save_folder(model, tmp_path / "m")
    command = ["evaluate", str(tmp_path / "m"), "--probe", "factors", "--data", "menagerie:count=60"]
    assert main([*command, "--figure", str(tmp_path / "f.png"), "--json", str(tmp_path / "t.json")]) == 0
    assert min(size_of(tmp_path / "f.png")) > 200
    table = json.loads((tmp_path / "t.json").read_text())
    assert table.pop("test_data") == "menagerie (test)"
    assert table.pop("pretraining").startswith("unknown: ")
    assert tuple(table) == FACTORS
    axis = drawn[0].axes[0]
    assert axis.get_ylabel() == "linear probe accuracy"
    heights = sorted(bar.get_height() for bar in axis.patches)
    assert heights == pytest.approx(
        sorted(v["accuracy"] for r in table.values() for v in r.values() if isinstance(v, dict))
    )
