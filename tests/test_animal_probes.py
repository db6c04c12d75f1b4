"""The probes of cats' faces and birds, on imitations whose traits and parts are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cats_and_birds import birds, cat_face, cat_faces, drawn_bird, write_parquet
from conftest import TINY
from PIL import Image
from scipy.ndimage import shift
from sklearn.linear_model import Ridge as ReferenceRidge

from ijepa_viz.data.annotations import PARTS
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.source import Source
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes import bird_places as places
from ijepa_viz.probes import bootstrap
from ijepa_viz.probes import cat_traits as cats
from ijepa_viz.probes.hole_tokens import ROWS, hole_tokens
from ijepa_viz.probes.landmarks import find_landmark, learn_template
from ijepa_viz.probes.part_holes import GROUPS
from ijepa_viz.probes.ridge import PENALTIES, fit_ridge

HEAD = (0.0, 0.0, 64.0, 64.0)


@pytest.fixture
def of_faces():
    """A small untrained model of pictures of 64 px."""
    torch.manual_seed(1)
    return IJEPA(replace(TINY, image_size=64)).eval()


def as_split(train: Source, test: Source):
    return lambda name: train if name == "train" else test


def stacked(faces: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(face) for face in faces])).permute(0, 3, 1, 2)


def moved_faces(count: int, seed: int) -> Source:
    """The cat's face, made symmetric as faces from the front are, moved and lit differently in each picture."""
    rng = np.random.default_rng(seed)
    front = np.asarray(cat_face(), np.float32)
    front = (front + front[:, ::-1]) / 2

    def face() -> Image.Image:
        pixels = shift(front, (*rng.uniform(-4, 4, 2), 0), order=1, mode="nearest")
        return Image.fromarray(np.clip(pixels * rng.uniform(0.7, 1.1), 0, 255).astype(np.uint8))

    faces = [face() for _ in range(count)]
    return Source(f"moved-{seed}", faces.__getitem__, count, stamp=["moved", seed, count])


def small_birds(folder: Path, count: int, seed: int) -> Source:
    """Drawn birds of three quarters of the size, anywhere in the picture, so that places tell little of parts."""
    rng = np.random.default_rng(seed)
    pictures, parts = [], []
    for _ in range(count):
        bird, places_ = drawn_bird(rng)
        canvas = Image.fromarray(rng.integers(150, 200, (64, 64, 3), dtype=np.uint8))
        x, y = rng.integers(0, 17, 2).tolist()
        canvas.paste(bird.resize((48, 48)), (x, y))
        pictures.append(canvas)
        parts.append([[0.75 * px + x, 0.75 * py + y, shown] for px, py, shown in places_])
    assert len(parts[0]) == len(PARTS)
    return open_source(str(write_parquet(folder / f"small-{seed}.parquet", pictures, parts=parts)))


# --------------------------------------------------------------------------- least squares


def test_ridge_is_the_reference_at_the_penalty_that_reads_the_held_out_rows_best():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 30, generator=generator) * torch.arange(1, 31) + 5
    y = torch.stack([x[:, 0] + 3, torch.randn(200, generator=generator)], 1)  # one is read from x, one is noise
    held_out, weights = torch.arange(200) % 5 == 0, torch.rand(200, generator=generator) + 0.1
    ridge = fit_ridge(x, y, held_out, weights)
    z = ((x - x.mean(0)) / x.std(0)).numpy()
    errors = []
    for penalty in PENALTIES:
        # Weights are of mean 1 over all rows.
        w = (weights / weights.mean()).numpy()
        fit = ReferenceRidge(penalty).fit(z[~held_out], y[~held_out], w[~held_out])
        errors.append((w[held_out, None] * (fit.predict(z[held_out]) - y[held_out].numpy()) ** 2).sum(0))
        every = ReferenceRidge(penalty).fit(z, y, w)
        for column in range(2):
            if ridge.penalties[column] == penalty:
                assert np.allclose(ridge(x)[:, column], every.predict(z)[:, column], atol=1e-3)
    assert ridge.penalties.tolist() == [PENALTIES[i] for i in np.argmin(errors, 0)]
    assert ridge.penalties[0] < ridge.penalties[1]
    with pytest.raises(ValueError, match="200 of 200"):
        fit_ridge(x, y, torch.ones(200, dtype=torch.bool))


