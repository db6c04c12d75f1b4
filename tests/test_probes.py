from __future__ import annotations

import numpy as np
import torch

from ijepa_viz.probes.knn import knn_accuracy, pooled_features, thumbnail_features


def test_knn_against_a_naive_loop():
    torch.manual_seed(0)
    train, test = torch.randn(80, 5), torch.randn(30, 5)
    y, t = torch.randint(0, 3, (80,)), torch.randint(0, 3, (30,))
    mean, std = train.numpy().mean(0), train.numpy().std(0, ddof=1)
    a, b = ((x.numpy() - mean) / std for x in (train, test))
    right = 0
    for i in range(30):
        cosines = [float(a[j] @ b[i] / np.linalg.norm(a[j]) / np.linalg.norm(b[i])) for j in range(80)]
        near = np.argsort(cosines)[::-1][:7]
        right += np.bincount(y.numpy()[near], minlength=3).argmax() == int(t[i])
    assert abs(knn_accuracy(train, y, test, t, k=7) - right / 30) < 1e-9


def test_knn_finds_what_is_there_and_chance_where_there_is_nothing():
    torch.manual_seed(0)
    labels = torch.arange(400) % 4
    separate = torch.eye(4)[labels] * 5 + torch.randn(400, 4)
    assert knn_accuracy(separate[:300], labels[:300], separate[300:], labels[300:]) > 0.95
    noise = torch.randn(400, 4)
    assert knn_accuracy(noise[:300], labels[:300], noise[300:], labels[300:]) < 0.4


def test_thumbnails_are_mean_colours():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    ours = thumbnail_features(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    for picture, row in zip(pictures, ours, strict=True):
        by_hand = picture.reshape(8, 8, 8, 8, 3).mean((1, 3))
        assert np.abs(row.view(3, 8, 8).permute(1, 2, 0).numpy() - by_hand).max() < 1e-3


def test_features_are_averages_of_tokens(model):
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    from ijepa_viz.data.transforms import normalise

    tokens = model.target_encoder(normalise(images / 255))
    assert torch.allclose(pooled_features(model.target_encoder, images, batch=2), tokens.mean(1), atol=1e-5)
    last_two = pooled_features(model.target_encoder, images, layers=2)
    assert last_two.shape == (5, 64)
    assert torch.allclose(last_two[:, 32:], tokens.mean(1), atol=1e-5)


def test_ridge_against_least_squares_with_the_penalty_as_rows():
    from ijepa_viz.probes.pixels import ridge_r2

    torch.manual_seed(0)
    x, z = torch.randn(90, 6), torch.randn(40, 6)
    weights = torch.randn(6, 4)
    y, t = x @ weights + torch.randn(90, 4) + 2, z @ weights + torch.randn(40, 4) + 2
    mean, std = x.mean(0), x.std(0)
    a, b = ((v - mean) / std for v in (x, z))
    rows = np.concatenate([a.numpy(), np.eye(6) * 30**0.5])
    solution = np.linalg.lstsq(rows, np.concatenate([(y - y.mean(0)).numpy(), np.zeros((6, 4))]), rcond=None)[0]
    error = ((b.numpy() @ solution + y.mean(0).numpy() - t.numpy()) ** 2).sum()
    expected = 1 - error / ((t - y.mean(0)).numpy() ** 2).sum()
    assert abs(ridge_r2(x, y, z, t) - expected) < 1e-4


def test_the_pixel_probe_reads_what_tokens_hold(model):
    from ijepa_viz.data.sources import open_source
    from ijepa_viz.probes.pixels import pixel_table

    table = pixel_table(model, open_source("menagerie:count=90"))
    # Random target tokens of a small ViT are nearly the pixels themselves; a random predictor knows little.
    assert table["target_tokens"] > table["random_init_predicted_tokens"]
    assert table["target_tokens"] > table["mean_visible_colour"]
