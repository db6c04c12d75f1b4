from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder

from decoders import load_decoder
from decoders.__main__ import main
from decoders.loading import save_decoder
from decoders.sampling import Cancelled
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA
from ijepa_viz.prediction import predict

HOLE = Masks.from_block((4, 4), 1, 1, 2, 2)


@pytest.fixture
def prediction(model, picture):
    return predict(model, picture, HOLE)


def test_no_context_pixel_reaches_the_samples(decoder, prediction):
    """The rule the whole figure rests on: same prediction, other pixels, not one bit of difference."""
    from dataclasses import replace

    other = replace(prediction, image=torch.rand_like(prediction.image))
    nothing = replace(prediction, image=torch.full_like(prediction.image, float("nan")))
    samples = [decoder.sample(p, 3).images for p in (prediction, other, nothing)]
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], samples[2])


def test_the_prediction_reaches_the_samples(decoder, prediction):
    other = prediction.replaced(prediction.predicted + 1)
    assert not torch.equal(decoder.sample(prediction, 2).images, decoder.sample(other, 2).images)
    a, b = (decoder.sample(p, 2, condition="null").images for p in (prediction, other))
    assert torch.equal(a, b)


def test_pooled_conditioning_sees_the_average_only(decoder, prediction):
    shuffled = prediction.replaced(prediction.predicted.flip(1))
    a, b = (decoder.sample(p, 2, condition="pooled").images for p in (prediction, shuffled))
    assert torch.allclose(a, b, atol=1e-5)
    a, b = (decoder.sample(p, 2).images for p in (prediction, shuffled))
    assert not torch.allclose(a, b, atol=1e-3)


def test_sample_i_depends_on_seed_plus_i(decoder, prediction):
    four = decoder.sample(prediction, 4, seed=10).images
    assert torch.allclose(four[2:], decoder.sample(prediction, 2, seed=12).images, atol=1e-5)
    assert not torch.allclose(four[0], four[1])


def test_a_patch_keeps_its_noise_when_the_hole_grows(decoder, model, picture):
    small, large = (predict(model, picture, Masks.from_block((4, 4), 1, 1, 2, w)) for w in (2, 3))
    a = decoder._noise(1, small.masks, 5)[0]
    b = decoder._noise(1, large.masks, 5)[0]
    places = small.masks.targets[0, 0].tolist()
    larger = large.masks.targets[0, 0].tolist()
    assert torch.equal(a, b[[larger.index(p) for p in places]])


def test_samples_fill_the_hole_and_nothing_else(decoder, prediction):
    drawn = decoder.sample(prediction, 2)
    assert drawn.images.shape == (2, 3, 32, 32)
    assert drawn.images.min() >= 0
    assert drawn.images.max() <= 1
    expected = np.zeros((32, 32), bool)
    expected[8:24, 8:24] = True
    assert np.array_equal(drawn.inside.numpy(), expected)
    on = drawn.on(prediction.image)
    outside = ~drawn.inside
    assert torch.equal(on[:, :, outside], prediction.image[:, outside].expand(2, -1, -1))
    assert torch.equal(on[:, :, drawn.inside], drawn.images[:, :, drawn.inside])


def test_free_hand_holes_and_several_blocks(decoder, model, picture):
    hidden = np.zeros((4, 4), bool)
    hidden[[0, 1, 1, 3], [2, 0, 1, 3]] = True
    drawn = decoder.sample(predict(model, picture, Masks.from_array(hidden)), 1)
    assert np.array_equal(drawn.inside.numpy(), hidden.repeat(8, 0).repeat(8, 1))
    two = Masks(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[[5, 6], [9, 13]]]), (4, 4))
    assert decoder.sample(predict(model, picture, two), 1).inside.sum() == 4 * 64


class _Oracle(torch.nn.Module):
    """Knows the clean pixels: an exact sampler must return them whatever the noise."""

    def __init__(self, network, clean):
        super().__init__()
        self.config, self.feature_mean, self.clean = network.config, network.feature_mean, clean

    def forward(self, noisy, sigma, places, condition, mode, kind):
        return self.clean[places]


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_an_oracle_is_sampled_exactly(decoder, prediction, steps):
    clean = torch.rand(16, 192) * 2 - 1
    decoder.network = _Oracle(decoder.network, clean)
    drawn = decoder.sample(prediction, 2, steps=steps)
    from ijepa_viz.model import unpatchify

    expected = unpatchify(clean[None] / 2 + 0.5, (4, 4), 8)[0]
    assert torch.allclose(drawn.images[:, :, drawn.inside], expected[:, drawn.inside].expand(2, -1, -1), atol=1e-4)


