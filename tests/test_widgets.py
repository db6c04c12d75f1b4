from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from conftest import TINY

from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA
from ijepa_viz.widgets import MaskPainter, PredictionExplorer


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def paint(widget, text):
    """What the page does at the end of a stroke."""
    widget.mask = text
    widget.seq += 1


def test_the_mask_goes_both_ways(picture):
    painter = MaskPainter(picture, (4, 5))
    assert not painter.hidden.any()
    paint(painter, "0" * 7 + "1" + "0" * 12)
    assert np.argwhere(painter.hidden).tolist() == [[1, 2]]
    assert painter.masks == Masks.from_block((4, 5), 1, 2, 1, 1)
    seq = painter.seq
    hidden = np.eye(4, 5, dtype=bool)
    painter.hidden = hidden
    assert painter.mask == "10000" + "01000" + "00100" + "00010"
    assert painter.seq == seq + 1
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        painter.hidden = np.zeros((5, 4), bool)
    with pytest.raises(ValueError, match="empty"):
        _ = MaskPainter(picture, (4, 5)).masks


def test_where_widgets_do_not_run_there_is_a_picture(picture):
    data, _ = MaskPainter(picture, (4, 4), np.eye(4, dtype=bool))._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert 'alt="A picture with 4 of 16 patches hidden"' in data["text/html"]
    assert len(data["image/png"]) > 1000


def test_the_script_loads_nothing_from_anywhere():
    for widget in (MaskPainter, PredictionExplorer):
        text = str(widget._esm)
        assert "http://" not in text
        assert "https://" not in text
        assert "import " not in text


def test_the_explorer_answers_the_last_stroke(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=2)
    wait_for(lambda: explorer.result_seq == 0)
    first = explorer.pictures
    assert len(first) == 2
    for i in range(5):
        paint(explorer, "0" * i + "1" + "0" * (15 - i))
    wait_for(lambda: explorer.result_seq == explorer.seq)
    wait_for(lambda: not explorer.busy)
    assert explorer.pictures != first
    assert explorer.last.inside.sum() == 64
    assert "cosine" in explorer.caption
    explorer.close()


def test_the_controls_change_what_is_drawn(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: explorer.result_seq == 0)
    drawn = {"predicted": explorer.pictures}
    for show in ("pooled", "target", "null"):
        explorer.show = show
        explorer.seq += 1
        wait_for(lambda: explorer.result_seq == explorer.seq)
        drawn[show] = explorer.pictures
    assert len({pictures[0] for pictures in drawn.values()}) == 4
    explorer.close()


def test_a_useless_mask_is_explained_and_not_fatal(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: explorer.result_seq == 0)
    paint(explorer, "0" * 16)
    wait_for(lambda: explorer.result_seq == 1)
    assert "empty" in explorer.error
    paint(explorer, "1" * 16)
    wait_for(lambda: explorer.result_seq == 2)
    assert "hides everything" in explorer.error
    paint(explorer, "1" + "0" * 15)
    wait_for(lambda: explorer.result_seq == 3)
    assert explorer.error == ""
    assert explorer.pictures
    explorer.close()


def test_a_new_stroke_cancels_the_old_one(model, decoder, picture):
    calls = []
    whole = decoder.sample

    def slow(*args, callback, **options):
        def look(state):
            time.sleep(0.05)
            cancelled = callback(state)
            calls.append(cancelled)
            return cancelled

        return whole(*args, callback=look, steps=20, **options)

    decoder.sample = slow
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: len(calls) > 2)
    paint(explorer, "1" + "0" * 15)
    wait_for(lambda: explorer.result_seq == 1)
    assert calls.count(True) == 1
    assert len(calls) < 20 + 15
    explorer.close()


def test_closing_ends_the_worker(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    worker = explorer._worker
    explorer.close()
    worker.join(timeout=10)
    assert not worker.is_alive()


def test_a_decoder_of_another_model_is_refused(decoder, picture):
    torch.manual_seed(5)
    with pytest.raises(ValueError, match="other weights"):
        PredictionExplorer(IJEPA(TINY), decoder, picture)
