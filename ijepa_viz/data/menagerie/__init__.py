"""The menagerie: drawn scenes and films with ground truth, deterministic in (seed, index)."""

from ijepa_viz.data.menagerie.composition import (
    DISTANCES,
    GROUNDS,
    NAMES,
    SKIES,
    VERSION,
    Scene,
    Thing,
    scene,
    scenes,
    subject_label,
    things,
    variant,
)
from ijepa_viz.data.menagerie.film_clip import FilmClip, film, films
from ijepa_viz.data.menagerie.scene_source import open_menagerie

__all__ = [
    "DISTANCES",
    "GROUNDS",
    "NAMES",
    "SKIES",
    "VERSION",
    "FilmClip",
    "Scene",
    "Thing",
    "film",
    "films",
    "open_menagerie",
    "scene",
    "scenes",
    "subject_label",
    "things",
    "variant",
]
