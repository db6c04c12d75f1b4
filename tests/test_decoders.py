from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from diffusers import FlowMatchEulerDiscreteScheduler

from decoders import BlockPipeline, BlockViT, Ridge, load_decoder, save_decoder
from decoders.decoder import Cancelled
from decoders.networks.network import NETWORKS, BlockNetwork, Conditioning, TokenSource, build_network
from decoders.sampling import SOLVERS, sample_loop
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, unpatchify
from ijepa_viz.prediction import predict

HOLE = Masks.from_block((4, 4), 1, 1, 2, 2)


@pytest.fixture
def prediction(model, picture):
    return predict(model, picture, HOLE)


@pytest.fixture(params=sorted(set(NETWORKS) - {"by-step"}))  # of films: test_separate_steps.py
def any_decoder(request, model):
    return random_decoder(model, request.param)


def test_no_context_pixel_reaches_the_samples(any_decoder, prediction):
    """The rule the whole figure rests on: same prediction, other pixels, not one bit of difference."""
    from dataclasses import replace

    other = replace(prediction, image=torch.rand_like(prediction.image))
    nothing = replace(prediction, image=torch.full_like(prediction.image, float("nan")))
    samples = [any_decoder.sample(p, 3).images for p in (prediction, other, nothing)]
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], samples[2])


def test_the_prediction_reaches_the_samples(any_decoder, prediction):
    other = prediction.replaced(prediction.predicted + torch.randn_like(prediction.predicted))
    for conditioning in ("tokens", "pooled"):
        a, b = (any_decoder.sample(p, 2, conditioning=conditioning).images for p in (prediction, other))
        assert not torch.equal(a, b)
    a, b = (any_decoder.sample(p, 2, conditioning="null").images for p in (prediction, other))
    assert torch.equal(a, b)


def test_pooled_conditioning_sees_the_average_only(decoder, prediction):
    shuffled = prediction.replaced(prediction.predicted.flip(1))
    a, b = (decoder.sample(p, 2, conditioning="pooled").images for p in (prediction, shuffled))
    assert torch.allclose(a, b, atol=1e-5)
    a, b = (decoder.sample(p, 2).images for p in (prediction, shuffled))
    assert not torch.allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("name", ["squared-error", "ridge"])
def test_without_noise_all_samples_are_alike_and_one_pass_is_enough(model, prediction, name):
    decoder, calls = random_decoder(model, name), []
    decoder.network.register_forward_hook(lambda *_: calls.append(1))
    images = decoder.sample(prediction, 3, seed=5).images
    assert len(calls) == 1
    assert torch.equal(images[0], images[1])
    assert torch.equal(images, decoder.sample(prediction, 3, seed=9).images)


def test_the_unet_reads_the_average_and_the_place_of_a_hole_of_any_shape(model, picture):
    decoder = random_decoder(model, "pooled-unet")
    hidden = np.zeros((4, 4), bool)
    hidden[[0, 1, 1, 3], [2, 0, 1, 3]] = True
    prediction = predict(model, picture, Masks.from_array(hidden))
    shuffled = prediction.replaced(prediction.predicted.flip(1))
    a, b = (decoder.sample(p, 1).images for p in (prediction, shuffled))
    assert torch.allclose(a, b, atol=1e-5)
    # The same tokens and noise elsewhere are another picture.
    tokens, latents = torch.randn(1, 4, 32), torch.randn(1, 4, 192)
    c, d = (
        decoder.pipeline(tokens, torch.tensor([where]), latents=latents, num_inference_steps=2).pixels
        for where in ([0, 1, 4, 5], [2, 3, 6, 7])
    )
    assert not torch.allclose(c, d, atol=1e-3)


def test_the_unet_puts_every_patch_back_in_its_place(model):
    network = random_decoder(model, "pooled-unet").network
    patch_indices = torch.tensor([[5, 6, 9, 10], [0, 3, 12, 15]])
    cells, (rows, cols) = network._box(patch_indices)
    assert (rows, cols) == (4, 4)
    assert cells.tolist() == [[0, 1, 4, 5], [0, 3, 12, 15]]


