"""Films beside samples of their future: as one animated picture, by the command, and as a chapter of the live page."""

from __future__ import annotations

import functools
import http.server
import io
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from jupyter_lab import watch
from PIL import Image, ImageSequence
from test_film_explorer import SIZES, film_model

from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import build_network
from ijepa_viz.cli import main
from ijepa_viz.figures.film_loops import Panel, encoded_loop, loop_frames
from ijepa_viz.film_examples import cued_films, film_panels
from ijepa_viz.models import IJEPA
from ijepa_viz.page.build import build_page
from ijepa_viz.runtime.weights import Weights


@pytest.fixture(scope="module")
def pair():
    model = film_model()
    options = {"width": 32, "depth": 1, "heads": 2, "refine": 0, "time_width": 8}
    network = build_network("block-vit", SIZES.grid, 8, 32, options, steps=4, tubelet=2)
    return model, Decoder(network, DecoderConfig(steps=1, ijepa_sha256=Weights(model).sha256()))


@pytest.mark.parametrize("kind", [".gif", ".webp"])
def test_all_films_run_at_once_and_predicted_frames_have_a_border(kind):
    dark, light = torch.zeros(4, 3, 32, 32), torch.linspace(0, 1, 4)[:, None, None, None].expand(4, 3, 32, 32)
    rows = [[Panel(dark, "dark"), Panel(light, "light", (False, False, True, True))]]
    frames = loop_frames(rows, scale=3)
    with Image.open(io.BytesIO(encoded_loop(frames, kind))) as found:
        read = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(found)]
        assert found.info["loop"] == 0
    assert len(read) == 4
    row, left, right = 8 + 2 + 48, 8 + 2 + 48, 8 + 100 + 8 + 2 + 48
    assert all(abs(one[row, left]).max() < 12 for one in read)
    assert [round(one[row, right].mean() / 85) for one in read] == [0, 1, 2, 3]
    green = [one[row, right - 49, 1] - one[row, right - 49, 0] > 80 for one in read]
    assert green == [False, False, True, True]


def test_a_loop_refuses_what_does_not_fit():
    long, short = Panel(torch.zeros(4, 3, 8, 8), ""), Panel(torch.zeros(3, 3, 8, 8), "")
    for rows in ([], [[]], [[long, short]], [[long, long], [long]]):
        with pytest.raises(ValueError, match="one size and length"):
            loop_frames(rows)
    with pytest.raises(ValueError, match=r"\.gif or \.webp"):
        encoded_loop(loop_frames([[long]]), ".png")


def test_films_have_a_right_and_another_cue_and_their_first_half_is_seen(pair):
    films = cued_films(pair[0])
    assert [film.story for film in films] == ["signpost", "flower", "meets_wall"]
    assert all(len(set(film.cues)) == 3 and film.cues[0] == "" for film in films)
    for row in film_panels(films, pair[1]):
        truth, seen, first, second, right, other = (panel.frames for panel in row)
        assert all(torch.equal(part[:4], truth[:4]) for part in (seen, first, second, right, other))
        assert float(seen[4:].std()) < 1e-6
        assert not torch.equal(first[4:], second[4:])
        assert row[2].predicted == (False,) * 4 + (True,) * 4
    assert cued_films(pair[0], ["flower"], first=1)[0].cues != films[1].cues
    with pytest.raises(ValueError, match="'walls'"):
        cued_films(pair[0], ["walls"])
    with pytest.raises(ValueError, match="film-tiny"):
        cued_films(IJEPA(TINY))
    with pytest.raises(ValueError, match="passed over, from 0, got -1"):
        cued_films(pair[0], first=-1)
    with pytest.raises(ValueError, match="first is at most"):
        cued_films(pair[0], ["flower"], first=60)
    with pytest.raises(ValueError, match="take another story, such as 'signpost'"):
        cued_films(pair[0], ["walks"])


def test_the_command_writes_every_second_frame(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ijepa_viz.checkpoints.load_model", lambda name, device: pair[0])
    monkeypatch.setattr("decoders.loading.load_decoder", lambda name, device: pair[1])
    monkeypatch.setattr("ijepa_viz.cli.film.decoder_of", lambda name: name)
    out = tmp_path / "film.gif"
    assert (
        main(["film", "--model", "films", "--out", str(out), "--stories", "flower", "--samples", "1", "--every", "2"])
        == 0
    )
    with Image.open(out) as found:
        assert found.n_frames == 4
        assert found.info["duration"] == 360
    assert "flower: right cue" in capsys.readouterr().out
    assert main(["film", "--model", "films", "--out", str(tmp_path / "film.png")]) == 1
    assert ".gif, .webp" in capsys.readouterr().err


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.mark.browser
@pytest.mark.parametrize("with_films", [True, False])
def test_the_page_has_a_chapter_on_films_where_there_is_a_model(pair, with_films, chromium, tmp_path):
    torch.manual_seed(0)
    model = IJEPA(replace(TINY, image_size=64)).eval()
    engine = Path(__file__).parent / "page_engine.js"
    films = pair if with_films else None
    build_page(tmp_path, model, random_decoder(model), pictures=9, answered=2, holes=2, engine=engine, films=films)
    held = json.loads((tmp_path / "data/site.json").read_text())["films"]
    assert (tmp_path / "data/films.webp").exists() == with_films == (held is not None)
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        outside, errors = watch(page, port), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/index.html?test")
        page.wait_for_function("document.documentElement.dataset.phase")
        if with_films:
            page.wait_for_selector("#films[data-frame]")
            page.get_by_role("button", name="Films", exact=True).click()
            assert page.locator("#films canvas").count() == 15
            page.wait_for_function("document.querySelector('#films').dataset.frame === '6'")
            page.get_by_role("button", name="Pause the films").click()
            stopped = page.locator("#films").get_attribute("data-frame")
            page.wait_for_timeout(600)
            assert page.locator("#films").get_attribute("data-frame") == stopped
            drawn = "() => [...document.querySelectorAll('#films canvas')].map((c) => c.toDataURL())"
            assert len(set(page.evaluate(drawn))) > 9
            axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
            found = axe.run(page, context="#films")
            assert found.violations_count == 0, found.generate_report()
        else:
            assert page.get_by_role("button", name="Films", exact=True).count() == 0
            following = page.locator("#masks button.next")  # seen on a phone
            assert (following.get_attribute("data-to"), following.text_content()) == ("words", "Next: the words")
        assert outside == errors == []
        page.close()
        server.shutdown()
