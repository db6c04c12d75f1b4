"""The metric ``by-part``, its scenes with two things in one block, and its figure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import random_decoder

from decoders.evaluation import by_part as module
from decoders.evaluation.by_part import by_part
from decoders.evaluation.scenes import block_images, draw_scenes, scene_blocks
from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import PART
from ijepa_viz.data.splits import Splits
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.probes.factors import REGIONS, draw_two_thing_scenes, hidden_species, relabelled

TRAIN, TEST = 240, 160
SIZES = ModelConfig(
    image_size=64, patch_size=8, width=32, depth=1, heads=2, predictor_width=16, predictor_depth=1, predictor_heads=2
)
CASES = ("predicted_tokens", "target_tokens", "real_pixels", "most_frequent_answer")


@pytest.fixture(scope="module")
def two():
    return draw_two_thing_scenes(40, 64, (8, 8), seed=11)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    model = IJEPA(SIZES).eval()
    return model, random_decoder(model)


@pytest.fixture
def decode(pair, monkeypatch):
    """Run the metric with decoded blocks that are the real ones, changed by ``change``, and classifiers that know all.

    A classifier knows a real block by its pixels and answers with the truth of the scene that it is from.
    """
    model, decoder = pair
    train = draw_scenes(model, TRAIN, seed=2001)
    real, truths = {}, {}
    fixed = {"species": list(menagerie.NAMES), "part": list(REGIONS), "facing": ["left", "right"]}
    both = (
        (draw_scenes(model, TEST, seed=2002), train),
        (draw_two_thing_scenes(TEST // 4, 64, (8, 8), seed=2007), replace(train, classes=fixed)),
    )
    for scenes, numbering in both:
        blocks = scene_blocks(model, scenes)
        real[len(scenes.images)] = blocks.clean
        factors = {name: relabelled(scenes, numbering, name) for name in ("species", "part", "facing")}
        present = (hidden_species(scenes) > 0).long()
        factors |= {name: present[:, i] for i, name in enumerate(menagerie.NAMES)}
        for row, image in enumerate(block_images(model, blocks.clean)):
            truths[image.numpy().tobytes()] = {name: int(label[row]) for name, label in factors.items()}

    def predict_logits(network, images):
        answers = [truths[image.numpy().tobytes()] for image in images]
        return {n: F.one_hot(torch.tensor([a[n] for a in answers]), 8).float() for n in answers[0]}

    monkeypatch.setattr(module, "predict_logits", predict_logits)

    def run(change):
        monkeypatch.setattr(module, "sample_blocks", lambda decoder, tokens, *a, **options: change(real[len(tokens)]))
        table = by_part(model, decoder, Splits("menagerie:count=100"), train=TRAIN, test=TEST, epochs=1)
        return {name: row for name, row in table.items() if name != "figure"}, table["figure"]

    return run


def kinds(table, case="predicted_tokens"):
    """Rows of one case by subject."""
    return {name.removesuffix(f": {case}"): row for name, row in table.items() if name.endswith(case)}


def test_counts_add_up_and_a_perfect_decoder_reaches_the_ceiling(decode):
    table, figure = decode(lambda real: real)
    of = {case: kinds(table, case) for case in CASES}
    rows = of["predicted_tokens"]
    assert rows == of["real_pixels"] == of["target_tokens"]
    assert {row[n]["accuracy"] for row in rows.values() for n in row if n != "count"} == {1.0}
    assert of["most_frequent_answer"]["all"]["all_three"]["accuracy"] < 0.4
    assert all(list(of[case]) == list(rows) for case in CASES), "the same number beside every row"
    assert all(of[case][name]["count"] == row["count"] for case in CASES for name, row in rows.items())
    pairs = [name for name in rows if name.split()[0] in menagerie.NAMES]
    species, parts = ([n for n in rows if n.removeprefix("every ") in known] for known in (menagerie.NAMES, REGIONS))
    heads = [name for name in rows if " heads (" in name]
    for names in (pairs, species, parts):
        assert sum(rows[name]["count"] for name in names) == rows["all"]["count"] == TEST
        # What the whole got right is what its kinds got right, and the worst come first.
        for factor in ("species", "part", "facing", "all_three"):
            right = sum(rows[name]["count"] * rows[name][factor]["accuracy"] for name in names)
            assert right == pytest.approx(TEST * rows["all"][factor]["accuracy"])
        accuracies = [rows[name]["all_three"]["accuracy"] for name in names]
        assert accuracies == sorted(accuracies)
    assert sum(rows[name]["count"] for name in heads) == rows["every head"]["count"]
    assert [name.split()[0] for name in heads] == ["small", "middle", "large"]
    assert rows["first of two things"]["count"] == TEST // 4
    assert all(
        row["all_three"]["accuracy"] <= min(row[n]["accuracy"] for n in ("species", "part", "facing"))
        for row in rows.values()
        if "all_three" in row
    )
    # The figure has a cell for every pair, both margins, the heads and the four of two things.
    cells = [text.get_text() for axes in figure.axes for text in axes.texts if "blocks" in text.get_text()]
    assert len(cells) == len(pairs) + len(species) + len(parts) + 1 + 3 + 4
    assert f"{TEST} blocks" in " ".join(cells)


def test_a_decoder_that_draws_another_scene_is_at_chance(decode):
    table, _ = decode(lambda real: real.roll(1, 0))
    swapped, real = (kinds(table, case) for case in ("predicted_tokens", "real_pixels"))
    scenes = draw_scenes(IJEPA(SIZES), TEST, seed=2002)
    right = {name: scenes.labels[name] == scenes.labels[name].roll(1) for name in ("species", "part", "facing")}
    right["all_three"] = scenes.labels["joint"] == scenes.labels["joint"].roll(1)
    for factor, agree in right.items():
        shares = scenes.labels["joint" if factor == "all_three" else factor].bincount() / TEST
        assert swapped["all"][factor]["accuracy"] == pytest.approx(float(agree.float().mean()))
        assert abs(swapped["all"][factor]["accuracy"] - float(shares.square().sum())) < 0.1, "two drawn at random"
        assert real["all"][factor]["accuracy"] == 1
    # Rows are of the scene's own truth, not of what is drawn.
    rows = [name for name in swapped if name.split()[0] in menagerie.NAMES]
    assert all(swapped[name]["count"] == real[name]["count"] for name in rows)
    accuracies = [swapped[name]["all_three"]["accuracy"] for name in rows]
    assert accuracies == sorted(accuracies)
    assert len(set(accuracies)) > 1
    for subject, most in (("second of two things", 0.65), ("no third species", 0.65), ("exactly both species", 0.4)):
        assert real[subject]["species"]["accuracy"] == 1
        assert swapped[subject]["species"]["accuracy"] < most


def test_two_things_are_hidden_in_every_block_and_neither_wholly(two):
    hidden = two.masks.hidden_pixels(8).numpy()
    for row, index in enumerate(two.scenes.tolist()):
        scene = menagerie.scene(index, 64, 11)
        assert np.array_equal(scene.image, two.images[row].permute(1, 2, 0).numpy())
        inside = np.bincount(scene.owners[hidden[row]], minlength=scene.count + 1)[1:]
        whole = np.bincount(scene.owners.ravel(), minlength=scene.count + 1)[1:]
        first, second = np.argsort(-inside, kind="stable")[:2]
        assert (inside > 0).sum() == 2, "two owners, and no third"
        assert inside[second] >= 0.1 * hidden[row].sum()
        assert all(whole[i] - inside[i] >= 0.35 * whole[i] for i in (first, second))
        named = {factor: two.classes[factor][int(two.labels[factor][row])] for factor in two.classes}
        thing = scene.things[first]
        assert (named["species"], named["facing"]) == (thing.species, thing.facing)
        assert named["second_species"] == scene.things[second].species != thing.species
        there = scene.parts[hidden[row] & (scene.owners == first + 1)]
        counts = {name: sum((there == PART[part]).sum() for part in of) for name, of in REGIONS.items()}
        assert counts[named["part"]] == max(counts.values())
        assert named["joint"] == f"{named['species']} {named['part']} {named['facing']}"


def test_the_shares_of_a_block_are_those_of_the_species_in_it(two):
    shares = hidden_species(two)
    assert shares.shape == (40, 5)
    names = [{menagerie.NAMES[i] for i in row.nonzero()[:, 0].tolist()} for row in shares]
    for row, found in enumerate(names):
        assert found == {two.classes[f][int(two.labels[f][row])] for f in ("species", "second_species")}
    assert (shares.topk(2).values[:, 1] >= 0.1).all()
    assert (shares.sum(1) <= 1 + 1e-6).all()
    assert torch.equal(hidden_species(two[5:9]), shares[5:9])


def test_the_scenes_depend_on_the_seed_alone(two):
    again, fewer, other = (draw_two_thing_scenes(n, 64, (8, 8), seed=s) for n, s in ((40, 11), (7, 11), (7, 12)))
    assert torch.equal(again.images, two.images)
    assert torch.equal(again.masks.targets, two.masks.targets)
    assert all(torch.equal(again.labels[name], two.labels[name]) for name in two.labels)
    assert torch.equal(fewer.images, two.images[:7])
    assert not torch.equal(other.images, fewer.images)
    assert torch.equal(fewer.at(64), fewer.images)
    assert fewer.at(128).shape == (7, 3, 128, 128)


def test_what_cannot_be_measured_is_refused(pair):
    model, decoder = pair
    with pytest.raises(ValueError, match="smaller than the grid"):
        draw_two_thing_scenes(3, 64, (8, 8), block=8)
    with pytest.raises(ValueError, match="at least 4 scenes"):
        by_part(model, decoder, Splits("menagerie:count=100"), test=3)
    with pytest.raises(ValueError, match="menagerie"):
        by_part(model, decoder, lambda split: type("S", (), {"name": "folder"})())


def test_the_metric_is_deterministic(pair):
    model, decoder = pair
    first, again = (
        by_part(model, decoder, Splits("menagerie:count=100"), train=32, test=12, epochs=1) for _ in range(2)
    )
    del first["figure"], again["figure"]
    assert first == again
