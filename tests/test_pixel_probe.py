"""The pixel probe on folders, which list class after class."""

from __future__ import annotations

from collections import Counter

from test_monitor import flat_pictures

from ijepa_viz.data.transforms import denormalise
from ijepa_viz.probes import pixels
from ijepa_viz.probes.pixels import pixel_table


def test_pictures_of_all_classes_fit_and_test(tmp_path, model, monkeypatch):
    source = flat_pictures(tmp_path, 6, 25)
    seen = []

    def spy(train, train_pixels, test, test_pixels):
        for pixels_ in (train_pixels, test_pixels):
            colours = denormalise(pixels_.T.reshape(3, -1, len(pixels_))[None].mean(2, keepdim=True))[0, 0, 0] * 255
            seen.append(Counter(round(float(c)) for c in colours))
        return 0.0

    monkeypatch.setattr(pixels, "ridge_r2", spy)
    assert pixel_table(model, source, limit=90)["images"] == 90
    fit, test = seen[:2]
    tokens = sum(test.values()) // 30
    assert {colour: (fit[colour] + test[colour]) // tokens for colour in fit} == dict.fromkeys(range(10, 61, 10), 15)
    assert sum(fit.values()) == 60 * tokens
    assert set(test) == set(range(10, 61, 10))
    assert max(test.values()) <= 10 * tokens