def test_ridge_equals_scikit_learn(model):
    from sklearn.linear_model import Ridge as Reference

    generator = torch.Generator().manual_seed(0)
    network = Ridge(model.grid, 8, 32, penalty=0.01)
    tokens = torch.randn(600, 4, 32, generator=generator) + 2
    patch_indices = torch.rand(600, 16, generator=generator).argsort(1)[:, :4]
    clean = torch.randn(600, 4, 192, generator=generator) + tokens[..., :1] + patch_indices[..., None] / 8
    for source in TokenSource:
        for half in (slice(0, 300), slice(300, None)):
            network.accumulate(patch_indices[half], tokens[half], source, clean[half])
    network.solve()
    # The reference has one intercept; centring each place's own pixels and features gives every place one.
    where = torch.nn.functional.one_hot(patch_indices.flatten(), 16).double()
    shares = where / where.sum(0)
    project = lambda t: t.double() - where @ (shares.T @ t.double())  # noqa: E731
    x, y = tokens.flatten(0, 1), clean.flatten(0, 1)
    reference = Reference(alpha=0.01 * 2400, fit_intercept=False).fit(project(x), project(y))
    own = network.weights[TokenSource.PREDICTED, 1].double()
    assert torch.allclose(own, torch.from_numpy(reference.coef_.T), atol=1e-4)
    conditioning = torch.full((600,), Conditioning.TOKENS)
    drawn = network(clean, torch.ones(600), patch_indices, tokens, conditioning, torch.zeros_like(conditioning))
    assert (drawn - clean).flatten(0, 1).mean(0).abs().max() < 1e-3  # intercepts: no error is left on average
    null = network(clean, torch.ones(600), patch_indices, tokens, conditioning * 0, torch.zeros_like(conditioning))
    first = patch_indices.flatten() == 3
    assert torch.allclose(null.flatten(0, 1)[first][0], y[first].mean(0), atol=1e-4)


def test_an_unknown_decoder_or_option_names_the_nearest(model):
    with pytest.raises(ValueError, match="'block-vit'"):
        build_network("block-vitt", (4, 4), 8, 32, {})
    with pytest.raises(ValueError, match="'depth'"):
        build_network("block-vit", (4, 4), 8, 32, {"dept": 2})


def test_sample_i_depends_on_seed_plus_i(decoder, prediction):
    four = decoder.sample(prediction, 4, seed=10).images
    assert torch.allclose(four[2:], decoder.sample(prediction, 2, seed=12).images, atol=1e-5)
    assert not torch.allclose(four[0], four[1])


def test_a_patch_keeps_its_noise_when_the_hole_grows(decoder, model, picture):
    small, large = (predict(model, picture, Masks.from_block((4, 4), 1, 1, 2, w)) for w in (2, 3))
    a, b = (decoder.pipeline.noise([torch.Generator().manual_seed(5)], p.masks.targets[0])[0] for p in (small, large))
    patch_indices = small.masks.targets[0, 0].tolist()
    larger = large.masks.targets[0, 0].tolist()
    assert torch.equal(a, b[[larger.index(p) for p in patch_indices]])


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

    stochastic = True

    def __init__(self, network, clean):
        super().__init__()
        self.config, self.grid, self.channels = network.config, network.grid, network.channels
        self.steps, self.tubelet, self.num_patches = network.steps, network.tubelet, network.num_patches
        self.feature_mean, self.clean = network.feature_mean, clean

    def forward(self, noisy, sigma, patch_indices, tokens, conditioning, token_source):
        return self.clean[patch_indices]

    grid_noise = BlockNetwork.grid_noise


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_an_oracle_is_sampled_exactly(decoder, prediction, steps, solver):
    clean = torch.rand(16, 192) * 2 - 1
    decoder.pipeline.register_modules(network=_Oracle(decoder.network, clean), scheduler=SOLVERS[solver]())
    drawn = decoder.sample(prediction, 2, steps=steps)
    expected = unpatchify(clean[None] / 2 + 0.5, (4, 4), 8)[0]
    assert torch.allclose(drawn.images[:, :, drawn.inside], expected[:, drawn.inside].expand(2, -1, -1), atol=1e-4)


class _Gaussian(_Oracle):
    """The exact denoiser of pixels that are N(m, s^2), independent: E[x | z] in closed form."""

    mean, std = 0.2, 0.3

    def forward(self, noisy, sigma, patch_indices, tokens, conditioning, token_source):
        s = sigma[:, None, None]
        gain = (1 - s) * self.std**2 / ((1 - s) ** 2 * self.std**2 + s**2)
        return self.mean + gain * (noisy - (1 - s) * self.mean)


