"""The loop of a training: lock, steps, time limit, signals, moments to save, log, trackers and progress bar.

A trainer subclasses :class:`TrainingLoop` and writes two methods: one optimizer step, and what follows it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar

from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.device import check_compiler
from ijepa_viz.runtime.folder_lock import FolderLock
from ijepa_viz.runtime.precision import accelerator, choose_precision
from ijepa_viz.runtime.progress import Progress
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
        resume_anyway: the same, also with settings that the run so far did not have; they are named.
        timers: name -> minutes, of further moments that the main process decides on and all must learn of.
        shown: what the progress bar shows.

    Attributes:
        step, seconds, examples, device_seconds: so far, runs before a resume included; the last one is summed over
            the processes. A subclass restores what it reports from its checkpoint.
        interrupted: whether a signal ended :meth:`run`.
        lock: of the run's folder, from here to the end of :meth:`run`; of the main process only.

    Raises:
        FileExistsError, FileNotFoundError: as :class:`RunFolder` and :class:`FolderLock`.
            The latter also for a missing compiler.
        ValueError: an unknown precision, or a tracker that is unknown or not installed.
    """

    # Patterns of settings that may differ when a run is resumed, the latter with a word; all others need resume_anyway.
    UNSAID: ClassVar[tuple[str, ...]] = ("run.folder", "run.log_every", "run.log_with", "run.save_every_minutes")
    SAID: ClassVar[tuple[str, ...]] = ("run.precision", "run.compile", "optimization.steps")

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
        resume_anyway: bool = False,
    ) -> None:
        if steps < 1:  # before anything is written
            raise ValueError(f"optimization.steps must be at least 1, got {steps}.")
        self.config = config
        self.steps, self.examples_per_step, self.unit, self.shown = steps, examples_per_step, unit, shown
        run: RunConfig = config.run
        self.resume_anyway = resume_anyway
        self.precision = choose_precision(run.precision)
        self._tracker_names = tracker_names(run.log_with)
        self.accelerator = accelerator(self.precision)
        if run.compile:
            check_compiler(self.accelerator.device)
        self.lock = FolderLock(run.folder)
        self._acquire()
        with self.lock.released_on_error():
            self.folder = RunFolder(run.folder, columns, resume or resume_anyway)
        self.step, self.seconds, self.interrupted = 0, 0.0, False
        self.examples, self.device_seconds = 0, 0.0
        self._minutes = {**(timers or {}), "save": run.save_every_minutes}
        self._trackers: Trackers | None = None
        self._speed = 0.0
        self._said: list[str] = []

    @abstractmethod
    def update(self, step: int) -> dict[str, float]:
        """One optimizer step; returns what the log shows, averaged over the processes."""

    @abstractmethod
    def finish_step(self, numbers: dict[str, float], due: Due) -> None:
        """Evaluate, log and save, as ``due`` says; :attr:`step` counts the step that was just taken."""

    def start(self) -> None:
        """Prepare the run folder; on the main process only."""
        self.folder.start(config_files.dump(self.config), self.step)

    def _acquire(self) -> None:
        """Lock the folder on the main process; where that is refused, all processes raise."""
        refusal: OSError | None = None
        if self.accelerator.is_main_process:
            try:
                self.lock.acquire()
            except OSError as error:
                refusal = error
        if any_process(self.accelerator, refusal is not None)[0]:
            raise refusal or FileExistsError(f"{self.lock.folder} is in use, as the main process says.")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock in the block, and free it at its end."""
        self._acquire()
        try:
            yield
        finally:
            self.lock.release()

    def compare_settings(self, saved: Mapping[str, Any], found: Path, ignored: Sequence[str] = ()) -> list[str]:
        """Settings that differ from those of the checkpoint in words, without those that may differ.

        Of the latter, those of :attr:`SAID` are said when :meth:`run` begins.

        Args:
            saved: the checkpoint's config as nested dicts. found: the checkpoint.
            ignored: patterns of settings that are compared otherwise.

        Raises:
            ValueError: settings that today's code does not know, unless ``resume_anyway``.
        """
        try:
            before = config_files.flat(config_files.build(type(self.config), saved, f"The settings in {found}"))
        except ValueError as error:
            if self.resume_anyway:
                return [str(error)]
            raise ValueError(f"{error}\nThey cannot be compared with those given; --resume-anyway goes on.") from error
        now = config_files.flat(self.config)
        differ = {key: f"{key}: {before[key]!r} before, {now[key]!r} now" for key in now if before[key] != now[key]}

        def among(key: str, patterns: Sequence[str]) -> bool:
            return any(fnmatch(key, pattern) for pattern in patterns)

        # Said where the run goes on: here it may still be refused.
        self._said = [words for key, words in differ.items() if among(key, self.SAID)]
        allowed = (*self.SAID, *self.UNSAID, *ignored)
        return [words for key, words in differ.items() if not among(key, allowed)]

    def refuse_changes(self, changes: Sequence[str]) -> None:
        """Refuse to resume a run that differs from what it was, or with ``resume_anyway`` say in what.

        Raises:
            ValueError: there are ``changes`` and ``resume_anyway`` is False.
        """
        if not changes:
            return
        listed = "".join(f"\n  {words}" for words in changes)
        if not self.resume_anyway:
            raise ValueError(
                f"The run in {self.folder.path} is not what it was:{listed}\nResume it with what it had "
                f"({self.folder.path / 'config.yaml'}), or with --resume-anyway."
            )
        if self.accelerator.is_main_process:
            print(f"Resuming {self.folder.path} anyway:{listed}", file=sys.stderr)

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
        with self.locked():
            return self._run(max_minutes)

    def _run(self, max_minutes: float | None) -> Path:
        main = self.accelerator.is_main_process
        if self.step >= self.steps and self.folder.resume_from:  # nothing is written
            if main:
                print(
                    f"{self.folder.path} is finished: step {self.step} of {self.steps}. "
                    "To train further, raise optimization.steps.",
                    file=sys.stderr,
                )
                for words in self._said:
                    print(f"Its checkpoint stays as it is, without {words}.", file=sys.stderr)
            return self.folder.checkpoints()[-1]
        if main:
            for words in self._said:
                print(f"Resuming with another setting, {words}.", file=sys.stderr)
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
        first, before, before_all = self.step, self.seconds, self.device_seconds
        started = time.monotonic()
        fired = dict.fromkeys(self._minutes, started)
        hidden = not self.accelerator.is_local_main_process
        with Progress("training", self.steps, "step", initial=self.step, disable=hidden) as bar:
            while self.step < self.steps:
                numbers = self.update(self.step)
                self.step += 1
                now = time.monotonic()
                self.examples += self.examples_per_step
                self.seconds = before + now - started
                self.device_seconds = before_all + (now - started) * self.accelerator.num_processes
                self._speed = (self.step - first) * self.examples_per_step / (now - started)
                bar.update()
                bar.note(**{name: f"{numbers[name]:.3f}" for name in self.shown if name in numbers})
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
