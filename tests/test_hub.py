"""Models on the Hugging Face hub: sent and fetched through a stand-in of its HTTP interface; nothing is faked in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import random_decoder
from hub_stand_in import TOKEN, HubServer

from decoders import load_decoder
from decoders.loading import save_decoder
from ijepa_viz.checkpoints import load_model, push_to_hub, save_folder
from ijepa_viz.checkpoints.hub import is_hub_name, model_card
from ijepa_viz.checkpoints.training_cost import TrainingCost, write_training
from ijepa_viz.runtime.tensors import fingerprint

ROOT = Path(__file__).parent.parent


@pytest.fixture
def hub():
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(model, tmp_path):
    """A model with its decoder, and beside them what nobody else shall see."""
    place = tmp_path / "mine"
    save_folder(model, place)
    save_decoder(random_decoder(model), place / "decoder")
    write_training(place, TrainingCost("ijepa", 1000, 0.5, 1e12, "a laptop"))
    (place / "trainer.pt").write_bytes(b"the state of a training")
    return place


@pytest.fixture
def run(hub, tmp_path):
    """Run Python code, or ijepa-viz, in a process that takes the stand-in for the hub; returns it when it is done.

    huggingface_hub reads the hub's address when it is imported.
    """

    def start(*arguments: str, code: str | None = None, token: str | None = TOKEN):
        command = [sys.executable, "-c", code or "import sys; from ijepa_viz.cli import main; sys.exit(main())"]
        own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        own |= {"HF_TOKEN": token} if token else {}
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | own
        return subprocess.run([*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)

    return start


_USE = """
import json, sys
from decoders import load_decoder
from ijepa_viz import load_model
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.prediction import check_pair
from ijepa_viz.runtime.tensors import fingerprint
model, decoder = load_model("me/mine"), load_decoder("me/mine")
check_pair(model, decoder)
assert load_decoder(decoder_of("me/mine")).config == decoder.config
print(json.dumps([fingerprint(model), decoder.config.ijepa_sha256]))
"""


def test_what_is_to_be_private_is_not_sent_to_a_public_model(hub, folder, run):
    hub.models["me/public"] = {".gitattributes": b""}
    done = run("push", str(folder), "me/public", "--private")
    assert done.returncode == 1
    assert "me/public exists and is public, and nothing was sent" in done.stderr
    assert not hub.commits
    assert set(hub.models["me/public"]) == {".gitattributes"}


def test_a_model_and_its_decoder_go_to_the_hub_and_come_back(hub, folder, model, run):
    done = run("push", str(folder), "me/mine", "--license", "cc-by-4.0", "--private")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(f"{hub.address}/me/mine/commit/")
    assert "metadata block" not in done.stderr
    files = hub.models["me/mine"]
    sent = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"trainer.pt"}
    assert set(files) == sent | {"README.md", ".gitattributes"}
    assert all(files[name] == (folder / name).read_bytes() for name in sent)
    assert hub.private == {"me/mine"}
    assert len(hub.commits) == 1
    card = files["README.md"].decode()
    head = card.split("---")[1]
    for line in ("library_name: ijepa_viz", "license: cc-by-4.0", "- i-jepa"):
        assert line in head
    assert 'load_decoder("me/mine")' in card
    assert "1,000 images, 0.50 hours of a laptop" in card
    assert not (folder / "README.md").exists()

    done = run(code=_USE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [fingerprint(model)] * 2

    # Without the hub, from the cache: what a train without a network needs.
    hub.shutdown()
    done = run(code=_USE.replace("import json, sys", "import json, os; os.environ['HF_HUB_OFFLINE'] = '1'"))
    assert done.returncode == 0, done.stderr
    threading.Thread(target=hub.serve_forever, daemon=True).start()


def test_what_is_no_longer_in_the_folder_goes_from_the_hub(hub, folder, model, run, tmp_path):
    two = tmp_path / "two"
    save_folder(model, two)
    save_decoder(random_decoder(model, "token-vit"), two / "decoder")
    code = "import sys; from ijepa_viz.checkpoints import push_to_hub; print(push_to_hub(sys.argv[1], 'me/mine'))"
    for place in (two, folder):
        done = run(str(place), code=code)
        assert done.returncode == 0, done.stderr
    assert not any(name.startswith("decoder/token_network") for name in hub.models["me/mine"])
    assert run(code=_USE).returncode == 0


def test_refusals_of_the_hub_are_one_line(hub, folder, run):
    done = run("push", str(folder), "me/mine", token="hf_of_somebody_else")
    assert done.returncode == 1
    assert "did not take me/mine" in done.stderr
    assert "hf auth login" in done.stderr
    assert hub.models == {}
    done = run("info", "me/nothing")
    assert done.returncode == 1
    assert "no file or folder me/nothing" in done.stderr
    assert "hub did not give" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_folder_of_ours_is_refused_before_anything_is_sent(folder, model, tmp_path):
    with pytest.raises(ValueError, match="owner/name"):
        push_to_hub(folder, "mine")
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        push_to_hub(tmp_path, "me/mine")
    with pytest.raises(FileNotFoundError, match=r"no such file or folder.*Did you mean 'wild-tiny'.*Nothing was sent"):
        push_to_hub("wild-tny", "me/mine")
    with pytest.raises(NotADirectoryError, match=r"is a file: name the folder"):
        push_to_hub(folder / "config.json", "me/mine")
    torch.nn.init.normal_(model.predictor.mask_token)
    save_folder(model, folder)
    with pytest.raises(ValueError, match="trained on other weights"):
        push_to_hub(folder, "me/mine")
    (folder / "config.json").write_text('{"model_type": "ijepa"}')
    with pytest.raises(ValueError, match="Hugging Face's own format"):
        push_to_hub(folder, "me/mine")


def test_a_card_of_ones_own_is_kept(folder):
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [birds]\n---\n# Birds\n\nOnly gulls.\n")
    card = model_card(folder, load_model(folder), "me/birds")
    assert "# Birds\n\nOnly gulls." in card
    head = card.split("---")[1]
    assert "license: mit" in head
    assert "- birds" in head
    assert "- i-jepa" in head
    assert "license: cc0-1.0" in model_card(folder, load_model(folder), "me/birds", "cc0-1.0")


def test_names_of_the_hub_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("me/mine")
    for text in ("mine", "./mine", "~/mine", "a/b/c", "runs/mine.pth.tar", "/me/mine"):
        assert not is_hub_name(text)
    (tmp_path / "me" / "mine").mkdir(parents=True)
    assert not is_hub_name("me/mine")
    with pytest.raises(FileNotFoundError):
        load_decoder("me/mine")


def test_a_decoder_that_is_none_or_damaged_is_not_sent(folder, model):
    shutil.rmtree(folder / "decoder", ignore_errors=True)
    (folder / "decoder").mkdir()
    with pytest.raises(ValueError, match="holds no decoder"):
        push_to_hub(folder, "me/mine")
    (folder / "decoder" / "decoder.json").write_text(json.dumps({"ijepa_sha256": fingerprint(model)}))
    with pytest.raises(ValueError, match="holds no weights"):
        push_to_hub(folder, "me/mine")
    (folder / "decoder" / "network.safetensors").write_bytes(b"half of a file")
    with pytest.raises(ValueError, match="is damaged"):
        push_to_hub(folder, "me/mine")
