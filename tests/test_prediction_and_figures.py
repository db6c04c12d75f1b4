from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder

from ijepa_viz import examples
from ijepa_viz.cli.demo import run_demo, write_demo
from ijepa_viz.data.menagerie.creatures import PART
from ijepa_viz.data.transforms import square
from ijepa_viz.figures import completion_grid, mask_figure
from ijepa_viz.figures.completion import context_image
from ijepa_viz.masks import Masks, sample
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import check_pair, predict, predictions

HOLE = Masks.from_block((4, 4), 1, 1, 2, 2)


def test_predict_is_the_models_own_passes(model, picture):
    from ijepa_viz.data.transforms import normalise, to_tensor

    prediction = predict(model, picture, HOLE)
    images = normalise(to_tensor(picture, 32))[None]
    expected = model.predict(model.encode_context(images, HOLE), HOLE)[0]
    target = model.targets(images, HOLE)[0]
    assert torch.allclose(prediction.predicted, expected)
    assert torch.allclose(prediction.target, target)
    dot = (expected * target).sum(-1) / (expected.norm(dim=-1) * target.norm(dim=-1))
    assert torch.allclose(prediction.cosine, dot, atol=1e-5)
    assert prediction.cosine.shape == (1, 4)


def test_predict_ignores_what_is_hidden(model, picture):
    shown = predict(model, picture, HOLE)
    changed = shown.image.clone()
    changed[:, 8:24, 8:24] = torch.rand(3, 16, 16)
    other = predict(model, changed, HOLE)
    assert torch.equal(shown.predicted, other.predicted)
    assert not torch.equal(shown.target, other.target)


def test_a_mask_for_another_grid_is_refused(model, picture):
    with pytest.raises(ValueError, match="8x8 grid, this model's is 4x4"):
        predict(model, picture, Masks.from_block((8, 8), 1, 1, 2, 2))


def same(one, other):
    return torch.allclose(one.predicted, other.predicted, atol=1e-5) and torch.allclose(
        one.target, other.target, atol=1e-5
    )


def test_every_kind_of_input_gives_the_same_prediction(model, picture, tmp_path):
    """uint8 tensors of 0 to 255 were taken as 0 to 1."""
    image = square(picture, 32)
    image.save(tmp_path / "x.png")
    rgb = np.asarray(image)
    tensor = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
    expected = predict(model, image, HOLE)
    with (tmp_path / "x.png").open("rb") as file:
        for given in (tmp_path / "x.png", str(tmp_path / "x.png"), file, rgb, rgb / 255, rgb.transpose(2, 0, 1), tensor,
                      tensor / 255, (tensor / 255).half(), rgb.astype(np.uint16) * 257):  # fmt: skip
            exact = getattr(given, "dtype", None) != torch.float16
            found = predict(model, given, HOLE)
            assert same(found, expected) if exact else (found.cosine - expected.cosine).abs().max() < 0.01
            assert found.image.shape == (3, 32, 32)
    large = torch.from_numpy(np.asarray(picture.resize((96, 64))).copy()).permute(2, 0, 1)
    assert same(predict(model, large, HOLE), predict(model, picture.resize((96, 64)), HOLE))
    grey = image.convert("L")
    assert same(predict(model, np.asarray(grey), HOLE), predict(model, grey, HOLE))


def test_a_batch_is_its_pictures(model, picture):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 32, 32, generator=generator)
    one_each = Masks.from_array(torch.eye(4, dtype=torch.bool).expand(3, 4, 4).contiguous())
    hidden = np.zeros((3, 4, 4), bool)
    hidden[0, :2, :2] = hidden[1, 1:3, 1:3] = hidden[2, 2:, 2:] = True
    for masks, of in (
        (HOLE, [HOLE] * 3),
        (one_each, [one_each[:1]] * 3),
        (hidden, [Masks.from_array(h) for h in hidden]),
    ):
        batch = predict(model, images, masks)
        assert batch.batched
        assert len(batch) == 3
        assert batch.predicted.shape == (3, *batch[0].predicted.shape)
        assert batch.cosine.shape == (3, 1, 4)
        for i, found in enumerate(batch):
            alone = predict(model, images[i], of[i])
            assert same(found, alone)
            assert found.masks == alone.masks
            assert torch.equal(found.image, images[i])
            assert not found.batched
    assert same(batch[-1], batch[2])
    with pytest.raises(IndexError, match="3 images"):
        batch[3]
    with pytest.raises(TypeError, match="one image"):
        len(batch[0])
    assert batch[0]
    several = predict(model, [picture, np.asarray(picture), images[0]], HOLE)
    assert same(several[0], predict(model, picture, HOLE))
    assert same(several[1], several[0])
    assert predict(model, images[:1], HOLE).predicted.shape == (1, 1, 4, 32)
    with pytest.raises(ValueError, match="Masks for 3 images, but there are 2"):
        predict(model, images[:2], one_each)


