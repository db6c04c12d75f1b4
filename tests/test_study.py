"""The study of decoders at equal minutes: its rows, its times, and its table."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
import yaml

from decoders import study as study_module
from decoders.config import DecoderTrainConfig
from decoders.decoder import DecoderConfig
from decoders.loading import load_decoder, save_decoder
from decoders.study import STUDIES, Study, average_patches, main, score, time_rows
from decoders.training.trainer import DecoderTrainer
from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.runtime.tensors import fingerprint

OPTIONS = "{width: 32, depth: 1, heads: 2}"


@pytest.fixture
def small(model, tmp_path):
    """A study of two rows, of a small I-JEPA."""
    save_folder(model, tmp_path / "ijepa")
    (tmp_path / "base.yaml").write_text(
        f"ijepa: {tmp_path / 'ijepa'}\n"
        f"network: {{name: block-vit, options: {OPTIONS}}}\n"
        'data: {source: "menagerie:count=64", patch_size: 16}\n'
        "optimization: {batch_size: 8, warmup: 1}\n"
        "run: {precision: fp32, log_with: none}\n"
    )
    (tmp_path / "two.yaml").write_text(
        "base: base.yaml\nrows: {base: [], wide: ['network.options={width: 64, depth: 2, heads: 2}']}\n"
    )
    return tmp_path


@pytest.mark.parametrize("name", ["pixels", "tokens"])
def test_every_row_of_the_projects_studies_is_a_config_of_its_own(name, tmp_path):
    found = Study.read(STUDIES / f"{name}.yaml", tmp_path)
    configs = [str(found.config(row, 5, "same")) for row in found.rows]
    assert len(set(configs)) == len(configs) >= 10
    assert all(isinstance(found.config(row, 5), DecoderTrainConfig) for row in found.rows)
    with pytest.raises(ValueError, match="no row 'nonesuch'"):
        found.config("nonesuch", 5)


def test_rows_are_timed_trained_for_their_minutes_and_scored(small, monkeypatch, capsys):
    monkeypatch.setattr(
        study_module, "score", lambda model, decoder: dict.fromkeys(SCORES, float(decoder.network.config.width))
    )
    common = [str(small / "two.yaml")]
    folder = ["--folder", str(small / "runs")]
    assert main([*common, "run", "wide", *folder]) == 1
    assert "yet: the command `time` writes it" in capsys.readouterr().err
    assert main([*common, "time", *folder]) == 0
    times = json.loads((small / "runs" / "times.json").read_text())
    assert set(times) == {"base", "wide"}
    # With a step of 20 s, a tenth of a minute is one step less than half.
    (small / "runs" / "times.json").write_text(json.dumps({"base": 1000.0, "wide": 2000.0}))
    assert main([*common, "run", "base", "wide", "--minutes", "0.1", "0.2", *folder]) == 0
    scores = json.loads((small / "runs" / "scores.json").read_text())
    assert {row: {m: found["steps"] for m, found in own.items()} for row, own in scores.items()} == {
        "base": {"0.1": 6, "0.2": 12},
        "wide": {"0.1": 3, "0.2": 6},
    }
    assert scores["wide"]["0.2"]["species"] == 64
    assert load_decoder(small / "runs" / "wide-0.2" / "step-00000006").image_size == 64
    capsys.readouterr()
    assert main([*common, "table", *folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4
    assert lines[2].startswith("| base | 1000 | 0.1 | 6 | 32.0 |")
    assert len({line.count("|") for line in lines}) == 1


def test_an_interrupted_row_has_no_score_and_goes_on(small, monkeypatch, capsys):
    monkeypatch.setattr(study_module, "score", lambda model, decoder: dict.fromkeys(SCORES, 1.0))
    folder = small / "runs"
    folder.mkdir()
    (folder / "times.json").write_text('{"base": 1000.0}')
    command = [str(small / "two.yaml"), "run", "base", "--minutes", "0.1", "--folder", str(folder)]
    finish_step = DecoderTrainer.finish_step

    def signalled(trainer, numbers, due):
        finish_step(trainer, numbers, due)
        if trainer.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(DecoderTrainer, "finish_step", signalled)
        assert main(command) == 1
    assert re.search("base was stopped after step [23] of 6: run it again", capsys.readouterr().err)
    assert not (folder / "scores.json").exists()
    assert main(command) == 0
    assert json.loads((folder / "scores.json").read_text())["base"]["0.1"]["steps"] == 6


SCORES = [f"{given}{name}" for given in ("", "target tokens: ", "pooled: ") for name in ("species", "part", "facing")]
SCORES.append("kernel distance")


def test_wrong_studies_are_refused(small, capsys):
    assert main(["nonesuch", "table"]) == 1
    assert "pixels, tokens, or a file of rows" in capsys.readouterr().err
    (small / "wrong.yaml").write_text("rows: {}\n")
    assert main([str(small / "wrong.yaml"), "table"]) == 1
    assert "the keys base and rows" in capsys.readouterr().err
    (small / "typo.yaml").write_text(yaml.safe_dump({"base": "base.yaml", "rows": {"a": ["optimization.lrr=1"]}}))
    assert main([str(small / "typo.yaml"), "table"]) == 1
    assert "optimization.lr" in capsys.readouterr().err


def test_the_command_checks_before_it_writes(small, capsys):
    folder, rows = small / "none", str(small / "two.yaml")
    commands = {
        ("run", "base", "--minutes", "inf"): "--minutes are above 0, got inf",
        ("run", "base"): "times.json yet: the command `time`",
        ("run", "nonesuch"): "There is no row 'nonesuch'",
        ("time", "nonesuch"): "There is no row 'nonesuch'",
        ("table",): "times.json yet: the command `time`",
    }
    for command, words in commands.items():
        assert main([rows, *command, "--folder", str(folder)]) == 1
        assert words in capsys.readouterr().err
    assert not folder.exists()
    for text, words in {"base: [": "is no YAML", "base: a\nrows: [b]": "rows is a mapping"}.items():
        (small / "odd.yaml").write_text(text)
        assert main([str(small / "odd.yaml"), "table"]) == 1
        assert words in capsys.readouterr().err


def test_every_row_has_a_time_in_milliseconds(small):
    times = time_rows(Study.read(small / "two.yaml", small / "runs"), ["base", "wide"])
    assert all(re.fullmatch(r"\d+\.\d", str(value)) for value in times.values())
    assert all(value > 0 for value in times.values())


def test_times_are_of_holes_of_the_average_size(small):
    config = Study.read(small / "two.yaml", small / "runs").config("base", 1)
    trainer = DecoderTrainer(config)
    seen = [trainer.source.pictures(step)[1].targets.shape[2] for step in range(300)]
    assert average_patches(trainer) == pytest.approx(sum(seen) / len(seen), rel=0.15)


def test_a_score_reads_single_samples(small, decoder):
    model = load_model(small / "ijepa")
    decoder.config = DecoderConfig("ijepa", fingerprint(model), steps=2)
    save_decoder(decoder, small / "decoder")
    found = score(model, load_decoder(small / "decoder"), train=128, test=40, epochs=10)
    assert set(found) == set(SCORES) | {f"{given}colour" for given in ("", "target tokens: ", "pooled: ")}
    assert all(0 <= value <= 100 for name, value in found.items() if name != "kernel distance")
    assert found["kernel distance"] > 0
