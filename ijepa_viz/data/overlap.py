"""Images that two data sets have in common, found by content."""

from __future__ import annotations

import numpy as np

from ijepa_viz.data.scan import scan
from ijepa_viz.data.source import Source

_SHOWN = 3


def shared(train: Source, test: Source) -> np.ndarray:
    """Indices (n,) of the images of ``test`` whose decoded pixels are also those of an image of ``train``."""
    ours, theirs = scan(test).digests, scan(train).digests
    return np.flatnonzero(np.isin(ours, theirs) & (ours != 0))


def refuse_overlap(train: Source, test: Source) -> None:
    """Refuse two sets with images in common: numbers on images that were learned from mean nothing.

    Images are the same if their decoded pixels are; the same picture in another size or with other JPEG losses is
    not found.

    Raises:
        ValueError: images in both, with their number.
    """
    found = shared(train, test)
    if not len(found):
        return
    some = ", ".join(map(str, found[:_SHOWN])) + (", ..." if len(found) > _SHOWN else "")
    raise ValueError(
        f"{len(found)} of the {len(test)} test pictures ({test.name}) are also among the {len(train)} training "
        f"pictures ({train.name}): test pictures {some}. A number on pictures that were learned from means nothing. "
        "Give other pictures to test on, or drop those in both (--drop-shared; data.drop_shared in a training)."
    )


def drop_shared(train: Source, test: Source) -> tuple[Source, int]:
    """The test set without the images that ``train`` also has, and their number.

    Raises:
        ValueError: no image is left.
    """
    found = shared(train, test)
    if len(found) == len(test):
        raise ValueError(f"All {len(test)} test pictures ({test.name}) are also training pictures: none is left.")
    if not len(found):
        return test, 0
    return test.subset(np.setdiff1d(np.arange(len(test)), found), "without shared"), len(found)
