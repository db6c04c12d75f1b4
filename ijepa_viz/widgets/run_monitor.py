"""RunMonitor: live curves of a training run, with a verdict in words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets
import yaml

from ijepa_viz.figures import run_figure
from ijepa_viz.figures.figure import Figure
from ijepa_viz.figures.run import PANELS, Points
from ijepa_viz.runtime.run_folder import read_log
from ijepa_viz.widgets.picture_widget import PictureWidget, javascript

# Most points of a line on the page, which is 280 pixels wide.
_POINTS = 200


class RunMonitor(PictureWidget):
    """Watch a run folder until :meth:`stop` or :meth:`close`.

    Args:
        folder: run folder of ``python -m train``; it need not exist yet.
        verdict: function from the log's rows to a text, such as ``train.reports.verdict.verdict`` with the encoder's
            width.
        every: seconds between two reads of the log.

    Attributes:
        rows: of the log, as last read.
    """

    _esm = javascript("run_monitor.js")

    # Each {"title", "logarithmic", "lines": [{"name", "control", "points": [[images, value], ...]}]}.
    panels = traitlets.List(traitlets.Dict()).tag(sync=True)
    verdict = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)
    tick = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        folder: str | Path,
        verdict: Callable[[Sequence[Mapping[str, str]]], object] | None = None,
        every: float = 1.0,
        **traits: Any,
    ) -> None:
        self.folder = Path(folder)
        self.rows: list[dict[str, str]] = []
        self._judge = verdict
        self._stop = threading.Event()
        super().__init__(**traits)
        self.look()
        self._watcher = threading.Thread(target=self._watch, args=(every,), daemon=True, name="RunMonitor")
        self._watcher.start()

    def stop(self) -> None:
        """Read the log once more and stop watching; the curves stay on the page."""
        self._stop.set()
        self._watcher.join()
        self.look()

    def close(self) -> None:
        """Stop watching and close the widget."""
        if hasattr(self, "_stop"):  # close() also runs when the constructor failed
            self._stop.set()
        super().close()

    def look(self) -> None:
        """Read the log now."""
        try:
            self.rows = read_log(self.folder)
        except (FileNotFoundError, ValueError):
            self.status = f"Waiting for {self.folder / 'log.csv'}"
            return
        last = self.rows[-1]
        steps = self._steps()
        done = int(last["step"])
        speed = f", {float(last['images_per_s']):.0f} images a second" if last.get("images_per_s") else ""
        panels = [
            {
                "title": panel.title,
                "logarithmic": panel.logarithmic,
                "lines": [
                    {"name": panel.columns[column], "control": column in panel.controls, "points": _thin(points)}
                    for column, points in panel.lines(self.rows).items()
                    if points
                ],
            }
            for panel in PANELS
        ]
        with self.hold_sync():
            self.panels = [panel for panel in panels if panel["lines"]]
            self.verdict = str(self._judge(self.rows)) if self._judge else ""
            self.status = f"step {done} of {steps}, {float(last['minutes']):.1f} minutes{speed}"
            self.progress = min(1.0, done / max(1, steps))
            self.error, self.tick = "", self.tick + 1

    def still(self) -> tuple[Figure, str]:
        """Figure of the current curves, and the alternative text."""
        if not self.rows:
            empty = Figure(self.status, figsize=(6, 0.6))
            empty.text(0.5, 0.5, f"{self.folder.name}: no row of the log is written yet", ha="center", va="center")
            return empty, self.status
        return run_figure(self.rows, self.folder.name), f"Curves of {self.folder.name}: {self.status}. {self.verdict}"

    def _steps(self) -> int:
        config = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        return int(config["optimization"]["steps"])

    def _watch(self, every: float) -> None:
        before = -1
        while not self._stop.wait(every):
            try:
                log = self.folder / "log.csv"
                size = log.stat().st_size if log.is_file() else -1
                if size != before:
                    self.look()
                before = size
            except Exception as error:  # shown on the page: a thread's traceback would be seen nowhere
                self.error = f"The run's log cannot be read: {error}"


def _thin(points: Points) -> list[list[float]]:
    """Subsample to at most ``_POINTS`` points, with the first and the last."""
    if len(points) > _POINTS:
        step = (len(points) - 1) / (_POINTS - 1)
        points = [points[round(i * step)] for i in range(_POINTS)]
    return [[x, y] for x, y in points]
