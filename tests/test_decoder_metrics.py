from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import random_decoder

from decoders import Decoder, DecoderConfig, save_decoder
from decoders.evaluation import hole_size as hole_size_module
from decoders.evaluation.classifier import BlockClassifier, as_images, predict_logits, train_classifier
from decoders.evaluation.frequency_bands import band_edges, cosine_transform
from decoders.evaluation.ground_truth import ground_truth, linear_probe_answers
from decoders.evaluation.hole_size import hole_size, on_larger_grid
from decoders.evaluation.leakage import leakage
from decoders.evaluation.metric import DECODER_METRICS, centre_hole, encode_blocks, fit_ridge, sample_blocks
from decoders.evaluation.rank import embed, rank, ranks
from decoders.evaluation.realism import kernel_distance, kernel_matrix, realism, two_sample_test
from decoders.evaluation.retrained_classifier import retrained_classifier_accuracy
from decoders.evaluation.scenes import draw_scenes
from decoders.evaluation.sheet import nearest
from decoders.evaluation.variation import agreement, explained_variance, measure_variation
from decoders.networks.network import build_network
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.transforms import denormalise, normalise
from ijepa_viz.figures import few_steps_figure
from ijepa_viz.masks import Masks
from ijepa_viz.models import patchify
from ijepa_viz.prediction import predict


def scenes(count):
    return lambda split: open_source(f"menagerie:count={count}", split)


