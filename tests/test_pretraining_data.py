"""Test pictures that a model was trained on are counted by their content, or it is said why that is unknown."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from test_train import CONFIG, _pictures, config_file

from ijepa_viz.checkpoints.pretraining_data import pretraining_note
from ijepa_viz.cli import main
from ijepa_viz.data.opening import open_source
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import cache_folder
from train.config import TrainConfig
from train.trainer import Trainer


def trained(tmp_path, source, *settings):
    settings = [f"run.folder={tmp_path / 'run'}", f"data.source={source}", "data.eval_source=null", *settings]
    config = config_files.load(TrainConfig, config_file(tmp_path, CONFIG), ["optimization.steps=3", *settings])
    return Trainer(config).run()


@pytest.fixture
def photos(tmp_path):
    return _pictures(tmp_path / "photos", 30)


def test_pictures_in_both_are_counted_wherever_they_lie(tmp_path, photos, capsys):
    model = trained(tmp_path, photos)
    test = _pictures(tmp_path / "test", 12, seed=1)
    for i in range(3):
        shutil.copyfile(photos / "a" / f"{i:03}.png", test / "b" / f"copy{i}.png")
    expected = f"3 of the 15 test pictures are among the 30 that it was trained on ({photos})"
    assert pretraining_note(model, open_source(str(test))) == expected
    shutil.copytree(model, tmp_path / "run" / "best")
    (tmp_path / "run" / "best" / "trainer.pt").unlink()
    assert pretraining_note(tmp_path / "run" / "best", open_source(str(test))) == expected
    out = tmp_path / "table.json"
    command = ["evaluate", str(model), "--data", str(photos), "--test-data", str(test), "--drop-shared"]
    assert main([*command, "--json", str(out)]) == 0
    said = f"0 of the 12 test pictures are among the 30 that it was trained on ({photos})"
    assert json.loads(out.read_text())["pretraining"] == said
    assert said in capsys.readouterr().out
    # A part held out of the very pictures is known to be learned from.
    assert main(["evaluate", str(model), "--data", str(photos), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["pretraining"].startswith("6 of the 6 test pictures are among the 30")


def test_scenes_are_known_by_their_seed_and_a_start_is_named(tmp_path):
    model = trained(tmp_path, "menagerie:count=64", "start_from=null")
    state = torch.load(model / "trainer.pt", weights_only=True)
    state["config"]["start_from"] = "another-model"
    torch.save(state, model / "trainer.pt")
    for split, count in (("train", 40), ("test", 0)):
        assert pretraining_note(model, open_source("menagerie:count=40", split)) == (
            f"{count} of the 40 test pictures are among the 64 that it was trained on (menagerie:count=64), beside those of "
            "another-model, from which it started"
        )


def test_what_cannot_be_known_is_said_with_its_cause(tmp_path, photos):
    test = open_source("menagerie:count=8")
    assert pretraining_note("menagerie-tiny", test) == (
        "unknown: the model has no record of the pictures that it was trained on"
    )
    model = trained(tmp_path, photos)
    for file in cache_folder().glob("*.npz"):
        file.unlink()
    assert "have not been looked through on this machine" in pretraining_note(model, test)
    (photos / "a" / "000.png").unlink()
    config = ["evaluate", str(model), "--data", str(photos)]
    assert main(config) == 0  # looks through what is there now
    assert "holds other pictures than it was trained on" in pretraining_note(model, test)
    shutil.rmtree(photos)
    assert f"unknown: {photos}, its training data, cannot be opened (No data set" in pretraining_note(model, test)
    (model / "trainer.pt").write_bytes(b"no state")
    assert "is damaged or of another program" in pretraining_note(model, test)


def test_a_damaged_record_costs_the_line_and_not_the_numbers(tmp_path, photos):
    model, test = trained(tmp_path, photos), open_source(str(_pictures(tmp_path / "test", 12, seed=1)))
    whole = (model / "trainer.pt").read_bytes()
    state = torch.load(model / "trainer.pt", weights_only=True)
    place = whole.index(b"data.pkl") + len(b"data.pkl")
    for bit in range(0, 8 * 300, 7):
        damaged = bytearray(whole)
        damaged[place + bit // 8] ^= 1 << bit % 8
        (model / "trainer.pt").write_bytes(damaged)
        assert isinstance(pretraining_note(model, test), str)
    state["config"]["data"]["source"] = None
    torch.save(state, model / "trainer.pt")
    assert "data.source is None" in pretraining_note(model, test)


def test_test_pictures_that_vanish_cost_the_line_and_not_the_numbers(tmp_path, photos):
    model = trained(tmp_path, photos)
    test = open_source(str(_pictures(tmp_path / "test", 12, seed=1)))
    shutil.rmtree(tmp_path / "test")
    assert pretraining_note(model, test) == "unknown: 12 of the 12 test pictures can no longer be read"