class _Gaussian(_Oracle):
    """The exact denoiser of pixels that are N(m, s^2), independent: E[x | z] in closed form."""

    mean, std = 0.2, 0.3

    def forward(self, noisy, sigma, places, condition, mode, kind):
        s = sigma[:, None, None]
        gain = (1 - s) * self.std**2 / ((1 - s) ** 2 * self.std**2 + s**2)
        return self.mean + gain * (noisy - (1 - s) * self.mean)


def test_the_sampler_draws_the_right_distribution(decoder, prediction):
    decoder.network = _Gaussian(decoder.network, torch.zeros(16, 192))
    drawn = decoder.sample(prediction, 12, steps=64)
    pixels = drawn.images[:, :, drawn.inside] * 2 - 1
    assert abs(pixels.mean() - 0.2) < 0.02
    assert abs(pixels.std() - 0.3) < 0.02
    blur = decoder.sample(prediction, 12, steps=1).images[:, :, drawn.inside] * 2 - 1
    assert blur.std() < 0.01  # one step is the squared-error blur


def test_guidance_one_is_no_guidance(decoder, prediction):
    a = decoder.sample(prediction, 1).images
    assert torch.equal(a, decoder.sample(prediction, 1, guidance=1.0).images)
    assert not torch.equal(a, decoder.sample(prediction, 1, guidance=2.0).images)


def test_previews_and_cancelling(decoder, prediction):
    seen = []
    final = decoder.sample(prediction, 2, callback=lambda state: seen.append(state))
    assert [s["step"] for s in seen] == [1, 2, 3, 4]
    assert all(s["images"].shape == (2, 3, 32, 32) for s in seen)
    assert torch.allclose(seen[-1]["images"], final.images, atol=1e-5)
    with pytest.raises(Cancelled):
        decoder.sample(prediction, 1, callback=lambda state: state["step"] == 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "at least 1"),
        ({"steps": 0}, "at least 1"),
        ({"guidance": -1.0}, "at least 0"),
        ({"condition": "all"}, "tokens, pooled, null"),
        ({"source": "image"}, "predicted or target"),
    ],
)
def test_bad_options_are_named(decoder, prediction, options, words):
    with pytest.raises(ValueError, match=words):
        decoder.sample(prediction, **options)


def test_a_prediction_of_another_model_is_refused(decoder, picture):
    from dataclasses import replace

    wide = IJEPA(replace(TINY, width=64))
    with pytest.raises(ValueError, match="32-dimensional"):
        decoder.sample(predict(wide, picture, HOLE))


def test_a_decoder_comes_back_as_it_was(decoder, prediction, tmp_path):
    save_decoder(decoder.network, tmp_path)
    again = load_decoder(tmp_path)
    assert again.config == decoder.config
    assert torch.equal(again.sample(prediction, 2).images, decoder.sample(prediction, 2).images)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ValueError, match="truncated"):
        load_decoder(tmp_path)


def test_training_a_decoder_from_a_folder(model, tmp_path):
    model.save(tmp_path / "ijepa")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"ijepa: {tmp_path / 'ijepa'}\n"
        "network: {width: 32, depth: 1, heads: 2}\n"
        'data: {source: "menagerie:count=32"}\n'
        "optimization: {steps: 4, batch_size: 4, warmup: 1}\n"
        "run: {precision: fp32, log_every: 1}\n"
    )
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert main(["--fname", str(config), f"run.folder={run}", "--max-minutes", "0"]) == 0
    assert main(["--fname", str(config), f"run.folder={run}", "--resume"]) == 0
    assert main(["--fname", str(config), f"run.folder={whole}"]) == 0
    a, b = (load_decoder(f / "step-00000004").network.state_dict() for f in (run, whole))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert (run / "step-00000004" / "samples.png").stat().st_size > 1000
    from ijepa_viz.checkpoints import fingerprint

    assert load_decoder(whole / "step-00000004").config.ijepa_sha256 == fingerprint(model)


def test_training_learns_what_the_tokens_say(model, tmp_path):
    """After a short training the condition must help: shuffled tokens must do worse than the right ones."""
    from decoders.block_vit import PREDICTED, TOKENS, BlockViT

    torch.manual_seed(0)
    network = BlockViT(random_decoder(model).config)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    places = torch.arange(4).expand(64, 4)
    mode, kind = torch.full((64,), TOKENS), torch.full((64,), PREDICTED)

    def error(condition, clean):
        noise, sigma = torch.randn_like(clean), torch.full((64,), 0.9)
        return (network(0.1 * clean + 0.9 * noise, sigma, places, condition, mode, kind) - clean).square().mean()

    for _ in range(150):
        condition = torch.randn(64, 4, 32)
        clean = condition[..., :1].expand(-1, -1, 192).sign()
        loss = error(condition, clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    condition = torch.randn(64, 4, 32)
    clean = condition[..., :1].expand(-1, -1, 192).sign()
    assert error(condition, clean) < 0.4 * error(condition.roll(1, 0), clean)
