"""Which patches are context and which are targets: :class:`Masks`, and the strategies that sample them."""

from ijepa_viz.masks.masks import Grid, Masks
from ijepa_viz.masks.strategies import STRATEGIES, Sampler, register, sample
from ijepa_viz.registry import import_files

import_files(__name__)  # a strategy's file registers itself

__all__ = ["STRATEGIES", "Grid", "Masks", "Sampler", "register", "sample"]
