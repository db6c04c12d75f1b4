"""One process a device on this machine: start them, pass signals on, and end all of them when one dies.

torchrun was tried (2.15): it takes 2.4 s to start two processes where this takes 0.3, shows 48 lines for a failure of
one cause, and dies of the SIGUSR1 by which SLURM announces a time limit, before the run is saved.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO

from ijepa_viz.runtime.signals import SIGNALS

_GRACE = 10.0  # seconds between SIGTERM and SIGKILL

_LINGER = 120.0  # seconds that processes may go on after the first has finished: all finish together

_TAIL = 4000


def free_port() -> int:
    """A free TCP port on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(rank: int, devices: Sequence[str], port: int) -> dict[str, str]:
    """The environment variables of process ``rank``: its place among the others, and its devices.

    Raises:
        ValueError: devices of two kinds, a GPU twice, or no device of that name.
    """
    kinds = {device.partition(":")[0] for device in devices}
    if len(kinds) > 1 or not kinds <= {"cpu", "cuda"}:
        raise ValueError(f"--devices takes cpu, once a process, or cuda:0 cuda:1 ...; got {' '.join(devices)}.")
    found = {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(devices)),
        "LOCAL_WORLD_SIZE": str(len(devices)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    if kinds == {"cpu"}:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        found |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
        found["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // len(devices))))
    else:
        numbers = [device.partition(":")[2] or "0" for device in devices]
        if len(set(numbers)) < len(numbers) or not all(n.isdigit() for n in numbers):
            raise ValueError(f"--devices names every GPU once, as cuda:0 cuda:1; got {' '.join(devices)}.")
        found["CUDA_VISIBLE_DEVICES"] = ",".join(numbers)
    return found


def launch(devices: Sequence[str], command: Sequence[str]) -> int:
    """Run ``command`` once a device, as one distributed run; returns the exit status.

    Only the first process's output is shown. Where one fails, the others are ended and its stderr is shown; where one
    finishes and others do not follow within two minutes, they are ended too, and the status is 1.

    Raises:
        ValueError: as :func:`environment`.
    """
    port = free_port()
    settings = [{**os.environ, **environment(rank, devices, port)} for rank in range(len(devices))]
    with tempfile.TemporaryDirectory() as folder:
        files = [open(os.path.join(folder, str(rank)), "w+b") for rank in range(1, len(devices))]  # noqa: SIM115
        try:
            return _watch(devices, command, settings, files)
        finally:
            for file in files:
                file.close()


def _watch(
    devices: Sequence[str], command: Sequence[str], settings: Sequence[Mapping[str, str]], files: Sequence[IO[bytes]]
) -> int:
    processes: list[subprocess.Popen[bytes]] = []
    before = {}

    def pass_on(number: int, frame: object) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    try:
        for rank, variables in enumerate(settings):
            quiet = files[rank - 1] if rank else None
            processes.append(subprocess.Popen(command, env=dict(variables), stdout=quiet, stderr=quiet))
        before = {number: signal.signal(number, pass_on) for number in SIGNALS}
        first_end = None
        while True:
            states = [process.poll() for process in processes]
            failed = next((rank for rank, state in enumerate(states) if state), None)
            if failed is not None:
                break
            if all(state == 0 for state in states):
                return 0
            if 0 in states:
                first_end = first_end or time.monotonic()
                if time.monotonic() - first_end > _LINGER:
                    late = [rank for rank, state in enumerate(states) if state is None]
                    print(
                        f"Process {states.index(0)} of {len(devices)} finished, and after {_LINGER:.0f} s "
                        f"{', '.join(f'process {rank} ({devices[rank]})' for rank in late)} had not: ended. What was "
                        "saved is whole; go on from it with --resume.",
                        file=sys.stderr,
                    )
                    return 1
            time.sleep(0.1)
        # One failure often causes others: collect stderr of all failed ranks.
        time.sleep(0.5)
        failed_ranks = {rank: process.poll() for rank, process in enumerate(processes) if process.poll()}
        _end(processes)
        for rank, status in failed_ranks.items():
            print(f"Process {rank} of {len(devices)} ({devices[rank]}) ended with status {status}.", file=sys.stderr)
            if rank:
                files[rank - 1].seek(0)
                print(files[rank - 1].read()[-_TAIL:].decode(errors="replace"), file=sys.stderr)
        status = states[failed] or 1
        return status if status > 0 else 128 - status
    finally:
        _end(processes)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate the processes that still run, and kill those that do not end in time."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + _GRACE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
