"""Models whose predictor alone was trained: the encoders, and what draws their tokens, are another model's by name."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from decoders import load_decoder
from decoders.config import DataConfig, DecoderTrainConfig, NetworkConfig, OptimizationConfig
from decoders.networks.network import ConditioningShares
from decoders.shared_pixels import borrowed, is_of_a_relative
from decoders.training.trainer import DecoderTrainer
from ijepa_viz import load_model
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import predict
from ijepa_viz.runtime.run_folder import RunConfig
from ijepa_viz.runtime.tensors import fingerprint, tensor_names

NAME = "menagerie-tiny"


@pytest.fixture(scope="module")
def relative():
    """The bundled model with another predictor."""
    model = load_model(NAME)
    torch.manual_seed(3)
    for parameter in model.predictor.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.01 * torch.randn_like(parameter)).copy_(parameter.data.half().float())
    return model


@pytest.fixture(scope="module")
def saved(relative, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relative")
    save_folder(relative, folder, torch.float16, encoders_of=NAME)
    return folder


def test_encoders_are_written_by_name_and_read_again(relative, saved):
    loaded = load_model(saved)
    assert loaded.config == relative.config
    assert fingerprint(loaded) == fingerprint(relative)
    assert all(name.startswith("predictor.") for name in tensor_names(saved / "model.safetensors"))
    assert (saved / "model.safetensors").stat().st_size < 500_000
    loaded.encoder.norm.bias.data += 1  # its own from here on
    assert fingerprint(load_model(saved)) == fingerprint(relative)


def test_other_encoders_are_not_named(relative, tmp_path):
    changed = copy.deepcopy(relative)
    changed.encoder.norm.bias.data += 0.001
    with pytest.raises(ValueError, match="encoders are not those of menagerie-tiny"):
        save_folder(changed, tmp_path / "none", encoders_of=NAME)
    with pytest.raises(FileNotFoundError, match="Did you mean 'menagerie-tiny'"):
        save_folder(relative, tmp_path / "none", encoders_of="menagery-tiny")
    other = IJEPA(replace(relative.config, heads=8))
    other.load_state_dict(relative.state_dict())
    with pytest.raises(ValueError, match="encoders are not those of menagerie-tiny"):
        save_folder(other, tmp_path / "none", encoders_of=NAME)
    with pytest.raises(ValueError, match="is a path"):
        save_folder(relative, tmp_path / "none", encoders_of=str(tmp_path))
    with pytest.raises(ValueError, match="has no encoders of its own"):
        save_folder(relative, tmp_path / "none", encoders_of="birds-tiny")
    with pytest.raises(ValueError, match="this model has none"):
        save_folder(load_model("menagerie-tiny-mae"), tmp_path / "none", encoders_of="menagerie-tiny-mae")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"model": "nobody", "sha256": "0"}, "no bundled model"),
        ({"model": NAME, "sha256": "0"}, "other encoders than those of the bundled 'menagerie-tiny'"),
        ({"model": NAME}, "is damaged"),
        ({"model": 3, "sha256": "0"}, "is damaged"),
        (NAME, "is damaged"),
        (None, "does not say for which encoders"),
        ({"model": "birds-tiny", "sha256": "0"}, "has none of its own"),
    ],
)
def test_a_wrong_name_or_fingerprint_is_refused(saved, tmp_path, entry, message):
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoders_of": entry}))
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 5}, "has other settings of the encoders than 'menagerie-tiny'"),
        ({"heads": 8}, "has other settings of the encoders"),  # the same weights, which would compute something else
        ({"norm_eps": 0.01}, "has other settings of the encoders"),
        ({"activation": "relu"}, "has other settings of the encoders"),
        ({"predictor_width": 0}, "beside a predictor"),
    ],
)
def test_encoders_that_compute_something_else_are_refused(saved, tmp_path, setting, message):
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **setting}))
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def test_export_names_encoders_or_writes_them(relative, saved, tmp_path, capsys):
    assert main(["export", str(saved), str(tmp_path / "whole"), "--half"]) == 0
    assert main(["export", str(tmp_path / "whole"), str(tmp_path / "named"), "--half", "--encoders-of", NAME]) == 0
    assert main(["export", str(saved), str(tmp_path / "no"), "--encoders-of", "wild-tiny"]) != 0
    assert "not those of wild-tiny" in capsys.readouterr().err
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "named")]
    assert sizes[0] > 5 * sizes[1]
    assert fingerprint(load_model(tmp_path / "whole")) == fingerprint(load_model(tmp_path / "named"))


def test_tokens_are_drawn_by_the_relatives_decoder(relative, saved, tmp_path, picture):
    """A token network trained for the new predictor draws by the bundled decoder's network, which is not copied."""
    bundled = load_decoder(NAME)
    assert is_of_a_relative(bundled, relative)
    assert not is_of_a_relative(bundled, load_model(NAME))
    changed = copy.deepcopy(relative)
    changed.target_encoder.norm.bias.data += 0.1
    assert not is_of_a_relative(bundled, changed)
    run = DecoderTrainer(
        DecoderTrainConfig(
            ijepa=str(saved),
            pixel_decoder=NAME,
            network=NetworkConfig("token-vit", {"width": 32, "depth": 1, "heads": 2}),
            data=DataConfig("menagerie:count=64", cached_batches=1),
            conditioning=ConditioningShares(targets=0.0),
            optimization=OptimizationConfig(steps=2, batch_size=8, warmup=1),
            run=RunConfig(folder=str(tmp_path / "run")),
        )
    ).run()
    assert (run / "network" / "diffusion_pytorch_model.safetensors").stat().st_size < 3000
    decoder = load_decoder(run)
    prediction = predict(relative, picture, Masks.from_block(relative.grid, 2, 3, 3, 2))
    # Given target tokens, one stage draws: the same pictures as the bundled decoder's.
    own = predict(load_model(NAME), picture, Masks.from_block(relative.grid, 2, 3, 3, 2))
    one, two = decoder.sample(prediction, 2, source="target", steps=3), bundled.sample(own, 2, source="target", steps=3)
    torch.testing.assert_close(one.images, two.images)
    assert decoder.sample(prediction, 2).tokens.shape == (2, 1, 6, 128)
    wide = relative.at(64, 96)
    drawn = decoder.at(wide.grid).sample(
        predict(wide, torch.rand(3, 64, 96), Masks.from_block(wide.grid, 2, 3, 3, 2)), 1
    )
    assert drawn.images.shape == (1, 3, 128, 192)


