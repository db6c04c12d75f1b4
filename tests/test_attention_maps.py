"""Attention maps against transformers' own and a naive softmax, and what an encoder without a predictor offers."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, size_of
from transformers import IJepaConfig, IJepaModel

from ijepa_viz.checkpoints import load_model, load_timm, save_folder
from ijepa_viz.cli import main
from ijepa_viz.inspections import INSPECTIONS, InspectionInput
from ijepa_viz.inspections.attention import encoder_attention, entropy, predictor_attention
from ijepa_viz.inspections.inspection import WITHOUT_PREDICTOR, central_patch
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TWO_BLOCKS = Masks(
    torch.tensor([[0, 1, 2, 3]] * 3), torch.tensor([[[5, 6], [9, 10]], [[6, 7], [10, 11]], [[8, 9], [12, 13]]]), (4, 4)
)


def lively(model: IJEPA) -> IJEPA:
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "pos_embed" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)


@pytest.fixture
def encoder_only(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    config = IJepaConfig(**sizes, image_size=32, patch_size=8, layer_norm_eps=1e-6)
    theirs = IJepaModel(config)
    theirs.set_attn_implementation("eager")
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.eval().save_pretrained(tmp_path / "hf")
    return theirs, tmp_path / "hf"


def naive(layer, tokens):
    """softmax(Q K^T / sqrt(d)) of one image's tokens (K, D), head by head: (heads, K, K)."""
    x = layer.norm1(tokens)
    width, heads = x.shape[-1], layer.attn.num_heads
    d = width // heads
    projected = x @ layer.attn.qkv.weight.T + layer.attn.qkv.bias
    maps = []
    for h in range(heads):
        query = projected[:, h * d : (h + 1) * d]
        key = projected[:, width + h * d : width + (h + 1) * d]
        rows = [[math.exp(float(q @ k) / math.sqrt(d)) for k in key] for q in query]
        maps.append([[value / sum(row) for value in row] for row in rows])
    return torch.tensor(maps)


def test_maps_of_the_encoder_are_transformers(encoder_only):
    theirs, folder = encoder_only
    found = encoder_attention(load_model(folder).encoder, IMAGES, (1, 2, 3))
    with torch.no_grad():
        expected = theirs(IMAGES, output_attentions=True).attentions
    assert len(expected) == 3
    for number, weights in found.items():
        assert weights.shape == (3, 4, 16, 16)
        assert torch.allclose(weights, expected[number - 1], atol=1e-5)
    assert (found[1] - found[3]).abs().max() > 0.02


def test_maps_of_the_encoder_are_a_naive_softmax_of_the_visible_patches(model):
    lively(model)
    found = encoder_attention(model.encoder, IMAGES[:1], (1, 2), TWO_BLOCKS.context[:1])
    tokens = (
        model.encoder.patch_embed(
            IMAGES[:1].unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(1, 16, -1)
        )[0, :4]
        + model.encoder.pos_embed[0, :4]
    )
    for number, layer in enumerate(model.encoder.blocks, start=1):
        assert torch.allclose(found[number][0], naive(layer, tokens), atol=1e-5)
        tokens = layer(tokens[None])[0]


@pytest.mark.parametrize("mode", ["separate", "shared"])
def test_maps_of_the_predictor_are_a_naive_softmax(mode):
    model = lively(IJEPA(replace(TINY, predictor_context=mode, predictor_depth=3)))
    predictor = model.predictor
    context = model.encode_context(IMAGES, TWO_BLOCKS)
    found = predictor_attention(predictor, context, TWO_BLOCKS, (1, 2, 3))
    positions = predictor.predictor_pos_embed[0]
    for image in range(3):
        for block in range(2):
            seen = predictor.predictor_embed(context[image]) + positions[TWO_BLOCKS.context[image]]
            hidden = predictor.mask_token[0] + positions[TWO_BLOCKS.targets[image, block]]
            for number, layer in enumerate(predictor.predictor_blocks, start=1):
                both = torch.cat([seen, hidden])
                expected = naive(layer, both)[:, -2:]  # (heads, T, K + T)
                assert torch.allclose(found[number][image, block], expected, atol=1e-5)
                after = layer(both[None])[0]
                seen, hidden = (after[:4] if mode == "separate" else layer(seen[None])[0]), after[4:]


