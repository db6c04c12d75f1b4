"""Data sets as people have them: layouts, links, stray files, tar shards, labels in any order."""

from __future__ import annotations

import io
import json
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from ijepa_viz.data.layout import part_of
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.unreadable import drop_unreadable, open_readable


def encoded(value, kind="PNG"):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(value).integers(0, 255, (16, 20, 3), np.uint8)).save(out, kind)
    return out.getvalue()


def put(path, value, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(value, kind))


def of_class(source):
    return [None if label < 0 else source.classes[label] for label in source.labels]


def test_folders_are_torchvisions_image_folder(tmp_path):
    values = iter(range(100))
    for place in ("cat/2020/a", "cat/2021/b", "cat/c", "Dog/d", "dog 2/x/y/z/e", "äffin/f"):
        put(tmp_path / f"{place}.png", next(values))
        put(tmp_path / f"{place}.jpg", next(values), "JPEG")
    (tmp_path / "elsewhere").mkdir()
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    put(outside / "g.png", next(values))
    (tmp_path / "linked").symlink_to(outside)
    (tmp_path / "elsewhere").rmdir()
    theirs = ImageFolder(str(tmp_path))
    ours = open_source(str(tmp_path))
    assert list(ours.classes) == theirs.classes
    assert ours.labels.tolist() == theirs.targets
    for i in range(len(theirs)):
        assert np.array_equal(np.asarray(ours[i]), np.asarray(theirs[i][0]))


def test_circles_of_links_end_and_systems_folders_are_no_classes(tmp_path):
    put(tmp_path / "cat/a.png", 1)
    (tmp_path / "cat/again").symlink_to(tmp_path)
    (tmp_path / "cat/self").symlink_to(tmp_path / "cat")
    put(tmp_path / "__MACOSX/cat/._a.png", 2)
    put(tmp_path / "__MACOSX/b.png", 3)
    put(tmp_path / ".thumbnails/c.png", 4)
    put(tmp_path / "dog/._d.png", 5)
    put(tmp_path / "dog/d.png", 6)
    source = open_source(str(tmp_path))
    assert source.classes == ["cat", "dog"]
    assert of_class(source) == ["cat", "dog"]


