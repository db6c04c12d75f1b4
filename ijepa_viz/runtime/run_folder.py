"""A training run on disk: its log, its numbered checkpoints, and the order of its batches.

Checkpoints are folders ``step-XXXXXXXX`` that appear by a rename, complete or not at all. Batch order
is a function of (seed, step), so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ijepa_viz.runtime.files import write_file

HISTORY = "history"
"""Folder in a run's of the models that are kept beside the last checkpoint."""


@dataclass(frozen=True)
class RunConfig:
    """Settings common to every run: folder, seed, precision, compilation, logging and saving.

    ``precision`` is "auto", "bf16" or "fp32". ``compile`` compiles the networks with torch.compile: up to a minute or
    more at the start, then transformers are about 10 % faster, and a decoder of pixels on a CPU is slower
    (decoders/STUDY.md). ``log_with`` names accelerate's trackers, separated by commas (tensorboard, wandb, ...); "auto"
    is TensorBoard where it is installed, "none" is ``log.csv`` alone.
    """

    folder: str = "runs/unnamed"
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    log_every: int = 10
    save_every_minutes: float = 5.0
    log_with: str = "auto"


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """The pictures of step ``step``, ascending, (batch_size,); every epoch in a new order.

    Raises:
        ValueError: fewer pictures than one batch.
    """
    if count < batch_size:
        raise ValueError(
            f"The data set has {count} pictures, fewer than one batch of {batch_size}. Lower optimization.batch_size."
        )
    per_epoch = count // batch_size
    order = np.random.default_rng([seed, step // per_epoch]).permutation(count)
    place = step % per_epoch * batch_size
    return np.sort(order[place : place + batch_size])


def read_log(run: str | Path) -> list[dict[str, str]]:
    """The rows of a run's ``log.csv``.

    Raises:
        FileNotFoundError: not a run's folder.
        ValueError: nothing was logged yet.
    """
    path = Path(run) / "log.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is not a run's folder: it has no log.csv.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path} has no rows yet.")
    return rows


def saved_steps(run: str | Path) -> list[Path]:
    """The complete checkpoints in a run's folder, oldest first; none where there is no such folder."""
    return sorted(p for p in Path(run).glob("step-*") if p.name[5:].isdigit())


def run_history(run: str | Path) -> dict[int, Path]:
    """Step -> model of a run, ascending: those that were kept in :data:`HISTORY`, and the last checkpoint.

    Raises:
        FileNotFoundError: not a run's folder.
    """
    found = [*saved_steps(Path(run) / HISTORY), *saved_steps(run)]
    if not found and not (Path(run) / "log.csv").is_file():
        raise FileNotFoundError(f"{run} is not a run's folder: it has no log.csv and no checkpoint.")
    return {step: path for step, path in sorted((int(path.name[5:]), path) for path in found)}


class RunFolder:
    """The folder of one run.

    Args:
        folder: made on the first write.
        columns: of ``log.csv``.
        resume: go on from the newest checkpoint.

    Raises:
        FileExistsError: there is a run already and ``resume`` is False.
        FileNotFoundError: ``resume`` is True and there is no checkpoint.
    """

    def __init__(self, folder: str | Path, columns: Sequence[str], resume: bool) -> None:
        self.path = Path(folder)
        self.columns = list(columns)
        found = self.checkpoints()
        if found and not resume:
            raise FileExistsError(f"{self.path} holds a run already. Go on with --resume, or set run.folder=...")
        if resume and not found:
            raise FileNotFoundError(f"Nothing to resume: no checkpoint in {self.path}.")
        self.resume_from = found[-1] if found else None

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return saved_steps(self.path)

    def start(self, config: str, step: int) -> None:
        """Write ``config.yaml``; drop log rows and kept models past ``step``, where a resumed run begins."""
        self.path.mkdir(parents=True, exist_ok=True)
        for left_over in [*self.path.glob("*.partial"), *self.path.glob(f"{HISTORY}/*.partial")]:  # of a killed run
            shutil.rmtree(left_over)
        for later in saved_steps(self.path / HISTORY):  # of a branch that is taken no further
            if int(later.name.removeprefix("step-")) > step:
                shutil.rmtree(later)
        write_file(self.path / "config.yaml", config.encode())
        log = self.path / "log.csv"
        rows = []
        if log.exists():
            with log.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        lines = [self.columns] + [[row.get(c, "") for c in self.columns] for row in rows]
        write_file(log, "".join(",".join(line) + "\n" for line in lines).encode())

    def write(self, name: str, content: bytes) -> None:
        """Write a small file into the folder, complete or not at all."""
        write_file(self.path / name, content)

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to ``log.csv``."""
        text = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
        with (self.path / "log.csv").open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(text)

    def check(self, loss: Tensor, step: int) -> None:
        """Raise FloatingPointError for a loss that is not finite; the message says what usually helps."""
        if not loss.isfinite():
            raise FloatingPointError(
                f"The loss is {loss.item()} at step {step}; the last checkpoint in {self.path} is from "
                "before. A lower optimization.lr or optimization.clip_grad=1.0 usually helps, with --resume-anyway."
            )

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Let ``write`` fill a folder, name it ``step-XXXXXXXX``, then drop the older ones.

        Raises:
            OSError: the disk refuses; the checkpoint before is intact.
        """
        try:
            final = self.keep(f"step-{step:08d}", write)
        except OSError as error:
            raise OSError(
                f"The checkpoint of step {step} could not be written to {self.path} ({error}). "
                "The one before is intact: free some space and --resume."
            ) from error
        for old in self.checkpoints()[:-1]:
            shutil.rmtree(old)
        return final

    def keep(self, name: str, write: Callable[[Path], None]) -> Path:
        """Let ``write`` fill the folder ``name`` of this run, in place of one that was there.

        Raises:
            OSError: the disk refuses; the folder that was there is intact.
        """
        final = self.path / name
        partial = self.path / f"{name}.{os.getpid()}.partial"
        try:
            partial.mkdir(parents=True)
            write(partial)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
        except RuntimeError as error:  # how torch.save reports a full disk
            raise OSError(str(error)) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return final
