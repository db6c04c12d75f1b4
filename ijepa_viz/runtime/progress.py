"""Progress of whatever takes more than two seconds: a bar where somebody watches, a line every ten seconds in a log.

In a terminal and in notebooks it is tqdm's bar. Elsewhere (a log, CI, a pipe) stderr gets one line every ten seconds
from the whole process, however many loops are under way, and none for work of less than two seconds. A thread
watches the clock, so that a loop pays an addition a step, and so that long steps speak as well.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

QUIET = 2.0
"""Seconds before anything is shown."""

EVERY = 10.0
"""Seconds between two lines of a process."""

_LOOK_AGAIN = 0.5  # seconds between two looks at the clock


class Progress:
    """Progress of one loop, or of one piece of work without steps (``total`` None and no :meth:`update`).

    Args:
        description: what is done, such as "encoding images".
        total: steps in all; None if unknown. initial: steps done before, which count for no rate.
        unit: name of a step; "B" is bytes, shown as MB or GB. "" is work without steps.
        disable: show nothing. On all but the first process of a machine (``LOCAL_RANK``) nothing is shown anyway.
        watch: clock and list of the progresses under way; None is that of the process.

    >>> with Progress("encoding images", total=4096, unit="img") as bar:
    ...     for _ in range(4096 // 64):
    ...         bar.update(64)
    """

    def __init__(
        self,
        description: str,
        total: int | None = None,
        unit: str = "",
        initial: int = 0,
        disable: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.initial = self.done = initial
        self._note = ""
        self._bar: Any = None
        self._watch: Watch | None = None
        if disable or sys.stderr is None or os.environ.get("LOCAL_RANK", "0") != "0":
            return
        if os.environ.get("TQDM_DISABLE", "") not in ("", "0"):
            return
        in_notebook = watch is None and _in_notebook()
        if in_notebook or (watch is None and sys.stderr.isatty()):
            self._bar = _tqdm(in_notebook)(
                total=total,
                initial=initial,
                desc=description,
                unit=unit,
                unit_scale=unit == "B",
                delay=QUIET,
                leave=None,
                dynamic_ncols=not in_notebook,
                bar_format=None if unit else "{desc}, {elapsed} so far",
            )
        if not in_notebook:  # a notebook's bar is a widget, which another thread must not touch
            self._watch = watch or _watch
            self.started = self._watch.clock()
            self._watch.add(self)

    def update(self, count: int = 1) -> None:
        """Count ``count`` more steps."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)

    def note(self, **values: str) -> None:
        """Show these values, such as ``loss="0.312"``, beside the progress."""
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)  # the next update draws them
        elif self._watch:
            self._note = "".join(f", {name}={value}" for name, value in values.items())

    def close(self) -> None:
        """End of the work; a second call does nothing."""
        if self._watch:
            self._watch.remove(self)
            if self._bar is not None and self._watch.clock() - self.started >= QUIET:
                self._bar.last_print_t = self._bar._time()  # tqdm leaves a bar alone that it believes never shown
        if self._bar is not None:
            self._bar.close()
        self._bar = self._watch = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, now: float, outer: str) -> str | None:
        """Refresh the bar, or return the line for a log; ``outer`` is of the loops around this one."""
        if self._bar is not None:
            self._bar.refresh()
            return None
        return f"{outer}{self.line(now)}"

    def place(self) -> str:
        """Description and count, as "classifiers 2/4"."""
        count = f" {self.done}" + (f"/{self.total}" if self.total is not None else "")
        return self.description + count * bool(self.unit)

    def line(self, now: float) -> str:
        """The line for a log: description, done/total, rate and time left."""
        elapsed, steps = now - self.started, self.done - self.initial
        if not steps:
            count = f": {self.initial}/{self.total} {self.unit}" if self.total is not None else ""
            return f"{self.description}{count}, {_clock(elapsed)} so far{self._note}"
        # Slower than one a second is said the other way round.
        speed = f"{_amount(steps / elapsed, self.unit)}/s"
        if self.unit != "B" and steps < elapsed:
            speed = f"{elapsed / steps:.1f} s/{self.unit}"
        if self.total is None:
            count = _amount(self.done, self.unit)
            return f"{self.description}: {count}, {speed}, {_clock(elapsed)} so far{self._note}"
        left = max(0, self.total - self.done) * elapsed / steps
        done = _amount(self.done, self.unit).partition(" ")[0] if self.unit != "B" else _amount(self.done, "B")
        share = f" ({self.done / self.total:.0%})" if self.total else ""
        count = f"{done}/{_amount(self.total, self.unit)}{share}"
        return f"{self.description}: {count}, {speed}, {_clock(left)} left{self._note}"


def track(items: Iterable[T], description: str, unit: str = "step", total: int | None = None) -> Iterator[T]:
    """Iterate over ``items`` with a :class:`Progress`; ``total`` None is their length, where they have one.

    >>> [square for square in track([1, 4, 9], "squares")]
    [1, 4, 9]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(description, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


class Watch:
    """The progresses of a process, and the clock that says when they are shown.

    Args:
        clock: seconds. write: takes a line; None is stderr. threaded: look at the clock in a thread; False leaves
            :meth:`look` to the caller.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] | None = None,
        threaded: bool = True,
    ) -> None:
        self.clock, self._write, self._threaded = clock, write or _to_stderr, threaded
        self._active: list[Progress] = []
        self._next_line = float("-inf")
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def add(self, progress: Progress) -> None:
        """Begin to watch."""
        with self._lock:
            self._active.append(progress)
            if self._threaded and not (self._thread and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._look_on, name="progress", daemon=True)
                self._thread.start()
            self._wake.set()

    def remove(self, progress: Progress) -> None:
        """Watch no longer."""
        with self._lock:
            if progress in self._active:  # not in a process forked since
                self._active.remove(progress)

    def look(self) -> None:
        """Show what has been under way for two seconds, if it is time for it."""
        with self._lock:
            now = self.clock()
            shown = [one for one in self._active if now - one.started >= QUIET]
            if not shown:
                return
            outer = "".join(f"{one.place()}, " for one in shown[:-1])
            lines = [one.show(now, outer if one is shown[-1] else "") for one in shown]
            # The innermost loop's line holds the places of the others.
            if lines[-1] is not None and now >= self._next_line:
                self._next_line = now + EVERY
                self._write(lines[-1])

    def _look_on(self) -> None:
        while True:
            with self._lock:
                if not self._active:
                    self._wake.clear()
            self._wake.wait()
            time.sleep(_LOOK_AGAIN)
            self.look()

    def forget(self) -> None:
        """Start anew in a forked process, which has neither the thread nor a lock that another thread may hold."""
        self._lock, self._wake, self._thread, self._active = threading.Lock(), threading.Event(), None, []


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


def _tqdm(in_notebook: bool) -> Any:
    if not in_notebook:
        from tqdm import tqdm

        return tqdm
    with warnings.catch_warnings():  # without ipywidgets it is a line of text, which serves as well
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm as bar

    return bar


def _amount(value: float, unit: str) -> str:
    if unit == "B":
        for prefix in ("", "k", "M", "G"):
            if value < 1000 or prefix == "G":
                return f"{value:.1f} {prefix}B"
            value /= 1000
    return f"{value:.1f} {unit}" if isinstance(value, float) else f"{value} {unit}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


_watch = Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch.forget)
