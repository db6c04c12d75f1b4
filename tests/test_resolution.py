"""Decoders that draw at another resolution than the I-JEPA reads, and the level of detail they draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from decoders.blocks import blocks_of
from decoders.config import DataConfig, DecoderTrainConfig, HoleConfig, OptimizationConfig
from decoders.decoder import Decoder, DecoderConfig
from decoders.evaluation.drawing_steps import drawing_steps
from decoders.evaluation.metric import centre_hole, sample_blocks, source_blocks
from decoders.evaluation.noise_levels import expected_pictures, noise_levels
from decoders.evaluation.scenes import scene_blocks, train_and_test_scenes
from decoders.networks.block_vit import SeamRefiner
from decoders.networks.network import build_network
from decoders.training.batches import BlockSource
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.data import menagerie
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.splits import Splits
from ijepa_viz.data.transforms import normalise, to_pixels, to_tensor
from ijepa_viz.figures import completion_grid, sheet_figure
from ijepa_viz.masks import Masks
from ijepa_viz.models import patchify
from ijepa_viz.prediction import predict
from ijepa_viz.probes.factors import draw_factor_scenes
from ijepa_viz.runtime.tensors import fingerprint
from ijepa_viz.widgets.prediction_explorer import PredictionExplorer

SMALL = {"width": 32, "depth": 1, "heads": 2}


def decoder_of(model, patch_size=16, **options):
    network = build_network("block-vit", model.grid, patch_size, 32, {**SMALL, "refine": 4, "cell": 2, **options})
    for parameter in network.parameters():  # initially every output is zero
        torch.nn.init.normal_(parameter, std=0.1)
    return Decoder(network, DecoderConfig(steps=6))


# ---------------------------------------------------------------- pictures beside the model's input


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
def test_a_prediction_keeps_the_picture_that_it_was_given(model, kind):
    array = np.random.default_rng(0).integers(0, 255, (96, 64, 3)).astype(np.uint8)
    given = {"pil": Image.fromarray(array), "array": array, "tensor": torch.from_numpy(array).permute(2, 0, 1)}[kind]
    prediction = predict(model, given, centre_hole(model))
    assert torch.equal(prediction.image, to_pixels(given, 32))
    assert torch.equal((prediction.picture(64) * 255).round().byte(), torch.from_numpy(array[16:80]).permute(2, 0, 1))
    assert torch.equal(prediction.picture(32), prediction.image)
    batch = predict(model, [given, given], centre_hole(model))
    assert torch.equal(batch[1].picture(64), prediction.picture(64))
    with pytest.raises(TypeError, match=r"prediction\[0\]"):
        batch.picture(64)


def test_a_picture_of_the_models_size_has_no_other(model, picture):
    own = to_pixels(picture, 32)
    prediction = predict(model, own, centre_hole(model))
    assert prediction.originals == ()
    assert prediction.picture(64).shape == (3, 64, 64)
    assert float((F.avg_pool2d(prediction.picture(64), 2) - own).abs().mean()) < 0.1


def test_of_a_huge_picture_at_most_512_px_are_kept(model):
    prediction = predict(model, Image.new("RGB", (2000, 1500), "red"), centre_hole(model))
    assert prediction.originals[0].size == (512, 512)


def test_a_mixed_batch_has_one_original_for_each_image(model, picture):
    large = Image.fromarray(menagerie.scene(3, 64).image)
    batch = predict(model, [picture, large], centre_hole(model))
    assert [image.size for image in batch.originals] == [(40, 40), (64, 64)]
    assert torch.equal(batch[1].picture(64), to_tensor(large, 64))


# ---------------------------------------------------------------- blocks


def test_blocks_are_of_the_pictures_and_tokens_of_the_images(model):
    images, pictures = torch.rand(2, 3, 32, 32), torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    hole = centre_hole(model).repeat(2)
    plain, larger = (blocks_of(model, normalise(images), hole, given) for given in (None, pictures))
    assert torch.equal(plain.predicted, larger.predicted)
    assert torch.equal(plain.target, larger.target)
    assert torch.allclose(larger.clean, patchify(pictures / 127.5 - 1, 16)[:, hole.targets[0, 0]], atol=1e-6)
    with pytest.raises(ValueError, match="no whole square patches"):
        blocks_of(model, normalise(images), hole, torch.rand(2, 3, 62, 62))


def test_training_blocks_are_the_same_crops_at_both_resolutions(model, tmp_path):
    save_folder(model, tmp_path / "ijepa")
    data = DataConfig("menagerie:count=32", patch_size=16)
    config = DecoderTrainConfig(str(tmp_path / "ijepa"), data=data, optimization=OptimizationConfig(batch_size=8))
    images, _, pictures = BlockSource(config, model, tmp_path).pictures(0)
    assert pictures is not None
    assert (images.shape[-1], pictures.shape[-1]) == (32, 64)
    blurred = F.avg_pool2d(pictures, 2)
    own = images * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    distance = [float((blurred[i] - own[j]).abs().mean()) for i in range(8) for j in range(8)]
    matched, others = distance[:: 8 + 1], np.delete(np.array(distance), np.arange(0, 64, 9))
    assert max(matched) < 0.05
    assert np.mean(others) > 3 * np.mean(matched)


def test_features_of_several_runs_share_a_folder(model, tmp_path):
    save_folder(model, tmp_path / "ijepa")
    optimization = OptimizationConfig(batch_size=8)

    def source(run, **changes):
        data = DataConfig("menagerie:count=32", cached_batches=2, cache_folder=str(tmp_path / "cache"), **changes)
        return BlockSource(
            DecoderTrainConfig(str(tmp_path / "ijepa"), data=data, optimization=optimization), model, run
        )

    first, second, third = source(tmp_path / "a"), source(tmp_path / "b"), source(tmp_path / "c", patch_size=16)
    assert first.cache == second.cache != third.cache
    first.blocks(0)
    assert first.cache.parent == tmp_path / "cache"
    assert torch.equal(first.blocks(0).clean, second.blocks(0).clean)
    assert len(list(first.cache.glob("*.safetensors"))) == 1


def test_evaluation_draws_the_same_scenes_at_every_size(model):
    scenes = draw_factor_scenes(5, 32, (4, 4), 2, seed=2)
    assert scenes.at(32) is scenes.images
    assert torch.equal(
        scenes.at(64)[3].permute(1, 2, 0), torch.from_numpy(menagerie.scene(int(scenes.scenes[3]), 64, 2).image)
    )
    source = open_source("menagerie:count=120")
    small, large = (source_blocks(model, source, size, centre_hole(model), 100) for size in (32, 64))
    assert torch.equal(small.predicted, large.predicted)
    assert (small.clean.shape[-1], large.clean.shape[-1]) == (3 * 64, 3 * 256)


def test_focused_holes_hide_more_and_are_drawn_the_same_by_several_processes(model, tmp_path):
    from decoders.config import HoleConfig
    from decoders.training.batches import TRIES, contrast

    save_folder(model, tmp_path / "ijepa")

    def source(focus, *place):
        config = DecoderTrainConfig(
            str(tmp_path / "ijepa"),
            data=DataConfig("menagerie:count=256"),
            hole=HoleConfig(focus=focus),
            optimization=OptimizationConfig(batch_size=16),
        )
        return BlockSource(config, model, tmp_path, *place)

    def hidden(focus):
        drawn = [source(focus).pictures(step) for step in range(6)]
        return torch.cat([contrast(images, masks) for images, masks, _ in drawn])

    none, half, all_of_them = (hidden(focus).mean() for focus in (1e-9, 0.5, 1.0))
    assert none < half < all_of_them
    # Every image is the best of its own group, by a naive count.
    whole, rest = source(1.0), source(1e-9)
    images, masks, _ = whole.pictures(0)
    first, first_masks, _ = rest.pictures(0)
    assert (contrast(images, masks) >= contrast(first, first_masks) - 1e-6).all()
    pixels, own = images[3], masks.targets[3]
    patches = patchify(pixels[None], 8)[0]
    naive = [patches[block].view(-1, 3, 64)[:, c].var() for block in own for c in range(3)]
    assert float(contrast(images, masks)[3]) == pytest.approx(float(torch.stack(naive).mean()), rel=1e-4)
    parts = [source(0.5, rank, 2).pictures(1) for rank in range(2)]
    together = source(0.5).pictures(1)
    assert torch.equal(torch.cat([part[0] for part in parts]), together[0])
    assert torch.equal(torch.cat([part[1].targets for part in parts]), together[1].targets)
    data = DataConfig(f"menagerie:count={64 * TRIES - 1}")
    few = BlockSource(
        DecoderTrainConfig(str(tmp_path / "ijepa"), data=data, hole=HoleConfig(focus=0.5)), model, tmp_path
    )
    with pytest.raises(ValueError, match="fewer than one batch"):
        few.pictures(0)


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("split", [2, 4])
def test_split_patches_are_put_together_again(model, split):
    network = build_network("block-vit", (4, 4), 16, 32, {**SMALL, "split": split})
    pixels = torch.randn(3, 5, 3 * 256)
    parts = network._smaller(pixels)
    assert parts.shape == (3, 5 * split**2, 3 * (16 // split) ** 2)
    assert torch.equal(network._whole(parts), pixels)
    # The places of the parts are those on the finer grid: that of the image cut into the smaller patches.
    image = torch.randn(1, 3, 64, 64)
    fine, coarse = patchify(image, 16 // split), patchify(image, 16)
    indices = torch.tensor([[0, 5, 6, 15]])
    places = network._smaller_places(indices)
    assert torch.equal(network._smaller(coarse[:, indices[0]]), fine[:, places[0]])


def test_patches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="cells of 3 px"):
        build_network("block-vit", (4, 4), 16, 32, {**SMALL, "cell": 3})
    # As every decoder was saved before there were cells.
    assert build_network("block-vit", (4, 4), 16, 32, SMALL).smooth.first.in_channels == 7
    with pytest.raises(ValueError, match="do not divide into 3 x 3"):
        build_network("block-vit", (4, 4), 16, 32, {**SMALL, "split": 3})


def test_the_refiner_of_large_patches_touches_only_the_hole():
    refiner = SeamRefiner(4, 16, 8, 6, cell=2)
    assert refiner.cell == 2
    for parameter in refiner.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    vector, pixels = torch.randn(1, 8), torch.randn(2, 1, 2, 3 * 256)
    alone = refiner(pixels[0], pixels[1], torch.tensor([[5, 6]]), vector)
    # With a third patch far away the box is another, and the first two patches are the same.
    three = torch.cat([pixels, torch.randn(2, 1, 1, 3 * 256)], 2)
    beside = refiner(three[0], three[1], torch.tensor([[5, 6, 15]]), vector)
    assert torch.allclose(beside[:, :2], alone, atol=1e-5)


# ---------------------------------------------------------------- detail


def test_detail_ends_with_the_expected_picture(model, picture):
    decoder, prediction = decoder_of(model), predict(model, picture, centre_hole(model))
    seen = []
    whole = decoder.sample(prediction, 2, callback=lambda state: seen.append(state["images"]))
    assert whole.images.shape == (2, 3, 64, 64)
    assert torch.equal(decoder.sample(prediction, 2, detail=0).images, whole.images)
    # Six steps have the noise levels 1, 5/6, ... 1/6.
    for detail, step in ((1.0, 0), (0.84, 1), (0.83, 2), (0.5, 3), (0.17, 5)):
        count = []
        ended = decoder.sample(prediction, 2, detail=detail, callback=lambda state, to=count: to.append(state["step"]))
        assert torch.equal(ended.images, seen[step])
        assert len(count) == step + 1
        assert ended.detail == pytest.approx(0 if step == 5 else 1 - step / 6, abs=2e-3)  # the last step is the end
    assert torch.equal(decoder.sample(prediction, 2, detail=0.05).images, whole.images)
    assert decoder.sample(prediction, 2, detail=0.05).detail == 0
    assert decoder.sample(prediction, 2, steps=1, detail=0.5).detail == 0
    mean = decoder.sample(prediction, 2, steps=1).images
    assert torch.allclose(decoder.sample(prediction, 2, detail=1).images, mean, atol=1e-5)
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="noise level from 0 to 1"):
            decoder.sample(prediction, 2, detail=wrong)


def test_a_figure_says_that_the_grain_is_averaged(model, picture):
    decoder, prediction = decoder_of(model), predict(model, picture, centre_hole(model))
    for detail, said in ((0.0, False), (0.4, True)):
        figure = completion_grid([(prediction, decoder.sample(prediction, 2, detail=detail))])
        words = figure.legends[0].get_texts()[0].get_text()
        assert ("finer grain averaged" in words) == said
        assert figure.axes[0].images[0].get_array().shape == (64, 64, 3)


def test_rows_and_sheets_say_every_level_of_detail(model, picture):
    decoder, prediction = decoder_of(model), predict(model, picture, centre_hole(model))
    rows = [(prediction, decoder.sample(prediction, 1, detail=detail)) for detail in (0.0, 0.4, 0.4)]
    assert "noise level 0 or 0.33, finer" in completion_grid(rows).legends[0].get_texts()[0].get_text()
    columns = {"sample": ("predicted", torch.zeros(3, 64, 64))}
    for detail, said in ((0.0, False), (0.4, True)):
        words = sheet_figure([(prediction, columns)], detail).legends[0].get_texts()[0].get_text()
        assert ("noise level 0.4, finer grain averaged" in words) is said


def test_readings_by_noise_level(model):
    decoder = decoder_of(model, 8)
    blocks = source_blocks(model, open_source("menagerie:count=120"), 32, centre_hole(model), 100)
    levels, found = expected_pictures(decoder, blocks.predicted[:5], blocks.patch_indices[:5], batch=3)
    assert levels == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6], abs=2e-3)
    generators = [torch.Generator().manual_seed(i) for i in range(5)]
    options = {"generator": generators, "num_inference_steps": 6, "detail": 0.5}
    drawn = decoder.pipeline(blocks.predicted[:5], blocks.patch_indices[:5], **options).pixels
    assert torch.allclose(found[3], drawn.clamp(-1, 1), atol=1e-5)
    table = noise_levels(model, decoder, Splits("menagerie"), train=256, test=20, epochs=1)
    assert table["test_data"].startswith("20 scenes drawn with seed 2002")
    assert [row for row in table if row.startswith("noise level")] == [f"noise level {level:.2f}" for level in levels]
    assert all(0 < table[row]["spread_over_error"] < 10 for row in table if row.startswith("noise level"))
    assert len(table["figure"].axes) == 2
    deterministic = Decoder(build_network("squared-error", model.grid, 8, 32, SMALL), DecoderConfig(steps=1))
    with pytest.raises(ValueError, match="one noise level only"):
        noise_levels(model, deterministic, Splits("menagerie"))


def test_readings_by_steps_of_the_drawing(model):
    decoder = decoder_of(model, 16)
    options = {"train": 256, "test": 40, "epochs": 1, "samples": 2, "steps": (1, 3)}
    table = drawing_steps(model, decoder, Splits("menagerie"), **options)
    rows = [f"{source} tokens, steps {n}" for source in ("predicted", "target") for n in (1, 3)]
    assert [row for row in table if "steps" in row] == rows
    # By hand, of the last row: two samples of every scene, block i from noise 40 + i.
    scenes = train_and_test_scenes(model, Splits("menagerie"), 256, 40)[1]
    blocks = scene_blocks(model, scenes, decoder.image_size)
    twice = blocks[torch.arange(40).repeat_interleave(2)]
    noise = [torch.Generator().manual_seed(40 + i) for i in range(80)]
    drawn = decoder.pipeline(
        twice.target, twice.patch_indices, source="target", generator=noise, num_inference_steps=3
    ).pixels
    first, second = drawn.clamp(-1, 1).unflatten(0, (40, 2)).unbind(1)
    error = ((first + second) / 2 - blocks.clean).square().mean()
    spread = (first - second).square().mean() / 2
    ratio = float((spread * 1.5 / error) ** 0.5)
    assert table["target tokens, steps 3"]["spread_over_error"] == pytest.approx(ratio, rel=0.02)
    assert table["real_pixels"]["distance_x_1000"] < min(table[row]["distance_x_1000"] for row in rows)
    assert len(table["figure"].axes) == 2
    deterministic = Decoder(build_network("squared-error", model.grid, 8, 32, SMALL), DecoderConfig(steps=1))
    with pytest.raises(ValueError, match="draws in one step"):
        drawing_steps(model, deterministic, Splits("menagerie"))


def test_masks_of_any_shape_are_drawn_at_128_px(model, picture):
    hidden = np.zeros((4, 4), bool)
    hidden[[0, 1, 3], [1, 1, 2]] = True
    prediction = predict(model, picture, Masks.from_array(hidden))
    drawn = decoder_of(model, 32, split=2).sample(prediction, 1)
    assert drawn.images.shape == (1, 3, 128, 128)
    assert int(drawn.inside.sum()) == 3 * 32 * 32


def test_a_network_that_is_evaluated_once_ends_nowhere(model, picture):
    network = build_network("squared-error", model.grid, 16, 32, SMALL)
    prediction = predict(model, picture, centre_hole(model))
    assert Decoder(network, DecoderConfig(detail=0.4)).sample(prediction, 1).detail == 0


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_saved_level_of_detail_that_is_none_is_refused_wherever_blocks_are_drawn(model, picture, wrong):
    drawn = decoder_of(model)
    blind = Decoder(drawn.network, DecoderConfig(steps=2, detail=wrong))
    prediction = predict(model, picture, centre_hole(model))
    with pytest.raises(ValueError, match="from 0 to 1"):
        sample_blocks(blind, prediction.predicted, prediction.masks.targets[0])
    with pytest.raises(TypeError, match="detail is a noise level"):
        drawn.sample(prediction, 1, detail="0.4")


@pytest.mark.parametrize("wrong", [-0.5, 7.0, float("nan")])
def test_a_focus_that_is_no_share_is_refused(model, tmp_path, wrong):
    config = replace(DecoderTrainConfig(), hole=HoleConfig(focus=wrong))
    with pytest.raises(ValueError, match=r"hole\.focus is a share"):
        BlockSource(config, model, tmp_path)


@pytest.mark.parametrize("size", [0, -8])
def test_a_patch_size_below_one_is_not_taken_for_the_models_own(model, tmp_path, size):
    config = replace(DecoderTrainConfig(), data=DataConfig(patch_size=size))
    with pytest.raises(ValueError, match=r"data\.patch_size is in pixels"):
        BlockSource(config, model, tmp_path)


@pytest.mark.parametrize("option", [{"split": 2.0}, {"time_width": 33}, {"time_width": 0}])
def test_options_of_the_network_are_refused_when_it_is_built(model, option):
    with pytest.raises(ValueError, match=r"choose another split|an even number"):
        build_network("block-vit", model.grid, 16, 32, {**SMALL, **option})


def test_the_explorer_says_where_sampling_ended(model, picture):
    for detail, said in ((0.0, False), (0.4, True)):
        own = decoder_of(model)
        config = replace(own.config, ijepa_sha256=fingerprint(model), detail=detail)
        explorer = PredictionExplorer(model, Decoder(own.network, config), picture, samples=1)
        hidden = np.zeros(model.grid, dtype=bool)
        hidden[1:3, 1:3] = True
        assert ("noise level 0.33" in explorer.answer(hidden)[0]["caption"]) is said
