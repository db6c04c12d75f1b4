"""Drawing in several processes, each of which writes its share to stdout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from ijepa_viz.runtime.progress import Progress


def in_parallel(
    module: str,
    start: int,
    stop: int,
    arguments: Sequence[int],
    size: int,
    workers: int,
    what: str,
    unit: str,
) -> np.ndarray:
    """Distribute the drawings ``start`` to ``stop`` over processes; unlike a pool, this needs no guard in the caller.

    Args:
        module: run as ``python -m module START STOP ARGUMENTS...``; it writes raw uint8. size: bytes of one drawing.
        what, unit: for the progress bar.

    Returns:
        (n,) uint8, the bytes of all drawings in their order.

    Raises:
        subprocess.CalledProcessError: a process failed; its message is on stderr.
    """
    edges = np.linspace(start, stop, workers + 1).astype(int).tolist()

    def share(ends: tuple[int, int]) -> bytes:
        command = [sys.executable, "-m", module, *map(str, (*ends, *arguments))]
        drawn = []
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while drawing := process.stdout.read(size):
                drawn.append(drawing)
                bar.update()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return b"".join(drawn)

    with ThreadPoolExecutor(workers) as threads, Progress(what, stop - start, unit) as bar:
        parts = list(threads.map(share, pairwise(edges)))
    return np.frombuffer(b"".join(parts), np.uint8)
