from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ijepa_viz.data import formats
from ijepa_viz.data.formats import KNOWN_BUT_UNREADABLE, SUFFIXES, register_heif
from ijepa_viz.data.pixel_arrays import split_array
from ijepa_viz.data.transforms import read_image, to_pil, to_pixels, to_tensor


def picture(width=24, height=16):
    """Smooth and without symmetry, so that each turn and mirror of it is another picture."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((255 * np.stack([x, y**2, x * y], -1)).astype(np.uint8))


def saved(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    data.seek(0)
    return data


def difference(one, other):
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_is_read(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    register_heif()
    options = {"JPEG": {"quality": 95}, "HEIF": {"quality": 95}}
    kind = {".jfif": "JPEG", ".jpe": "JPEG", ".heic": "HEIF", ".heif": "HEIF"}.get(suffix)
    kind = kind or Image.registered_extensions()[suffix]
    image = picture(64, 48).convert({".pgm": "L", ".pbm": "1"}.get(suffix, "RGB"))
    image.save(path, kind, **options.get(kind, {}))
    assert difference(read_image(path), image.convert("RGB")) < 6


def test_endings_are_those_of_torchvision_and_the_ones_people_bring():
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(IMG_EXTENSIONS) <= set(SUFFIXES)
    assert {".jfif", ".jpe", ".jp2", ".avif"} <= set(SUFFIXES)
    assert not set(SUFFIXES) & set(KNOWN_BUT_UNREADABLE)
    assert all(s == s.lower() and s.startswith(".") for s in (*SUFFIXES, *KNOWN_BUT_UNREADABLE))


def test_without_the_extra_heic_files_are_known_and_say_what_to_install(tmp_path):
    pytest.importorskip("pillow_heif")
    register_heif()
    picture(64, 48).save(tmp_path / "phone.heic", "HEIF")
    (tmp_path / "sent.jpg").write_bytes((tmp_path / "phone.heic").read_bytes())
    program = f"""
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pillow_heif" else found(name, *rest)
from ijepa_viz.data.formats import KNOWN_BUT_UNREADABLE, SUFFIXES
from ijepa_viz.data.transforms import read_image
assert not {{".heic", ".heif"}} & set(SUFFIXES) and {{".heic", ".heif"}} <= set(KNOWN_BUT_UNREADABLE)
for name in ("phone.heic", "sent.jpg"):
    try:
        read_image({str(tmp_path)!r} + "/" + name)
    except ValueError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.count("pip install 'ijepa-viz[heic]'") == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404", "web page"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "damaged|not an image" if ".heic" in SUFFIXES else r"ijepa-viz\[heic\]"),
        (b"hello", "not an image"),
    ],
)
def test_what_is_no_picture_says_what_it_may_be(tmp_path, content, words):
    (tmp_path / "x.jpg").write_bytes(content)
    for source in (tmp_path / "x.jpg", io.BytesIO(content)):
        with pytest.raises(ValueError, match=words):
            read_image(source)


def test_known_endings_say_what_to_do(tmp_path):
    (tmp_path / "logo.svg").write_text("<svg/>")
    with pytest.raises(ValueError, match="draw it as PNG"):
        read_image(tmp_path / "logo.svg")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"bytes", "io.BytesIO"),
        (None, "not NoneType"),
        ([[0.5]], "not list"),
        ("https://example.org/x.jpg", "Download"),
        (io.StringIO("text"), "binary mode"),
    ],
)
def test_other_inputs_are_named(source, words):
    with pytest.raises(ValueError, match=words):
        read_image(source)


# ---------------------------------------------------------------- files with several pictures


