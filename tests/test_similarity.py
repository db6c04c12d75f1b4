"""CKA against its definition by loops over four examples and against closed forms; the command against both."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from conftest import size_of

from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.cli import main
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.picture_stream import PictureStream
from ijepa_viz.data.transforms import normalise
from ijepa_viz.probes.similarity import cka_matrix, linear_cka, picture_features


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC as a mean over all ordered choices of four different examples, and CKA of these."""
    k, m = x @ x.T, y @ y.T

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        terms = [a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in itertools.permutations(range(len(a)), 4)]
        return sum(terms) / len(terms)

    return hsic(k, m) / (hsic(k, k) * hsic(m, m)) ** 0.5


def test_cka_is_its_definition():
    x, y = seeded(7, 5), seeded(7, 3, seed=1) + 2
    y[:, 0] += x[:, 1]
    assert linear_cka(x, y) == pytest.approx(naive(x.double().numpy(), y.double().numpy()), abs=1e-10)
    first, second = [x, y], [y, x[:, :2], x * 4]
    found = cka_matrix(first, second)
    assert found.shape == (2, 3)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            assert found[i, j] == pytest.approx(linear_cka(a, b), abs=1e-12)


def test_rotations_shifts_and_scales_change_nothing_and_other_maps_do():
    x = seeded(60, 6)
    turn = torch.linalg.qr(seeded(6, 6, seed=2))[0]
    assert linear_cka(x, 0.1 * x @ turn + 1e3) == pytest.approx(1, abs=1e-5)
    assert linear_cka(x, x @ torch.diag(torch.tensor([1.0, 1, 1, 10, 1, 1]))) < 0.7


def test_with_many_examples_it_is_the_closed_form_of_linear_maps():
    """Of x with independent unit features and y = x A: |A|^2 / (sqrt(D) |A^T A|)."""
    x, a = seeded(3000, 4), seeded(4, 5, seed=3)
    expected = float(a.square().sum() / (4**0.5 * (a.T @ a).norm()))
    assert linear_cka(x, x @ a) == pytest.approx(expected, abs=0.02)


def test_independent_representations_are_near_zero_and_the_biased_estimator_is_not():
    found = [linear_cka(seeded(40, 200, seed=2 * i), seeded(40, 200, seed=2 * i + 1)) for i in range(20)]
    assert abs(np.mean(found)) < 0.02
    x, y = (v - v.mean(0) for v in (seeded(40, 200), seeded(40, 200, seed=1)))
    biased = (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert biased > 0.7


def test_what_has_no_cka_is_refused():
    with pytest.raises(ValueError, match="at least 4 examples"):
        linear_cka(seeded(3, 2), seeded(3, 2))
    with pytest.raises(ValueError, match="same examples, got 5 and 6"):
        linear_cka(seeded(5, 2), seeded(6, 2))
    with pytest.raises(ValueError, match="same for every example"):
        linear_cka(torch.ones(5, 2), seeded(5, 2))


def test_features_are_means_or_one_token_at_one_place_of_all_layers(model):
    stream = PictureStream(open_source("menagerie:count=5", "test"), 32, 2)
    found = picture_features(model.target_encoder, stream, (1, 2))
    pixels = torch.cat([batch.pixels for batch in stream])
    with torch.no_grad():
        layers = model.target_encoder(normalise(pixels.float() / 255), layers=2).chunk(2, -1)
    for values, tokens in zip(found, layers, strict=True):
        assert torch.allclose(values, tokens.mean(1), atol=1e-5)
    one = picture_features(model.target_encoder, stream, (1, 2), tokens=True)
    for i in range(5):
        places = {int((layer[i] - values[i]).abs().sum(-1).argmin()) for values, layer in zip(one, layers, strict=True)}
        assert len(places) == 1
        assert torch.allclose(one[1][i], layers[1][i, places.pop()], atol=1e-5)


def test_the_command_compares_models_beside_random_init(model, tmp_path, capsys):
    save_folder(model, tmp_path / "a")
    torch.manual_seed(4)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    save_folder(model, tmp_path / "b")
    a, b, out = str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "cka.png"
    command = ["cka", a, b, "--data", "menagerie:count=20", "--out", str(out), "--json", str(tmp_path / "cka.json")]
    assert main([*command, "--batch", "7"]) == 0
    printed = capsys.readouterr()
    assert "fewer than 32 features" in printed.err
    size_of(out)
    table = json.loads((tmp_path / "cka.json").read_text())
    assert table["pictures"] == 20
    panels = {(one["rows"], one["cols"]): np.array(one["values"]) for one in table["panels"]}
    assert set(panels) == {(x, y) for x in "ab" for y in ("a", "b", "random init")}
    assert np.allclose(np.diag(panels["a", "a"]), 1)
    assert np.allclose(panels["a", "b"], panels["b", "a"].T)
    stream = PictureStream(open_source("menagerie:count=20", "test"), 32)
    features = [picture_features(load_model(name).eval().target_encoder, stream, (1, 2)) for name in (a, b)]
    assert np.allclose(panels["a", "b"], cka_matrix(*features), atol=1e-4)
    assert table["a and b"]["last_layers"] == pytest.approx(panels["a", "b"][1, 1])
    assert main([*command, "--layers", "5"]) == 1
    assert "1 to 2, or last" in capsys.readouterr().err
    assert main(["cka", a, a, *command[3:]]) == 1
    assert "named twice" in capsys.readouterr().err


def test_places_of_tokens_do_not_depend_on_the_batch(model):
    scenes = open_source("menagerie:count=7", "test")
    first, second = (
        picture_features(model.encoder, PictureStream(scenes, 32, batch), (1,), tokens=True) for batch in (2, 7)
    )
    torch.testing.assert_close(first[0], second[0])


def test_arrays_are_as_good_as_tensors():
    x, y = seeded(20, 4), seeded(20, 3, seed=1)
    assert linear_cka(x.numpy(), y.numpy()) == linear_cka(x, y)
