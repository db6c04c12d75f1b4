"""The registry of probes, and what a probe is: ``f(model, split) -> {name: value or section}``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ijepa_viz.data.source import Source
from ijepa_viz.models import IJEPA
from ijepa_viz.registry import Registry

Split = Callable[[str], Source]

Probe = Callable[[IJEPA, Split], dict[str, Any]]

PROBES: Registry[Probe] = Registry("probe")
