"""A folder of films as a data set of clips (``video:FOLDER``): MP4 and other videos, GIF, and folders of frames."""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ijepa_viz.data.clips import Clip, ClipSource
from ijepa_viz.data.film_files import (
    GIF_SUFFIXES,
    NO_PYAV,
    VIDEO_SUFFIXES,
    FilmFile,
    FrameFolder,
    GifFile,
    VideoFile,
    has_pyav,
)
from ijepa_viz.data.formats import SUFFIXES
from ijepa_viz.data.layout import Tree, file_stamps, folder_part, visible_folders, walk
from ijepa_viz.data.source import register
from ijepa_viz.data.transforms import square
from ijepa_viz.runtime.progress import track

# Of a folder without a test part, one film in this many is tested on.
_HELD_OUT = 5


@register("video")
def open_videos(options: str, split: str) -> ClipSource:
    """Clips of the films in a folder (``video:FOLDER,frames=16,size=64,stride=1``): MP4, GIF, folders of frames.

    Every film is cut into clips of ``frames`` frames, ``stride`` apart, one after the other; what is left at its end is
    not used. Top-level sub-folders are classes; of folders named ``train`` and ``test`` (``val``), each is a part.
    Without them, one film in five is tested on, chosen by its name: clips of one film are never in both parts.

    Args:
        options: the folder, and numbers. A folder of pictures is one film, in the order of the numbers in their names.
        split: "train" or "test".

    Raises:
        FileNotFoundError: no such folder.
        ValueError: an unknown option; no film long enough; none left to test on; only videos, and no PyAV.
    """
    folder, numbers = _parse(options)
    frames, size, stride = numbers["frames"], numbers["size"], numbers["stride"]
    root = Path(os.path.expanduser(folder))
    if not folder or not root.is_dir():
        raise FileNotFoundError(f"video:FOLDER needs a folder of films; there is no folder {folder!r}.")
    tree, part = _part(walk(root), split)
    films, notes = _find(tree)
    notes += tree.notes
    readable, clips_of, problems = _count_clips(films, frames, stride)
    if problems:
        first = next(iter(problems.values()))
        notes.append(f"Skipped {len(problems)} of {len(films)} films of {root}: {first}")
    if not readable:
        reason = " ".join(notes) or f"it has no {', '.join((*VIDEO_SUFFIXES, *GIF_SUFFIXES))} and no pictures."
        raise ValueError(f"{tree.root} holds no film of {(frames - 1) * stride + 1} frames: {reason}")
    if part is None:
        # Of all films that there are: another length of clips, or a film that is damaged, moves none to the other part.
        chosen = {films[i].path for i in _held_out(films, tree.root, split)} if len(readable) > 1 else None
        if chosen is None and split != "train":
            raise ValueError(
                f"{tree.root} holds one film, so none can be tested on: add films, or a folder named test."
            )
        kept = [i for i, film in enumerate(readable) if chosen is None or film.path in chosen]
        if not kept:
            raise ValueError(
                f"None of the films of {tree.root} that are the {split} part holds {(frames - 1) * stride + 1} frames: "
                "add films, shorten the clips, or sort the films into folders named train and test."
            )
        readable = [readable[i] for i in kept]
        clips_of = [clips_of[i] for i in kept]
    ends = np.cumsum(clips_of).tolist()

    def read_frames(index: int, count: int) -> tuple[FilmFile, list[Image.Image]]:
        which = bisect.bisect_right(ends, index)
        first = (index - (ends[which] - clips_of[which])) * frames * stride
        film = readable[which]
        return film, film.read(range(first, first + count * stride, stride))

    def read_clip(index: int, side: int) -> Clip:
        _, pictures = read_frames(index, frames)
        return Clip(np.stack([np.asarray(square(picture, side)) for picture in pictures]))

    def name_of(index: int) -> str:
        which = bisect.bisect_right(ends, index)
        number = index - (ends[which] - clips_of[which])
        return f"{os.path.relpath(readable[which].path, tree.root)}#{number}"

    classes, labels = _classes(readable, tree.root)
    return ClipSource(
        name=f"video {tree.root} ({split})",
        read=lambda i: read_frames(i, 1)[1][0],
        count=ends[-1],
        labels=None if labels is None else np.repeat(labels, clips_of),
        classes=classes,
        stamp=["video", frames, stride, *file_stamps([file for film in readable for file in film.files])],
        notes=notes,
        key=name_of,
        frames=frames,
        clip_size=size,
        read_clip=read_clip,
    )


