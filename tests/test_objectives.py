from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

from ijepa_viz.masks import sample
from ijepa_viz.models import patchify
from train.config import ObjectiveConfig, RegularizerConfig, TrainConfig
from train.objectives.objective import build
from train.regularizers import regularize, sigreg, variance_covariance


def objective(name="ijepa", regularizer=None, **options):
    torch.manual_seed(0)
    config = TrainConfig(model=TINY, objective=ObjectiveConfig(name, options))
    return build(replace(config, regularizer=regularizer or RegularizerConfig()))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, 32, 32, generator=generator), sample(batch=4, grid=(4, 4), generator=generator)


# --------------------------------------------------------------------------- I-JEPA


def test_the_loss_is_smooth_l1_on_layer_normed_targets(batch):
    images, masks = batch
    net = objective()
    model = net.model
    difference = (model.predict(model.encode_context(images, masks), masks) - model.targets(images, masks)).abs()
    expected = torch.where(difference < 1, 0.5 * difference**2, difference - 0.5).mean()
    assert torch.allclose(net(images, masks)["loss"], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["layernorm", "standardised", "instance", "none"])
def test_target_normalisations_against_numpy(batch, name):
    images, masks = batch
    net = objective(target_normalisation=name, target_layers=2)
    tokens = net.model.target_encoder(images, layers=2).numpy().reshape(4, 16, 2, 32)
    total = np.zeros((4, 16, 32))
    for layer in range(2):
        x = tokens[:, :, layer].astype(np.float64)
        if name == "layernorm":
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        elif name == "standardised":
            x = (x - x.mean((0, 1))) / (x.reshape(-1, 32).std(0, ddof=1) + 1e-4)
        elif name == "instance":
            x = (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-4)
        total += x / 2
    targets = net.targets(images, masks).numpy()
    for i in range(4):
        for m, block in enumerate(masks.targets[i].numpy()):
            assert np.abs(targets[i, m] - total[i, block]).max() < 1e-4


def test_no_gradient_reaches_the_teacher_unless_asked_for(batch):
    images, masks = batch
    net = objective()
    net(images, masks)["loss"].backward()
    assert all(p.grad is None for p in net.model.target_encoder.parameters())
    net = objective(stop_gradient=False)
    net(images, masks)["loss"].backward()
    named = dict(net.model.target_encoder.named_parameters())
    assert named["blocks.0.attn.qkv.weight"].grad.abs().sum() > 0
    assert named["pos_embed"].grad is None
    before = named["blocks.0.attn.qkv.weight"].clone()
    net.after_step(0.0)  # a teacher trained by the loss has no EMA
    assert torch.equal(before, named["blocks.0.attn.qkv.weight"])


