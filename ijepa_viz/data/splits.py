"""Training and test parts of a data set for evaluations: its own, or a held-out share; matched by class name."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ijepa_viz.data.labels import renumber
from ijepa_viz.data.overlap import drop_shared, refuse_overlap
from ijepa_viz.data.scan import scan
from ijepa_viz.data.source import Source
from ijepa_viz.data.unreadable import open_readable

TEST_SHARE = 0.2


def hold_out(source: Source, share: float = TEST_SHARE) -> tuple[Source, Source]:
    """Split one set in two: the same share of each class, chosen by content.

    The choice depends neither on names nor on the order of files, and copies of one image stay on one side.

    Args:
        share: of the images of each class that are tested on, 0 < share < 1; at least one, and one remains.

    Returns:
        Training and test part.

    Raises:
        ValueError: a share out of range; a class with fewer than two different images.
    """
    if not 0 < share < 1:
        raise ValueError(f"The share of test pictures lies between 0 and 1, got {share}.")
    digests = scan(source).digests
    labels = np.zeros(len(source), np.int64) if source.labels is None else source.labels
    different, first = np.unique(digests, return_index=True)
    chosen: list[np.ndarray] = []
    for label in np.unique(labels):
        # A digest is uniform, so its order is random and yet the same every time.
        members = different[labels[first] == label]
        if len(members) < 2 and label >= 0:
            where = source.name
            if source.labels is not None:
                name = source.classes[label] if len(source.classes) else str(label)
                where = f"Class {name!r} of {where}"
            raise ValueError(
                f"{where} has fewer than two different pictures of its own, so none can be held out. Add pictures, "
                "remove the class, or give --test-data."
            )
        wanted = max(1, math.floor(share * len(members) + 0.5))
        chosen.append(members[: min(wanted, max(0, len(members) - 1))])
    test = np.isin(digests, np.concatenate(chosen))
    parts = []
    for name, rows in (("train", ~test), ("test", test)):
        part = source.subset(np.flatnonzero(rows), f"{name} {share}")
        kept = digests[rows]
        part.digests = lambda kept=kept: kept  # also of a source that did not know its own
        part.name, part.split = f"{source.name} ({name})", name
        parts.append(part)
    return parts[0], parts[1]


def match_classes(train: Source, test: Source) -> tuple[Source, list[str]]:
    """The test set with its labels in the training set's numbering, and the classes that it lacks.

    Labels are matched by class name; sets without names, by number.

    Raises:
        ValueError: a test class that the training set lacks; names in one of the sets only.
    """
    if train.labels is None or test.labels is None:
        return test, []
    if bool(train.classes) != bool(test.classes):
        named, bare = (train, test) if train.classes else (test, train)
        raise ValueError(
            f"{named.name} names its classes ({_some(named.classes)}), and {bare.name} has numbers only, so that they "
            "cannot be matched. Give both sets with names, or both with numbers."
        )
    if not train.classes:
        unknown = sorted(set(test.labels[test.labels >= 0].tolist()) - set(train.labels.tolist()))
        if unknown:
            raise ValueError(f"{test.name} has the labels {_some(unknown)}, which {train.name} does not have.")
        missing = set(train.labels[train.labels >= 0].tolist()) - set(test.labels.tolist())
        return test, [str(label) for label in sorted(missing)]
    train, test = _same_spelling(train), _same_spelling(test)
    assert train.labels is not None
    assert test.labels is not None
    present = {"train": _present(train.labels, train.classes), "test": _present(test.labels, test.classes)}
    unknown_names = sorted(present["test"] - present["train"])
    if unknown_names:
        raise ValueError(
            f"{test.name} has the classes {_some(unknown_names)}, which {train.name} does not have "
            f"(it has {_some(sorted(present['train']))}). Name them alike, or leave them out."
        )
    missing_names = sorted(present["train"] - present["test"])
    if list(test.classes) == list(train.classes):
        return test, missing_names
    every = [*train.classes, *(name for name in test.classes if name not in train.classes)]
    # The images are the same, so that their cache is too.
    labels = renumber(test.labels, test.classes, every)
    return replace(test, labels=labels, classes=list(train.classes)), missing_names


def _same_spelling(source: Source) -> Source:
    """The source with its class names in one form of Unicode: macOS writes an accent as a character of its own."""
    names = [unicodedata.normalize("NFC", name) for name in source.classes]
    different = list(names) != list(source.classes) and len(set(names)) == len(set(source.classes))
    return replace(source, classes=names) if different else source


def _present(labels: np.ndarray, classes: Sequence[str]) -> set[str]:
    return {classes[i] for i in np.unique(labels) if i >= 0}


def _some(names: object, shown: int = 8) -> str:
    words = [str(name) for name in names]  # type: ignore[attr-defined]
    return ", ".join(words[:shown]) + (f" and {len(words) - shown} more" if len(words) > shown else "")


@dataclass(frozen=True)
class Pair:
    """A training and a test set that may be compared.

    Attributes:
        missing: classes of the training set that the test set lacks.
    """

    train: Source
    test: Source
    missing: list[str]


def train_and_test(split: Callable[[str], Source]) -> Pair:
    """Both parts of ``split``, with classes matched by name and without images in common.

    Raises:
        ValueError: as :func:`match_classes` and :func:`ijepa_viz.data.overlap.refuse_overlap`.
    """
    train = split("train")
    test, missing = match_classes(train, split("test"))
    refuse_overlap(train, test)
    return Pair(train, test, missing)


@dataclass(frozen=True)
class Splits:
    """The two parts of a data set, opened on demand: ``splits("train")`` and ``splits("test")``.

    Attributes:
        data: any string that ``open_source`` takes.
        test_data: another one to test on; None is the test part of ``data``, or a held-out share.
        test_share: share of each class of ``data`` to hold out; None is a fifth, where ``data`` has one part only.
        strict: refuse unreadable images instead of dropping them.
        without_shared: drop test images that are also training images, instead of refusing them.
    """

    data: str
    test_data: str | None = None
    test_share: float | None = None
    strict: bool = False
    without_shared: bool = False

    def __post_init__(self) -> None:
        if self.test_data is not None and self.test_share is not None:
            raise ValueError("Give the test pictures (--test-data), or a share to hold out (--test-share), not both.")
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise ValueError(f"The share of test pictures lies between 0 and 1, got {self.test_share}.")

    def __call__(self, name: str) -> Source:
        """Open "train" or "test"."""
        return self._train if name == "train" else self._test[0]

    @cached_property
    def _whole(self) -> Source:
        return open_readable(self.data, "train", self.strict)

    @cached_property
    def _held_out(self) -> tuple[Source, Source] | None:
        if self.test_data is not None or (self.test_share is None and self._whole.split is not None):
            return None
        if self._whole.name.startswith("video "):
            raise ValueError(
                f"Clips of one film of {self._whole.name} would be in both parts: leave out the share of test pictures."
            )
        return hold_out(self._whole, self.test_share or TEST_SHARE)

    @cached_property
    def _train(self) -> Source:
        return self._held_out[0] if self._held_out else self._whole

    @cached_property
    def _test(self) -> tuple[Source, int]:
        if self._held_out:
            return self._held_out[1], 0
        test = open_readable(self.test_data or self.data, "test", self.strict)
        return drop_shared(self._train, test) if self.without_shared else (test, 0)

    @property
    def rule(self) -> str:
        """Which images are tested on, in words for the table."""
        if self._held_out:
            chosen = "a fifth" if self.test_share is None else f"{self.test_share:g}"
            each = "of each class" if self._whole.labels is not None else "of all pictures"
            of = "" if self._whole.split is None else f" of the part {self._whole.name}"
            return f"{chosen} {each}{of}, held out by content"
        dropped = f", without {self._test[1]} that are also training pictures" if self.without_shared else ""
        return f"{self._test[0].name}{dropped}"
