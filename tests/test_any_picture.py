"""Pictures of any proportions on the command line, strips among them, and training at another size than the weights'."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from PIL import Image

from decoders.loading import save_decoder
from ijepa_viz import prediction
from ijepa_viz.checkpoints import load_model, save_folder, save_reference
from ijepa_viz.cli import main
from ijepa_viz.data.fitting import place
from ijepa_viz.inspections import InspectionInput
from ijepa_viz.models import IJEPA
from ijepa_viz.models.vit import sincos_positions
from ijepa_viz.prediction import predict
from train.__main__ import main as train

GRIDS = {"crop": (4, 4), "pad": (4, 4), "native": (3, 6)}


@pytest.fixture
def folder(model, tmp_path):
    save_folder(model, tmp_path / "mine")
    save_decoder(random_decoder(model), tmp_path / "mine" / "decoder")
    return str(tmp_path / "mine")


@pytest.fixture
def photo(tmp_path):
    """A photograph-like picture, twice as wide as high."""
    pixels = np.random.default_rng(3).integers(0, 255, (60, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


@pytest.mark.parametrize("fit", GRIDS)
def test_predict_fits_a_picture_as_asked(folder, photo, tmp_path, fit, monkeypatch, capsys):
    found = []

    def recorded(*arguments, **options):
        found.append(predict(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(prediction, "predict", recorded)
    command = [
        "predict",
        str(photo),
        "--model",
        folder,
        "--fit",
        fit,
        "--samples",
        "1",
        "--out",
        str(tmp_path / "o.png"),
    ]
    assert main([*command, "--block", "1", "1", "2", "2"]) == 0
    assert found[0].masks.grid == GRIDS[fit]
    other = predict(load_model(folder), str(photo), found[0].masks, fit=fit)
    assert torch.equal(found[0].predicted, other.predicted)
    assert f"tokens {other.cosine.mean():.3f}" in capsys.readouterr().out
    covered = other.image.amax(0) < 1  # padding is white, and the picture nowhere
    assert bool(covered.view(GRIDS[fit][0], 8, -1)[0].any()) == (fit != "pad")
    # The row beneath the last one that is there; with "pad" the first one is beside the picture.
    row = {"crop": "3", "pad": "0", "native": "2"}[fit]
    words = "which is padding: the picture covers rows 1 to 2" if fit == "pad" else f"{GRIDS[fit][0]}x{GRIDS[fit][1]}"
    assert main([*command, "--block", row, "1", "2", "2"]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("inspection", ["attention", "maps", "retrieval"])
@pytest.mark.parametrize("fit", ["crop", "native"])
def test_look_fits_a_picture_as_asked(folder, photo, tmp_path, fit, inspection, monkeypatch):
    grids = []
    checked = InspectionInput.__post_init__
    monkeypatch.setattr(
        InspectionInput, "__post_init__", lambda inputs: (grids.append((inputs.masks.grid, inputs.image.shape)), checked(inputs))
    )  # fmt: skip
    out = tmp_path / "o.png"
    command = ["look", folder, str(photo), "--inspection", inspection, "--fit", fit, "--limit", "6", "--out", str(out)]
    assert main(command) == 0
    assert grids == [(GRIDS[fit], (3, 8 * GRIDS[fit][0], 8 * GRIDS[fit][1]))]
    assert out.stat().st_size > 1000


def test_look_side_by_side_fits_a_picture_natively(folder, photo, tmp_path, capsys):
    command = ["look", str(photo), "--models", folder, folder, "--fit", "native", "--limit", "6"]
    assert main([*command, "--block", "1", "2", "1", "2", "--out", str(tmp_path / "o.png")]) == 0
    first, second = re.findall(r"mine +(.*)", capsys.readouterr().out)[:2]
    assert first == second


def test_what_cannot_be_fitted_is_said(folder, photo, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["look", folder, str(photo), "--inspection", "maps", "--fit", "pad", "--out", str(tmp_path / "o.png")])
    assert "there is no 'pad'; there are crop, native" in capsys.readouterr().err
    many = ["predict", str(tmp_path), "--model", folder, "--block", "1", "1", "2", "2", "--fit", "native"]
    assert main([*many, "--out", str(tmp_path / "o.csv")]) == 1
    assert "--fit native is for one picture" in capsys.readouterr().err


# --------------------------------------------------------------------------- strips


def strip(height, width):
    return Image.fromarray(np.random.default_rng(4).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_a_long_strip_has_one_row_of_patches_or_is_refused():
    assert place((64, 2000), 64, 8, "native").grid == (1, 31)
    assert place((2000, 64), 64, 8, "native").grid == (31, 1)
    assert place((5, 300), 64, 8, "native").grid == (1, 60)  # enlarged to one patch
    assert place((8, 512), 64, 8, "native").grid == (1, 64)
    for picture in ((8, 521), (64, 20_000), (20_000, 64)):
        with pytest.raises(ValueError, match=r"too long a strip for fit='native'.*Cut it into shorter") as error:
            place(picture, 64, 8, "native")
        needed = int(re.search(r"patches=(\d+)", str(error.value))[1])
        assert max(place(picture, 64, 8, "native", needed).grid) == needed
        assert place(picture, 64, 8, "crop").grid == place(picture, 64, 8, "pad").grid == (8, 8)


@pytest.mark.parametrize("size", [(64, 2000), (2000, 64)])
def test_a_strip_is_predicted_decoded_and_looked_at(tmp_path, size, drawn):
    torch.manual_seed(0)
    model = IJEPA(replace(TINY, image_size=64)).eval()
    save_folder(model, tmp_path / "m")
    save_decoder(random_decoder(model), tmp_path / "m" / "decoder")
    picture = strip(*size)
    picture.save(tmp_path / "strip.png")
    long, short = (list(size).index(side) for side in (max(size), min(size)))
    found = predict(model, picture, fit="native")
    assert found.masks.grid[short] == 1
    assert found.masks.grid[long] == 31
    # The patches of the row are those of the picture, which is reduced to 8 px: the same at its ends.
    reduced = picture.resize((248, 8) if long else (8, 248), Image.Resampling.BICUBIC, reducing_gap=None)
    own = torch.from_numpy(np.array(reduced)).permute(2, 0, 1) / 255
    assert (found.image - own).abs().mean() < 0.02
    block = ["0", "9", "1", "4"] if long else ["9", "0", "4", "1"]
    command = [str(tmp_path / "strip.png"), "--fit", "native", "--block", *block, "--out", str(tmp_path / "o.png")]
    assert main(["predict", *command, "--model", str(tmp_path / "m"), "--samples", "1"]) == 0
    for inspection in ("attention", "maps"):
        assert main(["look", str(tmp_path / "m"), *command, "--inspection", inspection, "--limit", "4"]) == 0
    assert len(drawn) == 3


# --------------------------------------------------------------------------- weights at another size


@pytest.mark.parametrize("size", [84, [42, 70]])
def test_training_starts_from_the_published_format_at_another_size(tmp_path, size):
    """Patches of 14 px as the published ViT-H/14, at another resolution and on a rectangular grid."""
    torch.manual_seed(2)
    published = IJEPA(replace(TINY, image_size=56, patch_size=14))
    for name, parameter in published.named_parameters():
        if not name.endswith("pos_embed"):
            torch.nn.init.normal_(parameter.data, std=0.1)
    save_reference(published, tmp_path / "huge.pth.tar")
    (tmp_path / "c.yaml").write_text(
        f"model: {{image_size: {size}, patch_size: 14, width: 32, depth: 2, heads: 2, predictor_width: 16, "
        "predictor_depth: 2, predictor_heads: 2}\n"
        'data: {source: "menagerie:count=16"}\n'
        "optimization: {steps: 1, batch_size: 8, lr: 0.0, start_lr: 0.0, final_lr: 0.0, ema: [1.0, 1.0]}\n"
        "run: {precision: fp32, log_with: none, monitor_images: 8}\n"
    )
    run = tmp_path / "run"
    command = ["--fname", str(tmp_path / "c.yaml"), f"run.folder={run}", "--init-from"]
    assert train([*command, str(tmp_path / "huge.pth.tar")]) == 0
    trained = load_model(run / "step-00000001")
    grid = (6, 6) if size == 84 else (3, 5)
    assert trained.grid == grid
    positions = 0
    for name, value in trained.state_dict().items():
        if name.endswith("pos_embed"):
            assert torch.equal(value, sincos_positions(value.shape[-1], grid).to(value)), name
            positions += 1
        else:
            assert torch.allclose(value, published.state_dict()[name], atol=1e-6), name
    assert positions == 3  # of both encoders and of the predictor
    # The same from a folder.
    save_folder(published, tmp_path / "folder")
    again = [*command[:2], f"run.folder={tmp_path / 'again'}", "--init-from", str(tmp_path / "folder")]
    assert train(again) == 0
    same = load_model(tmp_path / "again" / "step-00000001").state_dict()
    assert all(torch.equal(value, same[name]) for name, value in trained.state_dict().items())


def test_another_patch_size_is_no_other_resolution(tmp_path, capsys):
    save_folder(IJEPA(replace(TINY, image_size=56, patch_size=14)), tmp_path / "m")
    (tmp_path / "c.yaml").write_text(
        "model: {image_size: 64, patch_size: 16, width: 32, depth: 2, heads: 2, predictor_width: 16, "
        'predictor_depth: 2, predictor_heads: 2}\ndata: {source: "menagerie:count=16"}\noptimization: {batch_size: 8}\n'
    )
    command = [
        "--fname",
        str(tmp_path / "c.yaml"),
        f"run.folder={tmp_path / 'run'}",
        "--init-from",
        str(tmp_path / "m"),
    ]
    assert train(command) == 1
    assert (
        "of other sizes than the config's: it has model.image_size 56 instead of 64, model.patch_size 14 instead"
        in capsys.readouterr().err
    )
