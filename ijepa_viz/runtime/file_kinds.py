"""Recognition of files that are not what their name says: Git LFS pointers, web pages, archives, other formats."""

from __future__ import annotations

import tarfile
from pathlib import Path


def mistaken_for(path: Path) -> str | None:
    """What the file is instead of weights or a config, with the mend, as a phrase after its name; None if unknown."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "is empty: fetch it again"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git LFS pointer and not the file itself: fetch that by `git lfs pull` in its repository"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "is a web page (an error or a login, perhaps) and not the file that was asked for: fetch it again"
    if start.startswith(b"\x1f\x8b"):
        return "is compressed by gzip: unpack it first, `tar xzf` or `gunzip`"
    if start[257:262] == b"ustar":
        return _tar(path)
    header = int.from_bytes(start[:8], "little")
    if path.suffix != ".safetensors" and start[8:10] == b'{"' and header < path.stat().st_size:
        return "is a safetensors file: give the folder that holds it and its config.json instead"
    if start.startswith(b"\x89HDF"):
        return "is an HDF5 file, perhaps of TensorFlow: save the model from PyTorch"
    return None


def _tar(path: Path) -> str:
    try:
        with tarfile.open(path) as archive:
            names = [member.name for member in archive.getmembers()]
    except tarfile.TarError:
        return "is a damaged tar archive: fetch it again"
    if {"pickle", "storages"} <= set(names):
        return "is in torch's format before 0.2, which is not opened safely: load it and `torch.save` it again"
    return f"is a tar archive of {', '.join(names[:3])}: unpack it first, `tar xf`, and give the file in it"
