"""Looking inside a prediction: every probe against a naive loop, a closed form or a planted answer."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import size_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from ijepa_viz.checkpoints import save_folder
from ijepa_viz.cli import main
from ijepa_viz.data import menagerie
from ijepa_viz.data.transforms import normalise
from ijepa_viz.inspections import ablation, components, maps, position
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput
from ijepa_viz.inspections.retrieval import TokenIndex
from ijepa_viz.masks import Masks

HOLE = Masks.from_block((4, 4), 1, 1, 2, 2)


@pytest.fixture
def lively(model):
    """A model whose predictions depend visibly on its context, as a trained one's do."""
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "pos_embed" not in name:
            nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


@pytest.fixture
def image():
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def others():
    return torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


# --------------------------------------------------------------------------- maps


def test_maps_put_every_patch_in_its_place_and_average_overlaps():
    masks = Masks(torch.tensor([[0]]), torch.tensor([[[5, 6], [6, 10]]]), (4, 4))
    target = F.normalize(torch.randn(1, 2, 2, 3, generator=torch.Generator().manual_seed(0)), dim=-1)[0]
    tokens = target.clone()
    tokens[1, 0] = -target[1, 0]  # at patch 6 one block is right and the other the opposite
    found = maps.token_map(tokens, target, masks)
    assert np.isnan(found.cosine).sum() == 13
    assert found.cosine[1, 1] == pytest.approx(1, abs=1e-6)
    assert found.cosine[1, 2] == pytest.approx(0, abs=1e-6)
    assert found.cosine[2, 2] == pytest.approx(1, abs=1e-6)
    assert found.error[1, 1] == 0
    assert found.error[1, 2] == pytest.approx(0.5 * 2 / 3**0.5, abs=1e-6)  # half of |2 t| / sqrt(3), |t| = 1
    assert found.mean_cosine == pytest.approx(2 / 3, abs=1e-6)
    with pytest.raises(ValueError, match="one image's blocks"):
        maps.token_map(tokens[:1], target, masks)


def test_controls_are_predictions_of_other_images(lively, others):
    found = maps.controls(lively, others, HOLE, batch=5)
    one_by_one = []
    for picture in others:
        pixels = normalise(picture[None] / 255)
        one_by_one.append(lively.predict(lively.encode_context(pixels, HOLE), HOLE)[0])
    assert torch.allclose(found["another image"], one_by_one[0], atol=1e-5)
    assert torch.allclose(found["mean prediction"], torch.stack(one_by_one).mean(0), atol=1e-5)
    with pytest.raises(ValueError, match="at least one other"):
        maps.controls(lively, others[:0], HOLE)