def test_a_link_to_nowhere_and_a_damaged_file_are_skipped_and_counted(tmp_path, capsys):
    for i in range(3):
        put(tmp_path / f"cat/{i}.png", i)
    (tmp_path / "cat/1 nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "cat/broken.png").write_bytes(encoded(9)[:60])
    source = open_readable(str(tmp_path))
    assert len(source) == 3
    assert "Skipped 2 of 5 pictures" in capsys.readouterr().err
    with pytest.raises(ValueError, match="2 of the 5 pictures"):
        drop_unreadable(open_source(str(tmp_path)), strict=True)


def test_ignored_files_are_counted_and_named_with_the_mend(tmp_path):
    put(tmp_path / "cat/a.png", 1)
    for name in ("b.CR2", "c.cr2", "notes.txt", "clip.mp4"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    (note,) = open_source(str(tmp_path)).notes
    assert "2 .cr2 (b.CR2, c.cr2; develop" in note
    assert "1 .mp4 (clip.mp4; extract frames" in note
    assert "1 .txt (notes.txt)" in note
    (tmp_path / "cat/a.png").unlink()
    with pytest.raises(ValueError, match=r"holds no images.*2 \.cr2"):
        open_source(str(tmp_path))


def test_pictures_beside_class_folders_have_no_class(tmp_path):
    put(tmp_path / "cover.png", 1)
    put(tmp_path / "cat/a.png", 2)
    put(tmp_path / "dog/b.png", 3)
    source = open_source(str(tmp_path))
    assert of_class(source) == [None, "cat", "dog"]
    assert "1 pictures" in source.notes[0]


@pytest.mark.parametrize("held_out", ["val", "validation", "Test"])
def test_training_and_test_folders_are_parts(tmp_path, held_out):
    for i, place in enumerate(("train/cat/a", "train/dog/b", f"{held_out}/cat/c", f"{held_out}/dog/d")):
        put(tmp_path / f"{place}.png", i)
    train, test = open_source(str(tmp_path)), open_source(str(tmp_path), "test")
    assert (train.split, test.split) == ("train", "test")
    assert of_class(train) == of_class(test) == ["cat", "dog"]
    assert not np.array_equal(np.asarray(train[0]), np.asarray(test[0]))


def test_a_test_folder_without_classes_yields_to_the_validation_folder(tmp_path):
    for i, place in enumerate(("train/cat/a", "train/dog/b", "val/cat/c", "val/dog/d", "test/e", "test/f")):
        put(tmp_path / f"{place}.png", i)
    assert of_class(open_source(str(tmp_path), "test")) == ["cat", "dog"]


def test_one_part_is_opened_whole_and_says_so(tmp_path):
    put(tmp_path / "cat/a.png", 1)
    put(tmp_path / "dog/b.png", 2)
    for split in ("train", "test"):
        source = open_source(str(tmp_path), split)
        assert (len(source), source.split) == (2, None)
    with pytest.raises(ValueError, match="train"):
        open_source(str(tmp_path), "val")


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("train-00000-of-00010.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "validation"),
        ("plain_text/test/0000.parquet", "test"),
        ("cat-faces-64-test.parquet", "test"),
        ("cats.train.tar", "train"),
        ("VAL_01.tar", "validation"),
        ("latest.parquet", None),
        ("training_set.parquet", "train"),
        ("trainers.parquet", None),
        ("0000.parquet", None),
    ],
)
def test_the_part_that_a_name_tells(path, part):
    assert part_of(path) == part


def table(values, labels, names=None, **columns):
    cells = [{"bytes": encoded(v), "path": None} for v in values]
    found = pa.table({"image": cells, "label": labels, **columns})
    if names is None:
        return found
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    return found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def test_shards_with_parts_in_their_names(tmp_path):
    (tmp_path / "data").mkdir()
    pq.write_table(table([0, 1, 2], [0, 1, 0]), tmp_path / "data/train-00000-of-00001.parquet")
    pq.write_table(table([3, 4], [1, 0]), tmp_path / "data/validation-00000-of-00001.parquet")
    pq.write_table(table([5], [-1]), tmp_path / "data/test-00000-of-00001.parquet")
    assert open_source(str(tmp_path)).labels.tolist() == [0, 1, 0]
    # The published test part has no labels.
    assert open_source(str(tmp_path), "test").labels.tolist() == [1, 0]


def test_shards_may_differ_in_columns_that_are_not_read(tmp_path):
    pq.write_table(table([0, 1], [0, 1], head_box=[[1, 2], [3, 4]]), tmp_path / "a.parquet")
    pq.write_table(table([2, 3], [1, 0]), tmp_path / "b.parquet")
    source = open_source(str(tmp_path))
    assert source.labels.tolist() == [0, 1, 1, 0]
    assert np.array_equal(np.asarray(source[3]), np.asarray(Image.open(io.BytesIO(encoded(3)))))
    pq.write_table(table([4], [0]).drop_columns(["label"]), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"c\.parquet has no column 'label'"):
        open_source(str(tmp_path))


def test_shards_with_classes_in_different_orders_are_matched_by_name(tmp_path):
    pq.write_table(table([0, 1], [0, 1], ["cat", "dog"]), tmp_path / "a.parquet")
    pq.write_table(table([2, 3], [0, 1], ["dog", "cat"]), tmp_path / "b.parquet")
    assert of_class(open_source(str(tmp_path))) == ["cat", "dog", "dog", "cat"]


def test_labels_that_are_names(tmp_path):
    pq.write_table(table([0, 1, 2, 3], ["dog", "cat", None, "dog"]), tmp_path / "a.parquet")
    assert of_class(open_source(str(tmp_path))) == ["dog", "cat", None, "dog"]
    pq.write_table(table([0], [0.5]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"'label'.*holds 0\.5"):
        open_source(str(tmp_path))


def test_parquet_as_webdataset_converts_it(tmp_path):
    pq.write_table(pa.table({"jpg": [encoded(1, "JPEG"), encoded(2, "JPEG")], "cls": [1, 0]}), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"))
    assert source.labels.tolist() == [1, 0]
    assert source[0].size == (20, 16)


def test_rows_without_a_picture_are_skipped_and_damaged_shards_named(tmp_path):
    cells = [{"bytes": encoded(1), "path": None}, {"bytes": None, "path": "lost.png"}]
    pq.write_table(pa.table({"image": cells}), tmp_path / "a.parquet")
    source, bad = drop_unreadable(open_source(str(tmp_path)))
    assert len(source) == 1
    assert "lost.png" in bad[1]
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:50])
    with pytest.raises(ValueError, match=r"b\.parquet cannot be read as parquet"):
        open_source(str(tmp_path))


def test_brackets_in_a_name_are_no_pattern(tmp_path):
    pq.write_table(table([0, 1], [0, 1]), tmp_path / "cats [1].parquet")
    assert len(open_source(str(tmp_path / "cats [1].parquet"))) == 2
    put(tmp_path / "photos [2]/a.png", 1)
    assert len(open_source(str(tmp_path / "photos [2]"))) == 1


def shard(path, samples, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in samples.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_webdataset_shards(tmp_path):
    shard(
        tmp_path / "train-0000.tar",
        {
            "a/0001.jpg": encoded(1, "JPEG"), "a/0001.cls": b"1\n", "a/0001.json": b"{}",
            "a/0002.PNG": encoded(2), "a/0002.mask.png": encoded(7), "a/0002.cls": b"0",
        },
    )  # fmt: skip
    shard(tmp_path / "train-0001.tar", {"a/0003.png": encoded(3), "a/0003.cls": b"1", "readme.txt": b"x"})
    shard(tmp_path / "test-0000.tar", {"9.png": encoded(4), "9.cls": b"0"})
    source = open_source(str(tmp_path))
    assert source.labels.tolist() == [1, 0, 1]
    assert np.array_equal(np.asarray(source[2]), np.asarray(Image.open(io.BytesIO(encoded(3)))))
    assert open_source(str(tmp_path), "test").labels.tolist() == [0]


def test_shards_that_cannot_be_opened_say_why(tmp_path):
    shard(tmp_path / "x.tar", {"1.png": encoded(1)}, "w:gz")
    with pytest.raises(ValueError, match="not an uncompressed tar"):
        open_source(str(tmp_path / "x.tar"))
    shard(tmp_path / "x.tar", {"1.png": encoded(1), "1.jpg": encoded(1, "JPEG")})
    with pytest.raises(ValueError, match="2 images"):
        open_source(str(tmp_path / "x.tar"))
    shard(tmp_path / "x.tar", {"1.txt": b"a"})
    with pytest.raises(ValueError, match="no images"):
        open_source(str(tmp_path / "x.tar"))
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="unpack"):
        open_source(str(tmp_path / "photos.zip"))
    put(tmp_path / "one.png", 1)
    with pytest.raises(ValueError, match="one picture"):
        open_source(str(tmp_path / "one.png"))


def test_a_mistyped_path_is_no_hugging_face_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("data/photographs")
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'data/photographs'") as error:
        open_source("data/photos")
    assert "Hugging Face" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"No folder or file 'dta/photographs'.*Did you mean"):
        open_source("dta/photographs")
