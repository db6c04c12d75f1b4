"""Figures: functions from results to a matplotlib Figure with an alternative text, without pyplot."""

from ijepa_viz.figures.accuracy_against_cost import cost_figure
from ijepa_viz.figures.by_part import by_part_figure
from ijepa_viz.figures.calibration import calibration_figure
from ijepa_viz.figures.cka import cka_figure
from ijepa_viz.figures.completion import completion_grid
from ijepa_viz.figures.drawing_steps import drawing_steps_figure
from ijepa_viz.figures.factors import factor_figure
from ijepa_viz.figures.few_steps import few_steps_figure, hole_size_figure
from ijepa_viz.figures.figure import Figure, png, write_figure
from ijepa_viz.figures.film import stacked_figure, write_film
from ijepa_viz.figures.film_frames import film_grid
from ijepa_viz.figures.film_places import film_places_figure
from ijepa_viz.figures.hole_views import hole_frames, hole_views_figure
from ijepa_viz.figures.masks import mask_figure
from ijepa_viz.figures.noise_levels import noise_levels_figure
from ijepa_viz.figures.one_hole import Answer, one_hole_figure
from ijepa_viz.figures.readings import readings_figure
from ijepa_viz.figures.run import run_figure
from ijepa_viz.figures.sheet import sheet_figure
from ijepa_viz.figures.token_samples import token_samples_figure
from ijepa_viz.figures.variation import variation_figure

__all__ = [
    "Answer",
    "Figure",
    "by_part_figure",
    "calibration_figure",
    "cka_figure",
    "completion_grid",
    "cost_figure",
    "drawing_steps_figure",
    "factor_figure",
    "few_steps_figure",
    "film_grid",
    "film_places_figure",
    "hole_frames",
    "hole_size_figure",
    "hole_views_figure",
    "mask_figure",
    "noise_levels_figure",
    "one_hole_figure",
    "png",
    "readings_figure",
    "run_figure",
    "sheet_figure",
    "stacked_figure",
    "token_samples_figure",
    "variation_figure",
    "write_figure",
    "write_film",
]