# --------------------------------------------------------------------------- retrieval


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.booleans(), st.integers(0, 2**31 - 1))
def test_retrieval_against_a_naive_loop(count, height, width, each, fixed, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, cols, size = 4, 5, 6
    tokens = torch.randn(count, rows * cols, size, generator=generator)
    query = torch.randn(height * width, size, generator=generator)
    at = (rows - height, 0) if fixed else None
    naive = []
    for i in range(count):
        here = []
        for r in range(rows - height + 1):
            for c in range(cols - width + 1):
                if at and (r, c) != at:
                    continue
                grid = tokens[i].view(rows, cols, size)[r : r + height, c : c + width].reshape(-1, size)
                here.append((float(F.cosine_similarity(grid, query, dim=1).mean()), i, r, c))
        naive += [max(here)] if each else here
    naive = sorted(naive, reverse=True)[:6]
    found = TokenIndex(tokens, (rows, cols)).blocks(query, (height, width), k=6, at=at, each=each)
    assert len(found.images) == len(naive)
    for i, (cosine, image, row, col) in enumerate(naive):
        assert float(found.cosine[i]) == pytest.approx(cosine, abs=1e-5)
        assert (int(found.images[i]), int(found.rows[i]), int(found.cols[i])) == (image, row, col)


def test_retrieval_finds_what_was_planted(lively, others):
    index = TokenIndex.from_images(lively, others, batch=5)
    target = lively.targets(normalise(others[7:8] / 255), Masks.from_block((4, 4), 2, 1, 2, 3))[0, 0]
    found = index.blocks(target, (2, 3), k=3)
    assert (int(found.images[0]), int(found.rows[0]), int(found.cols[0])) == (7, 2, 1)
    assert float(found.cosine[0]) == pytest.approx(1, abs=1e-4)
    one = index.patches(target[0], k=2)
    assert (int(one.images[0]), int(one.rows[0]), int(one.cols[0])) == (7, 2, 1)
    with pytest.raises(ValueError, match="does not fit"):
        index.blocks(target, (6, 1))
    with pytest.raises(ValueError, match="has tokens"):
        index.blocks(target, (2, 2))


# --------------------------------------------------------------------------- components


def test_components_against_scikit_learn():
    from sklearn.decomposition import PCA

    torch.manual_seed(0)
    parts = [torch.randn(n, 8) * torch.arange(1, 9) + 5 for n in (30, 50)]
    found = components.common_components(parts, 4)
    theirs = PCA(4).fit(torch.cat(parts).numpy())
    for ours, other in zip(found.directions.numpy(), theirs.components_, strict=True):
        assert abs(ours @ other) == pytest.approx(1, abs=1e-4)
        assert ours[np.abs(ours).argmax()] > 0
    assert found.share.numpy() == pytest.approx(theirs.explained_variance_ratio_, abs=1e-5)
    colours = found.colours(parts[0].view(5, 6, 8))
    assert colours.shape == (5, 6, 3)
    assert 0 <= float(colours.min()) <= float(colours.max()) <= 1
    along = (parts[0] - found.mean) @ found.directions[0]
    middle = (along > found.low[0]) & (along < found.high[0])  # beyond the percentiles colours saturate
    order = along[middle].argsort()
    assert torch.all(colours.view(-1, 3)[middle][order, 0].diff() >= 0)
    with pytest.raises(ValueError, match="need more"):
        components.common_components([torch.randn(3, 8)])


def test_similarity_is_one_with_itself_and_zero_across():
    tokens = torch.eye(4)
    assert torch.allclose(components.similarity(tokens[2], tokens), torch.tensor([0.0, 0, 1, 0]))


# --------------------------------------------------------------------------- ablation


class Weighted(nn.Module):
    """Predicts, at every target, a fixed weighted sum of the context patches' mean pixels: all answers are known."""

    def __init__(self, model, weights):
        super().__init__()
        self.config, self.grid, self.device = model.config, model.grid, torch.device("cpu")
        self.weights = weights

    def encode_context(self, images, masks):
        size = self.config.patch_size
        means = F.avg_pool2d(images, size).flatten(2).transpose(1, 2)  # (B, N, 3)
        picked = means.gather(1, masks.context[..., None].expand(-1, -1, 3))
        return picked * self.weights[masks.context][..., None]

    def predict(self, context, masks):
        total = context.sum(1)
        return total[:, None, None].expand(-1, *masks.targets.shape[1:], -1)


def test_ablation_finds_the_weights_of_a_linear_model(model, image):
    weights = torch.arange(16.0) / 7
    linear = Weighted(model, weights)
    left = ablation.leave_one_out(linear, image, HOLE, batch=5)
    means = F.avg_pool2d(normalise(image)[None], 8)[0].flatten(1).T  # (N, 3)
    expected = (weights[left.patches, None] * means[left.patches]).square().mean(1).sqrt()
    assert torch.equal(left.patches, HOLE.context[0])
    assert torch.allclose(left.weight, expected, atol=1e-5)
    assert left.passes == 13
    slope = ablation.gradient(linear, image, HOLE, directions=400)
    # All four targets are alike: output = 4 copies of sum_k w_k mean_k; each of the 64 pixels counts w_k / 64.
    # E |grad <v, out>|^2 over a patch = 3 * 64 * 4 * (w / 64)^2, over 12 numbers of output.
    exact = (192 * 4 * (weights[slope.patches] / 64).square() / 12).sqrt()
    assert torch.allclose(slope.weight, exact, rtol=0.2, atol=1e-6)


def test_the_gradient_estimates_the_jacobian(lively, image):
    found = ablation.gradient(lively, image, HOLE, directions=600)

    def outputs(pixels):
        return lively.predict(lively.encode_context(normalise(pixels)[None], HOLE), HOLE).flatten()

    jacobian = torch.autograd.functional.jacobian(outputs, image)  # (T D, 3, 32, 32)
    scale = torch.tensor([0.229, 0.224, 0.225])[:, None, None]  # gradients are of normalised pixels
    square = (jacobian * scale).square().sum(0).view(3, 4, 8, 4, 8).sum((0, 2, 4)).flatten()
    exact = (square / jacobian.shape[0]).sqrt()
    assert torch.allclose(found.weight, exact[found.patches], rtol=0.15)
    assert float(exact[HOLE.targets[0, 0]].max()) == 0  # and hidden patches do not matter at all


def test_ablation_refuses_what_it_cannot_answer(lively, image):
    with pytest.raises(ValueError, match="two visible"):
        ablation.leave_one_out(lively, image, Masks(torch.tensor([[0]]), torch.tensor([[[1]]]), (4, 4)))
    with pytest.raises(ValueError, match="one image"):
        ablation.gradient(lively, image[None], HOLE)
    padded = Masks(HOLE.context, HOLE.targets, (4, 4), torch.arange(12)[None] > 0)
    with pytest.raises(ValueError, match="without padding"):
        ablation.gradient(lively, image, padded)


# --------------------------------------------------------------------------- position


def test_everywhere_asks_each_patch_on_its_own(lively, image):
    found = position.predict_everywhere(lively, image, HOLE)
    pixels = normalise(image)[None]
    for place in (0, 5, 15):
        ask = Masks(HOLE.context, torch.tensor([[[place]]]), (4, 4))
        alone = lively.predict(lively.encode_context(pixels, ask), ask)[0, 0, 0]
        assert torch.allclose(found[place], alone, atol=1e-5)


def test_moving_is_exact_without_positions_and_not_with_them(lively, image):
    hole = Masks.from_block((4, 4), 1, 1, 1, 1)
    with_positions = position.shift_equivariance(lively, image, hole, [(1, 1), (-1, 0)])
    assert all(value < 0.9999 for value in with_positions.values())
    for module, name in (
        (lively.encoder, "pos_embed"),
        (lively.predictor, "predictor_pos_embed"),
    ):
        getattr(module, name).zero_()
    for value in position.shift_equivariance(lively, image, hole, [(1, 1), (-1, 0), (2, -1)]).values():
        assert value == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="out of the grid"):
        position.shift_equivariance(lively, image, hole, [(3, 0)])


