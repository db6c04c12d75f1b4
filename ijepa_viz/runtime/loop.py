"""The loop of a training: steps, time limit, signals, moments to save, log, trackers and progress bar.

A trainer subclasses :class:`TrainingLoop` and writes two methods: one optimizer step, and what follows it.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.precision import accelerator, choose_precision
from ijepa_viz.runtime.run_folder import RunConfig, RunFolder
from ijepa_viz.runtime.signals import Interruption, any_process
from ijepa_viz.runtime.trackers import Trackers, tracker_names


@dataclass(frozen=True)
class Due:
    """The decisions after a step, the same on all processes.

    Attributes:
        interrupted: a signal came: a scheduler waits for seconds only, so save and do nothing else.
        stop: a signal, or the time limit.
        last: no step follows: ``stop``, or the last step of the schedule.
        save: a checkpoint is to be written.
        timers: names of the trainer's own timers that ran out.
    """

    interrupted: bool
    stop: bool
    last: bool
    save: bool
    timers: frozenset[str]


class TrainingLoop(ABC):
    """A training that runs for a number of steps and can be interrupted and resumed at any of them.

    Args:
        config: the whole config, written to the run folder; ``config.run`` is a :class:`RunConfig`.
        columns: of ``log.csv``.
        steps: optimizer steps in all. examples_per_step: over all processes. unit: what examples are, for the log.
        resume: go on from the newest checkpoint.
        timers: name -> minutes, of further moments that the main process decides on and all must learn of.
        shown: what the progress bar shows.

    Attributes:
        step, seconds: so far, runs before a resume included. A subclass restores them from its checkpoint.
        interrupted: whether a signal ended :meth:`run`.

    Raises:
        FileExistsError, FileNotFoundError: as :class:`RunFolder`.
        ValueError: an unknown precision, or a tracker that is unknown or not installed.
    """

    def __init__(
        self,
        config: Any,
        columns: Sequence[str],
        steps: int,
        examples_per_step: int,
        unit: str,
        resume: bool,
        timers: Mapping[str, float] | None = None,
        shown: Sequence[str] = ("loss",),
    ) -> None:
        self.config = config
        self.steps, self.examples_per_step, self.unit, self.shown = steps, examples_per_step, unit, shown
        run: RunConfig = config.run
        self.folder = RunFolder(run.folder, columns, resume)
        self.precision = choose_precision(run.precision)
        self._tracker_names = tracker_names(run.log_with)
        self.accelerator = accelerator(self.precision)
        self.step, self.seconds, self.interrupted = 0, 0.0, False
        self._minutes = {**(timers or {}), "save": run.save_every_minutes}
        self._trackers: Trackers | None = None
        self._speed = 0.0

    @abstractmethod
    def update(self, step: int) -> dict[str, float]:
        """One optimizer step; returns what the log shows, averaged over the processes."""

    @abstractmethod
    def finish_step(self, numbers: dict[str, float], due: Due) -> None:
        """Evaluate, log and save, as ``due`` says; :attr:`step` counts the step that was just taken."""

    def start(self) -> None:
        """Prepare the run folder; on the main process only."""
        self.folder.start(config_files.dump(self.config), self.step)

    def log(self, numbers: Mapping[str, float]) -> None:
        """Append a row to ``log.csv`` and to the trackers; on the main process, elsewhere it does nothing."""
        if not self.accelerator.is_main_process:
            return
        row = {"step": self.step, "minutes": self.seconds / 60, **numbers, f"{self.unit}_per_s": self._speed}
        self.folder.log(row)
        if self._trackers:
            self._trackers.log(row, self.step)

    def run(self, max_minutes: float | None = None) -> Path:
        """Train to the last step, or for ``max_minutes`` of this call; returns the checkpoint.

        SIGTERM, SIGUSR1 and SIGUSR2 save and end it after the step that is under way.
        """
        main = self.accelerator.is_main_process
        if main:
            self.start()
            self._trackers = Trackers(self._tracker_names, self.folder.path, self.step)
        try:
            with Interruption() as received:
                self._run_steps(max_minutes, received)
        finally:
            if self._trackers:
                self._trackers.close()
        if self.interrupted and main:
            print(received.message(self.step), file=sys.stderr)
        self.accelerator.wait_for_everyone()
        return self.folder.checkpoints()[-1]

    def _run_steps(self, max_minutes: float | None, received: Interruption) -> None:
        main = self.accelerator.is_main_process
        first, before = self.step, self.seconds
        started = time.monotonic()
        fired = dict.fromkeys(self._minutes, started)
        with tqdm(
            total=self.steps,
            initial=self.step,
            unit="step",
            disable=not self.accelerator.is_local_main_process,
            mininterval=1.0,
        ) as bar:
            while self.step < self.steps:
                numbers = self.update(self.step)
                self.step += 1
                now = time.monotonic()
                self.seconds = before + now - started
                self._speed = (self.step - first) * self.examples_per_step / (now - started)
                bar.update()
                bar.set_postfix({name: f"{numbers[name]:.3f}" for name in self.shown if name in numbers})
                over = max_minutes is not None and now - started > 60 * max_minutes
                # The clocks of processes differ: the main one's decides.
                out = [main and now - fired[name] > 60 * minutes for name, minutes in self._minutes.items()]
                self.interrupted, over, *out = any_process(self.accelerator, received.signal, over, *out)
                timers = frozenset(name for name, ran_out in zip(self._minutes, out, strict=True) if ran_out)
                stop = self.interrupted or over
                last = stop or self.step == self.steps
                self.finish_step(numbers, Due(self.interrupted, stop, last, last or "save" in timers, timers))
                fired.update(dict.fromkeys(timers, time.monotonic()))
                if stop:
                    break
