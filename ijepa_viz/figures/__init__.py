"""Figures: functions from results to a matplotlib Figure; none touches pyplot's global state."""

from ijepa_viz.figures.completion import completion_grid
from ijepa_viz.figures.files import png
from ijepa_viz.figures.masks import mask_figure

__all__ = ["completion_grid", "mask_figure", "png"]
