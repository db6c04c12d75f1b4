"""The rules of the house: who may import whom, and files that must agree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGES = ("ijepa_viz", "train", "decoders")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_nothing_imports_upward():
    for path in FILES:
        room = path.relative_to(ROOT).parts[0]
        forbidden = {
            "ijepa_viz": {"train", "decoders"},
            "train": {"decoders"},
            "decoders": {"train"},
        }[room]
        if path.name == "cli.py":
            forbidden = {"train"}
        for name in imports(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


# Low to high: a module may import those before it, not those after.
FLOORS = [
    ("registry",), ("masks", "mask_strategies"), ("model",), ("strict_config", "precision"), ("foreign_names",), ("checkpoints",), ("run_folder", "training_cli", "prediction", "costs"),
    ("probes",), ("figures",), ("demo",), ("widgets",), ("cli",),
]  # fmt: skip


def test_the_library_builds_upward():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    for path in (ROOT / "ijepa_viz").rglob("*.py"):
        own = path.relative_to(ROOT / "ijepa_viz").parts[0].removesuffix(".py")
        if own not in floor:
            continue
        tree = ast.parse(path.read_text())
        top = {n.module for n in tree.body if isinstance(n, ast.ImportFrom) and n.module}
        for name in top:
            parts = name.split(".")
            if parts[0] == "ijepa_viz" and len(parts) > 1 and parts[1] in floor and parts[1] != own:
                assert floor[parts[1]] <= floor[own], f"{path} imports {name}"


def test_every_file_that_registers_itself_can_be_the_first_to_be_imported():
    """Files that register themselves import each other: whoever comes first must not find half a module."""
    registering = [path for path in FILES if re.search(r"^@\w+\.register", path.read_text(), re.MULTILINE)]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in registering]
    assert "decoders.ground_truth" in names
    # Each in a process of its own, forked after the libraries are imported once.
    program = """
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for known in [m for m in sys.modules if m.split(".")[0] in ("ijepa_viz", "train", "decoders")]:
    del sys.modules[known]
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        importlib.import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name} cannot be the first one")
"""
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-1500:]


def test_no_room_without_a_name():
    for path in FILES:
        assert path.stem not in {"utils", "helpers", "misc", "common", "core", "base"}
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} does not say what it owns"
        assert len(path.read_text().splitlines()) <= 480, f"{path} is too long: split it by idea"


def test_no_silent_loading_and_no_unsafe_unpickling():
    for path in FILES:
        text = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
        assert "strict=False" not in re.sub(r"zip\([^()]*(\([^()]*\)[^()]*)*strict=False\)", "", text), path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, f"{path}: {call}"


def test_environment_equals_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == project["name"]
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    lowest = project["requires-python"].removeprefix(">=")
    assert plain == [f"python={lowest}", "pip"]
    extras = sorted(set(project["optional-dependencies"]) - {"hub", "latency"})
    assert pip == ["-c constraints.txt", f"-e .[{','.join(extras)}]"]


def test_every_dependency_is_pinned_within_its_range():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        requirement = Requirement(line)
        pins[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    wanted = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    for text in wanted:
        requirement = Requirement(text)
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, text


def test_top_level_is_the_agreed_one():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {"notebooks", "ijepa_viz", "train", "decoders", "tests", "environment.yml", "README.md"} <= top
    assert top <= {
        "notebooks", "ijepa_viz", "train", "decoders", "tests", "environment.yml", "README.md", "pyproject.toml",
        "constraints.txt", "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", ".ci", ".gitignore",
    }  # fmt: skip
