"""Open a data set by registered name, folder, parquet file or Hugging Face id."""

from __future__ import annotations

import difflib
import glob
import os
from pathlib import Path

from ijepa_viz.data.folders import open_folder
from ijepa_viz.data.hub import open_hub
from ijepa_viz.data.parquet import open_parquet
from ijepa_viz.data.source import SOURCES, Source
from ijepa_viz.registry import import_files


def open_source(spec: str, split: str = "train") -> Source:
    """Open a data set.

    Args:
        spec: a registered name, optionally ``name:key=value,...``; an image folder (one sub-folder
            a class, or flat); a parquet file, a pattern of them, or a folder of them; a Hugging
            Face data set id ``owner/name``.
        split: "train" or "test", where the data set has both.

    Raises:
        FileNotFoundError: nothing of that name; the message names the nearest registered one.
        ValueError: found, but without images.
    """
    import_files("ijepa_viz.data")  # each data set registers on import
    name, _, options = spec.partition(":")
    if name in SOURCES:
        return SOURCES[name](options, split)
    path = Path(os.path.expanduser(spec))
    if path.is_dir():
        shards = sorted(str(p) for p in path.glob("*.parquet"))
        return open_parquet(spec, shards) if shards else open_folder(path)
    files = sorted(glob.glob(str(path)))
    if files and all(f.endswith(".parquet") for f in files):
        return open_parquet(spec, files)
    if spec.count("/") == 1 and not spec.startswith((".", "/", "~")) and not path.suffix:
        return open_hub(spec, split)
    near = difflib.get_close_matches(name, SOURCES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise FileNotFoundError(
        f"No data set {spec!r}: not one of {', '.join(sorted(SOURCES))}, and no such folder or parquet file.{hint}"
    )
