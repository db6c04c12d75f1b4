from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie import composition
from ijepa_viz.data.menagerie.creatures import COLOURS, PART, PARTS, POSES, SPECIES


@given(st.integers(0, 10**6), st.integers(0, 99), st.sampled_from([32, 48, 64, 96]))
def test_a_scene_is_a_function_of_seed_and_index(index, seed, size):
    a, b = (menagerie.scene(index, size, seed) for _ in range(2))
    assert a.image.shape == (size, size, 3)
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.parts, b.parts)
    assert np.array_equal(a.image, menagerie.scenes(index, index + 1, size, seed)[0])


@given(st.integers(0, 10**6))
def test_the_truth_is_complete_and_in_the_picture(index):
    scene = menagerie.scene(index, 64)
    assert 1 <= scene.count <= 4
    depths = [t.depth for t in scene.things]
    assert depths == sorted(depths, reverse=True)
    assert set(np.unique(scene.owners)) <= set(range(scene.count + 1))
    assert ((scene.parts > 0) == (scene.owners > 0)).all()
    for owner, thing in enumerate(scene.things, start=1):
        assert thing.species in SPECIES
        assert thing.pose in POSES[thing.species]
        assert thing.colour in COLOURS[thing.species]
        assert thing.facing in ("left", "right")
        seen = np.unique(scene.parts[scene.owners == owner])
        allowed = {"wall", "roof", "door", "window"}
        if thing.species != "building":
            allowed = set(PARTS) - allowed
        assert {PARTS[p] for p in seen} <= allowed
    assert (scene.owners == scene.count).any()  # the nearest thing is never covered


def heads_and_feet(species):
    found = 0
    for index in range(400):
        things = menagerie.things(index)
        if len(things) == 1 and things[0].species == species and things[0].pose in ("stand", "walk"):
            scene = menagerie.scene(index, 96)
            yield things[0], np.argwhere(scene.parts == PART["head"]), np.argwhere(scene.parts == PART["leg"])
            found += 1
            if found == 8:
                return


@pytest.mark.parametrize("species", ["dog", "wolf", "cat", "bird"])
def test_heads_are_above_legs_and_point_the_way_they_face(species):
    seen = 0
    for thing, head, leg in heads_and_feet(species):
        assert head[:, 0].mean() < leg[:, 0].mean()
        ahead = head[:, 1].mean() - leg[:, 1].mean()
        assert (ahead > 0) == (thing.facing == "right")
        seen += 1
    assert seen == 8


def test_nuisance_changes_the_picture_and_not_the_truth():
    scene = menagerie.scene(3, 64)
    assert 0 <= scene.texture_phase < 2 * np.pi
    assert 0 <= scene.speckle < 0.04
    quiet = next(menagerie.scene(i, 64) for i in range(500) if menagerie.scene(i, 64).speckle < 0.001)
    loud = next(menagerie.scene(i, 64) for i in range(500) if menagerie.scene(i, 64).speckle > 0.034)

    def roughness(picture):  # of the sky's top rows, which are otherwise smooth
        return np.abs(np.diff(picture[:4].astype(float), axis=1)).mean()

    assert roughness(loud.image) > 3 * roughness(quiet.image)


def test_every_species_facing_and_count_occurs_about_as_often():
    subjects = [menagerie.things(i)[-1] for i in range(3000)]
    for species in SPECIES:
        assert 0.12 < np.mean([t.species == species for t in subjects]) < 0.32
    assert 0.45 < np.mean([t.facing == "left" for t in subjects]) < 0.55
    counts = [len(menagerie.things(i)) for i in range(3000)]
    assert {1, 2, 3, 4} == set(counts)


def test_parallel_drawing_draws_the_same(monkeypatch):
    monkeypatch.setattr(composition, "SCENES_PER_PROCESS", 8)
    monkeypatch.setattr(composition.os, "cpu_count", lambda: 2)
    assert np.array_equal(
        menagerie.scenes(5, 25, 32), np.concatenate([menagerie.scenes(i, i + 1, 32) for i in range(5, 25)])
    )


def test_too_small_is_refused():
    with pytest.raises(ValueError, match="32 px"):
        menagerie.scene(0, 16)


def test_a_variant_changes_one_thing_and_nothing_else():
    for index in range(6):
        scene = menagerie.scene(index, 64, seed=1)
        own = scene.owners == scene.count
        thing = scene.subject
        assert np.array_equal(menagerie.variant(index, 64, 1), scene.image)
        other = next(c for c in COLOURS[thing.species] if c != thing.colour)
        painted = menagerie.variant(index, 64, 1, colour=other)
        differs = (painted != scene.image).any(-1)
        grown = np.zeros_like(own)  # a drawing is smoothed by a pixel at its edge
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                grown |= np.roll(own, (dy, dx), (0, 1))
        assert differs[own].mean() > 0.3
        assert not differs[~grown].any()
        waved = menagerie.variant(index, 64, 1, texture_shift=np.pi)
        difference = waved.astype(int) - scene.image
        assert 1 < np.abs(difference).max() <= 7  # twice the wave's three levels, rounded
        swapped = menagerie.variant(index, 64, 1, species="cat" if thing.species != "cat" else "dog")
        assert (swapped != scene.image).any(-1)[own].mean() > 0.3
    with pytest.raises(ValueError, match="is brown"):
        menagerie.variant(next(i for i in range(99) if menagerie.things(i)[-1].species == "dog"), colour="blue")
    with pytest.raises(ValueError, match="not 'cow'"):
        menagerie.variant(0, species="cow")
