"""Unreadable images of a data set: dropped and counted, or refused."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from ijepa_viz.data.opening import open_source
from ijepa_viz.data.scan import first_few, scan
from ijepa_viz.data.source import Source

_SAID: set[str] = set()


def find_unreadable(source: Source) -> dict[int, str]:
    """Index -> error of the images that cannot be read; see :func:`ijepa_viz.data.scan.scan`."""
    return scan(source).errors


def open_readable(name: str, split: str = "train", strict: bool = False) -> Source:
    """Open a data set without its unreadable images, and say on stderr what was left out, once a process.

    Raises:
        ValueError: as :func:`drop_unreadable` and ``open_source``.
    """
    source, _ = drop_unreadable(open_source(name, split), strict)
    say_notes(source)
    return source


def say_notes(source: Source) -> None:
    """Write the source's notes on stderr, each once a process."""
    for note in source.notes:
        if note not in _SAID:
            _SAID.add(note)
            print(note, file=sys.stderr)


def drop_unreadable(source: Source, strict: bool = False) -> tuple[Source, dict[int, str]]:
    """The data set without its unreadable images, and the errors of these by index.

    Args:
        strict: raise instead of dropping.

    Raises:
        ValueError: ``strict`` and an unreadable image; or no readable image is left.
    """
    found = scan(source)
    bad = found.errors
    if not bad:
        # Every part of it then knows its content without being read again.
        return (source if source.digests or source.render else replace(source, digests=lambda: found.digests)), bad
    some = first_few(bad, "picture {}".format)
    message = f"{len(bad)} of the {len(source)} pictures of {source.name} cannot be read ({some})"
    if len(bad) == len(source):
        raise ValueError(f"{message}: none is left.")
    if strict:
        raise ValueError(f"{message}. Mend or remove them, or leave --strict-data (data.strict) out to skip them.")
    good = np.setdiff1d(np.arange(len(source)), list(bad))
    note = f"Skipped {len(bad)} of {len(source)} pictures of {source.name}, which cannot be read ({some})."
    good_ones = source.subset(good, "readable")
    digests = found.digests[good]
    return replace(good_ones, notes=[*source.notes, note], digests=lambda: digests), bad
