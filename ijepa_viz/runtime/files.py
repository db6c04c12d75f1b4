"""Small files, written completely or not at all, and read with errors that name the mend."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ijepa_viz.runtime.file_kinds import mistaken_for


def write_file(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: the old file or the new one, never half of it.

    The folder is made where it is missing.

    Raises:
        OSError: the folder or the disk refuses; the message names ``path``.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path, hint: str = "") -> Iterator[Path]:
    """Make the folder of ``path`` and give a temporary name beside it, which is renamed to ``path`` at the end.

    After an error the temporary file is gone, and what was at ``path`` before is intact.

    Args:
        hint: a sentence on what to do about an error.

    Raises:
        OSError: the folder or the disk refuses; the message names ``path`` and ends with ``hint``. An error that names
            another file, which was being read, is raised as it is.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if _is_of_another_file(error, path):
            raise
        # The same kind, so that who asks for a PermissionError gets one; libraries' own kinds want more arguments.
        kind = type(error) if type(error).__module__ == "builtins" else OSError
        hint = " ".join(filter(None, (hint, cache_hint(path))))
        raise kind(f"{path} could not be written ({error.strerror or error}).{hint and f' {hint}'}") from error
    finally:
        with contextlib.suppress(OSError):  # its folder cannot be read, or is none
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, whose content becomes that of ``folder`` at the end; after an error there is none of it.

    Args:
        folder: new, or empty: an empty one stays the same folder, as the current one has to. Nothing is removed.

    Raises:
        FileExistsError: a folder that is not empty, now or at the end. NotADirectoryError: a file.
    """
    folder = folder.absolute()  # "." has no name
    is_new = not folder.exists()
    if not is_new and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, and a folder is to be written there: name another one.")
    if not is_new and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder.")
    partial = (folder.parent if is_new else folder) / f".{folder.name}.{os.getpid()}.partial"
    partial.mkdir(parents=True)
    try:
        yield partial
        if is_new:
            os.replace(partial, folder)  # refused where somebody filled it meanwhile
        else:
            _move_all(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move_all(partial: Path, folder: Path) -> None:
    """Move the content of ``partial`` to ``folder``, which holds nothing else: all of it or nothing."""
    if [path for path in folder.iterdir() if path != partial]:
        raise FileExistsError(f"{folder} was filled meanwhile: name a new folder.")
    moved: list[Path] = []
    try:
        for path in sorted(partial.iterdir()):
            os.replace(path, folder / path.name)
            moved.append(path)
    except BaseException:
        for path in moved:
            os.replace(folder / path.name, path)
        raise


def _is_of_another_file(error: OSError, path: Path) -> bool:
    """Whether an error names a file that is neither ``path``, its temporary one, nor a folder above it."""
    if not isinstance(error.filename, str | os.PathLike):
        return False
    named, own = Path(error.filename).absolute(), path.absolute()
    return not (own.is_relative_to(named) or (named.parent == own.parent and named.name.startswith(own.name)))


def write_config(path: Path, config: Any, digest: str, **more: Any) -> None:
    """Write a dataclass as JSON, with the sha256 of the weights it belongs to, and whatever else by name."""
    write_file(path, (json.dumps({**asdict(config), "weights_sha256": digest, **more}, indent=2) + "\n").encode())


def read_text(path: Path) -> str:
    """Read a text file as UTF-8, whatever the locale; a byte order mark is left out.

    Raises:
        ValueError: another encoding; the message names the file and the place. OSError: no such file.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: no such file. ValueError: not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(not_a_model_folder(path))
    try:
        data = json.loads(path.read_bytes())  # bytes: UTF-8 whatever the locale, and with a byte order mark too
    except ValueError as error:
        raise ValueError(f"{path} {mistaken_for(path) or f'is damaged: {error}'}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object.")
    return data


def not_a_model_folder(missing: Path) -> str:
    """The message for a model folder without the file ``missing``; of a run folder it names the newest checkpoint."""
    saved = sorted(p for p in missing.parent.glob("step-*") if p.name[5:].isdigit())
    hint = f" It is a run's folder: its newest checkpoint is {saved[-1]}." if saved else ""
    return f"{missing.parent} is not a model folder: it has no {missing.name}.{hint}"


CACHE_HINT = "Set IJEPA_VIZ_CACHE to a folder with space that can be written to."


def cache_folder() -> Path:
    """The folder of cached arrays, recognisers and published weights: $IJEPA_VIZ_CACHE, or ``~/.cache/ijepa_viz``.

    It is made where it is missing.

    Raises:
        OSError: it cannot be made; the message names IJEPA_VIZ_CACHE.
    """
    folder = Path(_cache())
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home, as in some containers
        cause = error.strerror if isinstance(error, OSError) else error
        raise OSError(f"The cache folder {folder} could not be made ({cause}). {CACHE_HINT}") from error
    return folder


def cache_hint(path: str | Path) -> str:
    """What to do about a file that cannot be written, where it is in the cache folder; else nothing."""
    return CACHE_HINT if Path(path).is_relative_to(os.path.expanduser(_cache())) else ""


def _cache() -> str:
    return os.environ.get("IJEPA_VIZ_CACHE") or "~/.cache/ijepa_viz"
