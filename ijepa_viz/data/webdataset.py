"""WebDataset shards: tar files in which ``0001.jpg`` and ``0001.cls`` belong together."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from typing import Any

from ijepa_viz.data.formats import SUFFIXES
from ijepa_viz.data.labels import as_labels
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import read_image


def open_webdataset(name: str, files: Sequence[str]) -> Source:
    """Open uncompressed tar shards; images are read from their place in the file, in any order.

    A sample is the files of one path up to the first dot of its name. Its image is the file with an image's ending
    alone (not ``0001.mask.png``), its label the ``cls`` file, a number or a class name.

    Raises:
        ValueError: a compressed, damaged or image-less shard, a sample with two images, labels of some samples only.
    """
    places: list[tuple[str, int, int]] = []
    values: list[Any] = []
    for file in files:
        samples: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with tarfile.open(file, "r:") as archive:
                for member in archive:
                    folder, base = os.path.split(member.name)
                    stem, _, ending = base.partition(".")
                    if member.isreg() and stem:  # a hidden file has no stem
                        samples.setdefault(f"{folder}/{stem}", {})[ending.lower()] = (member.offset_data, member.size)
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
                values.append(_label(file, members["cls"]) if "cls" in members else None)
    if not places:
        raise ValueError(f"{name} holds no images: its {len(files)} tar files have none ({', '.join(SUFFIXES)}).")
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
        stamp=[[os.path.realpath(f), os.stat(f).st_size, os.stat(f).st_mtime_ns] for f in files],
    )


def _label(file: str, place: tuple[int, int]) -> int | str:
    with open(file, "rb") as archive:
        archive.seek(place[0])
        text = archive.read(place[1]).decode("utf-8", errors="strict").strip()
    return int(text) if text.lstrip("-").isdigit() else text
