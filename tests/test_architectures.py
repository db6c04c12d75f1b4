"""The three architectures behind one interface: their losses, their energies, and what the comparison reports."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, size_of

from ijepa_viz.cli import main as export
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import patchify
from ijepa_viz.probes.factors import draw_factor_scenes
from train.config import ObjectiveConfig, RegularizerConfig, TrainConfig
from train.objectives.invariance import rotate_hue
from train.objectives.objective import OBJECTIVES, build, load_objective
from train.reports.energies import DISTRACTORS, corners, distractors, energies, main, paired_auroc

HOLE = Masks.from_block((4, 4), 1, 1, 2, 2)
SAVED = [name for name in OBJECTIVES if name != "predictor"]  # which saves an I-JEPA, and is read again as one


def objective(name, **options):
    torch.manual_seed(0)
    return build(TrainConfig(model=TINY, objective=ObjectiveConfig(name, options)))


@pytest.fixture
def pair():
    """Three images, and the same with another hole."""
    torch.manual_seed(1)
    images = torch.randn(3, 3, 32, 32)
    candidates = images.clone()
    candidates[:, :, 8:24, 8:24] = torch.randn(3, 3, 16, 16)
    return images, candidates


def many(count):
    return Masks(HOLE.context.expand(count, -1), HOLE.targets.expand(count, -1, -1), HOLE.grid)


# --------------------------------------------------------------------------- the invariant one


def test_vicreg_against_its_formula(monkeypatch):
    net = objective("invariance")
    images = torch.randn(6, 3, 32, 32)
    views = [torch.randn(6, 3, 32, 32) for _ in range(2)]
    given = iter(views)
    monkeypatch.setattr(net, "view", lambda images, generator: next(given))
    report = net(images, many(6))
    a, b = (net.expander(net.model.encoder(v).mean(1)).detach().numpy().astype(np.float64) for v in views)

    def variance(x):
        return np.maximum(0, 1 - np.sqrt(x.var(0, ddof=1) + 1e-4)).mean()

    def covariance(x):
        c = np.cov(x.T)
        return (c**2).sum() - (np.diag(c) ** 2).sum()

    # Equation 6 of the paper: lambda s + mu (v + v') + nu (c + c').
    width = a.shape[1]
    expected = 25 * ((a - b) ** 2).mean() + 25 * (variance(a) + variance(b)) + (covariance(a) + covariance(b)) / width
    assert float(report["loss"]) == pytest.approx(expected, rel=1e-3)
    report["loss"].backward()
    assert net.model.encoder.patch_embed.proj.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.model.target_encoder.parameters())


def test_views_are_repeatable_crops_with_other_colours():
    torch.manual_seed(0)
    images = normalise(torch.rand(4, 3, 32, 32))
    net = objective("invariance")
    a, same, b = (net.view(images, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(a, same)
    assert (a - b).abs().mean() > 0.1
    plain = objective("invariance", crop_scale=[1.0, 1.0], jitter=0.0, grey=0.0)
    view = plain.view(images, torch.Generator().manual_seed(0))  # at most mirrored, or squeezed by the aspect ratio
    assert view.shape == images.shape
    grey = objective("invariance", grey=1.0).view(images, torch.Generator().manual_seed(0))
    from ijepa_viz.data.transforms import denormalise

    assert denormalise(grey).std(1).max() < 1e-5


def test_turning_the_hue_keeps_grey_and_length():
    colour = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    colour -= colour.mean(1, keepdim=True)
    turned = rotate_hue(colour, torch.tensor([0.3, -1.2])[:, None, None, None])
    assert torch.allclose(turned.mean(1), torch.zeros(2, 4, 4), atol=1e-6)
    assert torch.allclose(turned.norm(dim=1), colour.norm(dim=1), atol=1e-5)
    angle = F.cosine_similarity(turned, colour, dim=1)
    assert torch.allclose(angle, torch.tensor([0.3, 1.2]).cos()[:, None, None].expand(2, 4, 4), atol=1e-5)
    third = rotate_hue(torch.tensor([1.0, 0, -1])[None, :, None, None], torch.full((1, 1, 1, 1), 2 * np.pi / 3))
    assert torch.allclose(third.flatten(), torch.tensor([-1.0, 1, 0]), atol=1e-5)  # a third of a turn permutes


def test_it_has_its_own_regularizer():
    config = TrainConfig(model=TINY, objective=ObjectiveConfig("invariance"), regularizer=RegularizerConfig("sigreg"))
    with pytest.raises(ValueError, match="its own regularizer"):
        build(config)


# --------------------------------------------------------------------------- energies


@pytest.mark.parametrize("name", OBJECTIVES)
def test_energies_look_at_the_context_of_one_and_the_hole_of_the_other(pair, name):
    images, candidates = pair
    net = objective(name).eval()
    energy = net.energy(images, many(3), candidates)
    assert energy.shape == (3,)
    assert (energy >= 0).all()
    elsewhere = images.clone()
    elsewhere[:, :, 8:24, 8:24] = 7.0  # what the images hold in the hole must not matter
    assert torch.equal(net.energy(elsewhere, many(3), candidates), energy)
    alone = net.energy(images[1:2], many(1), candidates[1:2])
    assert torch.allclose(alone, energy[1:2], atol=1e-5)
    other = candidates.clone()
    other[:, :, 8:24, 8:24] += torch.randn(3, 3, 16, 16)
    assert not torch.allclose(net.energy(images, many(3), other), energy)


def test_energies_of_prediction_and_pixels_by_hand(pair):
    images, candidates = pair
    masks = many(3)
    net = objective("ijepa")
    predicted = net.model.predict(net.model.encode_context(images, masks), masks)
    gap = (predicted - net.model.targets(candidates, masks)).abs()
    by_hand = torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean((1, 2, 3))
    assert torch.allclose(net.energy(images, masks, candidates), by_hand, atol=1e-6)
    mae = objective("mae", normalise_pixels=False)
    predicted = mae.reconstruct(images, masks)
    hidden = patchify(candidates, 8)[:, masks.targets[0, 0]]
    assert torch.allclose(mae.energy(images, masks, candidates), (predicted[:, 0] - hidden).square().mean((1, 2)))


def test_the_invariant_energy_does_not_know_where(pair):
    images, candidates = pair
    net = objective("invariance")
    there = Masks.from_block((4, 4), 2, 0, 2, 2)
    moved = candidates.roll((8, -8), (2, 3))  # the block goes along to its other place
    context = HOLE.context  # the same patches are visible
    both = Masks(context, there.targets, (4, 4))
    a = net.energy(images[:1], many(1), candidates[:1])
    b = net.energy(images[:1], both, moved[:1])
    assert torch.allclose(a, b, atol=1e-5)
    predictive = objective("ijepa")
    assert not torch.allclose(
        predictive.energy(images[:1], many(1), candidates[:1]),
        predictive.energy(images[:1], both, moved[:1]),
        atol=1e-5,
    )


def test_mae_reconstructions_have_the_patch_s_own_mean_and_contrast(pair):
    images, _ = pair
    net = objective("mae")
    predicted = net.reconstruct(images, many(3))
    real = patchify(images, 8)[:, HOLE.targets[0, 0]]
    raw = net.decoder(net.model.encode_context(images, many(3)), many(3))[:, 0]
    expected = raw * (real.var(-1, keepdim=True) + 1e-6).sqrt() + real.mean(-1, keepdim=True)
    assert torch.allclose(predicted[:, 0], expected, atol=1e-5)


# --------------------------------------------------------------------------- the comparison


@pytest.fixture(scope="module")
def questions():
    return draw_factor_scenes(40, 64, (8, 8), 3, seed=3)


def test_distractors_differ_in_the_hole_only(questions):
    found = distractors(questions)
    assert list(found) == ["true", *DISTRACTORS]
    assert torch.equal(found["true"], questions.images)
    for i in range(40):
        hidden = torch.zeros(64, dtype=torch.bool)
        hidden[questions.masks.targets[i, 0]] = True
        pixels = hidden.view(8, 8).repeat_interleave(8, 0).repeat_interleave(8, 1)
        for kind in DISTRACTORS:
            same = (found[kind][i] == questions.images[i]).all(0)
            assert same[~pixels].all(), kind
    row, col = (int(v) * 8 for v in corners(questions.masks)[0])
    hole = np.s_[:, row : row + 24, col : col + 24]
    assert torch.equal(found["mirrored"][0][hole], questions.images[0][hole].flip(2))
    assert (found["texture shifted"][0].int() - questions.images[0]).abs().max() <= 7
    assert sum(torch.equal(found["recoloured"][i], questions.images[i]) for i in range(40)) == 0


def test_paired_auroc_against_scikit_learn():
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 6, (200,), generator=generator).float()
    other = torch.randint(1, 8, (200,), generator=generator).float()
    each = [roc_auc_score([0, 1], [float(a), float(b)]) for a, b in zip(truth, other, strict=True)]
    found = paired_auroc(truth, other)
    assert found["accuracy"] == pytest.approx(np.mean(each))
    assert found["low"] < found["accuracy"] < found["high"]


def test_an_oracle_s_energy_has_an_auroc_of_one(questions):
    class Oracle:
        """Squared error against the true pixels of the hole."""

        def energy(self, images, masks, candidates):
            return (images - candidates).square().mean((1, 2, 3))

    values = energies(Oracle(), questions, distractors(questions), batch=16)
    assert values.shape == (1 + len(DISTRACTORS), 40)
    for i in range(1, 1 + len(DISTRACTORS)):
        assert paired_auroc(values[0], values[i])["accuracy"] == 1.0


def test_the_command_compares_trained_runs(tmp_path, capsys, drawn):
    from dataclasses import replace

    model = replace(TINY, image_size=64)
    folders = []
    for name in SAVED:
        torch.manual_seed(0)
        net = build(TrainConfig(model=model, objective=ObjectiveConfig(name)))
        folders.append(str(tmp_path / name))
        (tmp_path / name).mkdir()
        net.save(tmp_path / name)
        again = load_objective(tmp_path / name)
        assert type(again) is type(net)
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    table, figure = tmp_path / "table.json", tmp_path / "figure.png"
    assert main([*folders, "--scenes", "30", "--json", str(table), "--figure", str(figure)]) == 0
    rows = json.loads(table.read_text())
    assert min(size_of(figure)) > 500
    *candidates, bars = drawn[0].axes
    assert [axis.get_title() for axis in candidates[: 1 + len(DISTRACTORS)]] == ["true", *DISTRACTORS]
    assert all(len(axis.images) == 1 for axis in candidates)
    heights = sorted(bar.get_height() for bar in bars.patches)
    assert heights == pytest.approx(sorted(row[kind]["accuracy"] for row in rows.values() for kind in DISTRACTORS))
    assert set(rows) == {f"{n}{twin}" for n in SAVED for twin in ("", ", untrained")}
    # These were never trained: a model is its own untrained twin.
    assert all(rows[n] == rows[f"{n}, untrained"] for n in SAVED)
    assert "mirrored" in capsys.readouterr().out
    assert main([str(tmp_path / "nothing")]) == 1
    assert "train.reports.energies" in capsys.readouterr().err


@pytest.mark.parametrize("name", SAVED)
def test_an_exported_objective_is_all_there_and_written_once(tmp_path, name):
    torch.manual_seed(0)
    net = build(TrainConfig(model=TINY, objective=ObjectiveConfig(name)))
    (tmp_path / "run").mkdir()
    net.save(tmp_path / "run")
    assert export(["export", str(tmp_path / "run"), str(tmp_path / "half"), "--half"]) == 0
    again = load_objective(tmp_path / "half")
    assert type(again) is type(net)
    kept = zip(net.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a.half().float(), b) for a, b in kept)
    # Two encoders only where there is a teacher.
    wanted = sum(p.numel() for n, p in net.model.named_parameters() if name == "ijepa" or n.startswith("encoder."))
    whole = (tmp_path / "run" / "model.safetensors").stat().st_size
    assert 4 * wanted < whole < 4 * wanted + 20_000
    if name != "ijepa":
        weights = tmp_path / "half" / "objective.safetensors"
        weights.write_bytes(weights.read_bytes()[:-2] + b"zz")
        with pytest.raises(ValueError, match="tampered"):
            load_objective(tmp_path / "half")
        assert export(["export", str(tmp_path / "half"), str(tmp_path / "twice")]) == 1
