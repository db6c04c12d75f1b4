"""The registry of probes, each ``f(model, split) -> {name: value or section}``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ijepa_viz.data.source import Source
from ijepa_viz.models import IJEPA
from ijepa_viz.registry import Registry

Split = Callable[[str], Source]
"""``split("train")`` and ``split("test")`` open the two parts of a data set."""

Probe = Callable[[IJEPA, Split], dict[str, Any]]

PROBES: Registry[Probe] = Registry("probe")
