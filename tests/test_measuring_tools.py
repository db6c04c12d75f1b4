"""The tools that measure features and the published size: they run, and what they promise holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(tool: str, out: Path, *options: str) -> dict:
    command = [sys.executable, str(ROOT / "tools" / tool), "--json", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


@pytest.mark.slow
def test_memory_of_features_does_not_grow_with_the_pictures(tmp_path):
    table = run("time_features.py", tmp_path / "memory.json", "--only", "memory")["memory_mib"]
    for ending, by_count in table.items():
        few, _, many = by_count.values()
        assert many < few + 12, f"{ending}: {by_count}"  # 4000 pictures' tokens are 63 MiB


@pytest.mark.slow
def test_features_are_not_slower_than_a_plain_loop(tmp_path):
    sizes = ["--pictures", "200", "--rounds", "4", "--width", "96", "--depth", "4"]
    table = run("time_features.py", tmp_path / "speed.json", "--only", "speed", *sizes)["speed"]
    assert table["largest_difference"] < 1e-4
    assert table["times, forward"]["pictures_a_cpu_second"] > 0.9  # noise of the machine
    assert table["times"]["pictures_a_cpu_second"] > 0.8


@pytest.mark.slow
def test_the_table_of_the_published_size_has_every_step(tmp_path):
    rows = run("huge.py", tmp_path / "rows.json", "--size", "tiny", "--out", str(tmp_path / "out"))
    names = ["load", "features", "maps", "retrieval", "attention", "decoder, 10 steps", "sampling at 128 px"]
    assert [row["name"] for row in rows] == names
    assert all(row["peak_gib"] > 0.1 and row["cpu_seconds"] > 0 for row in rows)
    assert all(row["planned_seconds"] > 0 for row in rows[1:])