def test_share_resamples_pictures_whole():
    values = torch.tensor([True, False]).repeat_interleave(50)
    one, many = (bootstrap.share_of_pictures(values, p) for p in (torch.arange(100) // 10, torch.arange(100)))
    assert one["accuracy"] == many["accuracy"] == 0.5
    assert one["high"] - one["low"] > 2 * (many["high"] - many["low"]), "ten pictures know less than a hundred"


# --------------------------------------------------------------------------- tokens


def test_features_see_of_the_hole_what_they_say(of_faces):
    """Other pixels in the hole change the target tokens and nothing else."""
    images = stacked([cat_face(), cat_face(shift=3)])
    masks = Masks.from_block(of_faces.grid, 2, 2, 3, 4).repeat(2)
    changed = torch.where(masks.hidden_pixels(8)[:, None], 255 - images, images)
    before, after = (hole_tokens(of_faces, some, masks) for some in (images, changed))
    assert set(before) == set(ROWS) - {"another_picture"}
    differ = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-5)}
    assert differ == {"target_tokens"}
    assert before["mean_visible_colour"][0] == pytest.approx(
        (images[0] / 255.0)[:, ~masks.hidden_pixels(8)[0]].mean(1).tolist(), abs=1e-5
    )
    with torch.no_grad():
        assert not torch.allclose(before["random_init"], before["predicted_tokens"])


# --------------------------------------------------------------------------- cats


def test_the_nose_is_found_where_the_face_was_moved():
    rng = np.random.default_rng(0)
    shifts = rng.integers(-5, 6, (60, 2))
    faces = stacked([cat_face(64, complex(*shift)) for shift in shifts])
    template = learn_template(faces[:40], (32, 44), (22, 18), (8, 7))
    found = find_landmark(template, faces[40:]) - find_landmark(template, stacked([cat_face()]))
    assert (found - torch.from_numpy(shifts[40:])).abs().max() <= 1
    with pytest.raises(ValueError, match="leaves pictures of 64 x 64"):
        learn_template(faces, (32, 60), (22, 18), (8, 7))


def test_traits_are_of_the_pixels_that_their_rules_name():
    rng = np.random.default_rng(0)
    many = stacked([cat_face(64, complex(*rng.integers(-5, 6, 2))) for _ in range(40)])
    nose = cats._learn_nose(many, HEAD)
    face = stacked([cat_face()])

    def changed(*boxes: tuple[int, int, int, int], to: tuple[int, int, int]) -> dict[str, float]:
        other = face.clone()
        for left, top, right, bottom in boxes:
            other[:, :, top:bottom, left:right] = torch.tensor(to, dtype=torch.uint8)[:, None, None]
        own, theirs = cats.traits(face, HEAD, nose), cats.traits(other, HEAD, nose)
        return {
            name: (theirs[name] - own[name])[0].tolist() for name in own if name not in ("head_turn", "nose_height")
        }

    green = changed((15, 22, 21, 31), to=(0, 200, 0))  # the left eye
    assert green["eye_hue"][0] < -10
    assert green["one_eye_hue"][0] < 1.5 * green["eye_hue"][0]
    assert green["fur_hue"] == [0, 0]
    right = changed((43, 22, 49, 31), to=(0, 200, 0))
    assert right["one_eye_hue"] == [0, 0]
    assert right["eye_hue"][0] < -10
    white = changed((6, 34, 22, 50), to=(255, 255, 255))  # the left cheek
    assert white["left_right"][0] > 20
    assert white["two_tone"][0] > 10
    assert white["fur_lightness"][0] > 5
    assert white["fur_contrast"][0] < 0
    assert white["eye_hue"] == [0, 0]
    # Dark in the left half of both eyes, as if they looked there.
    eyes = ((13, 22, 17, 31), (41, 22, 45, 31))
    assert changed(*eyes, to=(0, 0, 0))["gaze"][0] < 0


def test_cat_traits_reads_what_differs_between_the_faces(of_faces):
    """The imitations differ in light and place alone, which the surroundings show."""
    train, test = moved_faces(100, 0), moved_faces(50, 1)
    table = cats.cat_traits(of_faces, as_split(train, test))
    assert (table["train_images"], table["test_images"]) == (100, 50)
    assert set(table) == {"train_images", "test_images", *ROWS, "visible_eye", "rule_agreement"}
    assert table["target_tokens"]["fur_lightness"]["r"] > 0.9
    assert table["visible_colours"]["fur_lightness"]["r"] > 0.9
    another = table["another_picture"]["fur_lightness"]
    assert abs(another["r"]) < 0.4
    assert another["low"] < 0.1
    assert set(table["visible_eye"]) == {"one_eye_hue"}
    assert set(table["predicted_tokens"]) == set(table["target_tokens"]) >= {"fur_hue", "head_turn", "gaze"}
    assert table["rule_agreement"]["head_turn"]["r"] > 0.8


