"""One hole of several models and of the checkpoints of a run: numbers, figures, and a film."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import TINY, size_of
from PIL import Image

from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.cli import look, main
from ijepa_viz.cli.side_by_side import scaled_block
from ijepa_viz.data.film_files import has_pyav
from ijepa_viz.figures.figure import Figure
from ijepa_viz.figures.film import stacked_figure, write_film
from ijepa_viz.figures.hole_views import hole_frames, hole_views_figure
from ijepa_viz.inspections import InspectionInput, maps
from ijepa_viz.inspections.hole import hole_view, matching, turned
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.run_folder import run_history
from train.__main__ import main as train

HOLE = Masks.from_block((4, 4), 1, 0, 2, 3)


@pytest.fixture
def inputs(model):
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "pos_embed" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(3, 32, 32, generator=generator)
    others = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return InspectionInput(model.requires_grad_(False), image, HOLE, others)


def test_a_view_is_of_the_hole(inputs):
    view = hole_view(inputs)
    prediction = inputs.predict()
    assert view.mean_cosine == pytest.approx(float(prediction.cosine.mean()), abs=1e-5)
    control = maps.controls(inputs.model, inputs.others[6:7], HOLE)["another image"]
    expected = torch.cosine_similarity(control, prediction.target, dim=-1).mean()
    assert view.control_cosine == pytest.approx(float(expected), abs=1e-5)
    inside = HOLE.hidden[0].numpy()
    assert np.isnan(view.cosine[~inside]).all()
    assert np.allclose(view.target[~inside], view.predicted[~inside])
    assert not np.allclose(view.target[inside], view.predicted[inside])
    pixels = HOLE.hidden_pixels(8)[0].numpy()
    assert np.array_equal(view.nearest[~pixels], view.image[~pixels])
    # The hole holds a block of one of the other images, as it is.
    block = torch.from_numpy(view.nearest[8:24, :24]).permute(2, 0, 1)
    places = [
        (inputs.others[i, :, r : r + 16, c : c + 24] / 255 - block).abs().max()
        for i in range(12) for r in range(0, 17, 8) for c in (0, 8)
    ]  # fmt: skip
    assert min(places) < 1e-6


def test_colours_are_matched_to_those_before(inputs):
    view = hole_view(inputs)
    other = np.stack([1 - view.target[..., 2], view.target[..., 0], view.target[..., 1]], -1)
    assert matching(other, view.target) == [(1, False), (2, False), (0, True)]
    assert np.allclose(turned(other, matching(other, view.target)), view.target)
    assert np.allclose(hole_view(inputs, view).target, view.target)


def test_figures_have_a_column_or_a_frame_each(inputs, tmp_path):
    view = hole_view(inputs)
    figure = hole_views_figure([view, view, view], ["a", "b", "c"])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == ["original", "a", "b", "c"]
    frames = hole_frames([view, view], [0, 50])
    write_film(tmp_path / "film.gif", frames, seconds=0.2)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 2
        assert film.info["duration"] == 200
        assert film.info["loop"] == 0
        assert film.size == (840, 350)
    for make in (
        lambda: hole_views_figure([], []),
        lambda: hole_frames([view], [1, 2]),
        lambda: stacked_figure([], []),
    ):
        with pytest.raises(ValueError, match="at least"):
            make()
    with pytest.raises(ValueError, match="have one size"):
        write_film(tmp_path / "x.gif", [Figure("A", figsize=(1, 1)), Figure("B", figsize=(2, 1))])
    with pytest.raises(ValueError, match=r"\.gif"):
        write_film(tmp_path / "x.webm", frames)


def test_a_block_is_the_same_part_of_the_picture_on_another_grid():
    assert scaled_block((1, 2, 3, 4), (8, 8), (16, 24)) == (2, 6, 6, 12)
    with pytest.raises(ValueError, match="no whole number of patches"):
        scaled_block((1, 1, 3, 3), (8, 8), (14, 14))


def test_models_are_looked_at_side_by_side(inputs, tmp_path, capsys):
    from dataclasses import replace

    save_folder(inputs.model, tmp_path / "a")
    torch.manual_seed(9)
    save_folder(IJEPA(replace(TINY, image_size=64)), tmp_path / "b")
    out = tmp_path / "both.png"
    command = ["look", str(tmp_path / "a"), "scene:3", "--models", str(tmp_path / "b"), "--limit", "8", "--out"]
    assert main([*command, str(out), "--block", "1", "1", "2", "2"]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path.name}/a" in printed
    assert "cosine_of_another" in printed
    size_of(out)
    assert main([*command, str(out), "--inspection", "attention", "--layers", "last"]) == 0
    assert printed.count("\n") == 4
    assert size_of(out)[1] > 400  # two figures, beneath each other
    for more, words in (
        (["x.png", "--over-time"], "one of the two"),
        (["x.gif"], "add --over-time"),
        (["x.png", "--checkpoints", "3"], "--checkpoints is for --over-time"),
    ):
        assert main([*command, *more]) == 1
        assert words in capsys.readouterr().err
    assert main(["look", str(tmp_path / "a"), "scene:3", "--out", str(out)]) == 1
    assert "--inspection NAME" in capsys.readouterr().err


def test_models_side_by_side_need_none_before_the_picture(inputs, tmp_path, monkeypatch, capsys):
    """MODEL may be left out, wherever options stand between the words, and --models may take the picture."""
    asked = []
    monkeypatch.setattr(look, "look_at_several", lambda o: asked.append((o.model, o.image, o.models)) or 0)
    block, out = ["--block", "1", "1", "2", "2"], ["--out", str(tmp_path / "x.png")]
    photo = str(tmp_path / "photo.jpg")
    Image.new("RGB", (64, 64)).save(photo)
    for words, expected in (
        ([photo, "--models", "a", "b", "c", *out], (None, photo, ["a", "b", "c"])),
        (["--models", "a", "b", "c", *out, photo], (None, photo, ["a", "b", "c"])),
        (["--models", "a", "b", "c", photo, *out], (None, photo, ["a", "b", "c"])),
        ([*out, *block, "scene:3", "--models", "a"], (None, "scene:3", ["a"])),
        (["m", *block, photo, "--models", "a", "b", *out], ("m", photo, ["a", "b"])),
        (["m", "--limit", "4", "scene:3", *out, "--models", "a"], ("m", "scene:3", ["a"])),
        (["m", *block, "--models", "a", "b", photo, *out], ("m", photo, ["a", "b"])),
        (["m", photo, *block, *out, "--models", "a", "b"], ("m", photo, ["a", "b"])),
    ):
        assert main(["look", *words]) == 0, words
        assert asked.pop() == expected, words
    for words, said in (
        (["--models", "a", "b", *out], "Name a picture"),
        ([*out], "Name a picture"),
        ([photo, "--inspection", "maps", *out], f"there is {photo} alone"),
        (["m", "--models", "a", "b", *out], "There is no image file m"),
        ([photo, "--over-time", *out], "Name a model"),
        ([photo, "--over-time", "--models", "a", *out], "one of the two"),
    ):
        assert main(["look", *words]) == 1, words
        assert said in capsys.readouterr().err, words
    for words, said in (
        (["m", photo, "another", "--models", "a", *out], "unrecognized arguments: another"),
        (["m", photo, "--modls", "a", *out], "Did you mean --models?"),
        ([photo, "--models", *out], "expected at least one argument"),
        ([photo, "--models", "a"], "required: --out"),
    ):
        with pytest.raises(SystemExit):
            main(["look", *words])
        assert said in capsys.readouterr().err, words
    assert not asked


def test_models_alone_are_drawn_side_by_side(inputs, tmp_path, capsys):
    save_folder(inputs.model, tmp_path / "a")
    models = [str(tmp_path / "a")] * 3
    out = tmp_path / "three.png"
    assert main(["look", "scene:3", "--limit", "8", "--out", str(out), "--models", *models]) == 0
    assert [line.split(":")[0].strip() for line in capsys.readouterr().out.splitlines()[1:4]] == ["1", "2", "3"]
    size_of(out)


CONFIG = """
model: {image_size: 32, patch_size: 8, width: 32, depth: 2, heads: 2, predictor_width: 16, predictor_depth: 2,
        predictor_heads: 2}
