"""Context and target patches: :class:`Masks`, and the strategies that sample them (section 3, table 6)."""

from ijepa_viz.masks.masks import Grid, Masks, central_block, padded_indices
from ijepa_viz.masks.strategies import FILM_STRATEGIES, STRATEGIES, Sampler, register, register_film, sample
from ijepa_viz.registry import import_files

import_files(__name__)  # each strategy registers on import

__all__ = [
    "FILM_STRATEGIES",
    "STRATEGIES",
    "Grid",
    "Masks",
    "Sampler",
    "central_block",
    "padded_indices",
    "register",
    "register_film",
    "sample",
]
