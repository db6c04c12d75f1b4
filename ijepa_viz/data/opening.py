"""Open a data set by registered name, folder, parquet or tar files, or Hugging Face id."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Callable
from pathlib import Path

from ijepa_viz.data.folders import ignored_files, open_folder
from ijepa_viz.data.formats import SUFFIXES
from ijepa_viz.data.hub import open_hub
from ijepa_viz.data.layout import part_of, walk
from ijepa_viz.data.parquet import open_parquet
from ijepa_viz.data.source import SOURCES, Source
from ijepa_viz.data.webdataset import open_webdataset
from ijepa_viz.registry import import_files

# Files that hold many images: ending -> f(name, files).
SHARDS: dict[str, Callable[[str, list[str]], Source]] = {".parquet": open_parquet, ".tar": open_webdataset}


def open_source(spec: str, split: str = "train") -> Source:
    """Open a data set.

    Args:
        spec: a registered name, optionally ``name:key=value,...``; an image folder (one sub-folder a class, or
            flat); parquet or WebDataset tar files, a pattern of them, or a folder of them; a Hugging Face data set id
            ``owner/name``.
        split: "train" or "test". A data set of one part is opened whole for both, with ``Source.split`` None. Folders
            named ``train`` and ``test``, ``val`` or ``validation``, and shards with these words in their names, are
            parts; the test part is ``test`` where it is labelled, ``validation`` otherwise.

    Raises:
        FileNotFoundError: nothing of that name; the message names the nearest registered one, or the nearest path.
        ValueError: found, but without images, or another split.
    """
    if split not in ("train", "test"):
        raise ValueError(f'A split is "train" or "test", got {split!r}.')
    import_files("ijepa_viz.data")  # each data set registers on import
    name, _, options = spec.partition(":")
    if name in SOURCES:
        source = SOURCES[name](options, split)
        source.split = split
        return source
    path = Path(os.path.expanduser(spec))
    if path.is_dir():
        return _open_directory(path, split)
    # A file with brackets in its name is no pattern.
    files = [str(path)] if path.is_file() else sorted(glob.glob(str(path)))
    endings = {os.path.splitext(f)[1].lower() for f in files}
    if len(endings) == 1 and endings <= set(SHARDS):
        return _open_shards(spec, files, [os.path.basename(f) for f in files], split)
    if files:
        raise ValueError(_not_shards(spec, path, files))
    return _open_by_name(spec, path, split)


def _open_directory(path: Path, split: str) -> Source:
    """Shards where there are any at the root, or no images anywhere; images otherwise."""
    found: dict[str, list[str]] = {ending: [] for ending in SHARDS}
    others: list[str] = []
    images = False
    tree = walk(path)
    for folder, names in tree.folders:
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            if ending in found:
                found[ending].append(os.path.join(folder, name))
            else:
                others.append(name)
                images |= ending in SUFFIXES
    kinds = [ending for ending, files in found.items() if files]
    at_root = any(os.path.dirname(file) == str(path) for files in found.values() for file in files)
    if not kinds or (images and not at_root):
        return open_folder(path, split, tree)
    if len(kinds) > 1:
        raise ValueError(f"{path} holds parquet and tar files: name those meant, such as '{path}/*.parquet'.")
    files = sorted(found[kinds[0]])
    source = _open_shards(str(path), files, [os.path.relpath(f, path) for f in files], split)
    source.notes = [*source.notes, *tree.notes]
    if others:
        source.notes = [*source.notes, f"Ignored in {path}, beside {kinds[0]} files: {ignored_files(others)}."]
    return source


def _open_shards(name: str, files: list[str], relative: list[str], split: str) -> Source:
    """Open the shards of one part, by the words in their names."""
    opener = SHARDS[os.path.splitext(files[0])[1].lower()]
    parts: dict[str | None, list[str]] = {}
    for file, inside in zip(files, relative, strict=True):
        parts.setdefault(part_of(inside), []).append(file)
    tests = [part for part in ("test", "validation") if part in parts]
    if "train" not in parts or not tests:
        return opener(name, files)
    if split == "train":
        source = opener(f"{name} (train)", parts["train"])
    else:
        candidates = [opener(f"{name} ({part})", parts[part]) for part in tests]
        # The published test sets of challenges have no labels, or -1 everywhere.
        labelled = (s for s in candidates if s.labels is not None and (s.labels >= 0).any())
        source = next(labelled, candidates[0])
    source.split = split
    if None in parts:
        unused = [os.path.basename(file) for file in parts[None]]
        source.notes = [*source.notes, f"Ignored in {name}: {ignored_files(unused)}, of no part by name."]
    return source


def _not_shards(spec: str, path: Path, files: list[str]) -> str:
    if any(os.path.splitext(f)[1].lower() in SUFFIXES for f in files):
        where = path.parent if path.is_file() else Path(os.path.dirname(files[0]))
        return f"{spec} is one picture, or a pattern of pictures: name the folder, {where}."
    kinds = " or ".join(SHARDS)
    if any(f.lower().endswith((".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")) for f in files):
        return f"{spec} is an archive: unpack it, and name the folder."
    return f"{spec} is no data set: files are {kinds}, of one kind, and pictures are named by their folder."


def _open_by_name(spec: str, path: Path, split: str) -> Source:
    """A Hugging Face id, or the error that says what was looked for."""
    name = spec.partition(":")[0]
    near = difflib.get_close_matches(name, SOURCES, n=1)
    # The nearest path: in the last folder that exists.
    exists = next(parent for parent in [path, *path.parents] if parent.is_dir())
    missing = path.relative_to(exists).parts[0]
    there = [p.name for p in exists.iterdir() if p.is_dir() or p.suffix in SHARDS] if os.access(exists, os.R_OK) else []
    near += [str(exists / other) for other in difflib.get_close_matches(missing, there, n=1)]
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    looks_like_id = spec.count("/") == 1 and not spec.startswith((".", "/", "~")) and not path.suffix
    # ``data/photos`` beside an existing ``data`` is a mistyped path, not a name on the hub.
    if looks_like_id and not path.parent.is_dir():
        try:
            return open_hub(spec, split)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"No folder or file {spec!r}, and {error}{hint}") from error
    raise FileNotFoundError(
        f"No data set {spec!r}: not one of {', '.join(sorted(SOURCES))}, and no such folder, parquet or tar file "
        f"({missing!r} is not in {exists.resolve()}).{hint}"
    )