def test_ranks_equal_a_naive_sort():
    torch.manual_seed(0)
    truths = torch.randn(40, 6) * torch.tensor([1.0, 5, 1, 1, 9, 1]) + 3
    guesses = truths + torch.randn(40, 6) * 3
    mean, std = truths.mean(0), truths.std(0)
    found = []
    for i in range(40):
        group = range(i // 10 * 10, i // 10 * 10 + 10)
        cosines = [np.dot(g := ((guesses[i] - mean) / std).numpy(), t := ((truths[j] - mean) / std).numpy())
                   / np.linalg.norm(g) / np.linalg.norm(t) for j in group]  # fmt: skip
        found.append(1 + sum(c > cosines[i % 10] for c in cosines))
    assert ranks(guesses, truths, 10).tolist() == found
    assert ranks(truths, truths, 10).eq(1).all()


def test_a_guess_that_says_nothing_ranks_in_the_middle():
    truths = torch.randn(10, 6)
    assert ranks(truths.mean(0).expand(10, 6), truths, 10).eq(5.5).all()


def test_embedding_sees_the_blocks_own_patches_only(model):
    images, hole = torch.randn(3, 3, 32, 32), centre_hole(model)
    blocks = encode_blocks(model, images, hole)
    alone = embed(model, blocks.clean, blocks.patch_indices)
    assert torch.allclose(alone, model.target_encoder(images, blocks.patch_indices), atol=1e-4)
    outside = torch.where(
        hole.hidden[0].repeat_interleave(8, 0).repeat_interleave(8, 1), images, torch.randn(3, 3, 32, 32)
    )
    assert torch.allclose(alone, model.target_encoder(outside, blocks.patch_indices), atol=1e-4)


def test_encoding_and_sampling_do_not_depend_on_the_batch_size(model, decoder):
    images, hole = torch.randn(7, 3, 32, 32), centre_hole(model)
    whole, parts = encode_blocks(model, images, hole), encode_blocks(model, images, hole.repeat(7), batch=2)
    assert torch.allclose(whole.predicted, parts.predicted, atol=1e-5)
    pixels = patchify(denormalise(images) * 2 - 1, 8)[:, [5, 6, 9, 10]]
    assert torch.allclose(whole.clean, pixels, atol=1e-5)
    a = sample_blocks(decoder, whole.predicted, whole.patch_indices, seed=3)
    b = sample_blocks(decoder, whole.predicted, whole.patch_indices, seed=3, batch=2)
    assert torch.allclose(a, b, atol=1e-5)
    assert a.abs().max() <= 1


def test_real_pixels_come_first_and_a_decoder_that_knows_nothing_does_not(model, decoder):
    table = rank(model, decoder, scenes(200), count=200)
    assert table["real_pixels"]["mean_reciprocal_rank"] == 1
    assert table["null"]["mean_reciprocal_rank"] < 0.2
    assert table["chance"]["mean_reciprocal_rank"] == pytest.approx(0.0519, abs=1e-3)
    # Target tokens are nearly invertible, for random models most of all, even linearly.
    hole = centre_hole(model)
    pixels = torch.from_numpy(arrays(open_source("menagerie:count=400"), 32).copy()).permute(0, 3, 1, 2)
    blocks = encode_blocks(model, normalise(pixels / 255), hole)
    ridge = fit_ridge(model, blocks)
    drawn = sample_blocks(ridge, blocks.target[:100], blocks.patch_indices[:100], source="target")
    found = ranks(
        embed(model, drawn, blocks.patch_indices[:100]).flatten(1),
        embed(model, blocks.clean[:100], blocks.patch_indices[:100]).flatten(1),
    )
    assert (1 / found).mean() > 0.5


def test_a_decoder_may_draw_at_another_resolution(model, picture):
    """Patches of 4 px for a model that sees 8: half the size everywhere, and re-encoded at the model's."""
    images, hole = torch.rand(100, 3, 32, 32), centre_hole(model)
    smooth = torch.nn.functional.interpolate(images[..., ::8, ::8], 32, mode="nearest")  # flat patches
    full = encode_blocks(model, normalise(smooth), hole)
    half = encode_blocks(model, normalise(smooth), hole, pictures=torch.nn.functional.avg_pool2d(smooth, 2))
    assert half.clean.shape == (100, 4, 48)
    # Averaged down to the same patch size they agree, which is how a classifier reads them.
    whole, small = as_images(full.clean, (2, 2), 4), as_images(half.clean, (2, 2), 4)
    assert torch.allclose(small, whole, atol=1e-4)
    with pytest.raises(ValueError, match="averaged down"):
        as_images(full.clean, (2, 2), 3)
    flat = half.clean.unflatten(-1, (3, -1)).mean(-1, keepdim=True).expand(-1, -1, -1, 16).flatten(2)
    same = flat.unflatten(-1, (3, 16)).repeat_interleave(4, -1).flatten(2)
    assert torch.allclose(embed(model, flat, half.patch_indices), embed(model, same, half.patch_indices), atol=1e-4)
    network = build_network("block-vit", model.grid, 4, 32, {"width": 32, "depth": 1, "heads": 2})
    drawn = Decoder(network, DecoderConfig(steps=2)).sample(predict(model, picture, hole), 2)
    assert drawn.images.shape == (2, 3, 16, 16)
    on = drawn.on(torch.zeros(3, 32, 32))
    assert on.shape == (2, 3, 32, 32)
    assert on[:, :, 8:24, 8:24].abs().min() > 0
    assert on[:, :, :8].abs().max() == 0
    with pytest.raises(ValueError, match="in proportion"):
        drawn.on(torch.zeros(3, 32, 40))


def test_too_few_pictures_are_refused(model, decoder):
    with pytest.raises(ValueError, match="at least 100"):
        rank(model, decoder, scenes(30))


def test_no_decoder_leaks(model, decoder):
    assert leakage(model, decoder, scenes(100))["largest_difference"] == 0

    class Leaky(type(decoder)):
        def sample(self, prediction, *args, **options):
            drawn = super().sample(prediction, *args, **options)
            return type(drawn)(drawn.images + prediction.image.mean(), drawn.inside)

    leaky = Leaky(decoder.network, decoder.config)
    assert not leakage(model, leaky, scenes(100))["largest_difference"] <= 0


def test_the_kernel_distance_equals_a_naive_sum():
    torch.manual_seed(0)
    x, y = torch.randn(5, 4), torch.randn(7, 4) + 1
    k = lambda a, b: (float(a @ b) / 4 + 1) ** 3  # noqa: E731
    own = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 20
    other = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 42
    across = sum(k(a, b) for a in x for b in y) / 35
    both = torch.cat([x, y])
    assert float(kernel_distance(kernel_matrix(both, both), 5)) == pytest.approx(own + other - 2 * across, rel=1e-5)


def test_the_two_sample_test_finds_a_difference_and_invents_none():
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(60, 5, generator=generator) for _ in range(11)]
    values = [two_sample_test(draws[0], other, 99)[1] for other in draws[1:]]
    assert sum(p <= 0.05 for p in values) <= 2
    assert two_sample_test(draws[0], draws[1] * 1.6, 99)[1] <= 0.02