def test_the_part_classifier_names_what_is_planted_and_is_uncertain_of_what_is_not():
    torch.manual_seed(0)
    labels = torch.arange(800) % 4
    tokens = 3 * torch.eye(8)[labels] + 0.5 * torch.randn(800, 8)
    reader = position.PartClassifier(tokens, labels)
    probabilities = reader(tokens)
    assert probabilities.shape == (800, len(position.PART_NAMES))
    assert torch.allclose(probabilities.sum(1), torch.ones(800), atol=1e-5)
    assert (probabilities.argmax(1) == labels).float().mean() > 0.99
    assert float(position.uncertainty(torch.tensor([0.5, 0.5, 0, 0]))) == pytest.approx(1)
    assert float(position.uncertainty(torch.tensor([1.0, 0, 0]))) == pytest.approx(0, abs=1e-6)
    between = reader(tokens[labels == 0][:50].mean(0) / 2 + tokens[labels == 1][:50].mean(0) / 2)
    assert position.uncertainty(between) > position.uncertainty(probabilities).mean()


@pytest.mark.parametrize(("scenes", "grid", "read"), [(3, 4, 3), (None, 4, 6000), (None, 8, 1500)])
def test_the_part_classifier_draws_so_many_scenes(monkeypatch, scenes, grid, read):
    seen = []

    class Blank:
        config, device = SimpleNamespace(image_size=16), "cpu"

        def encode_target(self, images):
            seen.append(len(images))
            return torch.zeros(len(images), grid * grid, 2)

    Blank.grid = (grid, grid)
    monkeypatch.setattr(position, "framed_scene", lambda *_: SimpleNamespace(image=np.zeros((16, 16, 3), np.uint8)))
    monkeypatch.setattr(position, "patch_parts", lambda scene, grid: torch.zeros(grid[0] * grid[1], dtype=torch.int64))
    monkeypatch.setattr(position, "PartClassifier", lambda tokens, labels: (len(tokens), len(labels)))
    assert position.fit_part_classifier(Blank(), scenes) == (read * grid**2, read * grid**2)
    assert sum(seen) == read
    assert max(seen) * grid**2 <= 4096
    with pytest.raises(ValueError, match="at least one"):
        position.fit_part_classifier(Blank(), 0)


def test_patch_parts_are_the_scene_s_own_maps():
    from ijepa_viz.data.menagerie.creatures import PART

    scene = menagerie.scene(2, 64, 0)
    found = position.patch_parts(scene, (8, 8)).view(8, 8)
    for r in range(8):
        for c in range(8):
            cell = np.s_[r * 8 : r * 8 + 8, c * 8 : c * 8 + 8]
            own = scene.owners[cell] == scene.count
            shares = {
                i: np.mean(own & np.isin(scene.parts[cell], [PART[n] for n in position.REGIONS[name]]))
                for i, name in enumerate(position.PART_NAMES)
                if i
            }
            best = max(shares, key=shares.get)
            assert int(found[r, c]) == (best if shares[best] > 0.25 else 0)
    assert found.unique().numel() > 2


# --------------------------------------------------------------------------- the figures and the command


