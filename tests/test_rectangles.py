"""Pictures and grids that are not square, from the config to the samples."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import timm
import torch
from conftest import TINY, random_decoder, random_network
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decoders.blocks import blocks_of
from decoders.config import DataConfig, DecoderTrainConfig, OptimizationConfig
from decoders.decoder import Decoder, DecoderConfig
from decoders.training.batches import BlockSource
from ijepa_viz import checkpoints
from ijepa_viz import masks as mk
from ijepa_viz.checkpoints import load_model, save_folder
from ijepa_viz.checkpoints.reference import from_reference, to_reference
from ijepa_viz.data import menagerie
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.fitting import place
from ijepa_viz.data.menagerie.framing import framed_scene
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.transforms import Crops, crop_and_resize, crop_and_resize_image, normalise, to_pixels
from ijepa_viz.figures import completion_grid, mask_figure
from ijepa_viz.inspections import INSPECTIONS, InspectionInput
from ijepa_viz.masks import Masks, sample
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.prediction import predict, predictions
from ijepa_viz.probes.factors import draw_factor_scenes, hidden_species
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.computation import compute_in
from ijepa_viz.runtime.tensors import fingerprint
from ijepa_viz.widgets import MaskPainter, PredictionExplorer
from train.config import TrainConfig
from train.objectives import build

WIDE = replace(TINY, image_size=(32, 48))
THIN = [(2, 2), (2, 32), (32, 2), (3, 17), (17, 3), (32, 5), (9, 31)]


def noise_picture(height, width, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def wide():
    torch.manual_seed(0)
    return IJEPA(WIDE).eval()


def loud(module):
    torch.manual_seed(5)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1 and not (isinstance(module, IJEPA) and name.endswith("pos_embed")):
            torch.nn.init.normal_(parameter, std=0.1)
    return module.eval()


# ---------------------------------------------------------------- sizes in configs and files


def test_a_size_is_a_number_or_height_and_width(tmp_path):
    assert (WIDE.grid, WIDE.height_and_width) == ((4, 6), (32, 48))
    assert replace(TINY, image_size=[32, 32]) == TINY
    (tmp_path / "run.yaml").write_text("model: {image_size: [32, 48], patch_size: 8}\n")
    assert config_files.load(TrainConfig, tmp_path / "run.yaml").model.image_size == (32, 48)
    overridden = config_files.load(TrainConfig, tmp_path / "run.yaml", ["model.image_size=64"])
    assert overridden.model.image_size == 64
    for wrong in ([32, 48, 3], [32, 45], "large", 0):
        with pytest.raises(ValueError, match=r"image_size|picture's size"):
            config_files.load(TrainConfig, tmp_path / "run.yaml", [f"model.image_size={json.dumps(wrong)}"])


def test_folders_and_reference_files_keep_the_size(wide, tmp_path):
    save_folder(wide, tmp_path)
    found = load_model(tmp_path)
    assert found.config == WIDE
    assert fingerprint(found) == fingerprint(wide)
    config, state = from_reference(to_reference(wide), "a file")
    assert config == WIDE
    assert state["encoder.pos_embed"].shape == (1, 24, 32)


def test_bundled_configs_are_written_as_they_were(tmp_path):
    for name in checkpoints.bundled_names():
        model = load_model(name)
        stored = json.loads((checkpoints.find_bundled(name) / "config.json").read_text())
        stored.pop("weights_sha256")
        stored.pop("encoders_of", None)
        written = json.loads(json.dumps(asdict(model.config)))
        assert list(stored.items()) == [item for item in written.items() if item[0] in stored]
        assert isinstance(written["image_size"], int)


# ---------------------------------------------------------------- the same weights at another size


@pytest.mark.parametrize("size", [(24, 56), (16, 64), (64, 64), (8, 40)])
def test_interpolated_positions_are_those_of_transformers(size, tmp_path):
    from transformers import IJepaConfig, IJepaModel

    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 192}
    theirs = loud(IJepaModel(IJepaConfig(image_size=32, patch_size=8, layer_norm_eps=1e-6, **sizes)))
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).eval().at(*size, positions="interpolated")
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = theirs(images, interpolate_pos_encoding=True).last_hidden_state
        assert (ours.encode_target(images) - expected).abs().max() < 1e-5
        # All patches as context are the whole image.
        every = torch.arange(ours.grid[0] * ours.grid[1]).expand(2, -1)
        assert (ours.encoder(images, every) - expected).abs().max() < 1e-5


def test_a_rectangular_model_of_transformers_is_loaded(tmp_path):
    from transformers import IJepaConfig, IJepaModel

    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 192}
    theirs = loud(IJepaModel(IJepaConfig(image_size=(24, 56), patch_size=8, layer_norm_eps=1e-6, **sizes)))
    theirs.save_pretrained(tmp_path)
    ours, images = load_model(tmp_path).eval(), torch.randn(2, 3, 24, 56)
    assert ours.grid == (3, 7)
    with torch.no_grad():
        assert (ours.encode_target(images) - theirs(images).last_hidden_state).abs().max() < 1e-5


def timm_vit(**options):
    sizes = {"embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 0}
    return loud(timm.create_model("vit_huge_patch14_gap_224", **sizes, **options))


def test_a_rectangular_model_of_timm_is_loaded():
    theirs, images = timm_vit(img_size=(28, 70)), torch.randn(2, 3, 28, 70)
    ours = checkpoints.load_timm(theirs).eval()
    assert ours.grid == (2, 5)
    with torch.no_grad():
        assert (ours.encode_target(images) - theirs.forward_features(images)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(42, 98), (70, 28)])
def test_timms_own_resampling_is_kept(size):
    theirs, images = timm_vit(img_size=56, dynamic_img_size=True), torch.randn(2, 3, *size)
    resized = copy.deepcopy(theirs)
    resized.set_input_size(img_size=size)
    ours = checkpoints.load_timm(resized).eval()
    with torch.no_grad():
        assert (ours.encode_target(images) - theirs.forward_features(images)).abs().max() < 1e-5


def test_recomputed_positions_are_those_of_a_new_model(model, wide):
    learned = {name: value for name, value in loud(model).state_dict().items() if not name.endswith("pos_embed")}
    wide.load_state_dict(learned, strict=False)
    images, masks = torch.randn(2, 3, 32, 48), sample(batch=2, grid=(4, 6))
    ours = model.at(32, 48, positions="recomputed")
    assert torch.equal(ours.encode_target(images), wide.encode_target(images))
    assert torch.equal(
        ours.predict(ours.encode_context(images, masks), masks), wide.predict(wide.encode_context(images, masks), masks)
    )


def test_another_size_shares_the_weights_and_their_identity(model, decoder):
    wide = model.at(32, 48)
    ours, theirs = dict(model.named_parameters()), dict(wide.named_parameters())
    for name, parameter in ours.items():
        assert (parameter.data_ptr() == theirs[name].data_ptr()) != name.endswith("pos_embed"), name
        assert parameter.requires_grad == theirs[name].requires_grad
    assert fingerprint(wide) == fingerprint(model) == decoder.config.ijepa_sha256
    assert (model.grid, wide.grid, wide.training) == ((4, 4), (4, 6), False)
    wide.predictor(wide.encoder(torch.randn(1, 3, 32, 48), torch.arange(20)[None]),
                   Masks.from_array(torch.arange(24).view(4, 6) >= 20)).sum().backward()  # fmt: skip
    with torch.no_grad():
        theirs["encoder.norm.weight"].add_(1)
    assert torch.equal(ours["encoder.norm.weight"], theirs["encoder.norm.weight"])
    assert ours["encoder.norm.weight"].grad is None


def test_another_size_computes_as_the_model_does(model):
    images, precise = torch.randn(3, 3, 32, 48), model.at(32, 48)
    for network in (model.encoder, model.target_encoder, model.predictor):
        compute_in(network, "bf16", 2)
    low, copied = model.at(32, 48).encode_target(images), copy.deepcopy(model)
    assert torch.allclose(low, precise.encode_target(images), atol=0.1)
    assert not torch.equal(low, precise.encode_target(images))
    with torch.no_grad():
        model.target_encoder.norm.weight.zero_()
    assert copied.encode_target(images[..., :32]).abs().max() > 0.1


def test_nothing_is_interpolated_twice(model):
    there = model.at(64, 16, positions="interpolated")
    assert torch.equal(there.at(32, 32).encoder.pos_embed, model.encoder.pos_embed)
    again, once = (m.at(40, 48, positions="interpolated").encoder.pos_embed for m in (there, model))
    assert torch.equal(again, once)


def test_what_another_size_cannot_be_is_said(model):
    with pytest.raises(ValueError, match="positions is one of interpolated, recomputed"):
        model.at(32, 48, positions="learned")
    with pytest.raises(ValueError, match="not a multiple of patch_size 8"):
        model.at(32, 45)
    with pytest.raises(ValueError, match=r"model\.at\(height, width\)"):
        model.encode_target(torch.randn(1, 3, 32, 48))
    with torch.no_grad():
        model.encoder.pos_embed.add_(0.1)
    with pytest.raises(ValueError, match='positions="interpolated"'):
        model.at(32, 48, positions="recomputed")
    assert model.at(32, 48).grid == (4, 6)


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("grid", THIN)
@pytest.mark.parametrize("strategy", [*sorted(mk.STRATEGIES), "faithful"])
def test_masks_on_thin_grids(strategy, grid):
    options = {"strategy": "multiblock", "mode": "faithful"} if strategy == "faithful" else {"strategy": strategy}
    for seed in range(6):
        masks = sample(batch=7, grid=grid, generator=torch.Generator().manual_seed(seed), **options)
        assert masks.grid == grid
        assert masks.hidden.shape == masks.visible.shape == (7, *grid)
        assert masks.hidden.flatten(1).any(1).all()
        assert masks.visible.flatten(1).any(1).all()
        if strategy != "faithful":  # which returns targets to the context on small grids, as the reference does
            assert not (masks.hidden & masks.visible).any()
        if strategy in ("multiblock", "block", "rasterized", "faithful"):
            for block in masks.targets.flatten(0, 1):  # as many patches as its own bounding box
                rows, cols = block // grid[1], block % grid[1]
                area = (rows.max() - rows.min() + 1) * (cols.max() - cols.min() + 1)
                assert area == len(block.unique()) == len(block)


@pytest.mark.parametrize("strategy", ["multiblock", "block"])
def test_masks_on_a_turned_grid_are_turned(strategy):
    aspect = {"multiblock": "target_aspect", "block": "aspect"}[strategy]

    def share(grid):
        total = torch.zeros(grid)
        for seed in range(60):
            generator = torch.Generator().manual_seed(seed)
            options = {"batch": 50, "grid": grid, "generator": generator, aspect: (0.999, 1.001)}
            total += sample(strategy, **options).hidden.float().mean(0)
        return total / 60

    assert (share((3, 17)) - share((17, 3)).T).abs().max() < 0.06


# ---------------------------------------------------------------- pictures of other proportions


@given(st.tuples(st.integers(8, 900), st.integers(8, 900)), st.sampled_from([64, (48, 80), (16, 128)]))
def test_a_placed_picture_is_whole_patches_and_not_stretched(picture, size):
    patches = int(np.prod(place((1, 1), size, 8).grid))
    for fit in ("crop", "pad", "native"):
        if fit == "native" and round(max(picture) / min(picture)) > patches:
            with pytest.raises(ValueError, match="too long a strip"):
                place(picture, size, 8, fit)
            continue
        found = place(picture, size, 8, fit)
        top, left, rows, cols = found.part
        assert min(top, left) >= 0
        assert top + rows <= found.grid[0]
        assert left + cols <= found.grid[1]
        assert found.draw(noise_picture(*picture)).size == found.size[::-1]
        # The same scale along both sides: the smaller one is the whole side, of the other a part is cut off.
        scale = found.own_scale(*picture, 10**9)
        kept = rows * 8 * scale * cols * 8 * scale / (picture[0] * picture[1])
        assert kept <= 1 + 1e-6
        shape = max(picture) / min(picture)
        if fit == "native" and min(rows, cols) > 1:
            assert kept > 0.85
            assert rows * cols <= 1.6 * patches
        if fit == "pad" and shape < 4 and size == 64:
            assert kept > 0.66
            assert max(rows, cols) == 8


def test_cropped_pictures_are_the_middle_in_the_models_proportions(wide):
    array = np.asarray(noise_picture(40, 48))
    assert torch.equal(
        (to_pixels(Image.fromarray(array), (32, 48)) * 255).round().byte(),
        torch.from_numpy(array[4:36].copy()).permute(2, 0, 1),
    )
    assert to_pixels(np.zeros((64, 64, 3), np.float32), (32, 48)).shape == (3, 32, 48)
    prediction = predict(wide, noise_picture(300, 200))
    assert prediction.image.shape == (3, 32, 48)
    assert prediction.masks == Masks.from_block((4, 6), 1, 1, 2, 3)
    assert prediction.originals[0].size == (200, 133)
    assert prediction.picture(64).shape == (3, 64, 96)


def test_a_native_picture_has_its_own_grid(model):
    picture = torch.rand(3, 32, 48)
    found = predict(model, picture, fit="native", patches=24)
    assert found.masks.grid == (4, 6)
    assert torch.equal(found.image, picture)
    plain = predict(model.at(32, 48), picture)
    assert torch.equal(found.predicted, plain.predicted)
    assert torch.equal(found.target, plain.target)
    computed = predict(model, picture, fit="native", patches=24, positions="recomputed")
    assert torch.equal(computed.predicted, predict(model.at(32, 48, positions="recomputed"), picture).predicted)
    assert not torch.allclose(computed.predicted, plain.predicted)
    # As many patches as in training, where nothing else is said.
    assert predict(model, noise_picture(300, 600), fit="native").masks.grid == (3, 6)
    with pytest.raises(ValueError, match="4x4 grid, this picture's is 3x6"):
        predict(model, noise_picture(300, 600), Masks.from_block((4, 4), 1, 1, 2, 2), fit="native")
    with pytest.raises(ValueError, match="4x6 grid, this model's is 4x4"):
        predict(model, noise_picture(300, 600), Masks.from_block((4, 6), 1, 1, 2, 2))
    with pytest.raises(ValueError, match=r'grids of 3x6, 6x3 patches.*fit="crop"'):
        predict(model, [noise_picture(300, 600), noise_picture(600, 300)], fit="native")
    with pytest.raises(ValueError, match="fit is one of crop, pad, native"):
        predict(model, picture, fit="stretch")
    assert [len(p) for p in predictions(model, [picture] * 3, None, 2, fit="native", patches=24)] == [2, 1]


def test_padding_is_read_by_no_network(model):
    picture = noise_picture(60, 120)
    found = predict(model, picture, fit="pad")
    assert found.masks.grid == (4, 4)
    assert found.image.shape == (3, 32, 32)
    assert found.image[:, [0, 7, 24, 31]].unique().tolist() == [1.0]
    assert not found.masks.visible[0, [0, 3]].any()
    assert not found.masks.hidden[0, [0, 3]].any()
    assert bool((found.masks.visible | found.masks.hidden)[0, 1:3].all())
    assert found.masks.hidden[0].nonzero().tolist() == [[1, 1], [1, 2]]
    # Against the eight patches of the picture alone, at their places.
    images = normalise(found.image[None])
    inside = torch.arange(4, 12)[None]
    tokens = model.target_encoder(images, inside)[0, found.masks.targets[0, 0] - 4]
    tokens = torch.nn.functional.layer_norm(tokens, tokens.shape[-1:])
    assert torch.allclose(found.target[0], tokens, atol=1e-5)
    mess = images.clone()
    mess[:, :, :8] = 9
    flags = torch.zeros(1, 4, 4, dtype=torch.bool)
    flags[:, 1:3] = True
    assert torch.equal(model.targets(mess, found.masks, flags), model.targets(images, found.masks, flags))
    context, other = (model.encode_context(x, found.masks) for x in (images, mess))
    assert torch.equal(context, other)
    with pytest.raises(ValueError, match=r"row 0, column 0 of image 0, which is padding.*rows 1 to 2"):
        predict(model, picture, Masks.from_block((4, 4), 0, 0, 2, 2), fit="pad")


def test_padded_pictures_of_several_proportions_are_one_batch(model):
    pictures = [noise_picture(60, 120), noise_picture(120, 60), noise_picture(60, 60)]
    masks = Masks.from_block((4, 4), 1, 1, 1, 1)
    batch = predict(model, pictures, masks, fit="pad")
    for one, picture in zip(batch, pictures, strict=True):
        alone = predict(model, picture, masks, fit="pad")
        assert torch.allclose(one.predicted, alone.predicted, atol=1e-5)
        assert torch.allclose(one.target, alone.target, atol=1e-5)
        assert torch.equal(one.masks.visible, alone.masks.visible)
    assert torch.allclose(batch[2].predicted, predict(model, pictures[2:], masks)[0].predicted, atol=1e-5)
    with pytest.raises(ValueError, match="give masks"):
        predict(model, [noise_picture(60, 120), noise_picture(60, 60)], fit="pad")


# ---------------------------------------------------------------- data


def test_arrays_of_rectangles_are_centred_parts(tmp_path):
    (tmp_path / "a").mkdir()
    pictures = [noise_picture(40, 48, seed) for seed in range(3)]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / "a" / f"{number}.png")
    found = arrays(open_source(str(tmp_path)), (32, 48))
    assert np.array_equal(found, np.stack([np.asarray(picture)[4:36] for picture in pictures]))
    drawn = arrays(open_source("menagerie:count=2"), (32, 48))
    assert np.array_equal(drawn[1], menagerie.scene(1, 48).image[8:40])


@pytest.mark.parametrize("size", [(32, 64), (64, 24)])
def test_a_circle_is_a_circle_in_every_crop(size):
    y, x = np.mgrid[:200, :300]
    disc = ((x - 150) ** 2 + (y - 100) ** 2 < 30**2)[..., None] * np.full(3, 255, np.uint8)
    crops = Crops.draw(60, torch.Generator().manual_seed(0), scale=(0.3, 1.0), ratio=(1.0, 1.0))
    for i in range(60):
        for found in (
            crop_and_resize_image(Image.fromarray(disc.astype(np.uint8)), size, crops[i : i + 1]),
            crop_and_resize(torch.from_numpy(disc.astype(np.uint8)).permute(2, 0, 1)[None], size, crops[i : i + 1])[0]
            .permute(1, 2, 0)
            .mul(255)
            .numpy(),
        ):
            assert found.shape == (*size, 3)
            inside = np.argwhere(found[..., 0] > 127)
            if len(inside) and (inside.min(0) > 0).all() and (inside.max(0) < np.array(size) - 1).all():
                high, wide = np.ptp(inside, axis=0) + 1
                assert abs(int(high) - int(wide)) <= 2


def test_framed_scenes_keep_their_truth():
    whole, framed = menagerie.scene(3, 48), framed_scene(3, (32, 48))
    assert np.array_equal(framed.image, whole.image[8:40])
    assert np.array_equal(framed.parts, whole.parts[8:40])
    for theirs, ours in zip(whole.things, framed.things, strict=True):
        assert ours.x == pytest.approx(theirs.x)
        assert ours.y * 32 + 8 == pytest.approx(theirs.y * 48)
        assert ours.size * 32 == pytest.approx(theirs.size * 48)
    scenes = draw_factor_scenes(4, (64, 96), (8, 12), 3, seed=2)
    assert scenes.images.shape == (4, 3, 64, 96)
    assert scenes.at((128, 192)).shape == (4, 3, 128, 192)
    assert bool((hidden_species(scenes).sum(1) > 0).all())


# ---------------------------------------------------------------- figures and inspections


def test_figures_of_a_rectangle(wide):
    prediction = predict(wide, noise_picture(64, 96))
    drawn = random_decoder(wide).sample(prediction, 2)
    figure = completion_grid([(prediction, drawn)])
    figure.canvas.draw()
    shapes = {axis.images[0].get_array().shape for axis in figure.axes if axis.images}
    assert shapes == {(32, 48, 3)}
    context = figure.axes[1].images[0].get_array()
    assert (np.abs(np.asarray(context) - 0.82).max(-1) < 1e-6).sum() == 6 * 64
    wide_inches, high_inches = figure.get_size_inches()
    assert wide_inches > high_inches
    assert mask_figure(sample(batch=2, grid=(3, 17))).axes[0].images[0].get_array().shape == (3, 17, 3)


@pytest.mark.parametrize("name", sorted(INSPECTIONS))
def test_inspections_of_a_rectangle(wide, name):
    others = torch.from_numpy(menagerie.scenes(0, 6, 48)[:, 8:40]).permute(0, 3, 1, 2)
    inputs = InspectionInput(wide, torch.rand(3, 32, 48), Masks.from_block((4, 6), 1, 1, 2, 3), others, scenes=12)
    table = INSPECTIONS[name](inputs)
    figure = table.pop("figure")
    maps = [tuple(axis.images[0].get_array().shape[:2]) for axis in figure.axes if axis.images]
    assert set(maps) - {(256, 1)} <= {(4, 6), (32, 48)}
    assert all(np.isfinite(value) for value in table.values() if isinstance(value, float))


# ---------------------------------------------------------------- decoders


@pytest.mark.parametrize("name", ["block-vit", "pooled-unet", "squared-error", "token-vit"])
def test_a_decoder_on_another_grid_draws_the_same_at_the_same_place(model, name):
    network = random_network(model, name)
    wide = network.at((4, 6))
    assert (wide.grid, network.grid) == ((4, 6), (4, 4))
    ours, theirs = dict(network.named_parameters()), dict(wide.named_parameters())
    assert all(parameter.data_ptr() == theirs[key].data_ptr() for key, parameter in ours.items())
    row, col = torch.tensor([1, 1, 2, 3]), torch.tensor([0, 1, 1, 3])
    noisy, tokens = torch.randn(2, 4, network.channels), torch.randn(2, 4, 32)
    sigma, mode, source = torch.tensor([0.3, 0.8]), torch.tensor([2, 1]), torch.tensor([0, 1])
    drawn = [
        net(noisy, sigma, (row * net.grid[1] + col).expand(2, -1), tokens, mode, source) for net in (network, wide)
    ]
    assert torch.equal(drawn[0], drawn[1])


def test_a_decoder_samples_on_a_rectangular_grid(model):
    decoder = random_decoder(model)
    prediction = predict(model, torch.rand(3, 32, 48), fit="native", patches=24)
    with pytest.raises(ValueError, match=r"decoder\.at\(prediction\.masks\.grid\)"):
        decoder.sample(prediction)
    wide = decoder.at(prediction.masks.grid)
    drawn = wide.sample(prediction, 2)
    assert (wide.image_size, drawn.images.shape) == ((32, 48), (2, 3, 32, 48))
    assert torch.equal(drawn.inside, prediction.masks.hidden_pixels(8)[0])
    assert drawn.on(prediction.picture(64)).shape == (2, 3, 64, 96)
    two = random_decoder(model, "token-vit").at((4, 6)).sample(prediction, 1)
    assert two.tokens.shape == (1, 1, 6, 32)
    ridge = Decoder(random_network(model, "ridge"), DecoderConfig())
    with pytest.raises(ValueError, match="weights of every patch of its 4x4 grid"):
        ridge.at((4, 6))


def test_a_decoder_is_trained_on_rectangles(wide, tmp_path):
    save_folder(wide, tmp_path / "ijepa")
    data = DataConfig("menagerie:count=16", patch_size=16)
    config = DecoderTrainConfig(str(tmp_path / "ijepa"), data=data, optimization=OptimizationConfig(batch_size=4))
    images, masks, pictures = BlockSource(config, wide, tmp_path).pictures(0)
    assert images.shape == (4, 3, 32, 48)
    assert pictures.shape == (4, 3, 64, 96)
    assert blocks_of(wide, images, masks, pictures).clean.shape[-1] == 3 * 16**2


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("name", ["ijepa", "mae", "invariance"])
def test_objectives_train_on_rectangles_from_square_weights(model, name):
    config = TrainConfig(model=WIDE)
    config = replace(config, objective=replace(config.objective, name=name))
    torch.manual_seed(1)
    objective = build(config)
    images, masks = torch.randn(4, 3, 32, 48), sample(batch=4, grid=(4, 6))
    loss = objective(images, masks, torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(objective.energy(images, masks, images)).all()
    if name == "ijepa":
        objective.copy_weights(model, "a square model")
        fresh = model.at(32, 48, positions="recomputed").state_dict()
        assert all(torch.equal(value, fresh[key]) for key, value in objective.model.state_dict().items())
        with pytest.raises(ValueError, match="other sizes"):
            objective.copy_weights(IJEPA(replace(TINY, depth=3)), "a deeper one")


def test_of_size_takes_rectangles():
    assert ModelConfig.of_size("tiny", image_size=(224, 336), patch_size=14).grid == (16, 24)


# ---------------------------------------------------------------- widgets


def test_a_painter_shows_the_part_of_the_grids_proportions():
    painter = MaskPainter(noise_picture(300, 200), (4, 8))
    assert painter.picture.size == (320, 160)
    assert painter.still()[0].size == (320, 160)
    painter.hidden = np.eye(4, 8, dtype=bool)
    assert painter.masks.grid == (4, 8)


@pytest.mark.browser
def test_a_rectangle_is_painted_in_the_explorer(model, decoder, chromium):
    from bare_page import bare_page

    explorer = PredictionExplorer(model.at(32, 48), decoder.at((4, 6)), noise_picture(60, 90), samples=2)
    try:
        assert explorer.still()[0].size == (160 * 3, 106)
        page = bare_page(chromium, explorer)
        canvas = page.get_by_test_id("painter").bounding_box()
        assert canvas["width"] / canvas["height"] == pytest.approx(6 / 4, abs=0.05)
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name="Block").click()
        places = [
            (canvas["x"] + (col + 0.5) * canvas["width"] / 6, canvas["y"] + (row + 0.5) * canvas["height"] / 4)
            for row, col in ((1, 2), (2, 5))
        ]
        page.mouse.move(*places[0])
        page.mouse.down()
        page.mouse.move(*places[1], steps=4)
        page.mouse.up()
        hidden = np.zeros((4, 6), bool)
        hidden[1:3, 2:6] = True
        mask = page.evaluate("() => window.model.get('mask')")
        assert mask == "".join("01"[cell] for cell in hidden.ravel().astype(int))
        traits, _ = explorer.answer(hidden)
        page.evaluate("(t) => { for (const [k, v] of Object.entries(t)) window.model.set(k, v); }", traits)
        first = page.get_by_test_id("samples").locator(".place").first
        box = first.bounding_box()
        assert box["width"] / box["height"] == pytest.approx(6 / 4, abs=0.1)
        sides = "async (i) => { await i.decode(); return [i.naturalWidth, i.naturalHeight]; }"
        assert first.locator("img").evaluate(sides) == [48, 32]
        assert not page.errors
    finally:
        explorer.close()


def test_a_model_at_another_resolution_is_not_saved_as_another_model(tmp_path):
    model = IJEPA(TINY)
    with pytest.raises(ValueError, match="save that one, and call at"):
        save_folder(model.at(32, 48), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    save_folder(model, tmp_path / "model")
