"""Unreadable images of a data set: found once, cached, and dropped or refused."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from ijepa_viz.data.opening import open_source
from ijepa_viz.data.source import Source
from ijepa_viz.runtime.files import cache_folder, write_file

_SHOWN = 5


def find_unreadable(source: Source) -> dict[int, str]:
    """Decode every image once and return index -> error of the unreadable ones; the result is cached on disk."""
    if source.render is not None:  # drawn, not read
        return {}
    key = hashlib.sha256(json.dumps(["damaged", source.name, source.stamp, len(source)]).encode()).hexdigest()
    path = cache_folder() / f"{key[:24]}.json"
    if path.is_file():
        return {int(index): why for index, why in json.loads(path.read_text()).items()}

    def check(index: int) -> str:
        try:
            source.read(index)
        except (ValueError, OSError) as error:
            return str(error) or type(error).__name__
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        bar = tqdm(workers.map(check, range(len(source))), total=len(source), desc=f"checking {source.name}",
                   unit="img", disable=len(source) < 4096)  # fmt: skip
        found = {index: why for index, why in enumerate(bar) if why}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(found).encode())
    return found


def open_readable(name: str, split: str = "train", strict: bool = False) -> Source:
    """Open a data set without its unreadable images, and report the number of dropped ones on stderr.

    Raises:
        ValueError: as :func:`drop_unreadable` and ``open_source``.
    """
    source, bad = drop_unreadable(open_source(name, split), strict)
    if bad:
        first, why = next(iter(bad.items()))
        print(
            f"Skipped {len(bad)} of {len(bad) + len(source)} pictures of {source.name}, which cannot be read "
            f"(picture {first}: {why}).",
            file=sys.stderr,
        )
    return source


def drop_unreadable(source: Source, strict: bool = False) -> tuple[Source, dict[int, str]]:
    """The data set without its unreadable images, and the errors of these by index.

    Args:
        strict: raise instead of dropping.

    Raises:
        ValueError: ``strict`` and an unreadable image; or no readable image is left.
    """
    bad = find_unreadable(source)
    if not bad:
        return source, bad
    some = "; ".join(f"picture {index}: {why}" for index, why in list(bad.items())[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    message = f"{len(bad)} of the {len(source)} pictures of {source.name} cannot be read ({some}{more})"
    if len(bad) == len(source):
        raise ValueError(f"{message}: none is left.")
    if strict:
        raise ValueError(f"{message}. Mend or remove them, or leave --strict-data (data.strict) out to skip them.")
    good = np.setdiff1d(np.arange(len(source)), list(bad))

    def readable_only(truth):  # type: ignore[no-untyped-def]
        return lambda: truth()[good]

    return replace(
        source,
        read=lambda index: source.read(int(good[index])),
        count=len(good),
        labels=None if source.labels is None else source.labels[good],
        truths={name: readable_only(truth) for name, truth in source.truths.items()},
        stamp=[*source.stamp, "without", sorted(bad)],
    ), bad
