"""WebDataset shards: tar files in which ``0001.jpg`` and ``0001.cls`` belong together."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Sequence
from typing import Any

from ijepa_viz.data.formats import SUFFIXES
from ijepa_viz.data.labels import as_labels, unlabelled_note
from ijepa_viz.data.layout import file_stamps
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image

_NUMBER = re.compile(r"-?[0-9]+")


def open_webdataset(name: str, files: Sequence[str]) -> Source:
    """Open uncompressed tar shards; images are read from their place in the file, in any order.

    A sample is the files of one path up to the first dot of its name. Its image is the file with an image's ending
    alone (not ``0001.mask.png``), its label the ``cls`` file, a class name or, if all are, a number. Samples without
    a ``cls`` file have no class.

    Raises:
        ValueError: a compressed, damaged or image-less shard, or a sample with two images.
    """
    further: list[str] = []  # pictures with a second dot in their name
    places: list[tuple[str, int, int]] = []
    keys: list[str] = []
    values: list[Any] = []
    for file in files:
        samples: dict[str, dict[str, tuple[int, int]]] = {}
        found: dict[str, tuple[int, int]] = {}  # by name, for hard links, which follow what they lead to
        try:
            with tarfile.open(file, "r:") as archive:
                for member in archive:
                    folder, base = os.path.split(member.name)
                    stem, _, ending = base.partition(".")
                    if member.isreg():
                        found[member.name] = (member.offset_data, member.size)
                    elif member.islnk() and member.linkname in found:
                        found[member.name] = found[member.linkname]
                    else:
                        continue
                    if stem:  # a hidden file has no stem
                        samples.setdefault(f"{folder}/{stem}", {})[ending.lower()] = found[member.name]
                        if "." in ending and os.path.splitext(ending)[1].lower() in SUFFIXES:
                            further.append(base)
        except tarfile.TarError as error:
            raise ValueError(
                f"{file} is not an uncompressed tar file: {error}. Unpack it, or repack it without gzip."
            ) from error
        for key, members in samples.items():
            images = [ending for ending in members if f".{ending}" in SUFFIXES]
            if len(images) > 1:
                raise ValueError(
                    f"Sample {key.lstrip('/')} of {file} has {len(images)} images ({', '.join(images)}): which one?"
                )
            if images:
                places.append((file, *members[images[0]]))
                keys.append(key.lstrip("/"))
                values.append(_label(file, members["cls"]) if "cls" in members else None)
    dots = (
        f"{len(further)} pictures with a second dot in their names ({', '.join(further[:3])}): a sample's name ends at "
        "its first dot, so that they are no sample's image"
    )
    if not places:
        if further:
            raise ValueError(f"{name} holds {dots}. Rename them, or unpack the files and name the folder.")
        raise ValueError(f"{name} holds no images: its {len(files)} tar files have none ({', '.join(SUFFIXES)}).")
    if all(value is None or _NUMBER.fullmatch(value) for value in values):
        values = [None if value is None else int(value) for value in values]
    labels, classes = as_labels(values, [], f"A cls file of {name}")

    def read(index: int) -> Any:
        file, start, length = places[index]
        with open(file, "rb") as archive:
            archive.seek(start)
            return read_image(io.BytesIO(archive.read(length)))

    return Source(
        name=name,
        read=read,
        count=len(places),
        labels=labels if (labels >= 0).any() else None,
        classes=classes,
        stamp=file_stamps(files),
        notes=[*unlabelled_note(labels, name), *([f"Ignored in {name}: {dots}."] if further else [])],
        key=keys.__getitem__,
    )


def _label(file: str, place: tuple[int, int]) -> str | None:
    with open(file, "rb") as archive:
        archive.seek(place[0])
        data = archive.read(place[1])
    try:
        return data.decode("utf-8").strip() or None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"A cls file of {file} is no text ({data[:16]!r}): it holds a number or a class name."
        ) from error