@pytest.mark.parametrize("turn", [1, 6])
def test_of_a_phones_mpo_the_first_frame_is_the_picture(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    picture().save(
        tmp_path / "x.jpg",
        "MPO",
        save_all=True,
        append_images=[Image.new("RGB", (24, 16), "red")],
        exif=exif,
        quality=95,
    )
    with Image.open(tmp_path / "x.jpg") as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
    expected = picture() if turn == 1 else picture().rotate(-90, expand=True)
    assert difference(read_image(tmp_path / "x.jpg"), expected) < 8


def tiff_with_second_directory(offset, tail=b""):
    """A TIFF whose directory says that another one follows at ``offset`` (None: at the end, where ``tail`` is)."""
    data = bytearray(saved(picture(), "TIFF").getvalue())
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    struct.pack_into("<I", data, directory + 2 + 12 * entries, len(data) if offset is None else offset)
    return io.BytesIO(bytes(data) + tail)


@pytest.mark.parametrize(
    ("offset", "tail"), [(10**9, b""), (None, b"\x05\x00" + b"\xff" * 30), (None, b"\0" * 40), (None, b"\x05\x00abc")]
)
def test_a_tiff_with_a_broken_second_directory_is_damaged(offset, tail):
    assert difference(read_image(tiff_with_second_directory(0)), picture()) == 0
    with pytest.raises(ValueError, match="damaged: its pages or frames cannot be counted"):
        read_image(tiff_with_second_directory(offset, tail))


def test_pages_of_a_tiff_are_refused_and_its_thumbnail_is_not():
    thumbnail = picture().resize((12, 8))
    assert difference(read_image(_tiff_of_two(picture(), thumbnail, kind=1)), picture()) == 0
    with pytest.raises(ValueError, match="2 frames: it is animated, or has pages"):
        read_image(_tiff_of_two(picture(), thumbnail, kind=0))


def _tiff_of_two(first, second, kind):
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = kind
    second.encoderinfo = {"tiffinfo": tags}
    return saved(first, "TIFF", save_all=True, append_images=[second])


def test_colours_that_pillow_cannot_convert_are_named():
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(picture(), srgb, lab, outputMode="LAB")
    for source in (image, saved(image, "TIFF")):
        with pytest.raises(ValueError, match="CIELAB"):
            read_image(source)
    for mode, plain in (("RGBa", "RGBA"), ("La", "LA")):
        clear = picture().convert(plain)
        clear.putalpha(128)
        assert difference(read_image(clear.convert(mode)), read_image(clear)) < 2


# ---------------------------------------------------------------- orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_as_pillow_does(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(data)).convert("RGB")
    data.seek(0)
    found = read_image(data)
    assert found.size == expected.size == ((24, 16) if orientation < 5 else (16, 24))
    assert difference(found, expected) == 0


def test_an_image_in_memory_stays_as_it_was():
    image = picture().convert("RGBA")
    read_image(image)
    assert image.mode == "RGBA"
    data = saved(picture(), "PNG")
    read_image(data)
    assert not data.closed


# ---------------------------------------------------------------- the range of values


@pytest.mark.parametrize("value", [50, 100, 200])
def test_a_uniform_float_tiff_beyond_1_asks_for_its_range_and_reads_its_value_with_it(value):
    image = Image.fromarray(np.full((16, 16), value, np.float32))
    with pytest.raises(ValueError, match=f"float32 from {value} to {value}; floats are 0 to 1"):
        read_image(saved(image, "TIFF"))
    assert read_image(saved(image, "TIFF"), value_range=(0, 255)).getpixel((3, 3)) == (value,) * 3


def test_a_float_tiff_from_0_to_1_keeps_its_values():
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    found = read_image(saved(Image.fromarray(values), "TIFF"))
    assert np.array_equal(np.asarray(found)[..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize("value", [200, 70_000, -3])
def test_an_int32_tiff_asks_for_its_range(value):
    image = Image.fromarray(np.full((16, 16), value, np.int32))
    with pytest.raises(ValueError, match=rf"int32 from {value} to {value}.*value_range"):
        read_image(saved(image, "TIFF"))
    assert read_image(saved(image, "TIFF"), value_range=(-10, 100_000)).getpixel((3, 3)) == (
        (round((value + 10) / 100_010 * 255),) * 3
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_16_bits_are_0_to_65535_in_every_format(kind):
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    options = {"irreversible": False} if kind == "JPEG2000" else {}
    found = read_image(saved(Image.fromarray(values), kind, **options))
    assert np.abs(np.asarray(found)[..., 0].ravel().astype(int) - np.arange(256)).max() <= 1


def test_a_range_for_8_bits_is_refused():
    with pytest.raises(ValueError, match="8 bits a channel"):
        read_image(saved(picture(), "PNG"), value_range=(0, 1))
    for wrong in ((1, 0), (0, float("nan")), (2, 2)):
        with pytest.raises(ValueError, match="value_range is"):
            read_image(np.zeros((16, 16)), value_range=wrong)


# ---------------------------------------------------------------- arrays and tensors


def variants(rgb):
    """The same picture (H, W, 3) uint8 in every layout and type that is documented."""
    unit = rgb / 255
    chw = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
    opaque = np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], -1)
    found = {
        "PIL": Image.fromarray(rgb),
        "file": saved(Image.fromarray(rgb), "PNG"),
        "uint8": rgb,
        "uint8 backwards": rgb[::-1][::-1],
        "uint16": rgb.astype(np.uint16) * 257,
        "uint16 big-endian": (rgb.astype(np.uint16) * 257).astype(">u2"),
        "float64": unit,
        "float32": unit.astype(np.float32),
        "RGBA": opaque,
        "float RGBA": opaque / 255,
        "uint8 channels first": np.ascontiguousarray(rgb.transpose(2, 0, 1)),
        "tensor uint8": chw,
        "tensor float": chw / 255,
        "tensor channels last": torch.from_numpy(rgb.copy()),
        "tensor with a gradient": (chw / 255).requires_grad_(),
    }
    return found


@pytest.mark.parametrize("size", [16, 24])
@given(st.integers(0, 2**31))
def test_one_picture_in_every_kind_gives_the_same_pixels(size, seed):
    """Of the model's size (24) and of another; half a level is what rounding to 8 bits may cost."""
    rgb = np.random.default_rng(seed).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    expected = to_tensor(Image.fromarray(rgb), size)
    for name, source in variants(rgb).items():
        found = to_pixels(source, size)
        assert (found.dtype, found.shape) == (torch.float32, (3, size, size)), name
        assert (found - expected).abs().max() < 1e-6, name
        if name != "file":
            assert np.array_equal(read_image(source), rgb), name


def test_grey_is_read_in_every_layout():
    grey = np.random.default_rng(0).integers(0, 256, (24, 24)).astype(np.uint8)
    expected = to_tensor(Image.fromarray(grey).convert("RGB"), 24)
    tensor = torch.from_numpy(grey)
    for source in (grey, grey[..., None], grey[None], grey / 255, tensor, tensor[None] / 255, Image.fromarray(grey)):
        assert torch.allclose(to_pixels(source, 24), expected, atol=1e-6)


def test_transparency_in_arrays_is_on_white_as_in_files():
    rgba = np.zeros((24, 24, 4), np.uint8)
    rgba[:, 12:] = (10, 20, 30, 128)
    expected = to_pixels(Image.fromarray(rgba), 24)
    assert torch.equal(to_pixels(rgba, 24), expected)
    assert expected[:, 0, 0].tolist() == [1, 1, 1]


def test_batches_are_their_pictures():
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (4, 24, 24, 3)).astype(np.uint8)
    expected = torch.stack([to_tensor(Image.fromarray(one), 16) for one in batch])
    tensor = torch.from_numpy(batch).permute(0, 3, 1, 2)
    several = [Image.fromarray(batch[0]), batch[1], tensor[2], tensor[3] / 255]
    for source in (batch, batch / 255, tensor, tensor / 255, several, tuple(several)):
        assert torch.allclose(to_pixels(source, 16), expected, atol=1e-6)
    grey = batch[..., :1]
    assert torch.equal(to_pixels(grey, 24), to_pixels(np.moveaxis(grey, -1, 1).copy(), 24))
    assert to_pixels(batch[:1], 16).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.full((24, 24, 3), 0.5) * 255, "divide by 255"),
        (torch.randn(3, 24, 24), "denormalise"),
        (torch.full((3, 24, 24), 1.5), "0 to 1"),
        (torch.full((3, 24, 24), 4000.0), "value of white"),
        (torch.full((3, 24, 24), float("nan")), "NaN"),
        (torch.full((3, 24, 24), float("inf")), "NaN or infinite"),
        (torch.zeros(3, 24, 24, dtype=torch.int64), "int64 from 0 to 0, a type that has no range"),
        (np.zeros((24, 24, 3), np.int16), "no range"),
        (np.zeros((24, 24), bool), "like a mask"),
        (np.zeros((24, 24), complex), "complex128"),
        (np.full((24, 24), "a"), "<U1"),
        (np.zeros((24, 24, 2)), "got .24, 24, 2."),
        (np.zeros((4, 24, 24)), "got .4, 24, 24."),
        (np.zeros((5, 24, 24)), "got .5, 24, 24."),
        (np.zeros((3, 3, 24)), "got .3, 3, 24."),
        (np.zeros((3, 24, 3)), "got .3, 24, 3."),
        (np.zeros((4, 4)), "at least 8"),
        (np.zeros((0, 3, 24, 24)), "got .0, 3"),
        (np.zeros((1, 1, 3, 24, 24)), "got .1, 1, 3"),
        (np.zeros(24), "got .24,."),
        (np.ma.masked_array(np.zeros((24, 24)), False), "masked"),
        (torch.zeros(3, 24, 24, device="meta"), "meta"),
        ([], "empty"),
        ([np.zeros((2, 24, 24, 3))], "batches"),
        ([[0.1, 0.2]], "not float"),
    ],
)
def test_whatever_is_ambiguous_is_an_error_that_names_it(source, words):
    with pytest.raises(ValueError, match=words):
        to_pixels(source, 24)


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 24]), min_size=0, max_size=5))
def test_no_shape_is_read_in_two_ways(shape):
    """A naive list of the documented layouts, tried one by one."""
    heights = {8, 9, 24}
    matching = []
    if len(shape) == 2 and set(shape) <= heights:
        matching.append((1, *shape, 1))
    for batch, one in ((1, shape),) if len(shape) == 3 else (((shape[0]), shape[1:]),) if len(shape) == 4 else ():
        if set(one[:2]) <= heights and one[2] in (1, 3, 4):
            matching.append((batch, *one))
        if set(one[1:]) <= heights and one[0] in (1, 3):
            matching.append((batch, *one[1:], one[0]))
    assert len(matching) < 2
    array = np.random.default_rng(0).random(shape)
    if not matching:
        with pytest.raises(ValueError, match="One picture is"):
            split_array(array)
    else:
        pictures, batched = split_array(array)
        assert (len(pictures), *pictures[0].shape) == matching[0]
        assert batched == (len(shape) == 4)
        assert np.isclose(sum(float(p.sum()) for p in pictures), array.sum(), rtol=1e-4)


def test_floats_of_the_models_size_keep_their_precision_and_rounding_errors_are_cut():
    exact = torch.rand(3, 24, 24)
    assert torch.equal(to_pixels(exact, 24), exact)
    assert to_pixels(exact * 0 + 1.0005, 24).max() == 1
    assert np.array_equal(to_pil(to_pixels(exact.half(), 24)), to_pil(exact.half().float()))
    assert to_pixels(exact.bfloat16(), 24).dtype == torch.float32


def test_a_batch_is_no_picture():
    with pytest.raises(ValueError, match="One picture is needed, got a batch"):
        read_image(np.zeros((2, 24, 24, 3), np.uint8))


def test_the_module_says_which_endings_need_what():
    assert formats.KNOWN_BUT_UNREADABLE[".mp4"].startswith("extract frames")
    assert formats.KNOWN_BUT_UNREADABLE[".cr2"].startswith("develop")