@pytest.mark.parametrize(("solver", "steps"), [("euler", 64), ("heun", 19), ("dpm++", 24), ("sde-dpm++", 32)])
def test_the_sampler_draws_the_right_distribution(decoder, prediction, solver, steps):
    network = _Gaussian(decoder.network, torch.zeros(16, 192))
    decoder.pipeline.register_modules(network=network, scheduler=SOLVERS[solver]())
    drawn = decoder.sample(prediction, 12, steps=steps)
    pixels = drawn.images[:, :, drawn.inside] * 2 - 1
    assert abs(pixels.mean() - 0.2) < 0.02
    assert abs(pixels.std() - 0.3) < 0.02
    if solver == "euler":
        blur = decoder.sample(prediction, 12, steps=1).images[:, :, drawn.inside] * 2 - 1
        assert blur.std() < 0.01  # one step is the squared-error blur


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("timesteps", [7, 1000])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_euler_is_a_naive_integration_whatever_the_training_timesteps(decoder, prediction, shift, timesteps, guidance):
    """``num_train_timesteps`` scales the labels of the steps, which no network reads, and not the noise levels."""
    network, patches = decoder.network, prediction.masks.targets[0]
    noise = torch.randn(1, patches.shape[1], 192, generator=torch.Generator().manual_seed(4))
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=timesteps, shift=shift)
    drawn = sample_loop(
        network,
        scheduler,
        noise,
        patches,
        prediction.predicted,
        num_inference_steps=6,
        guidance_scale=guidance,
    )

    def slope(x, level, mode):
        at = torch.tensor([level])
        clean = network(x, at, patches, prediction.predicted, torch.tensor([mode]), torch.tensor([0]))
        return (x - clean) / level

    levels = [shift * (k / 6) / (1 + (shift - 1) * (k / 6)) for k in range(6, -1, -1)]
    x = noise
    with torch.no_grad():
        for level, following in itertools.pairwise(levels):
            conditional, null = slope(x, level, Conditioning.TOKENS), slope(x, level, Conditioning.NULL)
            x = x + (following - level) * (null + guidance * (conditional - null))
    assert torch.allclose(drawn, x, atol=1e-5)
    assert (drawn - noise).abs().mean() > 0.1


@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_are_evaluations_of_the_network(decoder, prediction, solver):
    calls = []
    decoder.network.register_forward_hook(lambda *_: calls.append(1))
    decoder.pipeline.register_modules(scheduler=SOLVERS[solver]())
    decoder.sample(prediction, 1, steps=7)
    assert len(calls) == 7


def test_guidance_one_is_no_guidance(decoder, prediction):
    a = decoder.sample(prediction, 1).images
    assert torch.equal(a, decoder.sample(prediction, 1, guidance=1.0).images)
    assert not torch.equal(a, decoder.sample(prediction, 1, guidance=2.0).images)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_decoder_and_its_pipeline_have_one_loop(any_decoder, prediction, guidance):
    images = any_decoder.sample(prediction, 1, steps=5, guidance=guidance, seed=3, source="target").images
    pixels = any_decoder.pipeline(
        prediction.target,
        prediction.masks.targets[0],
        source="target",
        generator=[torch.Generator().manual_seed(3)],
        num_inference_steps=5,
        guidance_scale=guidance,
    ).pixels
    canvas = torch.full((1, 16, 192), 0.5)
    canvas[:, prediction.masks.targets[0, 0]] = (pixels / 2 + 0.5).clamp(0, 1)
    assert torch.equal(images, unpatchify(canvas, (4, 4), 8))


def test_condition_is_a_deprecated_name_of_conditioning(decoder, prediction):
    pooled = decoder.sample(prediction, 1, conditioning="pooled").images
    with pytest.warns(DeprecationWarning, match="conditioning="):
        assert torch.equal(pooled, decoder.sample(prediction, 1, condition="pooled").images)
    arguments = (prediction.predicted, prediction.masks.targets[0])
    with pytest.warns(DeprecationWarning, match="conditioning="), pytest.raises(ValueError, match="tokens"):
        decoder.pipeline(*arguments, generator=[torch.Generator()], condition="all")


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
        ({"conditioning": "all"}, "tokens, pooled, null"),
        ({"source": "image"}, "predicted or target"),
        ({"token_steps": 3}, "token_steps is for decoders of two stages.*one stage.*Leave token_steps out"),
        ({"token_temperature": 1.2}, "token_temperature is for decoders of two stages.*Leave token_temperature out"),
    ],
)
def test_bad_options_are_named(decoder, prediction, options, words):
    with pytest.raises(ValueError, match=words):
        decoder.sample(prediction, **options)


@pytest.mark.parametrize(
    "options",
    [{"samples": 1.5}, {"samples": None}, {"steps": 2.5}, {"seed": None}, {"seed": 0.5}, {"token_steps": "3"}],
)
def test_numbers_that_are_no_whole_ones_are_named(decoder, prediction, options):
    name, value = next(iter(options.items()))
    with pytest.raises(TypeError, match=f"^{name} is a whole number, got {value!r}"):
        decoder.sample(prediction, **options)


def test_whole_numbers_of_other_libraries_and_no_token_steps_are_taken(decoder, prediction):
    expected = decoder.sample(prediction, 2, steps=3, seed=5).images
    same = decoder.sample(prediction, np.int64(2), steps=torch.tensor(3), seed=np.uint8(5), token_steps=0).images
    assert torch.equal(same, expected)


def test_a_prediction_of_another_model_is_refused(decoder, picture):
    from dataclasses import replace

    wide = IJEPA(replace(TINY, width=64))
    with pytest.raises(ValueError, match="32-dimensional"):
        decoder.sample(predict(wide, picture, HOLE))


