"""Small files, written completely or not at all, and read with errors that name the mend."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any


def write_file(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: the old file or the new one, never half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_config(path: Path, config: Any, digest: str) -> None:
    """Write a dataclass as JSON, with the sha256 of the weights it belongs to."""
    write_file(path, (json.dumps({**asdict(config), "weights_sha256": digest}, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: no such file. ValueError: not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(not_a_model_folder(path))
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object.")
    return data


def not_a_model_folder(missing: Path) -> str:
    """The message for a model folder without the file ``missing``; of a run folder it names the newest checkpoint."""
    saved = sorted(p for p in missing.parent.glob("step-*") if p.name[5:].isdigit())
    hint = f" It is a run's folder: its newest checkpoint is {saved[-1]}." if saved else ""
    return f"{missing.parent} is not a model folder: it has no {missing.name}.{hint}"


def cache_folder() -> Path:
    """The folder of cached arrays, recognisers and published weights: $IJEPA_VIZ_CACHE, or ``~/.cache/ijepa_viz``."""
    return Path(os.environ.get("IJEPA_VIZ_CACHE", "~/.cache/ijepa_viz")).expanduser()
