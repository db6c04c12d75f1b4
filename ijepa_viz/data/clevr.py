"""CLEVR (Johnson et al. 2017, CC BY 4.0) from a local folder, labelled with object count and distance.

The labels are those of VTAB's Clevr/Count and Clevr/Dist (Zhai et al. 2019), which the paper evaluates on (table 4).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ijepa_viz.data.source import Source, register
from ijepa_viz.data.transforms import read_image

# Class edges of the nearest object's distance from the camera, as in VTAB.
EDGES = (8.0, 8.5, 9.0, 9.5, 10.0)
_FEWEST = 3


@register("clevr")
def clevr(options: str, split: str) -> Source:
    """CLEVR from the unpacked CLEVR_v1.0 (``clevr:FOLDER``); split "test" is its "val", the labelled one.

    Raises:
        FileNotFoundError: no CLEVR scene file in the folder.
        ValueError: a malformed scene file.
    """
    kind = "train" if split == "train" else "val"
    root = Path(options).expanduser()
    path = root / "scenes" / f"CLEVR_{kind}_scenes.json"
    if not options or not path.is_file():
        raise FileNotFoundError(f"clevr:FOLDER needs the unpacked CLEVR_v1.0; there is no {path}.")
    try:
        scenes: list[Any] = json.loads(path.read_bytes())["scenes"]
        files = [root / "images" / kind / scene["image_filename"] for scene in scenes]
        counts = np.array([len(scene["objects"]) for scene in scenes], np.int64)
        nearest = np.array([min(thing["pixel_coords"][2] for thing in scene["objects"]) for scene in scenes])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not a CLEVR scene file: {error!r}") from error
    return Source(
        name=f"clevr ({split})",
        read=lambda i: read_image(files[i]),
        count=len(files),
        truths={
            "count": lambda: np.maximum(counts - _FEWEST, 0),
            "distance": lambda: np.searchsorted(EDGES, nearest, side="right").astype(np.int64),
        },
        stamp=[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns],
    )