def test_a_relatives_decoder_of_one_stage_is_exported_by_name(tmp_path, picture, capsys):
    """No weight of it is written; predicted tokens are drawn as by the decoder itself."""
    model = load_model("wild-tiny")
    torch.manual_seed(3)
    model.predictor.predictor_proj.bias.data.add_(0.01).copy_(model.predictor.predictor_proj.bias.data.half().float())
    save_folder(model, tmp_path / "own", torch.float16, encoders_of="wild-tiny")
    command = ["export", str(tmp_path / "own"), str(tmp_path / "birds"), "--half", "--encoders-of", "wild-tiny"]
    assert main([*command, "--decoder", "wild-tiny"]) == 0
    weights = tmp_path / "birds" / "decoder" / "network" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size < 3000
    saved, original = load_decoder(tmp_path / "birds"), load_decoder("wild-tiny")
    assert saved.config.ijepa == "birds"
    assert saved.config.ijepa_sha256 == fingerprint(model)
    prediction = predict(model, picture, Masks.from_block(model.grid, 2, 3, 3, 2))
    original.config = replace(original.config, ijepa_sha256=saved.config.ijepa_sha256)  # this test trusts it
    one, two = (d.sample(prediction, 2, steps=3) for d in (saved, original))
    torch.testing.assert_close(one.images, two.images)
    assert main(["export", str(tmp_path / "own"), str(tmp_path / "no"), "--decoder", NAME]) == 1
    assert "other weights ('menagerie-tiny')" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_a_relatives_decoder_of_two_stages_is_not_borrowed(relative, tmp_path):
    with pytest.raises(ValueError, match="has two stages, and the first samples from 'menagerie-tiny'"):
        borrowed(NAME, relative, "mine")