def test_noise_targets_are_new_in_every_step_and_repeatable(batch):
    images, masks = batch
    net = objective(noise_targets=True)
    one, same, other = (net.targets(images, masks, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# --------------------------------------------------------------------------- MAE


def test_mae_rebuilds_the_normalised_pixels_of_hidden_patches(batch):
    images, _ = batch
    masks = sample("random", batch=4, grid=(4, 4), generator=torch.Generator().manual_seed(1), scale=0.75)
    net = objective("mae")
    assert masks.targets.shape == (4, 1, 12)
    patches = patchify(images, 8).numpy().astype(np.float64)
    patches = (patches - patches.mean(-1, keepdims=True)) / patches.std(-1, ddof=1, keepdims=True)
    drawn = net.decoder(net.model.encode_context(images, masks), masks).detach().numpy()
    hidden = masks.targets[:, 0].numpy()
    expected = np.mean([(drawn[i, 0] - patches[i, hidden[i]]) ** 2 for i in range(4)])
    assert abs(net(images, masks)["loss"].item() - expected) < 1e-4
    raw = objective("mae", normalise_pixels=False).targets(images, masks)
    assert torch.equal(raw[2, 0], patchify(images, 8)[2, masks.targets[2, 0]])


def test_mae_publishes_its_encoder_and_saves_its_decoder(tmp_path):
    net = objective("mae")
    for parameter in net.model.encoder.parameters():
        parameter.data += 0.1
    net.after_step(0.996)
    assert torch.equal(net.model.encoder.norm.weight, net.model.target_encoder.norm.weight)
    net.save(tmp_path)
    torch.manual_seed(5)
    again = build(TrainConfig(model=TINY, objective=ObjectiveConfig("mae")))
    again.load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path):
    objective().save(tmp_path)
    other = build(TrainConfig(model=replace(TINY, depth=1)))
    with pytest.raises(ValueError, match="other sizes"):
        other.load(tmp_path)


# --------------------------------------------------------------------------- regularizers


def test_variance_covariance_against_numpy():
    x = torch.randn(50, 6) * torch.tensor([0.1, 0.5, 1, 2, 3, 0.01])
    terms = variance_covariance(x, epsilon=0.0)
    expected = np.maximum(0, 1 - np.std(x.numpy(), axis=0, ddof=1)).mean()
    c = np.cov(x.numpy().T)
    assert abs(terms["variance"] - expected) < 1e-5
    assert abs(terms["covariance"] - (c**2 - np.diag(np.diag(c)) ** 2).sum() / 6) < 1e-4


def test_sigreg_against_the_closed_form_of_its_statistic():
    # Epps-Pulley with a standard normal weight has one (Baringhaus & Henze 1988, in one dimension).
    torch.manual_seed(0)
    for x in (torch.randn(80), torch.randn(80) * 0.3 + 1, torch.rand(80) * 5):
        differences = (x[:, None] - x).double()
        closed = (-0.5 * differences**2).exp().mean() - 2 / 2**0.5 * (-0.25 * x.double() ** 2).exp().mean() + 1 / 3**0.5
        # One feature: every projection is the feature itself or its mirror image.
        ours = sigreg(x[:, None], torch.Generator().manual_seed(0), slices=4, knots=65, reach=8.0)["sigreg"]
        assert abs(float(ours - closed)) < 1e-4
        coarse = sigreg(x[:, None], torch.Generator().manual_seed(0), slices=4)["sigreg"]
        assert abs(float(coarse - closed)) < 1e-3


def test_sigreg_prefers_round_clouds():
    generator = torch.Generator().manual_seed(0)
    round_cloud = torch.randn(2000, 16, generator=generator)
    values = {
        "round": round_cloud,
        "shifted": round_cloud + 1,
        "flat": round_cloud * torch.tensor([1.0] * 4 + [0.01] * 12),
        "a point": torch.zeros(2000, 16),
        # What variance and covariance cannot see; in many dimensions projections of it look normal again.
        "two lumps": round_cloud[:, :1].sign(),
    }
    found = {k: float(sigreg(v, torch.Generator().manual_seed(1))["sigreg"]) for k, v in values.items()}
    assert found["round"] < 0.003
    assert all(v > 10 * found["round"] for k, v in found.items() if k != "round"), found


@pytest.mark.parametrize("name", ["variance-covariance", "sigreg"])
@pytest.mark.parametrize("level", ["tokens", "pooled"])
def test_regularizers_ignore_padding(name, level):
    net = objective()
    masks = sample(batch=6, grid=(4, 4), generator=torch.Generator().manual_seed(3), targets=2)
    assert masks.context_valid is not None
    images = torch.randn(6, 3, 32, 32)
    context = net.model.encode_context(images, masks)
    terms = regularize(RegularizerConfig(name, level), context, masks.valid, torch.Generator().manual_seed(2))
    each = [context[i][masks.valid[i]] for i in range(6)]
    features = torch.cat(each) if level == "tokens" else torch.stack([t.mean(0) for t in each])
    same = torch.Generator().manual_seed(2)
    expected = sigreg(features, same) if name == "sigreg" else variance_covariance(features)
    assert terms.keys() == expected.keys()
    assert all(torch.allclose(terms[k], expected[k], atol=1e-5) for k in terms)
