"""Files that people ask for: the ending decides the format, and what cannot be written is said before work begins."""

from __future__ import annotations

import ast
import csv
import errno
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.figures import Figure, write_figure
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import cache_folder, read_json, read_text, write_file
from ijepa_viz.runtime.outputs import FIGURE_ENDINGS, as_csv, check_output, check_output_folder, write_table
from ijepa_viz.runtime.run_folder import RunConfig
from ijepa_viz.runtime.tensors import write_tensors

ROOT = Path(__file__).parent.parent

# How files of each format begin, as their specifications say.
MAGIC = {
    ".png": b"\x89PNG\r\n\x1a\n",
    ".pdf": b"%PDF-",
    ".svg": b"<?xml",
    ".jpg": b"\xff\xd8\xff",
    ".jpeg": b"\xff\xd8\xff",
    ".webp": b"RIFF",
}


@pytest.fixture
def figure():
    found = Figure("A line & a picture.", figsize=(3, 2))
    left, right = found.subplots(1, 2)
    left.plot([0, 1], [0, 1], label="Ä")
    right.imshow([[0, 1], [2, 3]])
    return found


@pytest.mark.parametrize("ending", [*FIGURE_ENDINGS, ".PNG"])
def test_the_ending_of_a_figure_decides_its_format(figure, ending, tmp_path):
    paths = [tmp_path / f"{name}{ending}" for name in "ab"]
    for path in paths:
        write_figure(path, figure)
    data = paths[0].read_bytes()
    assert data.startswith(MAGIC[ending.lower()])
    assert data == paths[1].read_bytes()  # no date, no random names
    if ending in (".pdf", ".svg"):
        # The alternative text; beyond ASCII, PDF has it in UTF-16.
        assert b"A line" in data or "A line".encode("utf-16-be") in data
    else:
        with Image.open(paths[0]) as image:
            assert image.size == (390, 260)
            assert np.asarray(image.convert("RGB")).std() > 1
    if ending == ".svg":
        from xml.etree import ElementTree

        ElementTree.fromstring(data)
    assert sorted(tmp_path.iterdir()) == paths  # no partial file is left


@pytest.mark.parametrize("name", ["x.gif", "x", "x.txt", "x.png.bak"])
def test_other_endings_of_figures_are_refused(figure, name, tmp_path):
    with pytest.raises(ValueError, match=r"the ending decides the format: \.png, \.pdf, \.svg"):
        write_figure(tmp_path / name, figure)
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_json_or_csv(tmp_path):
    table = {
        "model": {"accuracy": 0.5, "interval": {"low": 0.25, "high": 0.75}},
        "b,c": {"accuracy": 1, "seeds": [1, 2]},
    }
    write_table(tmp_path / "t.json", table)
    assert json.loads((tmp_path / "t.json").read_text()) == table
    write_table(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"name": "model", "accuracy": "0.5", "interval.low": "0.25", "interval.high": "0.75", "seeds": ""},
        {"name": "b,c", "accuracy": "1", "interval.low": "", "interval.high": "", "seeds": "[1, 2]"},
    ]
    flat = list(csv.DictReader(io.StringIO(as_csv({"chance": 0.1, "target_encoder": 0.5}))))
    assert flat == [{"chance": "0.1", "target_encoder": "0.5"}]
    with pytest.raises(ValueError, match=r"ends in \.xlsx"):
        write_table(tmp_path / "t.xlsx", table)