def test_a_batch_is_predicted_in_parts(model, picture, monkeypatch):
    """However many there are, no more than ``batch`` are computed at once, and the numbers are those of all at once."""
    images = torch.rand(5, 3, 32, 32)
    one_each = Masks(torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]), torch.arange(10, 15).view(5, 1, 1), (4, 4))
    whole = predict(model, images, one_each)
    sizes = []
    encode = type(model).encode_target
    monkeypatch.setattr(type(model), "encode_target", lambda self, x: (sizes.append(len(x)), encode(self, x))[1])
    parts = predict(model, images, one_each, batch=2)
    assert sizes == [2, 2, 1]
    assert torch.allclose(parts.predicted, whole.predicted, atol=1e-5)
    assert torch.allclose(parts.target, whole.target, atol=1e-5)
    for count in (3, 6):
        with pytest.raises(ValueError, match=f"Masks for 5 images, but there are {count}"):
            predict(model, torch.rand(count, 3, 32, 32), one_each, batch=2)
    with pytest.raises(ValueError, match="at least one picture"):
        predict(model, images, one_each, batch=0)


def test_predictions_stream_and_hold_one_batch_only(model, picture):
    taken = []

    def pictures():
        for i in range(5):
            taken.append(i)
            yield picture

    stream = predictions(model, pictures(), HOLE, batch=2)
    assert taken == []
    assert len(next(stream)) == 2
    assert taken == [0, 1], "the next batch is not read before it is asked for"
    assert [len(batch) for batch in stream] == [2, 1]
    alone = predict(model, picture, HOLE)
    for batch in predictions(model, [picture, picture, picture], HOLE, batch=2):
        assert torch.allclose(batch.cosine, alone.cosine.expand_as(batch.cosine), atol=1e-5)
        assert torch.allclose(batch.energy, alone.energy.expand_as(batch.energy), atol=1e-5)
    difference = (alone.predicted - alone.target).abs()
    smooth = torch.where(difference < 1, difference**2 / 2, difference - 0.5).mean(-1)
    assert torch.allclose(alone.energy, smooth, atol=1e-6)
    for count, there_are in ((1, "1"), (3, "more")):
        with pytest.raises(ValueError, match=f"Masks for 2 images, but there are {there_are}"):
            list(predictions(model, [picture] * count, HOLE.repeat(2), batch=1))


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_a_decoder_samples_a_batch_as_its_images_alone(model, picture, batch):
    images = torch.rand(3, 3, 32, 32)
    two_blocks = torch.tensor([[[5, 6], [9, 10]], [[0, 1], [4, 5]], [[10, 11], [14, 15]]])
    masks = Masks(torch.tensor([[3, 7], [8, 12], [0, 1]]), two_blocks, (4, 4))
    for name in ("block-vit", "token-vit"):
        decoder = random_decoder(model, name)
        prediction = predict(model, images, masks)
        told = []
        found = decoder.sample(prediction, 2, seed=3, batch=batch, callback=told.append)
        assert found.images.shape == (3, 2, 3, 32, 32)
        assert found.inside.shape == (3, 32, 32)
        assert len(found) == 3
        assert found
        assert [state["first"] for state in told[:: told[0]["steps"]]] == list(range(0, 3, batch))
        assert told[0]["images"].shape == (min(batch, 3), 2, 3, 32, 32)
        for own, one in zip(found, prediction, strict=True):
            alone = decoder.sample(one, 2, seed=3)
            assert torch.allclose(own.images, alone.images, atol=1e-4)
            assert torch.equal(own.inside, alone.inside)
            assert own.detail == alone.detail
            assert (own.tokens is None) == (name == "block-vit")
            if own.tokens is not None:
                assert torch.allclose(own.tokens, alone.tokens, atol=1e-4)
        pasted = found.on(prediction.image)
        assert torch.equal(pasted[1], found[1].on(images[1]))
        with pytest.raises(ValueError, match="images must be"):
            found.on(images[0])
        with pytest.raises(TypeError, match="one image"):
            len(found[0])
        with pytest.raises(IndexError, match="3 images"):
            found[3]
    with pytest.raises(ValueError, match="batch must be at least 1"):
        decoder.sample(prediction, 2, batch=0)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda a: a.tolist(), lambda a: a[::-1][::-1]])
def test_masks_are_taken_as_boolean_arrays(model, picture, kind):
    hidden = HOLE.hidden[0].numpy()
    assert same(predict(model, picture, kind(hidden)), predict(model, picture, HOLE))


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (np.array([5, 6]), r"boolean array, got torch.int64 \(2,\).*Masks\(context, targets, grid\)"),
        (np.eye(4), "astype"),
        (np.eye(4, dtype=bool)[0], r"got \(4,\)"),
        (np.eye(8, dtype=bool), "8x8 grid, this model's is 4x4"),
        (np.stack([np.eye(4, dtype=bool), np.tri(4, dtype=bool)]), "hide 4 to 10"),
        ("block", "no array of numbers|boolean"),
    ],
)
def test_other_masks_are_refused_by_name(model, picture, masks, words):
    with pytest.raises(ValueError, match=words):
        predict(model, picture, masks)


