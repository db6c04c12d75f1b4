from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop, v2

from ijepa_viz.data.transforms import (
    Crops,
    crop_and_resize_image,
    denormalise,
    normalise,
    random_resized_crop,
    read_image,
    to_pil,
    to_tensor,
)


def gradient(width=60, height=40):
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    return np.stack([x, x[:, ::-1], np.full_like(x, 90)], -1).astype(np.uint8)


def test_16_bit_keeps_its_range(tmp_path):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    picture = np.asarray(read_image(tmp_path / "x.png"))
    assert picture.shape == (64, 64, 3)
    assert np.abs(picture[..., 0].astype(float) - values / 257).max() <= 1


def test_cmyk_is_converted(tmp_path):
    Image.fromarray(gradient()).convert("CMYK").save(tmp_path / "x.jpg", quality=98)
    picture = read_image(tmp_path / "x.jpg")
    assert picture.mode == "RGB"
    assert np.abs(np.asarray(picture).astype(float) - gradient()).mean() < 6


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA"])
def test_other_modes_become_rgb(tmp_path, mode):
    Image.fromarray(gradient()).convert("L" if mode == "LA" else mode).convert(mode).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").mode == "RGB"


def test_animated_tiny_and_broken_are_refused(tmp_path):
    frames = [Image.new("RGB", (16, 16), (i, 0, 0)) for i in (0, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animated"):
        read_image(tmp_path / "x.gif")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match="1x1"):
        read_image(tmp_path / "one.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match="not an image"):
        read_image(tmp_path / "text.png")
    Image.fromarray(gradient()).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged"):
        read_image(tmp_path / "cut.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "nowhere.png")


def test_to_tensor_is_the_centred_square():
    image = Image.fromarray(gradient(80, 40))
    assert np.array_equal(np.asarray(to_pil(to_tensor(image, 40))), gradient(80, 40)[:, 20:60])


def test_normalise_is_torchvisions():
    images = torch.rand(2, 3, 8, 8)
    theirs = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(images)
    assert torch.allclose(normalise(images), theirs, atol=1e-6)
    assert torch.allclose(denormalise(normalise(images)), images, atol=1e-6)


def test_a_full_crop_changes_nothing():
    images = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8)
    same = random_resized_crop(images, 24, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert torch.allclose(same, images / 255, atol=1e-5)


@given(st.integers(0, 2**31), st.floats(0.1, 0.9))
def test_crops_stay_inside_and_have_their_area(seed, share):
    # On a picture whose colour is its place, the crop's corners tell where it was cut.
    side = 64
    x = torch.linspace(0, 1, side).expand(side, side)
    images = torch.stack([x, x.T, x])[None].repeat(6, 1, 1, 1)
    crops = random_resized_crop(
        images, side, torch.Generator().manual_seed(seed), scale=(share, share), ratio=(1.0, 1.0)
    )
    width = (crops[:, 0, 32, -1] - crops[:, 0, 32, 0]) * side / (side - 1)
    assert torch.allclose(width, torch.full((6,), share**0.5), atol=0.06)
    assert crops.min() >= 0
    assert crops.max() <= 1


@pytest.mark.parametrize("scale", [(0.3, 1.0), (0.02, 0.4)])
@pytest.mark.parametrize(("width", "height"), [(1000, 1000), (2000, 1000), (600, 2400), (10_000, 1000)])
def test_boxes_are_distributed_as_torchvisions(width, height, scale):
    """Area, aspect and place, in whole pixels as torchvision's."""
    ratio, count = (3 / 4, 4 / 3), 3000
    relative = Crops.draw(count, torch.Generator().manual_seed(0), scale=scale, ratio=ratio).boxes(width / height)
    left, top, wide, high = (relative.double() * torch.tensor([width, height, width, height])).round().unbind(1)
    ours = {"area": wide * high, "aspect": wide / high, "left": left, "top": top}
    torch.manual_seed(1)
    image = Image.new("1", (width, height))
    params = [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(count)]
    j, i, h, w = torch.tensor(params).double().T
    theirs = {"area": w * h, "aspect": w / h, "left": i, "top": j}
    # Half a pixel of a side is what rounding may add.
    assert 3 / 4 * (1 - 1 / high.min()) < ours["aspect"].min() <= ours["aspect"].max() < 4 / 3 * (1 + 1 / high.min())
    for name in ours:
        assert ks_2samp(ours[name].numpy(), theirs[name].numpy()).pvalue > 1e-3, name


@given(
    st.integers(0, 2**31),
    st.floats(0.02, 50),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(sorted),
)
def test_boxes_are_the_first_try_that_fits_or_the_centred_fallback(seed, shape, scale, ratio):
    """Against a loop over the tries, of one picture at a time."""
    crops = Crops.draw(8, torch.Generator().manual_seed(seed), scale=tuple(scale), ratio=tuple(ratio))
    found = crops.boxes(shape)
    assert torch.allclose(crops.boxes(torch.full((8,), shape)), found)
    for b, (left, top, width, height) in enumerate(found.double().tolist()):
        assert torch.equal(crops[b : b + 1].boxes(shape)[0], found[b])
        draws = crops.draws[:, b].double().numpy()
        in_range = min(max(shape, ratio[0]), ratio[1])
        wide, high = min(1, in_range / shape), min(1, shape / in_range)
        box = ((1 - wide) / 2, (1 - high) / 2, wide, high)
        for area, aspect in zip(draws[:10], draws[10:20], strict=True):
            area = scale[0] + (scale[1] - scale[0]) * area
            aspect = ratio[0] * (ratio[1] / ratio[0]) ** aspect / shape
            wide, high = (area * aspect) ** 0.5, (area / aspect) ** 0.5
            if abs(max(wide, high) - 1) < 1e-5:  # may fit or not, by rounding
                break
            if max(wide, high) < 1:
                box = (draws[20] * (1 - wide), draws[21] * (1 - high), wide, high)
                break
        if abs(max(wide, high) - 1) > 1e-5 or box[2] * box[3] == 1:
            assert np.allclose((left, top, width, height), box, atol=1e-5)
        assert ratio[0] * (1 - 1e-4) <= width * shape / height <= ratio[1] * (1 + 1e-4)


@pytest.mark.parametrize("width", [64, 128, 640])
def test_a_circle_in_a_wide_picture_is_not_squashed_beyond_the_range(width):
    """Measured on pixels: a small circle in the middle of the picture, in every crop that holds all of it."""
    y, x = np.mgrid[:64, :width]
    disc = (x - width / 2 + 0.5) ** 2 + (y - 31.5) ** 2 < 10**2
    image = Image.fromarray(np.repeat(disc[..., None] * np.uint8(255), 3, 2))
    crops = Crops.draw(200, torch.Generator().manual_seed(0), scale=(0.3, 1.0))
    ratios = []
    for i in range(200):
        found = np.argwhere(crop_and_resize_image(image, 128, crops[i : i + 1])[..., 0] > 127)
        if len(found) and found.min() > 0 and found.max() < 127:
            high, wide = np.ptp(found, axis=0) + 1
            ratios.append(high / wide)  # of the picture's pixels, width / height of the crop
    assert len(ratios) > 20
    assert 0.7 < min(ratios) <= max(ratios) < 1.43


def test_flips_happen_half_the_time():
    x = torch.linspace(0, 1, 16).expand(16, 16)
    images = torch.stack([x, x, x])[None].repeat(400, 1, 1, 1)
    crops = random_resized_crop(images, 16, torch.Generator().manual_seed(0), scale=(1.0, 1.0), flip=True)
    flipped = (crops[:, 0, 8, 0] > crops[:, 0, 8, -1]).float().mean()
    assert 0.4 < flipped < 0.6
