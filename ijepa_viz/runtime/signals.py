"""Signals that end a run after the step that is under way, on all its processes together."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator


SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interruption:
    """Inside ``with``, SIGTERM, SIGUSR1 and SIGUSR2 are recorded, not acted on.

    Python lets only the main thread do so; in any other it does nothing.

    Attributes:
        signal: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def name(self) -> str:
        """The signal's name, as "SIGTERM"; "another process" where it came elsewhere."""
        return self.signal.name if self.signal else "another process"

    def message(self, step: int) -> str:
        """The line for the log of a run that saved after ``step``."""
        return f"Interrupted by {self.name} after step {step} and saved: go on with --resume."

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)


def any_process(accelerator: Accelerator, *flags: object) -> list[bool]:
    """Whether each flag is true on any process: all must leave a training's loop at the same step."""
    if accelerator.num_processes == 1:
        return [bool(flag) for flag in flags]
    import torch  # late: who starts the processes needs the signals only

    given = torch.tensor([float(bool(flag)) for flag in flags], device=accelerator.device)
    return [bool(count) for count in accelerator.reduce(given, "sum")]