def test_an_ambiguous_image_is_refused_by_name(model):
    for image, words in (
        (torch.rand(3, 32, 32) * 255, "divide by 255"),
        (torch.randn(3, 32, 32), "denormalise"),
        (torch.full((3, 32, 32), float("nan")), "NaN"),
        (np.zeros((32, 32, 3), np.int64), "no range"),
    ):
        with pytest.raises(ValueError, match=words):
            predict(model, image, HOLE)


def drawn_axes(figure):
    figure.canvas.draw()
    return [a for a in figure.axes if a.images]


def test_the_figure_shows_original_context_and_samples(model, decoder, picture):
    prediction = predict(model, picture, HOLE)
    samples = decoder.sample(prediction, 3)
    axes = drawn_axes(completion_grid([(prediction, samples, samples), (prediction, samples, samples)]))
    assert len(axes) == 2 * (2 + 3 + 2)
    pictures = [np.asarray(a.images[0].get_array()) for a in axes]
    original = prediction.image.permute(1, 2, 0).numpy()
    assert np.allclose(pictures[0], original)
    assert np.allclose(pictures[1], context_image(prediction))
    assert (pictures[1][8:24, 8:24] == pictures[1][8, 8]).all()
    for shown in pictures[2:5]:
        outside = np.ones((32, 32), bool)
        outside[8:24, 8:24] = False
        assert np.allclose(shown[outside], original[outside])
    assert not np.allclose(pictures[2], pictures[3])
    with pytest.raises(ValueError, match="at least one row"):
        completion_grid([])


def test_nothing_in_the_figure_overlaps_or_is_cut(model, decoder, picture):
    prediction = predict(model, picture, HOLE)
    samples = decoder.sample(prediction, 6)
    figure = completion_grid([(prediction, samples, samples)] * 3, names=["1 step", "2 steps", "the default"])
    axes = drawn_axes(figure)
    assert [a.get_ylabel() for a in axes[::10]] == ["1 step", "2 steps", "the default"]
    with pytest.raises(ValueError, match="3 rows and 1 names"):
        completion_grid([(prediction, samples)] * 3, names=["one"])
    legend = figure.legends[0].get_window_extent()
    page = figure.bbox
    for box in [a.get_tightbbox() for a in axes] + [legend]:
        assert box.x0 >= page.x0 - 3
        assert box.x1 <= page.x1 + 3
        assert box.y0 >= page.y0 - 3
        assert box.y1 <= page.y1 + 3
    assert not any(legend.overlaps(a.get_window_extent()) for a in axes)


def test_the_mask_figure_colours_every_patch():
    masks = sample(batch=3, grid=(8, 8), generator=torch.Generator().manual_seed(0))
    axes = drawn_axes(mask_figure(masks))
    assert len(axes) == 3
    blue = np.asarray(axes[0].images[0].get_array())
    context = np.isclose(blue, (0x56 / 255, 0xB4 / 255, 0xE9 / 255)).all(-1)
    assert np.array_equal(context, masks.visible[0].numpy())


def test_examples_hide_what_they_say():
    scenes = examples.drawn_scenes(64)
    assert {e.name for e in scenes} >= {"dog-head", "bird-leg", "wolf-leg", "building-roof"}
    from ijepa_viz.data import menagerie

    for example in scenes:
        index = next(
            i for i in range(10**5) if np.array_equal(menagerie.scene(i, 64, 1).image, np.asarray(example.image))
        )
        parts = menagerie.scene(index, 64, 1).parts == PART[example.name.split("-")[1]]
        r, c, h, w = (8 * v for v in example.hole)
        assert parts[r : r + h, c : c + w].sum() > 0.6 * parts.sum()
    assert {e.name for e in examples.photographs()} == {"cat", "astronaut", "rocket", "coffee"}


def test_block_of_scales_the_hole():
    example = examples.photographs()[0]
    assert example.masks((16, 16)).targets.shape[2] == 64
    assert example.masks((8, 8)).targets.shape[2] == 16


def test_the_demo_reports_what_it_did(model, tmp_path):
    for parameter in model.parameters():  # at its random init a predictor hardly tells images apart
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.15)
    decoder = random_decoder(model)
    shown = examples.drawn_scenes(32)[:2]
    demo = run_demo("a test model", model, decoder, shown, samples=3, seed=4)
    files = {p.name: p for p in write_demo([demo], tmp_path / "out", 1.0)}
    assert set(files) == {"completions.png", "index.html", "report.json"}
    import json

    report = json.loads(files["report.json"].read_text())["models"][0]
    assert report["seed"] == 4
    for line, example in zip(report["images"], shown, strict=True):
        prediction = predict(model, example.image, example.masks(model.grid))
        assert line["cosine"] == pytest.approx(float(prediction.cosine.mean()), abs=1e-3)
        assert line["cosine_other_image"] != line["cosine"]
        assert line["seconds_sample"] > 0
    page = files["index.html"].read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert 'alt="Original' in page


def test_a_decoder_of_another_model_is_refused(decoder):
    torch.manual_seed(9)
    with pytest.raises(ValueError, match="other weights"):
        check_pair(IJEPA(TINY), decoder)