def _parse(options: str) -> tuple[str, dict[str, int]]:
    """The folder, which may have commas in its name, and the numbers behind it."""
    numbers = {"frames": 16, "size": 64, "stride": 1}
    folder = options
    while True:
        rest, comma, text = folder.rpartition(",")
        key, _, value = text.partition("=")
        if not comma or "=" not in text or os.path.isdir(os.path.expanduser(folder)):
            break
        if key not in numbers or not value.isdigit() or int(value) < 1:
            raise ValueError(f"video options are frames=N, size=N and stride=N, from 1 up, got {text!r}.")
        numbers[key] = int(value)
        folder = rest
    return folder, numbers


def _part(tree: Tree, split: str) -> tuple[Tree, str | None]:
    """The part of a folder that has a training and a test folder; else the whole, and None."""
    parts: dict[str, Path] = {}
    for folder in visible_folders(tree.root):
        if name := folder_part(folder.name):
            parts.setdefault(name, folder)
    tests = [name for name in ("test", "validation") if name in parts]
    if "train" not in parts or not tests:
        return tree, None
    return tree.below(parts["train" if split == "train" else tests[0]]), split


def _find(tree: Tree) -> tuple[list[FilmFile], list[str]]:
    """The films at and below a folder, by path; and notes on what cannot be read."""
    films: list[FilmFile] = []
    videos = 0
    for folder, names in tree.folders:
        paths = [os.path.join(folder, name) for name in names]
        pictures = []
        for path in paths:
            ending = os.path.splitext(path)[1].lower()
            if ending in GIF_SUFFIXES:
                films.append(GifFile(path, [path]))
            elif ending in VIDEO_SUFFIXES:
                videos += 1
                if has_pyav():
                    films.append(VideoFile(path, [path]))
            elif ending in SUFFIXES:
                pictures.append(path)
        if pictures:
            films.append(FrameFolder(folder, pictures))
    notes = [f"{videos} videos in {tree.root} are not read: {NO_PYAV}."] if videos and not has_pyav() else []
    return sorted(films, key=lambda film: film.path), notes


def _count_clips(
    films: Sequence[FilmFile], frames: int, stride: int
) -> tuple[list[FilmFile], list[int], dict[str, str]]:
    """Films that have a clip, the number of clips of each, and path -> why of the others."""
    readable, counts, problems = [], [], {}
    needed = (frames - 1) * stride + 1
    for film in track(films, "opening films", "film"):
        try:
            count = film.count()
        except ValueError as error:
            problems[film.path] = str(error)
            continue
        if count < needed:
            problems[film.path] = f"{film.path} has {count} frames, and a clip of {frames} needs {needed}."
            continue
        readable.append(film)
        counts.append(1 + (count - needed) // (frames * stride))
    return readable, counts, problems


def _held_out(films: Sequence[FilmFile], root: Path, split: str) -> list[int]:
    """Indices of the films of one split, of a folder of two or more without parts: chosen by name, one or more each."""
    names = [os.path.relpath(film.path, root).encode() for film in films]
    order = sorted(range(len(films)), key=lambda i: hashlib.blake2b(names[i], digest_size=8).digest())
    test = set(order[: max(1, len(films) // _HELD_OUT)])
    return [i for i in range(len(films)) if (i in test) == (split == "test")]


def _classes(films: Sequence[FilmFile], root: Path) -> tuple[list[str], np.ndarray | None]:
    """Names of the top-level folders that hold films, and each film's; -1 beside them. None where there are none."""
    tops = [os.path.relpath(os.path.dirname(film.path), root).split(os.sep)[0] for film in films]
    if any(os.path.samefile(film.path, root) for film in films):  # the root is a film itself
        return [], None
    classes = sorted(set(tops) - {"."})
    if not classes:
        return [], None
    return classes, np.array([classes.index(top) if top != "." else -1 for top in tops], np.int64)
