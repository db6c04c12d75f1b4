from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import build_network
from ijepa_viz.figures import Figure
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime.tensors import fingerprint

# With two threads and other work on the machine, small operations were measured 25 times slower.
torch.set_num_threads(1)
settings.register_profile("default", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("default")

TINY = ModelConfig(
    image_size=32, patch_size=8, width=32, depth=2, heads=2, predictor_width=16, predictor_depth=2, predictor_heads=2
)


# Those that take longest: begun first, so that of two processes none is left with one at the end.
_LONG = ("test_notebooks", "test_parallel", "test_browser", "test_monitor", "test_full_scale", "test_pages", "test_cli")


# A test that hangs shall fail long before whoever runs them all gives up. The first notebook waits for all of them.
_SECONDS = {"test_notebooks": 1800}
_SECONDS_SLOW = 3600


def pytest_collection_modifyitems(items):
    for item in items:
        slow = item.get_closest_marker("slow")
        seconds = _SECONDS_SLOW if slow else _SECONDS.get(item.path.stem)
        if seconds:
            item.add_marker(pytest.mark.timeout(seconds))
    rank = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(_LONG)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return IJEPA(TINY).eval()


def random_decoder(model: IJEPA, name: str = "block-vit") -> Decoder:
    """Untrained decoder for ``model``, initialised so that its output depends on the tokens."""
    if name == "token-vit":
        pixels = random_decoder(model)
        return Decoder(pixels.network, pixels.config, token_network=random_network(model, name))
    network = random_network(model, name)
    return Decoder(network, DecoderConfig(ijepa="a test model", ijepa_sha256=fingerprint(model), steps=4))


def random_network(model: IJEPA, name: str):
    """Untrained network of a decoder."""
    torch.manual_seed(1)
    options = {"pooled-unet": {"channels": (32, 32), "layers": 1}, "ridge": {}}.get(
        name, {"width": 32, "depth": 2, "heads": 2}
    )
    network = build_network(name, model.grid, model.config.patch_size, model.config.width, options)
    for tensor in (*network.parameters(), *(b for n, b in network.named_buffers() if n in ("weights", "intercepts"))):
        torch.nn.init.normal_(tensor, std=0.1)
    return network


@pytest.fixture
def decoder(model):
    return random_decoder(model)


@pytest.fixture
def larger():
    """A model for scenes of 64 px, where a block can hide a head, and a decoder for it."""
    torch.manual_seed(0)
    model = IJEPA(replace(TINY, image_size=64)).eval()
    return model, random_decoder(model)


@pytest.fixture
def picture():
    """A photograph-like picture, 48x40."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))


@pytest.fixture
def photos() -> Path:
    """Real photographs in parquet shards, where the environment names a folder of them."""
    folder = os.environ.get("IJEPA_VIZ_TEST_PHOTOS")
    if not folder:
        pytest.skip("IJEPA_VIZ_TEST_PHOTOS is not set: no photographs to test on")
    return Path(folder)


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Every figure that is written while the test runs, in order."""
    written = []
    save = Figure.savefig

    def record(figure, *arguments, **options):
        written.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", record)
    return written


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture that decodes completely and is not of one colour."""
    with Image.open(path) as image:
        assert np.asarray(image.convert("RGB")).std() > 1, f"{path} is blank"
        return image.size


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser_path() -> str:
    path = find_browser()
    if path is None:
        pytest.skip("no Chrome or Chromium is installed")
    return path


@pytest.fixture(scope="session")
def chromium(browser_path):
    pytest.importorskip("playwright")
    from jupyter_lab import browser

    with browser(browser_path) as found:
        yield found
