from __future__ import annotations

from pathlib import Path

import pytest
import torch

from decoders.config import DecoderTrainConfig
from decoders.networks.network import build_network
from decoders.training.plan import main, plan, sizes_of
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime import config_files

CONFIGS = Path(__file__).parent.parent / "decoders" / "configs"
SMALL = ModelConfig(image_size=64, patch_size=8, width=128, depth=4, heads=4, predictor_width=64, predictor_depth=3)


def test_the_plan_counts_what_is_there():
    config = config_files.load(DecoderTrainConfig, CONFIGS / "wild-tiny.yaml")
    table = plan(config, SMALL, gpus=1, tflops=1)
    network = build_network("block-vit", (8, 8), 8, 128, {})
    own = sum(p.numel() for p in network.parameters())
    assert table["decoder_parameters_millions"] == pytest.approx(own / 1e6)
    assert table["ijepa_parameters_millions"] == pytest.approx(sum(p.numel() for p in IJEPA(SMALL).parameters()) / 1e6)
    # Matrix products by hand: 12 W^2 a token and layer, the two modulations a block, pixels in and out, tokens in.
    width, tokens, layers = 192, 16, 6  # 0.2 of 64 patches, as a square
    by_token = 12 * width**2 * layers + 2 * 192 * width + 128 * width
    by_block = (6 + 2) * width**2 + 128 * width * 2 + width**2
    attention = 2 * tokens * width * layers * tokens
    # The three convolutions over the hole's pixels.
    smoothing = tokens * 64 * 9 * (7 * 32 + 32 * 32 + 32 * 3) + 2 * 32 * width
    flops = 3 * 2 * config.hole.targets * (by_token * tokens + by_block + attention + smoothing)
    assert table["decoder_gflops_an_image"] == pytest.approx(flops / 1e9, rel=0.1)
    assert table["gpu_hours"] == pytest.approx(table["total_exaflops"] * 1e18 / 1e12 / 3600)


def test_activations_grow_with_the_batch_and_shrink_with_gpus():
    config = config_files.load(DecoderTrainConfig, CONFIGS / "wild-tiny.yaml")
    one, two = (plan(config, SMALL, gpus, 1)["gb_decoder_activations_bf16"] for gpus in (1, 2))
    assert one == pytest.approx(2 * two, rel=0.05)


def test_activations_are_what_autograd_keeps():
    """Against the real thing: bytes that a forward pass on the CPU leaves behind."""
    config = config_files.load(
        DecoderTrainConfig, CONFIGS / "wild-tiny.yaml", ["hole.scale=[0.25, 0.25]", "hole.targets=1"]
    )
    network = build_network("block-vit", (8, 8), 8, 128, {})
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if not any(tensor.data_ptr() == p.data_ptr() for p in network.parameters()):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    blocks, null = 32, torch.zeros(32, dtype=torch.long)
    patch_indices = (torch.arange(4)[:, None] * 8 + torch.arange(4)).flatten().expand(blocks, -1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = network(torch.zeros(blocks, 16, 192), torch.ones(blocks), patch_indices,
                      torch.zeros(blocks, 16, 128), null, null)  # fmt: skip
    planned = plan(config, SMALL, 1, 1)["gb_decoder_activations_bf16"] * 2e9
    assert out.requires_grad
    assert planned == pytest.approx(sum(kept.values()), rel=0.1)


def test_published_sizes_are_known_without_fetching():
    sizes = sizes_of("ijepa-vith14-in1k")
    assert (sizes.width, sizes.depth, sizes.predictor_depth, sizes.grid) == (1280, 32, 12, (16, 16))
    assert sizes_of("ijepa-vith16-448-in1k").grid == (28, 28)
    assert sizes_of("ijepa-vitg16-in22k").width == 1408


def test_the_full_scale_plan_is_the_one_its_config_quotes(capsys):
    path = CONFIGS / "in1k-vith14-128px.yaml"
    assert main(["--fname", str(path), "--gpus", "8", "--tflops", "400"]) == 0
    table = dict(line.split() for line in capsys.readouterr().out.splitlines())
    text = path.read_text()
    assert round(float(table["gpu_hours"])) == 38
    assert "38 GPU-hours" in text
    assert f"{round(float(table['ijepa_gflops_an_image']))} (I-JEPA, forward)" in text
    assert f"{round(float(table['decoder_gflops_an_image']))} (decoder, trained)" in text
    assert main(["--fname", str(path), "--tflops", "400", "ijepa=nobody"]) == 1
