from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.opening import open_source
from ijepa_viz.runtime.files import cache_folder, replacing


def solid(value):
    return Image.new("RGB", (20, 16), (value, 10, 200))


def folder_of_classes(path):
    for i, name in enumerate(("bee", "ant")):
        (path / name).mkdir(parents=True)
        for j in range(3):
            solid(40 * i + j).save(path / name / f"{j}.png")
    return path


def shards(path, names=("left", "right")):
    for shard in range(2):
        cells = []
        for i in range(4):
            out = io.BytesIO()
            solid(10 * shard + i).save(out, "png")
            cells.append({"bytes": out.getvalue(), "path": None})
        table = pa.table({"image": cells, "label": [i % 2 for i in range(4)]})
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        note = json.dumps({"info": {"features": features}})
        pq.write_table(table.replace_schema_metadata({"huggingface": note}), path / f"train-{shard}.parquet")
    return path


def test_a_folder_has_its_sub_folders_as_classes(tmp_path):
    source = open_source(str(folder_of_classes(tmp_path / "pictures")))
    assert len(source) == 6
    assert source.classes == ["ant", "bee"]
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source[0].getpixel((0, 0)) == (40, 10, 200)


@pytest.mark.parametrize("pattern", ["", "/train-*.parquet"])
def test_parquet_shards_in_order(tmp_path, pattern):
    source = open_source(f"{shards(tmp_path)}{pattern}")
    assert len(source) == 8
    assert [source[i].getpixel((0, 0))[0] for i in range(8)] == [0, 1, 2, 3, 10, 11, 12, 13]
    assert source.classes == ["left", "right"]
    assert source.labels.tolist() == [0, 1] * 4


def test_parquet_agrees_with_the_datasets_layout(photos):
    source = open_source(str(photos / "train-00009-of-00010.parquet"))
    assert len(source) == 4800
    assert len(source.classes) == 96
    assert source[17].size == (64, 64)
    table = pq.read_table(photos / "train-00009-of-00010.parquet")
    raw = Image.open(io.BytesIO(table["image"][17]["bytes"].as_py())).convert("RGB")
    assert np.array_equal(np.asarray(source[17]), np.asarray(raw))


def test_arrays_are_made_once_and_mapped_after(tmp_path, monkeypatch):
    source = open_source(str(folder_of_classes(tmp_path / "pictures")))
    first = arrays(source, 16)
    assert first.shape == (6, 16, 16, 3)
    monkeypatch.setattr(source, "read", lambda i: pytest.fail("read again"))
    again = arrays(source, 16)
    assert isinstance(again, np.memmap)
    assert np.array_equal(first, again)
    solid(99).save(tmp_path / "pictures" / "bee" / "9.png")
    assert len(arrays(open_source(str(tmp_path / "pictures")), 16)) == 7  # a changed folder is another cache


def test_a_bad_picture_is_named_and_leaves_no_half_cache(tmp_path):
    folder_of_classes(tmp_path / "pictures")
    (tmp_path / "pictures" / "bee" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad\.png"):
        arrays(open_source(str(tmp_path / "pictures")), 16)
    assert not list(cache_folder().glob("*"))


def test_an_error_of_the_data_is_not_blamed_on_the_cache(tmp_path):
    def broken(start, stop, size):
        raise OSError(5, "Input/output error")  # a disk that names no file

    drawn = replace(open_source("menagerie:count=8"), render=broken)
    with pytest.raises(ValueError, match=r"Images 0 to 7 of menagerie \(train\) cannot be drawn: .*Input/output"):
        arrays(drawn, 16)
    source = open_source(str(folder_of_classes(tmp_path / "pictures")))
    source.read = lambda i: (tmp_path / "gone.bin").open("rb")
    with pytest.raises(ValueError, match=r"Image 0 of .*pictures cannot be read: .*gone\.bin"):
        arrays(source, 16)
    assert not list(cache_folder().glob("*"))


@pytest.mark.parametrize("folder", ["cache", "."])
def test_an_error_that_names_another_file_is_that_files(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    path = Path(folder) / "array.npy"
    with pytest.raises(FileNotFoundError) as raised, replacing(path):
        (tmp_path / "pictures" / "gone.bin").open("rb")
    assert raised.value.filename == str(tmp_path / "pictures" / "gone.bin")
    for own in (str(path), f"{path}.123.partial", str(path.parent), None):
        with (
            pytest.raises(OSError, match=r"array\.npy could not be written \(No space left on device\)"),
            replacing(path),
        ):
            raise OSError(28, "No space left on device", own)


def test_menagerie_options_and_splits():
    source = open_source("menagerie:seed=3,count=12")
    assert arrays(source, 32).shape == (12, 32, 32, 3)
    test = open_source("menagerie:seed=3,count=12", "test")
    assert not np.array_equal(arrays(source, 32), arrays(test, 32))
    assert set(source.labels.tolist()) <= set(range(5))


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("menageri", FileNotFoundError, "Did you mean 'menagerie'"),
        ("./nowhere", FileNotFoundError, "No data set"),
        ("menagerie:size=3", ValueError, "seed=N and count=N"),
    ],
)
def test_unknown_data_sets_name_the_nearest(spec, error, words):
    with pytest.raises(error, match=words):
        open_source(spec)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        open_source(str(tmp_path))


def test_parquet_without_pictures_is_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="no image column"):
        open_source(str(tmp_path))
