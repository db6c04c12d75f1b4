"""The menagerie: drawn scenes with ground truth, a function of (seed, index)."""

from ijepa_viz.data.menagerie.scenes import (
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
