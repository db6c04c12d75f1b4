"""``ijepa-viz export NAME --onnx FOLDER``: the files give what torch gives, whatever the lengths."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY, random_decoder, random_network
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

from decoders import Decoder, save_decoder
from decoders.networks.network import build_network
from decoders.sampling import SOLVERS
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.models import IJEPA

pytest.importorskip("onnxruntime", reason="pip install 'ijepa-viz[page]'")
import onnx

from ijepa_viz.cli import onnx_export
from ijepa_viz.cli.onnx_export import decoder_entry, export_onnx, solver_entry
from ijepa_viz.masks import Masks
from ijepa_viz.page.onnx_files import TOLERANCE, checked_bytes, onnx_bytes, run, session_of, stored_as
from ijepa_viz.page.onnx_graphs import Graph, model_graphs, reconstruction_graph
from ijepa_viz.runtime.files import folder_or_nothing


def random_masks(model, seed):
    """Masks of random lengths, and images for them."""
    generator = torch.Generator().manual_seed(seed)
    count = model.grid[0] * model.grid[1]
    batch, blocks, hidden = (int(torch.randint(1, high, (), generator=generator)) for high in (4, 4, count - 2))
    visible = int(torch.randint(1, count - hidden + 1, (), generator=generator))
    orders = torch.stack([torch.randperm(count, generator=generator) for _ in range(batch)])
    targets = torch.stack([orders[:, :hidden].roll(k, 1) for k in range(blocks)], 1)
    images = torch.randn(batch, 3, *model.config.height_and_width, generator=generator)
    return images, Masks(orders[:, hidden : hidden + visible].sort(1).values, targets, model.grid)


@pytest.mark.parametrize("context", ["separate", "shared"])
def test_tokens_equal_torchs_over_random_masks(context):
    torch.manual_seed(0)
    model = IJEPA(replace(TINY, predictor_context=context, image_size=(32, 48))).eval()
    predict, target = model_graphs(model)
    sessions = [session_of(onnx_bytes(graph)) for graph in (predict, target)]
    for seed in range(12):
        images, masks = random_masks(model, seed)
        with torch.no_grad():
            tokens = model.encode_context(images, masks)
            expected = [tokens, model.predict(tokens, masks)]
        found = run(sessions[0], predict, (images, masks.context, masks.targets))
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() < 1e-4
        every = run(sessions[1], target, (images,))[0]
        gathered = torch.stack([every[i, masks.targets[i]] for i in range(len(images))])
        assert (gathered - model.targets(images, masks)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "options"),
    [("block-vit", {"split": 2, "refine": 8, "cell": 2}), ("block-vit", {"refine": 0}), ("token-vit", {}), ("squared-error", {})],
)  # fmt: skip
def test_a_denoising_step_equals_torchs_for_holes_of_any_shape(model, name, options):
    torch.manual_seed(1)
    network = build_network(name, model.grid, 8, 32, {"width": 32, "depth": 1, "heads": 2, **options}).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    graph = onnx_export._step_graph("denoise", network)
    session = session_of(onnx_bytes(graph))
    for samples, hole in ((1, [0]), (6, [3, 6, 9, 12]), (2, list(range(15))), (4, [5, 6, 9, 10])):
        arguments = onnx_export._step_arguments(network, samples, hole)
        with torch.no_grad():
            expected = network(*arguments[:-1])
        assert (run(session, graph, arguments)[0] - expected).abs().max() < 1e-4


@pytest.mark.parametrize("normalised", [True, False])
def test_a_masked_autoencoders_pixels_equal_the_objectives(normalised):
    from train.config import ObjectiveConfig, TrainConfig
    from train.objectives.objective import build

    torch.manual_seed(0)
    objective = build(
        TrainConfig(model=TINY, objective=ObjectiveConfig("mae", {"normalise_pixels": normalised}))
    ).eval()
    graph = reconstruction_graph(objective.model.encoder, objective.decoder, normalised)
    session = session_of(onnx_bytes(graph))
    for seed in range(4):
        images, masks = random_masks(objective.model, seed)
        found = run(session, graph, (images, masks.context, masks.targets))[0]
        assert (found - objective.reconstruct(images, masks)).abs().max() < 1e-4


def test_half_weights_halve_the_file_and_lose_nothing_that_was_saved_so(model):
    saved_as_half = model.half().float()
    graph = model_graphs(saved_as_half)[1]
    exact = onnx_bytes(graph)
    half, gap = checked_bytes(graph, "float16")
    assert gap < 1e-5
    whole, coarse = checked_bytes(graph, "int8")
    assert len(whole) < len(half) < 0.75 * len(exact)
    assert gap < coarse < 0.5
    with pytest.raises(ValueError, match="float32, float16, int8"):
        stored_as(exact, "int4")


def test_a_network_that_a_trace_would_falsify_is_refused(model, monkeypatch):
    graph = model_graphs(model)[1]
    other = model_graphs(IJEPA(TINY).eval())[1]
    monkeypatch.setattr("ijepa_viz.page.onnx_files.onnx_bytes", lambda graph: onnx_bytes(other))
    with pytest.raises(RuntimeError, match=f"onnxruntime differs from torch by .*'target' .{TOLERANCE}"):
        checked_bytes(graph, "float32")


def test_the_command_writes_graphs_and_a_manifest(model, tmp_path, capsys):
    decoder = random_decoder(model, "token-vit")
    save_folder(model, tmp_path / "model")
    save_decoder(decoder, tmp_path / "model" / "decoder")
    out = tmp_path / "onnx"
    assert main(["export", str(tmp_path / "model"), "--onnx", str(out), "--weights", "float32"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["graphs"]) == {"predict", "target", "denoise", "denoise_tokens"}
    printed = capsys.readouterr().out
    for name, graph in manifest["graphs"].items():
        assert (out / graph["file"]).stat().st_size == graph["bytes"]
        assert graph["difference"] < 1e-4
        assert f"{name}: differs from torch by" in printed
    assert manifest["size"] == [32, 32]
    assert manifest["decoder"] == json.loads(json.dumps(decoder_entry(decoder)))
    assert manifest["kept"]["cosine_files"] == pytest.approx(manifest["kept"]["cosine_torch"], abs=1e-4)
    colours = manifest["colours"]
    assert torch.tensor(colours["components"]).shape == (3, 32)
    assert all(low < high for low, high in zip(colours["low"], colours["high"], strict=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "onnx"]


def interrupted_half_way(folder):
    with folder_or_nothing(folder) as partial:
        (partial / "file").write_text("half")
        raise KeyboardInterrupt


def test_nothing_is_left_after_an_error(model, tmp_path, capsys, monkeypatch):
    save_folder(model, tmp_path / "model")
    called = []

    def refused(graph, weights):
        called.append(graph.name)
        if graph.name == "target":
            raise RuntimeError("onnxruntime differs")
        return b"first file", 0.0

    monkeypatch.setattr("ijepa_viz.page.models_folder.checked_bytes", refused)
    assert main(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "onnx")]) == 1
    assert called == ["predict", "target"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    with pytest.raises(KeyboardInterrupt):
        interrupted_half_way(tmp_path / "empty")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_current_folder_is_filled_and_stays_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    with pytest.raises(KeyboardInterrupt):
        interrupted_half_way(Path())
    assert list(tmp_path.iterdir()) == []
    with folder_or_nothing(Path()) as partial:
        (partial / "models").mkdir()
        (partial / "models" / "file").write_text("all")
    assert Path("models/file").read_text() == "all"
    assert tmp_path.stat().st_ino == inode
    assert [p.name for p in tmp_path.iterdir()] == ["models"]
    with pytest.raises(FileExistsError, match="not empty"):
        interrupted_half_way(Path())


def test_a_folder_to_share_is_written_completely_or_not_at_all(model, tmp_path, monkeypatch, capsys):
    save_folder(model, tmp_path / "model")

    def refused(*_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("ijepa_viz.checkpoints.copy_objective", refused)
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "shared")]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_mixed_weights_have_fewer_bits_in_the_decoder_and_are_packed(model, tmp_path):
    save_folder(model, tmp_path / "model")
    save_decoder(random_decoder(model, "token-vit"), tmp_path / "model" / "decoder")
    manifest = export_onnx(str(tmp_path / "model"), tmp_path / "out", weights="mixed")
    most = {}
    for name, graph in manifest["graphs"].items():
        data = (tmp_path / "out" / graph["file"]).read_bytes()
        assert len(data) == graph["bytes"]
        whole = [onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(gzip.decompress(data)).graph.initializer
                 if t.name.endswith(".int8")]  # fmt: skip
        most[name] = max(int(abs(values.astype(int)).max()) for values in whole)
    assert most == {"predict": 127, "target": 127, "denoise": 31, "denoise_tokens": 63}


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "either FOLDER"),
        (["out", "--onnx", "other"], "either FOLDER"),
        (["out", "--weights", "int8"], "belong to --onnx"),
        (["--onnx", "out", "--half"], "--weights float16"),
        (["--onnx", "out", "--autoencoder", "menagerie-tiny-invariance"], "no masked autoencoder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(model, tmp_path, capsys, monkeypatch, arguments, cause):
    monkeypatch.chdir(tmp_path)
    save_folder(model, tmp_path / "model")
    assert main(["export", "model", *arguments]) == 1
    assert cause in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_encoder_alone_and_a_full_folder_are_refused(tmp_path):
    save_folder(IJEPA(replace(TINY, predictor_width=0)), tmp_path / "encoder")
    with pytest.raises(RuntimeError, match="encoder only"):
        export_onnx(str(tmp_path / "encoder"), tmp_path / "onnx")
    with pytest.raises(FileExistsError, match="not empty"):
        export_onnx(str(tmp_path / "encoder"), tmp_path)


def test_solvers_and_networks_that_the_page_does_not_know_are_refused(model):
    known = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0)
    assert solver_entry(known) == {"name": "dpm++", "largest": 0.999, "shift": 2.0}
    assert solver_entry(SOLVERS["sde-dpm++"]()) == {"name": "sde-dpm++", "largest": 0.999, "shift": 2.0}
    assert solver_entry(FlowMatchEulerDiscreteScheduler()) == {"name": "euler", "largest": 1.0, "shift": 1.0}
    third = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, solver_order=3)
    with pytest.raises(ValueError, match="solver_order=3"):
        solver_entry(third)
    with pytest.raises(ValueError, match="euler, dpm"):
        solver_entry(FlowMatchHeunDiscreteScheduler())
    unet = Decoder(random_network(model, "pooled-unet"), random_decoder(model).config)
    with pytest.raises(ValueError, match=r"pooled-unet.*cannot be exported"):
        onnx_export.decoder_graphs(unet)


def test_weights_that_overflow_are_refused():
    """NaN is no difference that a maximum keeps."""
    layers = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)).eval()
    with torch.no_grad():
        layers[0].weight.mul_(1e6)
    graph = Graph("large", layers, {"x": {0: "n"}}, ("y",), (torch.randn(2, 64),), ((torch.randn(3, 64),),))
    with pytest.raises(RuntimeError, match="overflow in the network 'large'"):
        checked_bytes(graph, "float16")
