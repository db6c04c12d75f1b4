from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import TINY

from ijepa_viz import checkpoints
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.masks import Masks, sample
from ijepa_viz.models import (
    IJEPA,
    SIZES,
    ModelConfig,
    patchify,
    set_activation_checkpointing,
    sincos_positions,
    unpatchify,
)


def batch(model, count=3):
    torch.manual_seed(7)
    return torch.randn(count, 3, model.config.image_size, model.config.image_size)


def loud(model):
    """Weights large enough that a mistake anywhere shows."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1 and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.15)
    model.target_encoder.load_state_dict(model.encoder.state_dict())
    return model


def test_encoder_equals_transformers(model, tmp_path):
    from transformers import IJepaConfig, IJepaModel

    torch.manual_seed(0)
    theirs = IJepaModel(
        IJepaConfig(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=192,
            image_size=32,
            patch_size=8,
            layer_norm_eps=1e-6,
        )
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(tmp_path)
    ours = checkpoints.load_model(tmp_path).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        difference = (ours.encode_target(images) - theirs(images).last_hidden_state).abs().max()
    assert difference < 1e-5
    assert ours.predictor is None


def test_encoder_equals_timm():
    torch.manual_seed(0)
    theirs = timm.create_model(
        "vit_huge_patch14_gap_224", img_size=28, embed_dim=32, depth=3, num_heads=4, num_classes=0
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    ours = checkpoints.load_timm(theirs).eval()
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        difference = (ours.encode_target(images) - theirs.forward_features(images)).abs().max()
    assert difference < 1e-5


def test_hidden_pixels_never_reach_the_context(model):
    masks = sample(batch=3, grid=model.grid, generator=torch.Generator().manual_seed(0))
    images = batch(model)
    hidden = masks.hidden.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None].expand_as(images)
    poisoned = images.masked_fill(hidden, float("nan"))
    assert torch.equal(model.encode_context(images, masks), model.encode_context(poisoned, masks))


def test_predictor_equals_a_naive_loop_over_blocks(model):
    model = loud(model)
    masks = sample(batch=4, grid=model.grid, generator=torch.Generator().manual_seed(1))
    images = batch(model, 4)
    with torch.no_grad():
        predicted = model.predict(model.encode_context(images, masks), masks)
        p = model.predictor
        for b in range(4):
            kept = masks.context[b][masks.valid[b]]
            context = model.encoder(images[b : b + 1], kept[None])
            for m in range(masks.targets.shape[1]):
                places = masks.targets[b, m]
                seen = p.predictor_embed(context[0]) + p.predictor_pos_embed[0, kept]
                asked = p.mask_token[0] + p.predictor_pos_embed[0, places]
                x = torch.cat([seen, asked])[None]
                for layer in p.predictor_blocks:
                    x = layer(x)
                expected = p.predictor_proj(p.predictor_norm(x[0, len(kept) :]))
                assert (predicted[b, m] - expected).abs().max() < 1e-5


def test_a_shared_context_equals_one_long_masked_sequence():
    """Context and all targets side by side in timm's own layers, with a mask of who may attend to whom."""
    torch.manual_seed(0)
    model = loud(IJEPA(replace(TINY, predictor_context="shared")).eval())
    masks = sample(batch=5, grid=model.grid, generator=torch.Generator().manual_seed(2))
    assert masks.context_valid is not None  # padding is looked at too
    context = torch.randn(5, masks.context.shape[1], model.config.width)
    found = model.predict(context, masks)
    p = model.predictor
    for b in range(5):
        kept = masks.context[b, masks.context_valid[b]]
        seen = p.predictor_embed(context[b, masks.context_valid[b]]) + p.predictor_pos_embed[0, kept]
        asked = p.mask_token[0] + p.predictor_pos_embed[0, masks.targets[b].flatten()]
        block = torch.cat([torch.full((len(kept),), -1), torch.arange(masks.targets.shape[1]).repeat_interleave(
            masks.targets.shape[2])])  # fmt: skip
        allowed = (block[None] == -1) | (block[:, None] == block[None])
        added = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))
        x = torch.cat([seen, asked])[None]
        for layer in p.predictor_blocks:
            x = layer(x, attn_mask=added[None, None])
        expected = p.predictor_proj(p.predictor_norm(x[0, len(kept) :])).view(found[b].shape)
        assert (found[b] - expected).abs().max() < 1e-5
    # It is another function of the same weights than the paper's, and both are written down.
    other = IJEPA(TINY)
    other.load_state_dict(model.state_dict())
    assert (other.predict(context, masks) - found).abs().max() > 1e-3


def test_how_the_context_is_used_is_kept_with_the_weights(tmp_path):
    model = IJEPA(replace(TINY, predictor_context="shared"))
    save_folder(model, tmp_path / "m")
    assert checkpoints.load_model(tmp_path / "m").config.predictor_context == "shared"
    with pytest.raises(ValueError, match="predictor_context"):
        replace(TINY, predictor_context="both")


@pytest.mark.parametrize("how", ["separate", "shared"])
def test_padding_changes_nothing(model, how):
    torch.manual_seed(0)
    model = loud(IJEPA(replace(model.config, predictor_context=how)).eval())
    images = batch(model, 1)
    short = Masks(torch.tensor([[0, 3, 5]]), torch.tensor([[[9, 10]]]), model.grid)
    valid = torch.tensor([[True, True, True, False, False]])
    padded = Masks(torch.tensor([[0, 3, 5, 12, 12]]), torch.tensor([[[9, 10]]]), model.grid, valid)
    a, b = (model.predict(model.encode_context(images, m), m) for m in (short, padded))
    assert (a - b).abs().max() < 1e-5


