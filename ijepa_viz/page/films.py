"""Films of the live page: drawn ones, and samples of their future with each cue, computed before; no model runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ijepa_viz.data.transforms import to_pil
from ijepa_viz.film_examples import cued_films, film_panels
from ijepa_viz.models import IJEPA
from ijepa_viz.page.pictures import sheet_of, webp
from ijepa_viz.prediction import Sampler, check_pair

SHEET = "data/films.webp"
STORIES = ("signpost", "flower", "lands")


def film_chapter(model: IJEPA, decoder: Sampler) -> tuple[dict[str, Any], bytes]:
    """What ``data/site.json`` holds of the films, and their sheet: a row a loop, a column a frame.

    Args:
        model: of films with cues. decoder: trained on it.

    Returns:
        {"frames", "size": [height, width], "films": [{"loops": [{"words", "predicted": first frame or frames}]}]}, and
        a WebP picture.

    Raises:
        ValueError: a decoder of another model, or as :func:`ijepa_viz.film_examples.cued_films`.
    """
    check_pair(model, decoder)
    # By day: at dusk the colours of a decoder of scenes are wrong.
    shown = cued_films(model, STORIES, first=1)
    rows = film_panels(shown, decoder, samples=1)
    panels = [panel for row in rows for panel in row]
    frames, _, height, width = panels[0].frames.shape
    sheet = sheet_of([np.asarray(to_pil(frame)) for panel in panels for frame in panel.frames], frames)
    first = [panel.predicted.index(True) if any(panel.predicted) else frames for panel in panels]
    loops = [{"words": panel.words, "predicted": begins} for panel, begins in zip(panels, first, strict=True)]
    each = len(rows[0])
    films = [{"loops": loops[i : i + each]} for i in range(0, len(loops), each)]
    return {"frames": frames, "size": [height, width], "films": films}, webp(sheet, lossless=False)