def test_the_cosine_transform_equals_its_formula():
    images = torch.randn(2, 3, 6, 9, dtype=torch.float64)
    expected = images
    for axis in (-1, -2):
        size = images.shape[axis]
        k, n = torch.arange(size)[:, None], torch.arange(size)[None]
        basis = torch.cos(math.pi * (2 * n + 1) * k / (2 * size)).double() * math.sqrt(2 / size)
        basis[0] /= math.sqrt(2)
        expected = (expected.movedim(axis, -1) @ basis.T).movedim(-1, axis)
    found = cosine_transform(images.float())
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_kept_variance_finds_what_was_planted():
    """The condition settles the average entirely, the left half by three quarters, and nothing else."""
    generator = torch.Generator().manual_seed(0)
    free = torch.randn(6, 400, 3, 8, 8, generator=generator)
    told = torch.randn(6, 400, 3, 8, 8, generator=generator)
    told[..., :4] *= 0.5
    by_pixel = explained_variance(told, free)[0]
    assert by_pixel[:, :4].mean() == pytest.approx(0.75, abs=0.02)
    assert by_pixel[:, 4:].mean() == pytest.approx(0, abs=0.04)
    level = torch.randn(6, 400, 1, 1, 1, generator=generator)
    same = torch.randn(6, 400, 3, 8, 8, generator=generator)
    _, by_band, bands = explained_variance(same - same.mean((-1, -2), keepdim=True), same + 3 * level)
    assert by_band[0] == pytest.approx(1, abs=1e-4)
    assert bands[0] == (0.0, 0.25)
    assert np.abs(by_band[1:]).max() < 0.06


def test_bands_cover_every_frequency_once():
    edges = band_edges(32, 24)
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    assert edges[-1][1] > np.hypot(31 / 2, 23 / 2)


def test_agreement_is_the_share_of_the_most_frequent_answer():
    logits = torch.nn.functional.one_hot(torch.tensor([[0, 0, 1, 0], [2, 1, 2, 0]]), 3).float()
    assert agreement(logits) == pytest.approx((3 / 4 + 2 / 4) / 2)


def test_the_recogniser_learns_and_is_kept(monkeypatch):
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (384,))
    images = torch.randn(384, 3, 16, 16) * 0.3
    images[torch.arange(384), labels] += 0.7
    asked = {"colour": labels}
    eye = train_classifier(images, asked, {"colour": 3}, epochs=12)
    answers = predict_logits(eye, images)["colour"].argmax(1)
    assert (answers == labels).float().mean() > 0.9
    monkeypatch.setattr("decoders.evaluation.classifier._fit", lambda *_: pytest.fail("it was in the cache"))
    again = train_classifier(images, asked, {"colour": 3}, epochs=12)
    assert torch.equal(predict_logits(again, images)["colour"], predict_logits(eye, images)["colour"])


def test_features_keep_where_things_are():
    eye = BlockClassifier({"a": 2}).eval()
    left = torch.zeros(1, 3, 24, 24)
    left[..., :8] = 1
    assert not torch.allclose(eye.features(left), eye.features(left.flip(-1)), atol=1e-3)


