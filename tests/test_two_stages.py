"""Decoders of two stages: target tokens are sampled given the predicted ones, and then drawn."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from diffusers import (
    DPMSolverSinglestepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    SASolverScheduler,
)

from decoders import BlockPipeline, Decoder, load_decoder, save_decoder
from decoders.config import DataConfig, DecoderTrainConfig, NetworkConfig, OptimizationConfig, SamplingConfig
from decoders.evaluation.leakage import leakage
from decoders.evaluation.metric import draw_tokens
from decoders.evaluation.sampled_tokens import sampled_tokens
from decoders.evaluation.single_samples import SingleSamples
from decoders.evaluation.token_solver import token_solver
from decoders.evaluation.token_temperature import token_temperature
from decoders.networks.network import BlockNetwork, Conditioning, ConditioningShares, TokenSource, build_network
from decoders.sampling import SOLVERS, grid_noise, resample_tokens, same_scheduler, sample_tokens
from decoders.training.trainer import DecoderTrainer
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.splits import Splits
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import predict
from ijepa_viz.runtime.run_folder import RunConfig


@pytest.fixture
def two_stages(model, decoder):
    torch.manual_seed(2)
    options = {"width": 32, "depth": 2, "heads": 2}
    network = build_network("token-vit", model.grid, model.config.patch_size, model.config.width, options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Decoder(decoder.network, decoder.config, decoder.pipeline.scheduler, network)


@pytest.fixture
def prediction(model, picture):
    return predict(model, picture, Masks.from_block(model.grid, 1, 1, 2, 2))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_second_stage_draws_what_the_first_one_sampled(two_stages, decoder, prediction):
    drawn = two_stages.sample(prediction, samples=3, seed=5)
    assert drawn.tokens.shape == (3, 1, 4, 32)
    for i in range(3):
        sampled = replace(prediction, target=drawn.tokens[i])
        alone = decoder.sample(sampled, samples=1, seed=5 + i, source="target")
        assert torch.allclose(alone.images[0], drawn.images[i], atol=1e-5)
    assert (drawn.tokens[0] - drawn.tokens[1]).abs().max() > 0.1


def test_one_stage_is_what_the_pixel_decoder_draws_alone(two_stages, decoder, prediction):
    for options in ({"token_steps": 0}, {"source": "target"}, {"conditioning": "null"}):
        own = {name: value for name, value in options.items() if name != "token_steps"}
        one, two = decoder.sample(prediction, samples=2, **own), two_stages.sample(prediction, samples=2, **options)
        assert torch.equal(one.images, two.images)
        assert two.tokens is None
    with pytest.raises(ValueError, match="token_steps"):
        two_stages.sample(prediction, token_steps=-1)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="token_temperature is a positive number"):
            two_stages.sample(prediction, token_temperature=wrong)
    warm, own = (two_stages.sample(prediction, samples=2, token_temperature=t).tokens for t in (1.5, None))
    assert not torch.allclose(warm, own)


def test_pipeline_and_decoder_sample_the_same(two_stages, prediction):
    drawn = two_stages.sample(prediction, samples=2, steps=3, token_steps=2, seed=7)
    indices = prediction.masks.targets[0].repeat(2, 1)
    found = two_stages.pipeline(
        prediction.predicted.repeat(2, 1, 1),
        indices,
        generator=[seeded(7), seeded(8)],
        num_inference_steps=3,
        token_steps=2,
    )
    assert torch.allclose(found.tokens, drawn.tokens[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="generator for each block"):
        two_stages.pipeline(prediction.predicted, indices[:1], latents=torch.zeros(1, 4, 192))


class Gaussian(BlockNetwork):
    """Exact denoiser where the target tokens are N(mean, variance I), independent of everything else."""

    draws = "tokens"

    def __init__(self, mean, variance):
        super().__init__(32)
        self.mean, self.variance = mean, variance

    @property
    def grid(self):
        return 4, 4

    @property
    def num_patches(self):
        return 16

    @property
    def channels(self):
        return 32

    def forward(self, noisy, sigma, patch_indices, tokens, conditioning, token_source):
        assert (token_source == TokenSource.PREDICTED).all()
        blend = sigma[:, None, None]
        gain = (1 - blend) * self.variance / ((1 - blend) ** 2 * self.variance + blend**2)
        return self.mean + gain * (noisy - (1 - blend) * self.mean)


@pytest.mark.parametrize("solver", ["dpm++", "sde-dpm++"])
@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_samples_of_a_gaussian_have_its_mean_and_variance_in_the_tokens_own_scale(temperature, solver):
    """Its flow is linear, so the temperature scales the standard deviation and leaves the mean."""
    network = Gaussian(mean=0.5, variance=0.49)
    network.feature_mean[TokenSource.TARGET] = torch.linspace(-3, 3, 32)
    network.feature_std[TokenSource.TARGET] = torch.linspace(0.5, 4, 32)
    indices = torch.tensor([[5, 6, 9, 10]]).repeat(500, 1)
    generators = [seeded(i) for i in range(500)]
    noise = grid_noise(network, generators, indices)
    assert noise.shape == (500, 4, 32)
    options = {"num_inference_steps": 40, "temperature": temperature, "generators": generators}
    drawn = sample_tokens(network, SOLVERS[solver](), noise, indices, torch.zeros(500, 4, 32), **options).flatten(0, 1)
    scale, shift = network.feature_std[TokenSource.TARGET], network.feature_mean[TokenSource.TARGET]
    assert torch.allclose((drawn.mean(0) - shift) / scale, torch.full((32,), 0.5), atol=0.07)
    assert torch.allclose(drawn.std(0) / scale, torch.full((32,), 0.7 * temperature), atol=0.06 * temperature)


def stochastic(decoder):
    """The decoder, with a token scheduler of its own that draws fresh noise in every step."""
    parts = decoder.network, decoder.config, decoder.pipeline.scheduler, decoder.pipeline.token_network
    return Decoder(*parts, SOLVERS["sde-dpm++"]())


def test_a_token_scheduler_of_its_own_samples_the_tokens_and_is_saved(two_stages, decoder, prediction, tmp_path):
    fresh = stochastic(two_stages)
    first, again, other = (d.sample(prediction, samples=2, seed=3) for d in (fresh, fresh, two_stages))
    assert torch.equal(first.tokens, again.tokens)  # a sample is a function of its seed
    assert not torch.allclose(first.tokens, other.tokens, atol=1e-2)
    assert torch.allclose(fresh.sample(prediction, 1, seed=4).tokens[0], first.tokens[1], atol=1e-4)
    assert fresh.at((6, 6)).pipeline.token_scheduler is fresh.pipeline.token_scheduler
    blocks = prediction.predicted, prediction.masks.targets[0]
    alone = draw_tokens(fresh, *blocks, seed=3)
    drawn = fresh.pipeline(*blocks, generator=[seeded(3)], token_steps=12, num_inference_steps=2).tokens
    assert torch.allclose(drawn, first.tokens[0], atol=1e-4)
    assert not torch.allclose(alone, draw_tokens(two_stages, *blocks, seed=3), atol=1e-2)

    save_decoder(fresh, tmp_path / "d")
    assert torch.equal(load_decoder(tmp_path / "d").sample(prediction, 2, seed=3).tokens, first.tokens)
    with pytest.raises(FileExistsError, match="this decoder has none"):
        save_decoder(two_stages, tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "token_scheduler")
    with pytest.raises(ValueError, match=r"model_index\.json and the folder token_scheduler belong together"):
        load_decoder(tmp_path / "d")
    with pytest.raises(ValueError, match="of a token network, and there is none"):
        Decoder(decoder.network, decoder.config, token_scheduler=SOLVERS["sde-dpm++"]())
    decoder.pipeline.register_modules(token_scheduler=SOLVERS["sde-dpm++"]())
    with pytest.raises(ValueError, match="of a token network, and there is none"):
        decoder.sample(prediction)
    with pytest.raises(ValueError, match="a token scheduler and one stage"):
        save_decoder(decoder, tmp_path / "one")


def test_a_solver_of_fresh_noise_needs_generators(two_stages, decoder, prediction):
    decoder.pipeline.register_modules(scheduler=SOLVERS["sde-dpm++"]())
    indices = prediction.masks.targets[0]
    noise = decoder.pipeline.noise([seeded(0)], indices)
    with pytest.raises(ValueError, match="give a generator for each block"):
        decoder.pipeline(prediction.predicted, indices, latents=noise)


@pytest.mark.parametrize(
    "scheduler",
    [
        FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
        FlowMatchLCMScheduler(),
        SASolverScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        DPMSolverSinglestepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, algorithm_type="sde-dpmsolver++"
        ),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_a_scheduler_whose_noise_no_seed_decides_is_refused(decoder, prediction, scheduler):
    decoder.pipeline.register_modules(scheduler=scheduler)
    with pytest.raises(ValueError, match="noise that no seed decides"):
        decoder.sample(prediction)


def test_tokens_sampled_anew_keep_their_law_and_what_is_coarser_than_the_level():
    """Against the closed form: noised and denoised exactly, a Gaussian stays itself, with a known correlation."""
    network = Gaussian(mean=0.5, variance=0.49)
    network.feature_mean[TokenSource.TARGET] = torch.linspace(-3, 3, 32)
    network.feature_std[TokenSource.TARGET] = torch.linspace(0.5, 4, 32)
    scale, shift = network.feature_std[TokenSource.TARGET], network.feature_mean[TokenSource.TARGET]
    real = 0.5 + 0.7 * torch.randn(600, 4, 32, generator=seeded(0))
    noise = torch.randn(600, 4, 32, generator=seeded(1))
    indices = torch.tensor([[5, 6, 9, 10]]).repeat(600, 1)
    for level in (0.0, 0.4, 1.0):
        levels = torch.full((600,), level)
        found = resample_tokens(network, noise, levels, indices, torch.zeros(600, 4, 32), real * scale + shift, 60)
        found = (found - shift) / scale
        if level == 0:
            assert torch.allclose(found, real, atol=1e-5)
        assert float(found.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(found.std()) == pytest.approx(0.7, abs=0.03)
        kept = (1 - level) * 0.7 / np.hypot((1 - level) * 0.7, level)
        assert float(torch.corrcoef(torch.stack([found.flatten(), real.flatten()]))[0, 1]) == pytest.approx(
            kept, abs=0.03
        )


def test_networks_of_the_wrong_kind_are_refused(model, decoder, two_stages):
    tokens = two_stages.pipeline.token_network
    with pytest.raises(ValueError, match="draws pixels is needed, TokenViT draws tokens"):
        Decoder(tokens, decoder.config)
    with pytest.raises(ValueError, match="draws tokens is needed, BlockViT"):
        Decoder(decoder.network, decoder.config, None, decoder.network)
    other = build_network("token-vit", (8, 8), 8, 32, {"width": 32, "depth": 1, "heads": 2})
    with pytest.raises(ValueError, match="different models"):
        Decoder(decoder.network, decoder.config, None, other)


def test_saving_and_loading_gives_the_same_samples(two_stages, decoder, prediction, tmp_path):
    save_decoder(two_stages, tmp_path / "d")
    with pytest.raises(FileExistsError, match="two stages"):
        save_decoder(decoder, tmp_path / "d")
    expected = two_stages.sample(prediction, samples=2)
    again = load_decoder(tmp_path / "d")
    assert torch.equal(again.sample(prediction, samples=2).images, expected.images)
    pipeline = BlockPipeline.from_pretrained(tmp_path / "d")
    assert type(pipeline.token_network).__name__ == "TokenViT"
    weights = tmp_path / "d" / "token_network" / "diffusion_pytorch_model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(ValueError, match="token_network"):
        load_decoder(tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "token_network")
    with pytest.raises(ValueError, match="belong together"):
        load_decoder(tmp_path / "d")


def test_one_stage_saved_over_two_is_not_read_as_two(two_stages, decoder, tmp_path):
    for pipeline in (two_stages.pipeline, decoder.pipeline):  # diffusers' own saving leaves the first's folders
        pipeline.save_pretrained(tmp_path / "p", safe_serialization=True)
    with pytest.raises(ValueError, match="the folder token_network belong together"):
        BlockPipeline.from_pretrained(tmp_path / "p")


def test_no_context_pixel_reaches_the_samples(model, two_stages, tmp_path):
    assert (
        leakage(model, two_stages, lambda split: open_source("menagerie:count=100", split))["largest_difference"] == 0
    )


def config(folder, model, pixels, **optimization):
    return DecoderTrainConfig(
        ijepa=str(model),
        pixel_decoder=None if pixels is None else str(pixels),
        network=NetworkConfig("token-vit", {"width": 32, "depth": 2, "heads": 2}),
        data=DataConfig(source="menagerie:count=64"),
        optimization=OptimizationConfig(batch_size=8, warmup=5, lr=3e-3, **optimization),
        run=RunConfig(folder=str(folder), log_with="none"),
    )


@pytest.fixture
def saved(model, tmp_path):
    from decoders.decoder import DecoderConfig
    from ijepa_viz.runtime.tensors import fingerprint

    save_folder(model, tmp_path / "m")
    pixels = random_decoder(model)
    pixels.config = DecoderConfig(ijepa="m", ijepa_sha256=fingerprint(model), steps=4)
    save_decoder(pixels, tmp_path / "pixels")
    return tmp_path / "m", tmp_path / "pixels"


def test_training_lowers_the_error_of_the_tokens_and_writes_a_decoder_of_two_stages(saved, prediction, tmp_path):
    trainer = DecoderTrainer(config(tmp_path / "run", *saved, steps=60))
    blocks = trainer.source.blocks(10_000)
    clean = trainer.bare.clean_of(blocks.clean, blocks.target)
    assert torch.allclose(clean.flatten(0, 1).std(0), torch.ones(32), atol=0.5)

    def error():
        noise = torch.randn(clean.shape, generator=seeded(0))
        half = torch.full((len(clean),), 0.5)
        modes = torch.full((len(clean),), Conditioning.TOKENS)
        with torch.no_grad():
            guess = trainer.bare(
                0.5 * clean + 0.5 * noise, half, blocks.patch_indices, blocks.predicted, modes, torch.zeros_like(modes)
            )
        return float((guess - clean).square().mean())

    before = error()
    found = load_decoder(trainer.run())
    assert error() < 0.8 * before
    assert found.config.steps == 4
    assert found.sample(prediction, samples=2).tokens.shape == (2, 1, 4, 32)
    assert torch.equal(found.network.pixels_in.weight, load_decoder(saved[1]).network.pixels_in.weight)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(saved, tmp_path):
    whole = DecoderTrainer(config(tmp_path / "whole", *saved, steps=6))
    expected = load_decoder(whole.run()).pipeline.token_network.state_dict()
    first = DecoderTrainer(config(tmp_path / "parts", *saved, steps=6))
    first.start()
    for step in range(3):
        first.update(step)
        first.step = step + 1
    first.folder.save(3, first._write)
    del first
    again = DecoderTrainer(config(tmp_path / "parts", *saved, steps=6), resume=True)
    found = load_decoder(again.run()).pipeline.token_network.state_dict()
    for name, value in expected.items():
        assert torch.allclose(value, found[name], atol=1e-6), name


def test_a_token_network_needs_a_decoder_that_draws_and_no_other_network_does(saved, tmp_path):
    model, pixels = saved
    with pytest.raises(ValueError, match="name the decoder that draws them"):
        DecoderTrainer(config(tmp_path / "a", model, None, steps=2))
    pixel_network = replace(config(tmp_path / "b", model, pixels, steps=2), network=NetworkConfig("block-vit", {}))
    with pytest.raises(ValueError, match="pixel_decoder is for networks that draw tokens, and block-vit"):
        DecoderTrainer(pixel_network)


def test_the_level_of_detail_of_the_decoder_that_draws_is_kept(saved, tmp_path):
    pixels = load_decoder(saved[1])
    save_decoder(Decoder(pixels.network, replace(pixels.config, detail=0.4)), tmp_path / "coarse")
    done = DecoderTrainer(config(tmp_path / "run", saved[0], tmp_path / "coarse", steps=1)).run()
    assert load_decoder(done).config.detail == 0.4


def test_the_metric_reads_what_tokens_hold(saved, two_stages, decoder):
    from ijepa_viz.checkpoints import load_model

    model = load_model(saved[0])
    split = lambda name: open_source("menagerie:count=100", name)  # noqa: E731
    with pytest.raises(ValueError, match="one stage"):
        sampled_tokens(model, decoder, split)
    table = sampled_tokens(model, two_stages, split, train=150, test=40, samples=3)
    # Not the hundred of the data.
    assert table["test_data"].startswith("40 scenes drawn with seed 2002, classifiers fitted on 150 with seed 2001")
    assert table["target_tokens"]["facing"]["accuracy"] >= 0.4
    assert table["another_image"] != table["another_image_its_own_truth"]
    assert 0 < table["spread_over_error"] < 10
    assert 1 / 3 <= table["species_agree"] <= 1
    assert np.isfinite(draw_tokens(two_stages, torch.zeros(3, 4, 32), torch.zeros(3, 4, dtype=torch.int64))).all()


def test_target_tokens_are_noised_up_to_the_level_that_the_config_names(saved, tmp_path):
    plain = config(tmp_path / "a", saved[0], None, steps=2)
    plain = replace(plain, network=NetworkConfig("block-vit", {"width": 32, "depth": 1, "heads": 2}))
    target = torch.zeros(16, 50, 32)
    trainer = DecoderTrainer(plain)
    assert trainer._augmented(target, seeded(0)) is target
    noisy = replace(
        plain, run=replace(plain.run, folder=str(tmp_path / "b")), conditioning=ConditioningShares(target_noise=0.8)
    )
    trainer = DecoderTrainer(noisy)
    trainer.bare.feature_std[TokenSource.TARGET] = torch.linspace(0.5, 4, 32)
    found = torch.stack([trainer._augmented(target, seeded(i)) for i in range(40)]).flatten(0, 1)
    levels = (found / trainer.bare.feature_std[TokenSource.TARGET]).std((1, 2))
    assert 0.75 < float(levels.max()) < 0.85
    assert float(levels.mean()) == pytest.approx(0.4, abs=0.05)
    assert float(levels.min()) < 0.05


def drawer(folder, model, tokens, resampled, **optimization):
    found = config(folder, model, None, **optimization)
    return replace(
        found,
        token_decoder=None if tokens is None else str(tokens),
        network=NetworkConfig("block-vit", {"width": 32, "depth": 1, "heads": 2}),
        conditioning=ConditioningShares(targets=0.9, resampled=resampled),
    )


def test_a_pixel_network_is_trained_on_tokens_sampled_anew_and_saved_with_the_network_that_samples_them(
    saved, two_stages, decoder, prediction, tmp_path
):
    from decoders.decoder import DecoderConfig
    from ijepa_viz.checkpoints import load_model
    from ijepa_viz.runtime.tensors import fingerprint

    two_stages.config = DecoderConfig(ijepa="m", ijepa_sha256=fingerprint(load_model(saved[0])), steps=4, token_steps=5)
    save_decoder(two_stages, tmp_path / "both")
    trainer = DecoderTrainer(drawer(tmp_path / "run", saved[0], tmp_path / "both", 0.9, steps=4))
    blocks = trainer.source.blocks(0)
    chosen = torch.arange(len(blocks.target)) < 5
    found = trainer._resampled(blocks, chosen, seeded(0))
    assert torch.equal(found[5:], blocks.target[5:])
    assert (found[:5] - blocks.target[:5]).abs().amax((1, 2)).min() > 1e-3
    before = {name: value.clone() for name, value in two_stages.pipeline.token_network.state_dict().items()}
    done = load_decoder(trainer.run())
    assert done.config.token_steps == 5
    assert done.sample(prediction, samples=2).tokens.shape == (2, 1, 4, 32)
    for name, value in done.pipeline.token_network.state_dict().items():
        assert torch.equal(value, before[name]), name
    again = load_decoder(
        DecoderTrainer(drawer(tmp_path / "run", saved[0], tmp_path / "both", 0.9, steps=6), True, True).run()
    )
    assert again.pipeline.token_network is not None

    save_decoder(Decoder(decoder.network, two_stages.config), tmp_path / "one")
    for tokens, resampled, words in (
        (None, 0.5, "name the decoder of two stages"),
        (tmp_path / "one", 0.5, "holds no token network"),
        (tmp_path / "both", 1.5, "noise level from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            DecoderTrainer(drawer(tmp_path / "other", saved[0], tokens, resampled, steps=2))
    wrong = replace(config(tmp_path / "third", *saved, steps=2), token_decoder=str(tmp_path / "both"))
    with pytest.raises(ValueError, match="token_decoder is for networks that draw pixels"):
        DecoderTrainer(wrong)


def test_a_config_says_how_the_saved_decoder_samples(saved, two_stages, tmp_path):
    save_decoder(two_stages, tmp_path / "both")
    plain = drawer(tmp_path / "run", saved[0], tmp_path / "both", 0.0, steps=1)
    chosen = SamplingConfig(steps=3, token_steps=7, token_solver="sde-dpm++", token_temperature=1.2, detail=0.25)
    sampled = load_decoder(DecoderTrainer(replace(plain, sampling=chosen)).run())
    found = sampled.config
    assert sampled.pipeline.token_scheduler.config.algorithm_type == "sde-dpmsolver++"
    assert sampled.pipeline.scheduler.config.algorithm_type == "dpmsolver++"
    assert (found.steps, found.token_steps, found.token_temperature, found.detail) == (3, 7, 1.2, 0.25)
    later = replace(plain, sampling=SamplingConfig(steps=2), optimization=replace(plain.optimization, steps=2))
    assert load_decoder(DecoderTrainer(later, resume=True).run()).config.steps == 2
    # The first stage takes over what its drawer was tested with, unless told otherwise.
    first = config(tmp_path / "first", saved[0], tmp_path / "run" / "step-00000002", steps=1)
    assert load_decoder(DecoderTrainer(first).run()).config.steps == 2
    with pytest.raises(ValueError, match=r"sampling\.steps must be at least 1, got 0"):
        DecoderTrainer(replace(plain, sampling=SamplingConfig(steps=0), run=replace(plain.run, folder=tmp_path / "c")))
    unknown = SamplingConfig(token_solver="sde")
    with pytest.raises(ValueError, match=r"No solver 'sde'"):
        DecoderTrainer(replace(plain, sampling=unknown, run=replace(plain.run, folder=tmp_path / "f")))
    with pytest.raises(ValueError, match=r"sampling\.detail is a noise level"):
        DecoderTrainer(replace(plain, sampling=SamplingConfig(detail=2), run=replace(plain.run, folder=tmp_path / "d")))
    alone = replace(plain, token_decoder=None, sampling=SamplingConfig(token_steps=3))
    with pytest.raises(ValueError, match=r"sampling\.token_steps is for decoders of two stages"):
        DecoderTrainer(replace(alone, run=replace(plain.run, folder=tmp_path / "e")))


@pytest.mark.parametrize("names", [("dpm++", "sde-dpm++"), ("euler", None), ("dpm++", None)])
def test_a_new_drawer_keeps_the_solver_of_the_tokens(saved, two_stages, tmp_path, names):
    """Whether the tokens had a scheduler of their own or that of the drawing."""
    drawing, tokens = (None if name is None else SOLVERS[name]() for name in names)
    network = two_stages.pipeline.token_network
    save_decoder(Decoder(two_stages.network, two_stages.config, drawing, network, tokens), tmp_path / "both")
    new = drawer(tmp_path / "run", saved[0], tmp_path / "both", 0.0, steps=1)
    pipeline = load_decoder(DecoderTrainer(new).run()).pipeline
    assert same_scheduler(pipeline.token_scheduler or pipeline.scheduler, tokens or drawing)
    assert (pipeline.token_scheduler is None) == (names == ("dpm++", None))
    assert not same_scheduler(SOLVERS["dpm++"](), SOLVERS["sde-dpm++"]())


def test_one_step_is_the_mean_of_both_stages(two_stages, prediction):
    one = two_stages.sample(prediction, samples=2, steps=1)
    both = two_stages.sample(prediction, samples=2, steps=1, token_steps=1)
    assert torch.equal(one.images, both.images)
    assert torch.equal(one.tokens, both.tokens)
    warm = two_stages.sample(prediction, samples=2, steps=1, token_temperature=2.0)
    assert torch.equal(one.tokens, warm.tokens)
    default = two_stages.sample(prediction, samples=2)
    tested = two_stages.sample(prediction, samples=2, steps=4, token_steps=12)
    assert torch.equal(default.images, tested.images)


def test_the_sketch_is_the_mean_that_the_pixel_decoder_draws(two_stages, decoder, prediction):
    """One evaluation from the predicted tokens, which no noise changes much; of one stage there is none."""
    found = two_stages.sketch(prediction)
    wanted = decoder.sample(prediction, 1, steps=1, detail=0.0)
    torch.testing.assert_close(found.images, wanted.images)
    assert found.tokens is None
    pooled = decoder.sample(prediction, 1, steps=1, detail=0.0, conditioning="pooled")
    torch.testing.assert_close(two_stages.sketch(prediction, conditioning="pooled").images, pooled.images)
    assert decoder.sketch(prediction) is None
    assert two_stages.sketch(prediction, source="target") is None  # drawn at once, by the second stage alone
    assert two_stages.sketch(prediction, conditioning="null") is None
    for either in (decoder, two_stages):
        with pytest.raises(ValueError, match="conditioning is one of"):
            either.sketch(prediction, conditioning="none")


def test_the_metric_of_temperatures_scales_the_noise_of_the_tokens():
    """At 64 px, where scenes are what they are elsewhere: against the readings of a decoder with that default."""
    torch.manual_seed(0)
    larger = IJEPA(replace(TINY, image_size=64)).eval()
    decoder = random_decoder(larger, "token-vit")
    options = {"train": 256, "test": 40, "epochs": 1, "samples": 2}
    table = token_temperature(larger, decoder, Splits("menagerie"), **options, temperatures=(0.5, 1.5))
    assert [row for row in table if row.startswith("temperature")] == ["temperature 0.5", "temperature 1.5"]
    cold, warm = (table[f"temperature {scale}"]["spread_over_error"] for scale in (0.5, 1.5))
    assert cold < warm
    decoder.config = replace(decoder.config, token_temperature=1.5)
    by_default = SingleSamples(larger, decoder, Splits("menagerie"), 256, 40, 2, 1).row("predicted")
    assert by_default["spread_over_error"] == pytest.approx(warm, rel=1e-5)
    with pytest.raises(ValueError, match="one stage"):
        token_temperature(larger, random_decoder(larger), Splits("menagerie"), **options)


def test_the_metric_of_solvers_is_of_each_solver_and_number_of_steps():
    torch.manual_seed(0)
    larger = IJEPA(replace(TINY, image_size=64)).eval()
    decoder = random_decoder(larger, "token-vit")
    sizes = {"train": 128, "test": 24, "epochs": 1, "samples": 2}
    options = {"steps": (3, 5), "temperatures": (1.2,)}
    table = token_solver(larger, decoder, Splits("menagerie"), **sizes, **options)
    rows = [f"{name}, {steps} steps, temperature 1.2" for name in ("dpm++", "sde-dpm++") for steps in (3, 5)]
    assert [row for row in table if row != "test_data"] == rows
    alone = stochastic(decoder)
    alone.config = replace(decoder.config, token_temperature=1.2, token_steps=3)
    by_default = SingleSamples(larger, alone, Splits("menagerie"), 128, 24, 2, 1).row("predicted")
    assert by_default["spread_over_error"] == pytest.approx(table[rows[2]]["spread_over_error"], rel=1e-5)
    with pytest.raises(ValueError, match="No solver 'nonesuch'"):
        token_solver(larger, decoder, Splits("menagerie"), **sizes, solvers=("nonesuch",))
    with pytest.raises(ValueError, match="one stage"):
        token_solver(larger, random_decoder(larger), Splits("menagerie"), **sizes)
