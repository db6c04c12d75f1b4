"""The authors' published weights: resumable download, checksum of the first download, one-time conversion."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ijepa_viz.runtime.files import CACHE_HINT, cache_folder
from ijepa_viz.runtime.progress import Progress

_URL = "https://dl.fbaipublicfiles.com/ijepa/"

PUBLISHED = {
    "ijepa-vith14-in1k": "IN1K-vit.h.14-300e.pth.tar",
    "ijepa-vith16-448-in1k": "IN1K-vit.h.16-448px-300e.pth.tar",
    "ijepa-vith14-in22k": "IN22K-vit.h.14-900e.pth.tar",
    "ijepa-vitg16-in22k": "IN22K-vit.g.16-600e.pth.tar",
}

_CHUNK = 2**20

# Errors of the cache's disk and not of the network.
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOTDIR)


def home() -> Path:
    """Folder of published weights: ``published/`` in the cache folder."""
    return cache_folder() / "published"


def converted(name: str, load: Callable[[Path], Any], save: Callable[[Any, Path], None]) -> Path:
    """Folder of a published model, downloaded and converted on first use.

    Args:
        name: of :data:`PUBLISHED`. load: reads a reference file. save: writes a model folder.

    Raises:
        FileNotFoundError: neither cached nor downloadable; the message names the file and its place.
        ValueError: a checksum that differs from the first download.
    """
    folder = home() / name
    if not folder.is_dir():
        file = fetch(PUBLISHED[name])
        partial = folder.with_name(f"{name}.{os.getpid()}.partial")
        try:
            try:
                model = load(file)
            except ValueError as error:
                raise ValueError(
                    f"{error} It is the download of {name}: delete it and {file.name}.sha256 beside it, then try again."
                ) from error
            save(model, partial)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def fetch(file: str) -> Path:
    """Path of a published file, from the cache or downloaded; an interrupted download is resumed.

    Raises:
        FileNotFoundError, ValueError: as :func:`converted`.
    """
    path = home() / file
    if path.is_file():
        return path
    partial = path.with_name(f"{file}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _resume(_URL + file, partial)
    except OSError as error:  # includes a missing network
        if error.errno in _NOT_WRITABLE:
            raise OSError(f"{partial} could not be written ({error.strerror}). {CACHE_HINT}") from error
        have = partial.stat().st_size / 1e9 if partial.exists() else 0.0
        kept = f" {have:.2f} GB are here and will not be fetched again." if have else ""
        raise FileNotFoundError(
            f"{file} could not be fetched from {_URL} ({error}).{kept} Without a network, put the file there: {path}"
        ) from error
    _check_or_note_digest(partial, path.with_name(f"{file}.sha256"))
    os.replace(partial, path)
    return path


def _resume(url: str, partial: Path) -> None:
    """Download the missing rest of ``partial``; raises OSError if the connection breaks."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the file is complete
            return
        raise
    with answer:
        if have and answer.status != 206:  # a server without range support starts from the beginning
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = Progress(f"downloading {partial.name.removesuffix('.partial')}", total, "B", initial=have)
        with partial.open("ab" if have else "wb") as out, bar:
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
    if total is not None and partial.stat().st_size != total:
        raise OSError(f"the connection ended after {partial.stat().st_size} of {total} bytes")


def _check_or_note_digest(file: Path, note: Path) -> None:
    """Write the file's sha256 on the first download; compare it on later ones."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not note.exists():
        note.write_text(f"{digest}  {note.stem}\n", encoding="utf-8")
    elif note.read_text(encoding="utf-8").split()[0] != digest:
        file.unlink()
        raise ValueError(
            f"{note.stem} is not the file that was fetched first (its sha256 is {digest}, {note} has another): "
            f"damaged, or changed by its publisher. Try again, or delete {note} if you trust the new one."
        )