def test_blocks_as_pictures_are_the_pictures_blocks(model):
    images = torch.rand(2, 3, 32, 32)
    masks = Masks.from_block((4, 4), 1, 0, 2, 3)
    patches = patchify(images, 8)[:, masks.targets[0, 0]]
    assert torch.equal(as_images(patches, (2, 3)), images[:, :, 8:24, 0:24])


def test_ground_truth_reads_real_pixels_and_its_controls(larger):
    model, decoder = larger
    table = ground_truth(model, decoder, scenes(100), train=500, test=100, epochs=6)
    assert table["real_pixels"]["colour"]["accuracy"] > table["most_frequent_answer"]["colour"]["accuracy"]
    assert table["test_data"].startswith("100 scenes drawn with seed 2002, classifiers fitted on 500 with seed 2001")
    assert set(table) >= {"predicted_tokens", "another_image", "another_image_its_own_truth", "mean_prediction", "null"}
    # An untrained model's tokens still say where the block is.
    assert table["read_from_tokens"]["part"]["high"] > table["most_frequent_answer"]["part"]["accuracy"]
    assert set(table) >= {"drawn_from_tokens", "predicted_guidance_2"}
    # The mean prediction is the same for all, the noise is not: nothing can be read from it.
    low = table["mean_prediction"]["species"]["low"]
    assert low <= table["most_frequent_answer"]["species"]["accuracy"] + 0.1
    with pytest.raises(ValueError, match="menagerie"):
        ground_truth(model, decoder, lambda split: type("S", (), {"name": "folder"})())


def test_a_retrained_classifier_reads_blocks_that_do_not_look_real(larger, monkeypatch):
    model, decoder = larger
    learned, asked = draw_scenes(model, 500, seed=2001), draw_scenes(model, 100, seed=2002)
    clean = {len(q.images): encode_blocks(model, normalise(q.images / 255), q.masks).clean for q in (learned, asked)}
    # A decoder that draws negatives of the truth: all is there, nothing looks real.
    for metric in ("ground_truth", "retrained_classifier"):
        monkeypatch.setattr(
            f"decoders.evaluation.{metric}.sample_blocks",
            lambda decoder, tokens, patch_indices, **options: -clean[len(tokens)],
        )
    own, other = (
        f(model, decoder, scenes(100), train=500, test=100, epochs=6)
        for f in (retrained_classifier_accuracy, ground_truth)
    )
    assert own["real_pixels"] == {name: other["real_pixels"][name] for name in own["real_pixels"]}
    assert own["test_data"] == other["test_data"]
    real, negative = own["real_pixels"]["colour"]["accuracy"], own["predicted_tokens"]["colour"]["accuracy"]
    assert negative > real - 0.15
    assert other["predicted_tokens"]["colour"]["accuracy"] < negative - 0.2


