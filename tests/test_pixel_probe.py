"""The pixel probe on folders, which list class after class."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import Image
from test_monitor import flat_pictures

from ijepa_viz.data.opening import open_source
from ijepa_viz.data.transforms import denormalise
from ijepa_viz.probes import pixels
from ijepa_viz.probes.pixels import pixel_table


def test_pictures_of_all_classes_fit_and_test(tmp_path, model, monkeypatch):
    with pytest.raises(ValueError, match="30 different images, got 6"):  # copies would be fitted and tested on
        pixel_table(model, flat_pictures(tmp_path, 6, 25))
    for i, path in enumerate(sorted(tmp_path.rglob("*.png"))):
        picture = Image.open(path)
        place = i % 25, 0
        red, green, blue = picture.getpixel(place)
        picture.putpixel(place, (red + 1, green, blue))
        picture.save(path)
    source = open_source(str(tmp_path))
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