def test_a_decoder_comes_back_as_it_was(decoder, prediction, tmp_path):
    save_decoder(decoder, tmp_path)
    again = load_decoder(tmp_path)
    assert again.config == decoder.config
    assert torch.equal(again.sample(prediction, 2).images, decoder.sample(prediction, 2).images)
    weights = tmp_path / "network" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ValueError, match="truncated"):
        load_decoder(tmp_path)


def test_the_pipeline_takes_arrays_and_names_what_does_not_fit(any_decoder, prediction):
    tokens, where = prediction.predicted, prediction.masks.targets[0]
    pipeline = any_decoder.pipeline

    def sampled(tokens, where):
        return pipeline(tokens, where, generator=[torch.Generator().manual_seed(0)], num_inference_steps=1).pixels

    expected = sampled(tokens, where)
    for kind in (np.int64, np.int32, np.uint8):
        assert torch.equal(sampled(tokens.numpy(), where.numpy().astype(kind)), expected)
    assert torch.allclose(sampled(tokens.double().numpy(), where), expected, atol=1e-6)
    for bad, words in (
        ((tokens[..., 1:], where), "Tokens are"),
        ((tokens.long(), where), "Tokens are"),
        ((tokens, where.float()), "Patch indices of these tokens are integers"),
        ((tokens, prediction.masks.hidden), "from_array"),
        ((tokens, where[:, 1:]), "Patch indices of these tokens"),
        ((tokens, where + 99), "run from 0 to 15"),
    ):
        with pytest.raises(ValueError, match=words):
            sampled(*bad)


def test_the_folder_is_also_a_diffusers_pipeline(any_decoder, prediction, tmp_path):
    save_decoder(any_decoder, tmp_path / "ours")
    assert load_decoder(tmp_path / "ours").config == any_decoder.config
    read = BlockPipeline.from_pretrained(tmp_path / "ours")
    read.save_pretrained(tmp_path / "theirs")
    again = BlockPipeline.from_pretrained(tmp_path / "theirs")
    drawn = [
        pipeline(
            prediction.predicted,
            prediction.masks.targets[0],
            generator=[torch.Generator().manual_seed(0)],
            num_inference_steps=4,
        ).pixels
        for pipeline in (any_decoder.pipeline, read, again)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    with pytest.raises(FileNotFoundError, match=r"decoder\.json"):
        load_decoder(tmp_path / "theirs")


def test_a_pipeline_stops_between_steps(decoder, prediction):
    seen = []

    def stop(pipeline, step, timestep, state):
        seen.append(state["clean"].shape)
        pipeline._interrupt = step == 1

    decoder.pipeline(
        prediction.predicted,
        prediction.masks.targets[0],
        generator=[torch.Generator().manual_seed(0)],
        num_inference_steps=8,
        callback_on_step_end=stop,
    )
    assert seen == [(1, 4, 192)] * 2


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("network/config.json", ('"depth"', '"dept"'), "unknown keys dept"),
        ("network/config.json", ('"BlockViT"', '"UNet"'), "'UNet'"),
        ("network/config.json", ('"width": 32', '"width": 64'), "does not fit"),
        ("scheduler/scheduler_config.json", ('"DPMSolverMultistep', '"NoSuch'), "no scheduler"),
        ("decoder.json", ('"steps"', '"step"'), "steps"),
    ],
)
def test_a_decoder_folder_is_read_strictly(decoder, tmp_path, file, change, words):
    save_decoder(decoder, tmp_path)
    path = tmp_path / file
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=words):
        load_decoder(tmp_path)


def test_training_learns_what_the_tokens_say(model):
    """After a short training the condition must help: shuffled tokens must do worse than the right ones."""
    torch.manual_seed(0)
    network = BlockViT(model.grid, 8, 32, width=32, depth=2, heads=2)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    patch_indices = torch.arange(4).expand(64, 4)
    conditioning, token_source = torch.full((64,), Conditioning.TOKENS), torch.full((64,), TokenSource.PREDICTED)

    def error(tokens, clean):
        noise, sigma = torch.randn_like(clean), torch.full((64,), 0.9)
        noisy = 0.1 * clean + 0.9 * noise
        return (network(noisy, sigma, patch_indices, tokens, conditioning, token_source) - clean).square().mean()

    for _ in range(150):
        tokens = torch.randn(64, 4, 32)
        clean = tokens[..., :1].expand(-1, -1, 192).sign()
        loss = error(tokens, clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens = torch.randn(64, 4, 32)
    clean = tokens[..., :1].expand(-1, -1, 192).sign()
    assert error(tokens, clean) < 0.4 * error(tokens.roll(1, 0), clean)
