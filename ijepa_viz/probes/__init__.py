"""Probes of frozen representations, functions from arrays to arrays, and the registry of ``ijepa-viz evaluate``."""

from ijepa_viz.probes.probe import PROBES, Probe, Split
from ijepa_viz.registry import import_files

import_files(__name__)  # a probe's file registers itself

__all__ = ["PROBES", "Probe", "Split"]
