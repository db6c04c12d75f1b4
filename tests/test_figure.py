"""Figures say in words what they show, also where only those words arrive."""

from __future__ import annotations

import base64
import io
import re
from html import unescape

import pytest
from PIL import Image

from ijepa_viz.figures import Figure, write_figure
from ijepa_viz.figures.figure import encode_figure


def test_the_words_name_panels_axes_and_lines():
    figure = Figure("Two curves & a picture.", figsize=(4, 2))
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], label="model")
    left.plot([0, 1], [1, 0], label="control")
    left.axhline(0.5)  # without a name
    left.set_xlabel("steps")
    left.set_ylabel("loss")
    right.imshow([[0, 1]])
    right.set_title("the\nhole")
    figure.suptitle("A <run>")
    assert figure.alt == "Two curves & a picture. A <run>. Panels: loss over steps (model, control); the hole."


def test_many_panels_are_not_all_read_out():
    figure = Figure("Many.", figsize=(4, 4))
    for i, axis in enumerate(figure.subplots(4, 5).flat):
        axis.set_title(f"panel {i}")
    assert figure.alt.endswith("panel 11; and 8 more.")


def test_a_notebook_gets_the_picture_with_its_words():
    figure = Figure('A "quoted" word.', figsize=(2, 1))
    bundle = figure._repr_mimebundle_()
    found = re.fullmatch(r'<img [^>]*alt="([^"]*)" src="data:image/png;base64,([^"]*)">', bundle["text/html"])
    assert unescape(found[1]) == figure.alt == bundle["text/plain"]
    assert found[2] == bundle["image/png"]
    with Image.open(io.BytesIO(base64.b64decode(found[2]))) as image:
        assert image.size == (260, 130)


@pytest.mark.parametrize(("name", "words"), [("curves.gif", "ends in .gif"), ("curves", "has no ending")])
def test_a_figure_of_another_format_is_refused_by_the_name_of_its_own_file(tmp_path, name, words):
    figure = Figure("Nothing.", figsize=(2, 1))
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / name))} {words}.*\.png, \.pdf"):
        write_figure(tmp_path / name, figure)
    with pytest.raises(ValueError, match=r"A figure is encoded as \.png.*not as '\.gif'"):
        encode_figure(figure, ".gif")
    write_figure(tmp_path / "curves.PNG", figure)
    assert (tmp_path / "curves.PNG").read_bytes().startswith(b"\x89PNG")