def test_answers_without_a_picture_are_the_probes_and_draws_by_its_doubt():
    torch.manual_seed(0)
    certain = torch.arange(3000) % 4
    # Species and part show in the tokens; facing is a coin that does not, three times out of four the same side.
    labels = {"species": certain // 2, "part": certain % 2, "facing": (torch.rand(3000) < 0.25).long()}
    labels |= {"joint": 2 * certain + labels["facing"], "colour": certain}
    tokens = F.one_hot(certain, 4) * 10.0 + torch.randn(3000, 4)
    rows = linear_probe_answers(tokens[:2000], {k: v[:2000] for k, v in labels.items()}, tokens[2000:])
    truth = {name: label[2000:] for name, label in labels.items()}
    shares = {row: {n: float((said[n] == truth[n]).float().mean()) for n in said} for row, said in rows.items()}
    # The penalty leaves a probe of so few scenes a little in doubt of what it could be sure of.
    for row, least in (("read_from_tokens", 0.99), ("drawn_from_tokens", 0.9)):
        assert min(shares[row][name] for name in ("species", "part", "colour")) > least
    assert shares["read_from_tokens"]["facing"] == pytest.approx(0.75, abs=0.05)
    assert shares["drawn_from_tokens"]["facing"] == pytest.approx(0.75**2 + 0.25**2, abs=0.05)


def test_realism_and_variation_run_on_scenes(larger):
    model, decoder = larger
    table = realism(model, decoder, scenes(300), train=256, count=100)
    assert table["predicted_tokens"]["p_value"] <= 0.02  # an untrained decoder fools nobody
    assert table["real_pixels"]["p_value"] > 0.005
    found = measure_variation(model, decoder, scenes(100), images=2, samples=4, train_scenes=150)
    assert found.by_pixel.shape == (24, 24)
    assert found.test_data["test_data"].startswith("2 scenes drawn with seed 2003")
    assert set(found.by_factor) == {"species", "part", "facing", "colour"}
    assert len(found.by_band) == len(found.bands)


def test_hole_size_measures_every_square_in_two_images(model, decoder):
    table = hole_size(model, decoder, scenes(100))
    figure = table.pop("figure")
    assert list(table) == ["1x1 patches", "2x2 patches", "3x3 patches"]
    for line, key in zip(figure.axes[0].lines, ("ms", "ms_wider_image", "ms_first_preview"), strict=True):
        assert list(line.get_xdata()) == [1, 4, 9]
        assert list(line.get_ydata()) == [row[key] for row in table.values()]
    wide = on_larger_grid(decoder.network, 2)
    assert wide.grid == (8, 8)
    assert sum(p.numel() for p in wide.parameters()) == sum(p.numel() for p in decoder.network.parameters())


def test_both_stages_are_timed_in_both_images(model, monkeypatch):
    """Compared without its first stage, the larger image would seem to be the faster one."""
    asked = []

    def count(pipeline, tokens, patch_indices, steps, **options):
        asked.append((pipeline.token_network is not None, len(tokens), options["token_steps"]))
        pipeline(tokens, patch_indices, generator=[torch.Generator()] * len(tokens), num_inference_steps=1, **options)
        return 1.0

    monkeypatch.setattr(hole_size_module, "median_ms", count)
    two_stages = random_decoder(model, "token-vit")
    hole_size(model, two_stages, scenes(100))
    own = two_stages.config.token_steps
    assert asked[:3] == [(True, 6, own), (True, 1, 0), (True, 6, own)]


def test_few_steps_marks_no_knee_where_none_is_near():
    curves = {"euler": [(1, 10.0, 0.9, 0.1), (2, 20.0, 0.6, 0.3)]}
    for knee, marked in ((None, 0), (("euler", 2), 1)):
        lines = few_steps_figure(curves, knee).axes[0].lines
        assert sum(line.get_label() == "knee" for line in lines) == marked


def test_evaluate_a_decoder_from_the_shell(model, tmp_path, capsys):
    save_folder(model, tmp_path / "mine")
    save_decoder(random_decoder(model), tmp_path / "mine" / "decoder")
    out = tmp_path / "table.json"
    command = ["evaluate", str(tmp_path / "mine"), "--decoder", "--data", "menagerie:count=100", "--json", str(out)]
    assert main(command) == 0
    assert json.loads(out.read_text())["largest_difference"] == 0
    assert "largest_difference" in capsys.readouterr().out
    assert main([*command, "--probe", "rang"]) == 1
    assert "'rank'" in capsys.readouterr().err
    named = "leakage rank ground-truth retrained-classifier realism variation calibration few-steps hole-size sheet"
    assert set(named.split()) <= set(DECODER_METRICS)


def test_the_nearest_training_block_is_the_one_that_is_the_same():
    train = torch.rand(9, 30, generator=torch.Generator().manual_seed(0))
    index, away = nearest(train[4] + 0.01, train)
    assert index == 4
    assert away == pytest.approx(0.01, abs=1e-5)