BLOCK = ["--block", "1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("figure.gif", "ends in .gif"),
        ("figure", "has no ending"),
        ("folder.png", "is a folder"),
        ("file/figure.png", "is a file and no folder"),
    ],
)
@pytest.mark.parametrize("command", [["look", "MODEL", "scene:0", "--inspection", "maps"], ["predict", "scene:0"]])
def test_an_output_that_cannot_be_written_is_refused_before_work_begins(command, out, words, tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    began = time.monotonic()
    try:  # a model that does not exist: it was not looked for yet
        status = main([*command, *BLOCK, "--out", str(tmp_path / out)])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert time.monotonic() - began < 2
    assert status in (1, 2)
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_folder_of_the_output_is_made(model, tmp_path, capsys):
    save_folder(model, tmp_path / "mine")
    out = tmp_path / "new" / "deeper" / "figure.pdf"
    command = ["look", str(tmp_path / "mine"), "scene:0", *BLOCK, "--inspection", "maps", "--limit", "8"]
    assert main([*command, "--block", "9", "9", "2", "2", "--out", str(out)]) == 1
    assert not out.parent.parent.exists()  # and is not left behind by a command that fails
    assert main([*command, "--out", str(out), "--device", "cpu"]) == 0
    assert out.read_bytes().startswith(b"%PDF")
    assert str(out) in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    """Root may write anywhere: the disk's refusal is imitated."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "something.partial")

    monkeypatch.setattr(Path, "touch", refuse)
    for check in (check_output, check_output_folder):
        with pytest.raises(OSError, match=r"new.* cannot be written: Permission denied in "):
            check(tmp_path / "new" / "figure.png")
    check_output(None)


def test_a_full_disk_names_the_wanted_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    import torch

    path = tmp_path / "table.json"
    write_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: write_file(path, b"new"), lambda: write_tensors(path, {"a": torch.zeros(2)})):
        with pytest.raises(OSError, match=r"table\.json could not be written \(No space left on device\)") as raised:
            write()
        assert "partial" not in str(raised.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cache", ["file/cache", "file"])
def test_a_cache_that_cannot_be_made_names_the_variable(cache, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(tmp_path / cache))
    with pytest.raises(OSError, match=f"cache folder {tmp_path}/{cache} could not be made.* Set IJEPA_VIZ_CACHE"):
        cache_folder()


def test_an_unwritable_home_names_the_variable(tmp_path, monkeypatch, capsys, model):
    """As in a container whose user has no home: the command ends with the mend, not with ENOENT."""
    save_folder(model, tmp_path / "mine")
    (tmp_path / "home").touch()
    monkeypatch.delenv("IJEPA_VIZ_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    command = ["look", str(tmp_path / "mine"), "scene:0", *BLOCK, "--inspection", "maps", "--limit", "8"]
    assert main([*command, "--out", str(tmp_path / "x.png")]) == 1
    said = capsys.readouterr().err
    assert "Set IJEPA_VIZ_CACHE" in said
    assert "Errno" not in said


def test_a_full_cache_names_the_variable(monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device\)\. Set IJEPA_VIZ_CACHE"):
        write_file(cache_folder() / "x.npy", b"data")


# --------------------------------------------------------------------------- text files and the locale

# A C locale in which Python neither coerces the locale nor turns to UTF-8 by itself.
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run_in_c_locale(program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env={**environment, **PLAIN}, capture_output=True, cwd=ROOT)


def test_a_config_with_umlauts_in_a_c_locale(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes('# Über größere Läufe\nfolder: "läufe/eins"\n'.encode())
    program = (
        "import sys, locale\n"
        "from ijepa_viz.runtime import config_files\n"
        "from ijepa_viz.runtime.run_folder import RunConfig\n"
        "assert 'utf' not in locale.getpreferredencoding(False).lower()\n"
        "print(ascii(config_files.load(RunConfig, sys.argv[1]).folder))\n"
    )
    done = run_in_c_locale(program, str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == ascii("läufe/eins")


def test_output_with_umlauts_in_a_c_locale(tmp_path):
    program = (
        "from ijepa_viz.cli.command import COMMANDS, Command\n"
        "from ijepa_viz.cli import main\n"
        "from ijepa_viz.runtime.command_line import attempt\n"
        "COMMANDS.register('umlauts')(Command('h', lambda p: None, lambda o: print('gr\\u00f6\\u00dfer') or 0))\n"
        "attempt('x', lambda: print('\\u2603'))\n"
        "raise SystemExit(main(['umlauts']))\n"
    )
    done = run_in_c_locale(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [rb"\u2603", rb"gr\xf6\xdfer"]


def test_text_files_of_other_encodings_are_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes("folder: läufe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"config\.yaml is not UTF-8 text \(byte 9\)"):
        config_files.load(RunConfig, path)
    path.write_bytes(b"\xef\xbb\xbffolder: runs/one\n")  # the byte order mark of Windows' editors
    assert config_files.load(RunConfig, path).folder == "runs/one"
    assert read_text(path) == "folder: runs/one\n"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa4"}')
    assert read_json(path) == {"a": "ä"}


def test_no_text_file_is_opened_in_the_locale_s_encoding():
    """Every read_text, write_text and open in text mode names its encoding."""
    found = []
    for path in [p for package in ("ijepa_viz", "train", "decoders", "tools") for p in (ROOT / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            # Our own read_text(path) is called without an owner.
            if (called == "read_text" and owner and not node.args) or (called == "write_text" and len(node.args) < 2):
                found.append(f"{path}:{node.lineno}")
            elif called == "open" and owner not in ("Image", "av", "os", "tarfile", "zipfile", "archive", "webbrowser"):
                words = [a.value for given in node.args for a in ast.walk(given) if isinstance(a, ast.Constant)]
                if not any(isinstance(word, str) and "b" in word for word in words):
                    found.append(f"{path}:{node.lineno}")
    assert found == []