@pytest.mark.parametrize("name", INSPECTIONS)
def test_every_inspection_draws_one_figure_and_returns_numbers(lively, image, others, name):
    table = INSPECTIONS[name](InspectionInput(lively, image, HOLE, others, scenes=200))
    figure = table.pop("figure")
    assert all(axis.has_data() for axis in figure.axes if axis.axison)
    assert any(axis.get_title() for axis in figure.axes)
    assert table
    assert all(np.isfinite(value) for value in table.values())


def test_the_command_writes_the_figure(lively, tmp_path, picture, capsys, drawn):
    save_folder(lively, tmp_path / "model")
    picture.save(tmp_path / "photo.png")
    command = ["look", str(tmp_path / "model"), "--block", "1", "1", "2", "2", "--limit", "20"]
    out = tmp_path / "maps.png"
    assert main([*command, "scene:3", "--inspection", "maps", "--out", str(out)]) == 0
    assert min(size_of(out)) > 200
    titles = [axis.get_title().split("\n")[0] for axis in drawn[0].axes if axis.get_title()]
    assert titles[:4] == ["original", "prediction", "another image", "mean prediction"]
    shown = drawn[0].axes[1].images[0].get_array()
    assert shown.shape == (4, 4)
    assert np.isfinite(shown.filled(np.nan)).sum() == 4, "the four patches of the hole"
    printed = float(re.search(r"prediction_cosine\s+(\S+)", capsys.readouterr().out)[1])
    assert np.nanmean(shown.filled(np.nan)) == pytest.approx(printed, abs=1e-3)
    assert main([*command, "scene:3", "--inspection", "maps", "--scenes", "5", "--out", str(out)]) == 1
    assert "--inspection position" in capsys.readouterr().err
    assert main([*command, "scene:3", "--inspection", "position", "--scenes", "5", "--out", str(out)]) == 0
    # --probe is the option's name in 0.1
    with pytest.raises(SystemExit):
        main([*command, str(tmp_path / "photo.png"), "--probe", "map", "--out", str(out)])
    assert "Did you mean 'maps'?" in capsys.readouterr().err


def test_copies_of_the_picture_are_left_out_and_counted(model):
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    smooth.save(out, "JPEG", quality=97)
    own, again = (torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in (smooth, Image.open(out)))
    dark, darker = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(3, 32, 32, dtype=torch.uint8)
    dark[:, 3, 3], darker[:, 20, 20] = 30, 30
    noise = torch.randint(0, 255, (3, 3, 32, 32), dtype=torch.uint8)
    others = torch.stack([own, dark, again, darker, *noise])
    assert not torch.equal(own, again)
    inputs = InspectionInput(model, own / 255, HOLE, others)
    assert (inputs.excluded, len(inputs.others)) == (2, 5)
    assert InspectionInput(model, dark / 255, HOLE, others).excluded == 1
    table = INSPECTIONS["retrieval"](inputs, k=2)
    assert (table["images"], table["copies_excluded"]) == (5, 2)
    assert table["target_best"] < 0.999
    with pytest.raises(ValueError, match="all copies"):
        InspectionInput(model, own / 255, HOLE, own[None])


@pytest.mark.parametrize("size", [(32, 32), (30, 47)])
def test_copies_between_pictures_are_those_one_by_one(size, monkeypatch):
    """Copies and near copies at any size; pairs that a few pixels tell apart are not compared pixel by pixel."""
    from ijepa_viz.inspections import inspection

    torch.manual_seed(0)
    noise = torch.randint(0, 255, (5, 3, *size), dtype=torch.uint8)
    slightly = (noise[:2].float() + 3 * torch.randn(2, 3, *size)).clamp(0, 255).byte()  # below the limit
    more = (noise[2:4].float() + 6 * torch.randn(2, 3, *size)).clamp(0, 255).byte()  # above it
    dark = torch.zeros(2, 3, *size, dtype=torch.uint8)
    dark[0, :, 3, 3], dark[1, :, 20, 20] = 30, 30
    turned = noise[:1].flip(2)
    every = torch.cat([noise, slightly, more, dark, turned])
    expected = torch.stack([inspection.copies_of(one / 255, every) for one in every])
    compared = []
    naive = inspection.copies_of
    monkeypatch.setattr(inspection, "copies_of", lambda a, b: (compared.append(len(b)), naive(a, b))[1])
    assert torch.equal(inspection.copies_between(every, every), expected)
    assert expected[0].nonzero()[:, 0].tolist() == [0, 5]
    assert expected[2].nonzero()[:, 0].tolist() == [2]
    assert sum(compared) < 0.3 * len(every) ** 2