def test_cat_traits_needs_aligned_faces_and_enough_of_them(of_faces):
    with pytest.raises(ValueError, match="at least 40 pictures, and faces-0 has 20"):
        cats.cat_traits(of_faces, as_split(cat_faces(20, 0), cat_faces(60, 1)))

    def noise(seed: int) -> Source:
        rng = np.random.default_rng(seed)
        pictures = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(60)]
        return Source(f"noise-{seed}", pictures.__getitem__, 60, stamp=["noise", seed])

    scenes = as_split(open_source("menagerie:count=200", "train"), open_source("menagerie:count=100", "test"))
    with pytest.raises(ValueError, match=r"A nose is found at the same place .* This probe is for aligned cats' faces"):
        cats.cat_traits(of_faces, scenes)
    with pytest.raises(ValueError, match="This probe is for aligned cats' faces"):
        cats.cat_traits(of_faces, as_split(noise(0), noise(1)))


# --------------------------------------------------------------------------- birds


def test_holes_are_beside_the_parts_and_at_other_birds_places(tmp_path, of_faces):
    source = birds(tmp_path, 40, 0)
    holes = places.draw_holes(source, of_faces, 40, seed=0)
    count = len(holes.images) // 2
    own, there = holes.pictures[:count], holes.holds.any(2)
    assert (own != holes.pictures[count:]).all(), "the second half is of other pictures"
    assert torch.equal(own.bincount(), holes.pictures[count:].bincount())
    legs = torch.arange(count) % 2 == 0
    assert there[:count][legs, 0].float().mean() > 0.9 > 0.5 > there[:count][~legs, 0].float().mean()
    # Where the orange of the legs is in the hidden pixels is where the legs are said to be.
    hidden = holes.masks.targets[:, 0]
    patches = holes.images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(3).float()
    orange = ((patches[:, :, 0] > 220) & (patches[:, :, 2] < 30)).sum(-1)  # (m, N)
    inside = orange.gather(1, hidden)
    assert (inside[holes.holds[:, 0]] > 0).all()
    assert (inside.sum(1)[~there[:, 0]] <= 6).all() or inside[holes.holds[:, 0]].float().mean() > 3
    assert len(hidden[:, 0].unique()) > 8, "holes are moved beside the parts"
    other = places.another_picture(holes)
    assert not (other == holes.images).flatten(1).all(1).any()


def test_a_part_is_read_from_features_that_hold_it_and_not_from_others():
    generator = torch.Generator().manual_seed(0)
    holds = torch.zeros(400, 4, dtype=torch.bool)
    holds[torch.arange(100), torch.randint(4, (100,), generator=generator)] = True
    held_out = torch.arange(400) % 5 == 0
    noise = torch.randn(400, 4, generator=generator)
    clear = holds.float() + 0.1 * noise
    (whether, _), (where, _) = places.read_part(clear, holds, held_out, [clear, noise])
    there = holds.any(1)
    assert float(bootstrap.balanced_accuracy(whether > 0, there)["accuracy"]) > 0.95
    assert (where[there].argmax(1) == holds[there].int().argmax(1)).all()
    blind, _ = places.read_part(noise, holds, held_out, [torch.randn(400, 4, generator=generator)])
    assert abs(bootstrap.balanced_accuracy(blind[0] > 0, there)["accuracy"] - 0.5) < 0.12
    with pytest.raises(ValueError, match="in 5 of the training holes"):
        places.read_part(clear, holds & (torch.arange(400) < 5)[:, None], held_out, [])


def test_bird_places_reads_the_drawn_parts_from_target_tokens(tmp_path, of_faces):
    table = places.bird_places(of_faces, as_split(small_birds(tmp_path, 120, 0), small_birds(tmp_path, 50, 1)))
    assert table["train_holes"] == 2 * 2 * 120
    assert set(table) >= {*ROWS, "hole_place"}
    columns = {column for name in GROUPS for column in (name, f"{name}_where")}
    assert set(table["hole_place"]) == set(table["another_picture"]) == columns
    assert table["target_tokens"]["leg"]["accuracy"] > table["hole_place"]["leg"]["accuracy"] + 0.1
    assert table["target_tokens"]["leg"]["accuracy"] > 0.85
    assert table["target_tokens"]["leg_where"]["accuracy"] > 0.7 > 0.5 > table["hole_place"]["leg_where"]["accuracy"]
    assert table["target_tokens"]["beak_where"]["accuracy"] > 0.5 > table["hole_place"]["beak_where"]["accuracy"]


def test_bird_places_needs_places_of_parts(tmp_path, of_faces):
    faces = as_split(cat_faces(30, 0), cat_faces(30, 1))
    with pytest.raises(ValueError, match="no annotation 'parts'"):
        places.bird_places(of_faces, faces)
    with pytest.raises(ValueError, match="at least 10 pictures"):
        places.bird_places(of_faces, as_split(birds(tmp_path, 5, 0), birds(tmp_path, 60, 1)))
