"""What the commands say about pictures that they take, but whose answers say little."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, random_decoder
from PIL import Image

from decoders.loading import save_decoder
from ijepa_viz import examples
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.cli.hints import hint_at_fit, hint_at_kind
from ijepa_viz.cli.side_by_side import _COMPARING
from ijepa_viz.data.cat_faces import find_cat_face

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(model, tmp_path):
    save_folder(model, tmp_path / "mine")
    save_decoder(random_decoder(model), tmp_path / "mine" / "decoder")
    return str(tmp_path / "mine")


def _noise(mode: str, width: int, height: int) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 255, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(values.squeeze(-1) if channels == 1 else values, mode)


@pytest.mark.parametrize(
    ("mode", "size", "words"),
    [
        ("LA", (90, 90), ["is transparent in places"]),
        ("RGB", (90, 90), []),
        ("RGB", (120, 90), []),
        ("RGB", (400, 64), ["is 400x64 px: only its middle 64x64 px are seen, 16.0 % of it"]),
        ("RGB", (2000, 10), ["only its middle 10x10 px are seen, 0.5 % of it", "10x10 px, is enlarged to 32x32"]),
    ],
)
def test_predict_says_what_became_of_the_picture(folder, tmp_path, capsys, mode, size, words):
    picture = tmp_path / "own.png"
    _noise(mode, *size).save(picture)
    command = ["predict", str(picture), "--model", folder, "--block", "1", "1", "2", "2", "--samples", "1"]
    assert main([*command, "--out", str(tmp_path / "figure.png")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if str(picture) in line]
    assert len(lines) == len(words)
    for line, expected in zip(lines, words, strict=True):
        assert expected in line


def test_an_alpha_channel_that_hides_nothing_is_not_said(folder, tmp_path, capsys):
    picture = tmp_path / "opaque.png"
    _noise("RGB", 90, 90).convert("RGBA").save(picture)
    command = ["predict", str(picture), "--model", folder, "--block", "1", "1", "2", "2", "--samples", "1"]
    assert main([*command, "--out", str(tmp_path / "figure.png")]) == 0
    assert "transparent" not in capsys.readouterr().err


def test_a_fit_that_shows_the_whole_picture_says_nothing(capsys):
    hint_at_fit("strip.png", _noise("RGB", 400, 64), TINY, "pad")
    assert capsys.readouterr().err == ""


def test_a_drawn_scene_for_a_model_of_photographs_is_said(capsys):
    scene = _noise("RGB", 64, 64)
    hint_at_kind("scene:987", scene, "menagerie-tiny", "crop")
    hint_at_kind("scene:987", scene, "runs/mine", "crop")
    assert capsys.readouterr().err == ""
    hint_at_kind("scene:987", scene, "wild-tiny", "crop")
    assert "scene:987 is a drawn scene, and wild-tiny learned from photographs" in capsys.readouterr().err


def test_predict_says_that_a_picture_has_no_cat(tmp_path, capsys):
    pytest.importorskip("cv2")
    hint_at_kind("coffee.png", _noise("RGB", 90, 90), "wild-tiny", "crop")
    assert capsys.readouterr().err == ""
    hint_at_kind("coffee.png", _noise("RGB", 90, 90), "cats-tiny", "crop")
    assert "coffee.png has no cat's face that OpenCV finds" in capsys.readouterr().err


def test_look_says_that_its_controls_are_drawn_scenes(folder, tmp_path, capsys):
    picture = tmp_path / "own.png"
    _noise("RGB", 90, 90).save(picture)
    out = ["--out", str(tmp_path / "figure.png"), "--limit", "4"]
    assert main(["look", "scene:3", "--models", folder, folder, *out]) == 0
    assert "drawn scenes" not in capsys.readouterr().err
    assert main(["look", str(picture), "--models", folder, folder, *out]) == 0
    said = capsys.readouterr().err
    assert said.count("are drawn scenes: --data names") == 1
    assert "the control and the nearest block" in said


def test_every_inspection_that_compares_with_other_pictures_is_known():
    inspections = ROOT / "ijepa_viz" / "inspections"
    using = {path.stem for path in inspections.glob("*.py") if re.search(r"inputs\.others", path.read_text())}
    assert set(_COMPARING) == using


def test_a_face_that_is_cropped_away_is_none(capsys):
    pytest.importorskip("cv2")
    wide = Image.new("RGB", (1200, 300), "white")
    wide.paste(next(one.image for one in examples.cats() if one.credit).resize((300, 300)), (0, 0))
    assert find_cat_face(wide) is not None
    hint_at_kind("left.jpg", wide, "cats-tiny", "pad")
    assert "no cat's face" not in capsys.readouterr().err
    hint_at_kind("left.jpg", wide, "cats-tiny", "crop")
    assert "left.jpg has no cat's face" in capsys.readouterr().err