data: {source: "menagerie:count=32"}
optimization: {steps: 5, batch_size: 8, warmup: 1}
run: {precision: fp32, log_with: none, monitor_images: 8}
"""


def test_a_run_keeps_checkpoints_and_is_looked_at_over_time(tmp_path, capsys, monkeypatch):
    (tmp_path / "c.yaml").write_text(CONFIG)
    run = tmp_path / "run"
    command = ["--fname", str(tmp_path / "c.yaml"), f"run.folder={run}"]
    assert train([*command, "run.keep_every=2"]) == 0
    kept = run_history(run)
    assert list(kept) == [0, 2, 4, 5]
    assert [path.parent.name for path in kept.values()] == ["history"] * 3 + ["run"]
    weights = [load_model(path).encoder.blocks[0].mlp.fc1.weight for path in kept.values()]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(weights))
    capsys.readouterr()
    looking = ["look", str(run), "scene:1", "--over-time", "--limit", "8", "--out"]
    assert main([*looking, str(tmp_path / "strip.png"), "--checkpoints", "3"]) == 0
    printed = capsys.readouterr()
    assert [line.split("  ")[0].strip() for line in printed.out.splitlines()[1:4]] == ["step 0", "step 4", "step 5"]
    assert "Showing 3 of 4 checkpoints" in printed.err
    size_of(tmp_path / "strip.png")
    assert main([*looking, str(tmp_path / "film.gif")]) == 0
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 4
    assert main([*looking, str(tmp_path / "maps.gif"), "--inspection", "maps"]) == 0
    if has_pyav():
        import av

        assert main([*looking, str(tmp_path / "film.mp4")]) == 0
        with av.open(str(tmp_path / "film.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) == 4 + 4  # the last one stays
    with monkeypatch.context() as patch:
        patch.setattr("ijepa_viz.runtime.outputs.importlib.util.find_spec", lambda name: None)
        assert main([*looking, str(tmp_path / "none.mp4")]) == 1
        assert "pip install 'ijepa-viz[video]'" in capsys.readouterr().err
    assert not (tmp_path / "none.mp4").exists()
    # A run that kept nothing says how to.
    assert train([*command[:-1], f"run.folder={tmp_path / 'other'}"]) == 0
    assert main([looking[0], str(tmp_path / "other"), *looking[2:], str(tmp_path / "x.png")]) == 1
    assert "run.keep_every=STEPS" in capsys.readouterr().err
    assert main([looking[0], str(tmp_path / "none"), *looking[2:], str(tmp_path / "x.png")]) == 1
    assert "no folder" in capsys.readouterr().err
    assert train([*command[:-1], f"run.folder={tmp_path / 'x'}", "run.keep_every=-1"]) == 1
    assert "run.keep_every" in capsys.readouterr().err
