"""The rules of the house: who may import whom, and files that must agree."""

from __future__ import annotations

import ast
import graphlib
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


def test_errors_that_a_user_can_mend_are_printed_in_one_place():
    """``command_line.attempt``, and the parser of ``ijepa-viz``, which has a status of its own for each cause."""
    own = re.compile(r"except [^\n]*Error[^\n]* as error:\n\s+print\(f?\"[^\n]*file=sys\.stderr\)\n\s+return 1\n")
    found = {str(path.relative_to(ROOT)) for path in FILES if own.search(path.read_text(encoding="utf-8"))}
    assert found == {"ijepa_viz/runtime/command_line.py", "ijepa_viz/cli/parser.py"}


# The rooms from the ground up: a room imports those before it, nothing of its own row and nothing after. Files and
# folders not named belong to the room that holds them.
FLOORS = [
    ("ijepa_viz.registry", "ijepa_viz.runtime"),
    ("ijepa_viz.data",),
    ("ijepa_viz.data.menagerie",),
    ("ijepa_viz.masks",),
    ("ijepa_viz.models",),
    ("ijepa_viz.checkpoints", "ijepa_viz.examples"),
    ("ijepa_viz.prediction",),
    ("ijepa_viz.film_prediction",),
    ("ijepa_viz.probes",),
    ("ijepa_viz.figures",),
    ("ijepa_viz.inspections",),
    ("ijepa_viz.widgets",),
    ("ijepa_viz",),
    ("train.config", "decoders.networks"),
    ("decoders.sampling",),
    ("train.sharding", "train.schedules", "train.regularizers", "train.optimizer", "decoders.sampling", "decoders.config"),
    ("train.ema", "train.monitor", "train.cues", "decoders.pipeline"),
    ("decoders.decoder",),
    ("train.objectives", "decoders.loading", "decoders.blocks"),
    ("decoders.shared_pixels",),
    ("train.reference_yaml", "decoders.training", "decoders.evaluation"),
    ("train.planning", "train.encoded"),
    ("train.trainer",),
    ("train.reports", "train.benchmark", "train.distributed", "train", "decoders"),
    ("ijepa_viz.cli",),
]  # fmt: skip
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}


def imports(module: str) -> set[str]:
    """The project's modules that a module imports, at its top or late."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            found |= {name} - {"", module}
    return found


IMPORTS = {module: imports(module) for module in MODULES}


def room(module: str) -> str:
    """The longest name of the table that a module's name begins with."""
    while module not in FLOOR:
        module = module.rpartition(".")[0]
    return module


def allowed(importing: str, imported: str) -> bool:
    """Whether one room may import another by the table; ``train`` and ``decoders`` never meet."""
    if {importing.split(".")[0], imported.split(".")[0]} == {"train", "decoders"}:
        return False
    if importing == "ijepa_viz.cli":
        return imported.split(".")[0] != "train"
    return importing == imported or FLOOR[importing] > FLOOR[imported]


def test_every_import_points_downward():
    for module, found in IMPORTS.items():
        for other in sorted(found):
            assert allowed(room(module), room(other)), f"{module} imports {other}"


def test_no_two_files_and_no_two_folders_import_each_other():
    def folder(module: str) -> str:
        nested = MODULES[module].parent != ROOT / module.split(".")[0] or MODULES[module].name == "__init__.py"
        return ".".join(MODULES[module].parent.relative_to(ROOT).parts) if nested else module

    folders: dict[str, set[str]] = {}
    for module, found in IMPORTS.items():
        folders.setdefault(folder(module), set()).update({folder(m) for m in found} - {folder(module)})
    for graph in (IMPORTS, folders):
        tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("importing", "imported", "fine"),
    [("ijepa_viz.data", "ijepa_viz.masks", False), ("train.trainer", "decoders.blocks", False),
     ("ijepa_viz.cli", "decoders", True), ("ijepa_viz.cli", "train.config", False), ("ijepa_viz.widgets", "decoders", False)],
)  # fmt: skip
def test_the_table_forbids_what_it_should(importing, imported, fine):
    assert allowed(importing, imported) is fine


def test_every_file_that_registers_itself_can_be_the_first_to_be_imported():
    """Files that register themselves import each other: whoever comes first must not find half a module."""
    registering = [path for path in FILES if re.search(r"^@\w+\.register", path.read_text(), re.MULTILINE)]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in registering]
    assert "decoders.evaluation.ground_truth" in names
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
    extras = sorted(set(project["optional-dependencies"]) - {"docs", "hub", "latency"})
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
        "constraints.txt", "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", ".ci", ".gitignore", "docs", "tools", "mkdocs.yml",
        ".github",
    }  # fmt: skip