@pytest.mark.parametrize("mode", ["separate", "shared"])
def test_padding_is_read_by_nobody(mode):
    model = lively(IJEPA(replace(TINY, predictor_context=mode)))
    valid = torch.tensor([[True, True, True, False]] * 3)
    padded = Masks(TWO_BLOCKS.context, TWO_BLOCKS.targets, (4, 4), valid)
    alone = Masks(TWO_BLOCKS.context[:, :3], TWO_BLOCKS.targets, (4, 4))
    for masks, columns in ((padded, [0, 1, 2, 4, 5]), (alone, [0, 1, 2, 3, 4])):
        context = model.encode_context(IMAGES, masks)
        of_encoder = encoder_attention(model.encoder, IMAGES, (2,), masks.context, masks.context_valid)[2]
        of_predictor = predictor_attention(model.predictor, context, masks, (2,))[2]
        assert torch.allclose(of_predictor.sum(-1), torch.ones(()), atol=1e-5)
        if masks is padded:
            assert of_encoder[..., 3].max() == of_predictor[..., 3].max() == 0
            first = of_encoder[:, :, :3, :3], of_predictor[..., columns]
        else:
            assert torch.allclose(of_encoder, first[0], atol=1e-5)
            assert torch.allclose(of_predictor, first[1], atol=1e-5)


def test_maps_leave_the_networks_as_they_were(model):
    lively(model)
    before = model.encode_target(IMAGES)
    encoder_attention(model.target_encoder, IMAGES, (1,))
    with pytest.raises(ValueError, match="takes images"):
        encoder_attention(model.target_encoder, IMAGES[..., :16], (1,))
    assert torch.equal(model.encode_target(IMAGES), before)
    assert not any(block.norm1._forward_hooks for block in model.target_encoder.blocks)


def test_entropy_is_that_of_uniform_and_of_one_patch():
    assert float(entropy(torch.full((2, 3, 4, 16), 1 / 16))) == pytest.approx(4)
    assert float(entropy(torch.eye(16)[None, None])) == pytest.approx(0, abs=1e-5)


# --------------------------------------------------------------------------- the inspection


@pytest.fixture
def others():
    return torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def test_rows_are_layers_of_both_networks_with_their_heads(model, others):
    lively(model)
    inputs = InspectionInput(model, torch.rand(3, 32, 32), Masks.from_block((4, 4), 1, 1, 2, 2), others)
    table = INSPECTIONS["attention"](inputs)
    rows = ["encoder_layer_1", "encoder_layer_2", "predictor_layer_1", "predictor_layer_2"]
    figure = table.pop("figure")
    assert list(table) == [f"{row}_{what}_bits" for row in rows for what in ("entropy", "uniform")]
    assert all(table[f"{row}_entropy_bits"] < table[f"{row}_uniform_bits"] == pytest.approx(4) for row in rows)
    maps = [axis.images[0].get_array() for axis in figure.axes if axis.images and axis.images[0].get_array().ndim == 2]
    centre = central_patch(inputs.masks)
    expected = encoder_attention(model.target_encoder, normal(inputs.image), (2,))[2][0, :, centre] * 16
    assert np.allclose(maps[3], expected.mean(0).view(4, 4), atol=1e-5)
    assert np.allclose(maps[4], expected[0].view(4, 4), atol=1e-5)
    one = INSPECTIONS["attention"](replace(inputs, layers="last"))
    assert [name for name in one if name.endswith("entropy_bits")] == [f"{row}_entropy_bits" for row in rows[1::2]]
    with pytest.raises(ValueError, match="no layer '3'"):
        INSPECTIONS["attention"](replace(inputs, layers="3"))


def normal(image):
    from ijepa_viz.data.transforms import normalise

    return normalise(image)[None]


def test_a_layer_that_the_predictor_has_not_is_the_encoders_alone(others):
    model = lively(IJEPA(replace(TINY, depth=4)))
    inputs = InspectionInput(
        model, torch.rand(3, 32, 32), Masks.from_block((4, 4), 1, 1, 2, 2), others, layers="3,last"
    )
    names = [name for name in INSPECTIONS["attention"](inputs) if name.endswith("entropy_bits")]
    assert names == [f"{row}_entropy_bits" for row in ("encoder_layer_3", "encoder_layer_4", "predictor_layer_2")]


# --------------------------------------------------------------------------- encoders alone


@pytest.mark.parametrize("name", INSPECTIONS)
def test_inspections_of_an_encoder_alone(name, encoder_only, others):
    _, folder = encoder_only
    inputs = InspectionInput(
        load_model(folder).eval(), torch.rand(3, 32, 32), Masks.from_block((4, 4), 1, 1, 2, 2), others
    )
    if name not in WITHOUT_PREDICTOR:
        with pytest.raises(RuntimeError, match=f"encoder only.*{', '.join(WITHOUT_PREDICTOR)}"):
            INSPECTIONS[name](inputs)
        return
    table = INSPECTIONS[name](inputs)
    assert "predicted" not in table["figure"].alt
    assert all(math.isfinite(value) for value in table.values() if isinstance(value, float))


