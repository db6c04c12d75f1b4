"""Experiment trackers beside ``log.csv``: TensorBoard, Weights & Biases and others, through accelerate."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = "ijepa_viz"


def tracker_names(log_with: str) -> list[str]:
    """The trackers that a config's ``run.log_with`` asks for.

    Args:
        log_with: "auto" is TensorBoard where it is installed; "none"; or names of accelerate's trackers, separated by
            commas: tensorboard, wandb, mlflow, ...

    Raises:
        ValueError: an unknown name, or a tracker that is not installed.
    """
    if log_with == "auto":
        return ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    if log_with == "none":
        return []
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    names = [name.strip() for name in log_with.split(",")]
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            near = difflib.get_close_matches(name, LOGGER_TYPE_TO_CLASS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join(["auto", "none", *LOGGER_TYPE_TO_CLASS])
            raise ValueError(f"No tracker {name!r} (run.log_with); there are {known}.{hint}")
        if name not in installed:
            raise ValueError(f"run.log_with: {name} is not installed here: pip install {name}.")
    return names


class Trackers:
    """Open trackers of one run.

    Args:
        names: as :func:`tracker_names` gives them.
        folder: of the run; TensorBoard's events go there.
        step: from which a resumed run goes on: TensorBoard hides events past it, as their rows leave the log.
    """

    def __init__(self, names: Sequence[str], folder: Path, step: int) -> None:
        self._open = []
        if not names:
            return
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        for name in names:
            if name == "tensorboard":
                tracker = LOGGER_TYPE_TO_CLASS[name]("", folder, purge_step=step + 1, flush_secs=10)
            elif LOGGER_TYPE_TO_CLASS[name].requires_logging_directory:
                tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, folder)
            else:
                tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT)
            tracker.start()
            self._open.append(tracker)

    def log(self, row: Mapping[str, object], step: int) -> None:
        """Log the row's numbers at ``step``."""
        numbers = {name: value for name, value in row.items() if isinstance(value, float)}
        for tracker in self._open:
            tracker.log(numbers, step=step)

    def close(self) -> None:
        """Write what is still buffered."""
        for tracker in self._open:
            tracker.finish()
