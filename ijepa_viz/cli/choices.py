"""Names that options choose from, known without importing what they name: that takes seconds, and a typo should not."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ijepa_viz.registry import as_help, registered_in, unknown_name

_ROOT = Path(__file__).parent.parent.parent

# Kind of name: how files register it, and the folder of the files.
_PLACES = {
    "inspection": ("INSPECTIONS.register", _ROOT / "ijepa_viz" / "inspections"),
    "probe": ("PROBES.register", _ROOT / "ijepa_viz" / "probes"),
    "decoder metric": ("DECODER_METRICS.register", _ROOT / "decoders" / "evaluation"),
}


def names(kind: str) -> dict[str, str]:
    """Names and docstrings of every "inspection", "probe" or "decoder metric"."""
    decorator, folder = _PLACES[kind]
    return registered_in(decorator, folder)


def name_of(*kinds: str) -> Callable[[str], str]:
    """``type=`` of an option that takes a name of these kinds; the error of an unknown one names the nearest."""

    def check(name: str) -> str:
        known = [known for kind in kinds for known in names(kind)]
        if name not in known:
            raise argparse.ArgumentTypeError(unknown_name(kinds[0], name, known))
        return name

    return check


def help_on(kind: str, title: str) -> str:
    """Help text on every name of this kind."""
    return as_help(title, names(kind))
