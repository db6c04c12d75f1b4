"""What an installation holds: one version, typed packages, weights, configs, scripts and notebooks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import ijepa_viz
from ijepa_viz.cli import lab, main

ROOT = Path(__file__).parent.parent
PACKAGES = ("ijepa_viz", "train", "decoders")
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_in_one_place(capsys):
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "ijepa_viz.__version__"}
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ijepa-viz {ijepa_viz.__version__}\n"
    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert newest.split()[1] == ijepa_viz.__version__


def test_every_package_is_installed():
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    found = {".".join(f.parent.relative_to(ROOT).parts) for p in PACKAGES for f in (ROOT / p).rglob("__init__.py")}
    assert listed == found | {"ijepa_viz_notebooks"}


def recorded(monkeypatch):
    """The commands that ``ijepa-viz lab`` would run."""
    commands = []
    monkeypatch.setattr(lab.subprocess, "call", lambda command: commands.append(command) or 0)
    return commands


def test_lab_of_a_clone_opens_its_own_notebooks(monkeypatch, tmp_path):
    commands = recorded(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--no-browser"]) == 0
    assert f"--ServerApp.root_dir={ROOT / 'notebooks'}" in commands[0]
    assert "--no-browser" in commands[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--folder", "lessons/mine"]])
def test_lab_of_an_installation_copies_the_notebooks_and_overwrites_nothing(monkeypatch, tmp_path, capsys, arguments):
    commands = recorded(monkeypatch)
    monkeypatch.setattr(lab, "cloned_notebooks", lambda: None)
    monkeypatch.setattr(lab, "installed_notebooks", lambda: ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / Path(*arguments[1:])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOTEBOOKS[2]).write_text("my own answers")
    assert main(["lab", *arguments]) == 0
    assert f"--ServerApp.root_dir={folder}" in commands[0]
    assert f"{len(NOTEBOOKS) - 1} notebooks copied" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == NOTEBOOKS
    assert (folder / NOTEBOOKS[2]).read_text() == "my own answers"
    assert (folder / NOTEBOOKS[0]).read_bytes() == (ROOT / "notebooks" / NOTEBOOKS[0]).read_bytes()


def test_lab_without_notebooks_is_an_error(monkeypatch, tmp_path, capsys):
    recorded(monkeypatch)
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(lab, "cloned_notebooks", lambda: tmp_path / "empty")
    assert main(["lab", "--folder", str(tmp_path / "to")]) == 1
    assert "install the project anew" in capsys.readouterr().err


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the project, built without network from a copy, so that no build folder is left in the clone."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "notebooks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", str(copy)]
    subprocess.run([*build, "--wheel-dir", str(out)], check=True)
    (found,) = out.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_everything_that_is_used_without_a_clone(wheel):
    assert wheel.name == f"ijepa_viz-{ijepa_viz.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"ijepa_viz_notebooks/{name}" for name in NOTEBOOKS} | {f"{package}/py.typed" for package in PACKAGES}
    for pattern in (
        "ijepa_viz/weights/**/*",
        "ijepa_viz/widgets/*.js",
        "train/configs/*.yaml",
        "decoders/configs/*.yaml",
    ):
        matching = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern) if path.is_file()}
        assert matching, pattern
        wanted |= matching
    for package in PACKAGES:
        wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
    assert wanted <= names
    assert not {name for name in names if name.startswith(("tests/", "tools/", "docs/", "notebooks/"))}


@pytest.mark.slow
def test_an_installed_wheel_runs_elsewhere(wheel, tmp_path):
    """The wheel alone on the path, far from the clone: the version, the bundled model, the notebooks."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True)
    program = """
import json, sys
from pathlib import Path
import ijepa_viz
from ijepa_viz.cli import lab
assert lab.cloned_notebooks() is None
written = lab.copy_notebooks(Path("lessons"))
print(json.dumps([ijepa_viz.__file__, ijepa_viz.load_model("menagerie-tiny").config.width, [p.name for p in written]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home, width, written = json.loads(done.stdout.splitlines()[-1])
    assert Path(home).is_relative_to(site)
    assert width == ijepa_viz.load_model("menagerie-tiny").config.width
    assert written == NOTEBOOKS
