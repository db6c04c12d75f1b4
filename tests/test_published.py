"""Published weights: fetched in pieces, remembered by their checksum, converted once."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch
from conftest import TINY

from ijepa_viz.checkpoints import load_model, published, save_reference
from ijepa_viz.models import IJEPA

NAME = "ijepa-vith14-in1k"
FILE = published.PUBLISHED[NAME]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of one file that can go on, and that breaks off after ``limit`` bytes where that is set."""
    torch.manual_seed(0)
    model = IJEPA(TINY)
    save_reference(model, tmp_path / FILE)
    content = (tmp_path / FILE).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        limit: int | None = None
        asked: ClassVar[list[str | None]] = []

        def do_GET(self):
            wanted = self.headers.get("Range")
            Handler.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : Handler.limit])

        def log_message(self, *arguments):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    monkeypatch.setattr(published, "_URL", f"http://127.0.0.1:{found.server_port}/")
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(tmp_path / "cache"))
    Handler.asked.clear()
    yield Handler, model, content
    found.shutdown()


def test_an_interrupted_download_goes_on_and_is_converted_once(server):
    handler, model, content = server
    handler.limit = 10_000
    with pytest.raises(FileNotFoundError, match="put the file there"):
        load_model(NAME)
    assert (published.home() / f"{FILE}.partial").stat().st_size == 10_000
    handler.limit = None
    again = load_model(NAME)
    assert handler.asked == [None, "bytes=10000-"]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert (published.home() / FILE).read_bytes() == content
    assert {p.name for p in (published.home() / NAME).iterdir()} == {"config.json", "model.safetensors"}
    load_model(NAME)
    assert len(handler.asked) == 2  # what is converted is not fetched again


def test_another_file_under_the_same_name_is_refused(server):
    note = published.home() / f"{FILE}.sha256"
    note.parent.mkdir(parents=True)
    note.write_text("0" * 64 + f"  {FILE}\n")
    with pytest.raises(ValueError, match="not the file that was fetched first"):
        load_model(NAME)
    assert not (published.home() / FILE).exists()


def test_a_file_put_there_by_hand_needs_no_network(server, monkeypatch):
    _, model, content = server
    monkeypatch.setattr(published, "_URL", "http://127.0.0.1:9/")
    with pytest.raises(FileNotFoundError, match="Without a network, put the file there"):
        load_model(NAME)
    (published.home() / FILE).write_bytes(content)
    assert torch.equal(load_model(NAME).encoder.norm.weight, model.encoder.norm.weight)


def test_training_starts_from_a_published_model(server, tmp_path):
    from test_train import config_file

    from train.__main__ import main

    _, model, _ = server
    sizes = f"model: {{image_size: {TINY.image_size}, patch_size: {TINY.patch_size}, width: {TINY.width}, "
    sizes += f"depth: {TINY.depth}, heads: {TINY.heads}, predictor_width: {TINY.predictor_width}, "
    sizes += f"predictor_depth: {TINY.predictor_depth}, predictor_heads: {TINY.predictor_heads}}}\n"
    rest = 'data: {source: "menagerie:count=64"}\noptimization: {steps: 1, batch_size: 8, lr: 0.0, start_lr: 0.0, '
    rest += "final_lr: 0.0}\nrun: {precision: fp32}\n"
    config = config_file(tmp_path, sizes + rest)
    assert main(["--fname", config, f"run.folder={tmp_path / 'run'}", "--init-from", NAME]) == 0
    trained = load_model(tmp_path / "run" / "step-00000001")
    assert torch.equal(trained.encoder.blocks[0].mlp.fc1.weight, model.encoder.blocks[0].mlp.fc1.weight)


def test_a_download_that_is_no_checkpoint_says_what_to_delete(server):
    """A login page, perhaps, that came under the name of the file."""
    (published.home()).mkdir(parents=True)
    (published.home() / FILE).write_text("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=rf"web page.*download of {NAME}: delete it and {FILE}"):
        load_model(NAME)
    assert not (published.home() / NAME).exists()


def test_a_cache_that_cannot_be_written_names_its_variable(server, tmp_path):
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "published").write_text("a file in the folder's place")
    with pytest.raises(OSError, match=r"could not be written.*IJEPA_VIZ_CACHE"):
        load_model(NAME)