@pytest.mark.parametrize("how", ["separate", "shared"])
def test_images_sorted_by_length_give_the_same_tokens_and_gradients(model, how):
    torch.manual_seed(0)
    model = loud(IJEPA(replace(model.config, predictor_context=how)).eval())
    masks = sample(batch=40, grid=model.grid, generator=torch.Generator().manual_seed(0))
    assert len(set(masks.valid.sum(1).tolist())) > 3
    images = batch(model, 40)

    def tokens_and_gradients():
        model.zero_grad()
        context = model.encode_context(images, masks)
        predicted = model.predict(context, masks)
        predicted.square().mean().backward()
        return context[masks.valid], predicted, model.encoder.patch_embed.proj.weight.grad.clone()

    sorted_ones = tokens_and_gradients()
    model.encoder.buckets = model.predictor.buckets = 1
    for found, expected in zip(sorted_ones, tokens_and_gradients(), strict=True):
        assert torch.allclose(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("how", ["separate", "shared"])
def test_computing_layers_twice_gives_the_same_gradients(model, how):
    torch.manual_seed(0)
    model = loud(IJEPA(replace(model.config, predictor_context=how)).eval())
    masks = sample(batch=3, grid=model.grid, generator=torch.Generator().manual_seed(0))
    images, found = batch(model), []
    for wanted in (False, True):
        set_activation_checkpointing(model, wanted)
        model.zero_grad()
        model.predict(model.encode_context(images, masks), masks).square().mean().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 10
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


def test_targets_are_layer_normed_then_cut(model):
    masks = sample(batch=3, grid=model.grid, generator=torch.Generator().manual_seed(2))
    images = batch(model)
    tokens = model.encode_target(images)
    by_hand = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    for b in range(3):
        for m in range(masks.targets.shape[1]):
            expected = by_hand[b, masks.targets[b, m]]
            assert torch.allclose(model.targets(images, masks)[b, m], expected, atol=1e-5)


def test_position_embedding_puts_the_column_first():
    width, rows, cols = 16, 3, 5
    table = sincos_positions(width, (rows, cols))[0].view(rows, cols, width)
    for r in range(rows):
        for c in range(cols):
            for half, place in ((0, c), (1, r)):
                for k in range(width // 4):
                    angle = torch.tensor(place / 10000 ** (k / (width / 4)), dtype=torch.float64)
                    at = half * width // 2 + k
                    assert abs(table[r, c, at] - angle.sin()) < 1e-6
                    assert abs(table[r, c, at + width // 4] - angle.cos()) < 1e-6


def test_patchify_equals_unfold_and_inverts():
    images = torch.randn(2, 3, 24, 24)
    patches = patchify(images, 8)
    assert torch.equal(patches, F.unfold(images, 8, stride=8).transpose(1, 2))
    assert torch.equal(unpatchify(patches, (3, 3), 8), images)


def test_initialisation_follows_the_paper():
    torch.manual_seed(0)
    model = IJEPA(ModelConfig(32, 8, 256, 4, 4, 4.0, 64, 2, 4))
    for i, layer in enumerate(model.encoder.blocks, start=1):
        assert abs(layer.attn.qkv.weight.std() - 0.02) < 0.002
        assert abs(layer.attn.proj.weight.std() - 0.02 / (2 * i) ** 0.5) < 0.002
        assert abs(layer.mlp.fc2.weight.std() - 0.02 / (2 * i) ** 0.5) < 0.002


def test_the_target_encoder_starts_as_a_copy_and_takes_no_gradient(model):
    for a, b in zip(model.encoder.parameters(), model.target_encoder.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not b.requires_grad


@pytest.mark.parametrize("size", sorted(SIZES))
def test_sizes_have_the_published_parameter_counts(size):
    with torch.device("meta"):
        from ijepa_viz.models import Encoder

        config = ModelConfig.of_size(size, image_size=224, patch_size=14 if size == "huge" else 16, predictor_width=0)
        encoder = Encoder(config)
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    published = {"tiny": 5.5, "small": 21.6, "base": 85.8, "large": 303, "huge": 631, "giant": 1011}
    if size in published:
        assert abs(millions / published[size] - 1) < 0.02


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda m: m.encode_context(torch.zeros(1, 3, 32, 32), Masks.from_block((8, 8), 0, 0, 2, 2)), "8x8 grid"),
        (lambda m: m.encode_context(torch.zeros(2, 3, 32, 32), Masks.from_block((4, 4), 0, 0, 2, 2)), "1 images"),
        (lambda m: m.encode_target(torch.zeros(1, 3, 40, 32)), "takes images"),
        (lambda m: ModelConfig(image_size=30, patch_size=8), "not a multiple"),
        (lambda m: ModelConfig(predictor_width=100, predictor_heads=16), "must divide"),
        (lambda m: ModelConfig.of_size("hug"), "Did you mean 'huge'"),
    ],
)
def test_bad_input_names_the_cause(model, act, words):
    with pytest.raises(ValueError, match=words):
        act(model)


def test_an_encoder_without_predictor_says_why_it_cannot_predict(model):
    alone = copy.deepcopy(model)
    alone.predictor = None
    masks = Masks.from_block((4, 4), 0, 0, 2, 2)
    with pytest.raises(RuntimeError, match="encoder only"):
        alone.predict(torch.zeros(1, 12, 32), masks)
