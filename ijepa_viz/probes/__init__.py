"""What a representation holds: functions from arrays to arrays, and the registry of ``ijepa-viz evaluate``.

A probe of the command line is ``f(model, split) -> {name: value or section}``, registered under its name;
``split("train")`` and ``split("test")`` open the pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ijepa_viz.data.sources import Source
from ijepa_viz.model import IJEPA
from ijepa_viz.registry import Registry

Split = Callable[[str], Source]
Probe = Callable[[IJEPA, Split], dict[str, Any]]
PROBES: Registry[Probe] = Registry("probe")

# They register themselves; they build on the names above.
from ijepa_viz.probes import factors, knn, linear, low_shot, pixels  # noqa: E402, F401
