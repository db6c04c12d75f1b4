"""Figures of comparisons: grids whose labels can be read at the width at which a notebook shows them."""

from __future__ import annotations

import pytest
import torch
from matplotlib.text import Text

from ijepa_viz.figures import Answer, completion_grid, one_hole_figure, run_figure
from ijepa_viz.figures.figure import legible
from ijepa_viz.masks import Masks
from ijepa_viz.prediction import predict
from train.reports.collapse import draw as draw_collapse
from train.reports.verdict import Verdict
from train.reports.versus import draw as draw_versus

_COLUMN, _DPI = 900, 130  # pixels of a notebook's column; dots an inch of the PNG


def smallest_text(figure):
    """Pixels of the smallest words of a figure, as wide as the column or as the figure, if that is less."""
    figure.draw_without_rendering()
    width = figure.get_figwidth() * _DPI
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return min(t.get_fontsize() for t in texts) * _DPI / 72 * min(1, _COLUMN / width)


@pytest.fixture
def prediction(model, picture):
    return predict(model, picture, Masks.from_block(model.grid, 1, 1, 2, 2))


class Drawn:
    def __init__(self, image, count):
        self.images = image[None].expand(count, -1, -1, -1)

    def on(self, image):
        return self.images


def test_nine_pictures_are_a_grid_with_readable_labels(prediction):
    answers = [Answer(f"model {i}", prediction.image, ("energy 1.00", "cat")) for i in range(7)]
    figure = one_hole_figure(prediction, answers, ["truth"])
    shapes = [axis.get_subplotspec().get_gridspec().get_geometry() for axis in figure.axes]
    assert shapes == [(2, 5)] * 9
    assert [axis.get_title() for axis in figure.axes] == ["original", "context", *(a.title for a in answers)]
    figure.draw_without_rendering()
    shown = (
        figure.axes[0].get_window_extent().width * _DPI / figure.dpi * min(1, _COLUMN / (figure.get_figwidth() * _DPI))
    )
    assert shown > 160  # pixels of a picture in the column
    assert smallest_text(figure) > 12
    few = one_hole_figure(prediction, answers[:2])
    assert few.axes[0].get_subplotspec().get_gridspec().get_geometry() == (1, 4)


def test_labels_of_wide_figures_can_be_read(prediction):
    six, two = Drawn(prediction.image, 6), Drawn(prediction.image, 2)
    assert smallest_text(completion_grid([(prediction, six, two)])) > 10
    rows = [{"step": str(i), "images": str(i), "loss": "1", "cosine": "0.5"} for i in range(1, 5)]
    assert smallest_text(run_figure(rows, "a run")) > 10
    cell = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "runs": [0.5]}
    row = {"winner": "", "mae": cell, "ijepa": cell, "colour_thumbnail_8x8": 0.4, "most_frequent": 0.3}
    figure = draw_versus({f"question {i}": row for i in range(6)})
    assert len(figure.axes) == 6
    assert smallest_text(figure) > 10
    log = [{"step": str(i), "spread_images": "0.5", "spread_tokens": "0.5"} for i in range(1, 4)]
    names = [f"run {i}" for i in range(12)]
    judged = dict.fromkeys(names, Verdict("healthy", ""))
    assert smallest_text(draw_collapse(dict.fromkeys(names, log), judged)) > 10


def test_fonts_grow_with_the_width_beyond_the_column():
    assert torch.tensor([legible(9, w) / max(w, 9.0) for w in (9, 12, 18)]).std() == 0
    assert legible(9, 4) == 9
