from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ijepa_viz import examples
from ijepa_viz.cli.demo import _own_picture
from ijepa_viz.cli.hints import cat_face_words
from ijepa_viz.data import menagerie
from ijepa_viz.data.cat_faces import find_cat_face
from ijepa_viz.widgets.explorer_faces import face_part
from ijepa_viz.widgets.picture_widget import data_uri

FOLDER = Path(examples.__file__).parent / "photographs"
HEADS = [Image.open(path).convert("RGB") for path in sorted(FOLDER.glob("*.jpg"))]


def _pasted(head: Image.Image, size: tuple[int, int], left: int, top: int, side: int) -> Image.Image:
    """The head somewhere in a plain picture."""
    picture = Image.new("RGB", size, (90, 120, 90))
    picture.paste(head.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return picture


@pytest.mark.parametrize(("size", "left", "top"), [((900, 500), 560, 130), ((420, 800), 40, 420), ((700, 700), 0, 0)])
def test_the_square_lies_around_the_face_wherever_it_is(size, left, top):
    pytest.importorskip("cv2")
    boxes = [find_cat_face(_pasted(head, size, left, top, 320)) for head in HEADS]
    found = np.array([box for box in boxes if box])
    assert len(found) >= len(HEADS) - 1
    assert (found[:, 2] - found[:, 0] == found[:, 3] - found[:, 1]).all(), "squares"
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= size).all()
    centre = (found[:, :2] + found[:, 2:]) / 2
    assert np.median(np.abs(centre - (left + 160, top + 160)).max(1)) < 40  # an eighth of the head's side


def test_a_spot_within_a_face_is_no_face():
    """In one of the heads the cascade sees a face a fifth as wide as the picture, and not the head's own."""
    pytest.importorskip("cv2")
    for head in HEADS:
        box = find_cat_face(head)
        assert box is None or box[2] - box[0] > head.width / 2


def test_a_drawn_dog_has_no_cat_face():
    pytest.importorskip("cv2")
    dogs = (i for i in range(1000) if menagerie.things(i, 1)[0].species == "dog")
    scene = Image.fromarray(menagerie.scene(next(dogs), 128, 1).image).resize((256, 128))
    assert find_cat_face(scene) is None


def test_examples_of_each_kind_fit_a_grid_and_name_what_is_hidden():
    for kind in (examples.SCENES, examples.PHOTOGRAPHS, examples.CATS):
        shown = examples.of_kind(kind)
        assert len({one.name for one in shown}) == len(shown) >= 4
        for one in shown:
            assert one.image.width == one.image.height
            hidden = int(one.masks((8, 8)).hidden.sum())
            assert hidden == one.hole[2] * one.hole[3]
            assert one.hole[0] + one.hole[2] <= 8 >= one.hole[1] + one.hole[3]
    credits = [one.credit for one in examples.cats()]
    assert credits[:4] == [""] * 4, "scikit-image's cat is in the public domain"
    assert all("Oxford-IIIT Pet" in credit and "CC BY-SA" in credit for credit in credits[4:])
    assert examples.of_kind(examples.BIRDS) == [], "photographs of birds may not be shipped"
    with pytest.raises(ValueError, match="examples of drawn scenes"):
        examples.of_kind("fish")
    kinds = ("menagerie-tiny", "wild-tiny", "cats-tiny", "birds-tiny", "runs/cats-tiny")
    assert [examples.kind_of(name) for name in kinds] == [
        examples.SCENES, examples.PHOTOGRAPHS, examples.CATS, examples.BIRDS, "",
    ]  # fmt: skip


def test_the_explorer_answers_where_the_face_is_and_nothing_where_there_is_none():
    pytest.importorskip("cv2")
    picture = _pasted(HEADS[0], (800, 400), 420, 40, 320)
    answer = face_part({"number": 3, "picture": data_uri(picture)})
    left, top, width, height = answer["part"]
    assert answer["number"] == 3
    assert width * 800 == pytest.approx(height * 400, abs=2), "a square"
    assert (left + width / 2) * 800 == pytest.approx(580, abs=40)
    assert (top + height / 2) * 400 == pytest.approx(200, abs=40)
    plain = Image.new("RGB", (64, 64), "grey")
    assert face_part({"number": 4, "picture": data_uri(plain)}) == {"number": 4, "part": []}
    assert face_part({"number": 5, "picture": "data:image/jpeg;base64,AAAA"}) == {"number": 5, "part": []}
    assert face_part({}) == {"number": None, "part": []}


def test_the_demo_cuts_an_own_picture_to_the_face_for_a_model_of_cats_only(tmp_path, capsys):
    pytest.importorskip("cv2")
    picture = _pasted(HEADS[0], (800, 400), 420, 40, 320)
    picture.save(tmp_path / "own.png")
    cut = _own_picture(str(tmp_path / "own.png"), 64, examples.CATS)
    assert cut.size[0] == cut.size[1] < 400
    assert np.array_equal(np.asarray(cut), np.asarray(picture.crop(find_cat_face(picture))))
    assert _own_picture(str(tmp_path / "own.png"), 64, examples.PHOTOGRAPHS).size == (800, 400)
    assert capsys.readouterr().err == ""
    Image.new("RGB", (80, 60), "grey").save(tmp_path / "grey.png")
    assert _own_picture(str(tmp_path / "grey.png"), 64, examples.CATS).size == (80, 60)
    assert "has no cat's face that OpenCV finds" in capsys.readouterr().err


def test_a_picture_that_a_face_does_not_fill_is_said_with_the_mend():
    pytest.importorskip("cv2")
    assert cat_face_words("own.png", _pasted(HEADS[0], (340, 340), 10, 10, 320)) == ""
    words = cat_face_words("own.png", _pasted(HEADS[0], (800, 400), 420, 40, 200))
    assert "The cat's face in own.png has" in words
    assert "Cut the picture to the face" in words
