"""The menagerie's drawn scenes as a data set (``menagerie``)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ijepa_viz.data.menagerie.composition import DISTANCES, NAMES, VERSION, scenes, subject_label, things
from ijepa_viz.data.menagerie.film_sentences import portrait_sentence
from ijepa_viz.data.source import Source, register


@register("menagerie")
def open_menagerie(options: str, split: str) -> Source:
    """Drawn scenes with ground truth (``menagerie:seed=0,count=20000``); split "test" draws from another seed.

    Raises:
        ValueError: another option, or a value that is no integer.
    """
    numbers = {"seed": 0, "count": 20000 if split == "train" else 4000}
    for text in filter(None, options.split(",")):
        key, _, value = text.partition("=")
        if key not in numbers or not value.lstrip("-").isdigit():
            raise ValueError(f"menagerie options are seed=N and count=N, got {text!r}.")
        numbers[key] = int(value)
    seed = numbers["seed"] * 2 + (split != "train")
    count = numbers["count"]
    return Source(
        name=f"menagerie ({split})",
        read=lambda i: Image.fromarray(scenes(i, i + 1, 256, seed)[0]),
        count=count,
        labels=np.array([subject_label(i, seed) for i in range(count)], dtype=np.int64),
        classes=list(NAMES),
        truths={
            "count": lambda: np.array([len(things(i, seed)) for i in range(count)], dtype=np.int64) - 1,
            "facing": lambda: np.array([things(i, seed)[-1].facing == "right" for i in range(count)], dtype=np.int64),
            "distance": lambda: np.searchsorted(DISTANCES, [things(i, seed)[-1].depth for i in range(count)]),
        },
        stamp=["menagerie", VERSION, seed],
        cue=lambda i: portrait_sentence(things(i, seed)[-1]),
        render=lambda start, stop, size: scenes(start, stop, size, seed),
    )
