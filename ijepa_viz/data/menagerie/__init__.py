"""The menagerie: drawn scenes with ground truth, deterministic in (seed, index)."""

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

__all__ = [
    "DISTANCES",
    "GROUNDS",
    "NAMES",
    "SKIES",
    "VERSION",
    "Scene",
    "Thing",
    "scene",
    "scenes",
    "subject_label",
    "things",
    "variant",
]