def test_retrieval_of_an_encoder_alone_finds_a_planted_block(encoder_only, others):
    _, folder = encoder_only
    image = torch.rand(3, 32, 32)
    near = (image + 0.06 * torch.randn(3, 32, 32)).clamp(0, 1)
    others = torch.cat([others, (near[None] * 255).byte()])
    model = load_model(folder).eval()
    table = INSPECTIONS["retrieval"](InspectionInput(model, image, Masks.from_block((4, 4), 1, 1, 2, 2), others))
    assert table["images"] == 10
    assert table["target_best"] > 0.95


def timm_folder(place):
    """An encoder as timm pushes it to the hub."""
    import timm

    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
    torch.manual_seed(0)
    vit = timm.create_model("vit_huge_patch14_gap_224", num_classes=0, **sizes).eval()
    timm.models._hub.save_for_hf(vit, place, model_args=sizes)
    return place


@pytest.mark.parametrize("publisher", ["huggingface", pytest.param("timm", marks=pytest.mark.slow)])
def test_every_command_that_needs_no_predictor_takes_an_encoder(encoder_only, tmp_path, capsys, publisher):
    folder = encoder_only[1] if publisher == "huggingface" else timm_folder(tmp_path / "timm")
    model = str(folder)
    for name in WITHOUT_PREDICTOR:
        out = tmp_path / f"{name}.png"
        assert main(["look", model, "scene:3", "--inspection", name, "--limit", "12", "--out", str(out)]) == 0
        size_of(out)
    head = tmp_path / "head"
    for probe in ("knn", "linear", "low-shot"):
        table = tmp_path / f"{probe}.json"
        more = ["--save-head", str(head)] if probe == "linear" else []
        command = ["evaluate", model, "--probe", probe, "--data", "menagerie:count=120", "--json", str(table)]
        assert main([*command, *more]) == 0
        assert json.loads(table.read_text())
    assert main(["classify", "scene.png", "--head", str(head)]) == 1
    assert main(["classify", "menagerie:count=4", "--head", str(head), "--out", str(tmp_path / "c.csv")]) == 0
    assert main(["features", model, "--data", "menagerie:count=4", "--out", str(tmp_path / "f.npz")]) == 0
    side_by_side = ["look", model, "scene:3", "--models", model, "--limit", "12", "--out", str(tmp_path / "two.png")]
    assert main([*side_by_side, "--inspection", "components"]) == 0
    assert main(["cka", model, "--data", "menagerie:count=8", "--out", str(tmp_path / "cka.png")]) == 0
    capsys.readouterr()
    assert main(side_by_side) == 1  # of the hole, which is predicted
    assert "encoder only" in capsys.readouterr().err
    assert main(["evaluate", model, "--probe", "pixels", "--data", "menagerie:count=120"]) == 1
    assert "encoder only" in capsys.readouterr().err
    (tmp_path / "one").mkdir()
    assert (
        main(["predict", str(tmp_path / "one"), "--model", model, "--block", "1", "1", "2", "2", "--out", "p.csv"]) == 1
    )
    assert "cannot predict" in capsys.readouterr().err


def test_timms_encoder_has_maps_too():
    import timm

    torch.manual_seed(0)
    vit = timm.models.vision_transformer.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=48,
        depth=2,
        num_heads=4,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    ).eval()
    seen = {}
    vit.blocks[1].attn.fused_attn = False
    vit.blocks[1].attn.attn_drop.register_forward_hook(lambda _m, inputs, _o: seen.update(weights=inputs[0]))
    with torch.no_grad():
        vit.forward_features(IMAGES)
    found = encoder_attention(load_timm(vit).eval().encoder, IMAGES, (2,))[2]
    assert torch.allclose(found, seen["weights"], atol=1e-6)


def test_layers_are_for_attention(model, tmp_path, capsys):
    save_folder(model, tmp_path / "m")
    command = ["look", str(tmp_path / "m"), "scene:1", "--out", str(tmp_path / "x.png"), "--layers", "1"]
    assert main([*command, "--inspection", "maps"]) == 1
    assert "--layers is for --inspection attention" in capsys.readouterr().err
    assert main([*command, "--inspection", "attention", "--limit", "5"]) == 0
