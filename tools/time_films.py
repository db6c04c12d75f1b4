"""Speed of drawing ``menagerie-film``: clips a second, in one process and in one a core.

``python tools/time_films.py [--clips 600] [--size 64] [--frames 16] [--json FILE]``
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

from ijepa_viz.data.menagerie import films
from ijepa_viz.data.menagerie.film_plan import plan


def measure(clips: int, size: int, frames: int) -> dict[str, float]:
    """Clips a second by the clock, and by the processor's time, which other work on the machine changes little.

    The processes' own start, imports included, is part of what all cores take.
    """
    films(0, 20, size, frames=frames)  # sprites are recorded once a process
    first, count = 1000, min(clips, 100)
    started = time.process_time()
    for index in range(first, first + count):
        films(index, index + 1, size, frames=frames)
    alone = count / (time.process_time() - started)
    started, children = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    films(2000, 2000 + clips, size, frames=frames)
    together = clips / (time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    cores = os.cpu_count() or 1
    plan.cache_clear()
    started = time.process_time()
    for index in range(first, first + count):
        plan(index, 0, frames)
    planned = count / (time.process_time() - started)
    return {
        "clips": clips,
        "size": size,
        "frames": frames,
        "cores": cores,
        "clips_per_cpu_second_one_process": round(alone, 1),
        "clips_per_second_all_cores": round(together, 1),
        "clips_per_second_all_cores_if_idle": round(clips * cores / busy, 1) if busy else round(together, 1),
        "plans_per_cpu_second": round(planned, 1),
    }


def main() -> None:
    """Measure, print, and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=600, help="of the measurement with all cores")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--json", type=Path, help="write the numbers there")
    options = parser.parse_args()
    found = measure(options.clips, options.size, options.frames)
    for name, value in found.items():
        print(f"{name:36}{value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
