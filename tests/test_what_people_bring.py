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

from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.layout import file_stamps, part_of
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.scan import scan
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
    said = capsys.readouterr().err
    assert "Skipped 2 of 5 pictures" in said
    assert "1 nowhere.png" in said
    assert "broken.png" in said
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


def test_a_class_named_train_is_a_class(tmp_path):
    # As in CIFAR-100, COCO and VOC.
    for i, place in enumerate(("bus/a", "car/a", "train/a", "train/b")):
        put(tmp_path / f"{place}.png", i)
    source = open_source(str(tmp_path))
    assert of_class(source) == ["bus", "car", "train", "train"]
    assert source.split is None
    assert "also train" in source.notes[0]


def test_folders_beside_the_parts_are_named(tmp_path):
    for i, place in enumerate(("train/cat/a", "train/dog/a", "val/cat/b", "valid/cat/c", "extra/cat/d")):
        put(tmp_path / f"{place}.png", i)
    for split in ("train", "test"):
        assert open_source(str(tmp_path), split).notes == [f"Ignored in {tmp_path}: extra, valid, beside train."]


@pytest.mark.parametrize(
    "names", [("training_set", "test_set"), ("cats train", "cats val"), ("Train-64", "Testing-64")]
)
def test_folders_with_the_parts_in_longer_names_are_parts(tmp_path, names):
    for i, part in enumerate(names):
        for j, name in enumerate(("cat", "dog")):
            put(tmp_path / part / name / "a.png", 2 * i + j)
    train, test = open_source(str(tmp_path)), open_source(str(tmp_path), "test")
    assert (train.split, test.split) == ("train", "test")
    assert of_class(train) == of_class(test) == ["cat", "dog"]
    assert test.name == str(tmp_path / names[1])


@pytest.mark.parametrize(
    "names", [("training-dogs", "protest", "latest"), ("train_images", "train_masks", "test_images")]
)
def test_folders_that_are_no_parts_are_classes(tmp_path, names):
    for i, name in enumerate(names):
        put(tmp_path / name / "a.png", i)
    source = open_source(str(tmp_path))
    assert (source.split, source.classes) == (None, sorted(names))
    assert bool(source.notes) == ("train_masks" in names)


def test_an_empty_test_folder_is_no_part(tmp_path):
    for i, place in enumerate(("train/cat/a", "train/dog/b", "val/cat/c")):
        put(tmp_path / f"{place}.png", i)
    (tmp_path / "test").mkdir()
    (tmp_path / "test/ids.csv").write_text("1")
    assert of_class(open_source(str(tmp_path), "test")) == ["cat"]
    (tmp_path / "val/cat/c.png").unlink()
    source = open_source(str(tmp_path), "test")
    assert (source.split, source.notes) == (None, [f"Ignored in {tmp_path}: test, val, without pictures."])


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_folder_is_looked_into_once(tmp_path, monkeypatch, split):
    for i, place in enumerate(("train/cat/a", "train/dog/deeper/b", "val/cat/c", "val/dog/d")):
        put(tmp_path / f"{place}.png", i)
    expected = open_source(str(tmp_path), split)
    seen, scandir = [], os.scandir
    monkeypatch.setattr("os.scandir", lambda path: seen.append(os.fspath(path)) or scandir(path))
    source = open_source(str(tmp_path), split)
    assert source.stamp == expected.stamp
    places = [".", "train", "train/cat", "train/dog", "train/dog/deeper", "val", "val/cat", "val/dog"]
    assert sorted(seen) == sorted(str(tmp_path / place) for place in places)


def test_a_link_from_the_training_part_to_the_whole_brings_no_test_picture(tmp_path):
    put(tmp_path / "train/cat/a.png", 1)
    put(tmp_path / "train/dog/b.png", 2)
    put(tmp_path / "val/cat/c.png", 3)
    (tmp_path / "train/cat/all").symlink_to(tmp_path)
    assert of_class(open_source(str(tmp_path), "train")) == ["cat", "dog"]


def test_the_current_folder_is_opened_as_by_its_name(tmp_path, monkeypatch):
    put(tmp_path / "train/cat/a.png", 1)
    put(tmp_path / "train/-dog/b.png", 2)
    put(tmp_path / "val/cat/c.png", 3)
    named = {split: open_source(str(tmp_path), split) for split in ("train", "test")}
    monkeypatch.chdir(tmp_path)
    for split, source in named.items():
        here = open_source(".", split)
        assert (here.stamp, here.classes, here.split) == (source.stamp, source.classes, split)


def test_stamps_are_those_of_the_files_behind_links(tmp_path):
    put(tmp_path / "real/a.png", 1)
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "b.png").symlink_to("linked/a.png")
    (tmp_path / "nowhere.png").symlink_to("gone.png")
    files = [str(tmp_path / name) for name in ("real/a.png", "linked/a.png", "b.png", "nowhere.png")]
    found = file_stamps(files)
    state = os.stat(files[0])
    same = [str(tmp_path / "real/a.png"), state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    assert found[:3] == [same, same, same]
    assert found[3][:2] == [str(tmp_path / "gone.png"), os.lstat(files[3]).st_size]


def test_a_link_to_itself_is_skipped(tmp_path):
    put(tmp_path / "cat/a.png", 1)
    (tmp_path / "cat/self.png").symlink_to("self.png")
    assert len(open_readable(str(tmp_path))) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_folders_without_permission_are_named(tmp_path):
    root = os.geteuid() == 0  # who may read everything
    for place in (tmp_path, *tmp_path.parents):
        if root and place.name.startswith(("test_", "popen-", "pytest-")):
            place.chmod(0o755)
    put(tmp_path / "data/cat/a.png", 1)
    put(tmp_path / "data/dog/deeper/b.png", 2)
    (tmp_path / "data/dog").chmod(0o444)  # its names can be read, and nothing behind them
    if root:
        os.seteuid(65534)
    try:
        source = open_source(str(tmp_path / "data"))
    finally:
        if root:
            os.seteuid(0)
        (tmp_path / "data/dog").chmod(0o755)
    assert of_class(source) == ["cat"]
    assert "dog/deeper: Permission denied" in source.notes[0]


def test_files_replaced_by_others_of_the_same_size_and_date_are_read_anew(tmp_path):
    def write(colours):
        for i, colour in enumerate(colours):
            Image.new("RGB", (16, 16), (colour, 0, 0)).save(tmp_path / f"{i}.bmp")
            os.utime(tmp_path / f"{i}.bmp", (10**9, 10**9))
        source = open_source(str(tmp_path))
        return arrays(source, 16)[:, 0, 0, 0].tolist(), scan(source).digests.tolist()

    first, before = write([1, 2, 3])
    second, after = write([101, 102, 103])
    assert (first, second) == ([1, 2, 3], [101, 102, 103])
    assert not set(before) & set(after)


def test_an_unreadable_picture_that_can_be_read_now_is_no_longer_skipped(tmp_path, monkeypatch):
    put(tmp_path / "a.png", 1)
    put(tmp_path / "b.png", 2)
    Image.new("RGB", (300, 300)).save(tmp_path / "c.png")
    with monkeypatch.context() as limited:
        limited.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        assert len(open_readable(str(tmp_path))) == 2
    assert len(open_readable(str(tmp_path))) == 3
    assert scan(open_source(str(tmp_path))).digests.all()


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_a_damaged_file_of_the_cache_is_named(tmp_path, monkeypatch, ending):
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(tmp_path / "cache"))
    put(tmp_path / "data/a.png", 1)

    def read():
        arrays(open_readable(str(tmp_path / "data")), 16)

    read()
    (file,) = (tmp_path / "cache").glob(f"*.{ending}")
    for damaged in (b"", file.read_bytes()[:150]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{file.name}.* is damaged .*Delete it"):
            read()
    file.unlink()
    read()


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        (["img/1.png"], "the text 'img/1.png'"),
        ([[1, 2, 3]], "list"),
        ([[{"bytes": b"x", "path": None}]], "list"),
        ([7], "int"),
        ([{"bytes": "text", "path": None}], "the text 'text'"),
    ],
)
def test_an_image_column_of_other_things_is_refused(tmp_path, cells, what):
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=rf"Row 0 holds {what}"):
        open_readable(str(tmp_path))


def write_shard(path, count, labels, names=()):
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    rows = pa.table({"image": [encoded(i) for i in range(count)], "label": labels})
    note = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    pq.write_table(rows.replace_schema_metadata(note), path)


def test_labels_below_minus_one_and_beyond_64_bits_are_refused(tmp_path):
    # -2 was the second to last name after matching by name.
    write_shard(tmp_path / "1.parquet", 3, [-2, 0, 1], ["a", "b"])
    write_shard(tmp_path / "2.parquet", 1, [0], ["b", "a", "c"])
    with pytest.raises(ValueError, match="holds the label -2"):
        open_source(str(tmp_path))
    write_shard(tmp_path / "1.parquet", 1, pa.array([2**63], pa.uint64()))
    with pytest.raises(ValueError, match="holds the label 9223372036854775808"):
        open_source(str(tmp_path / "1.parquet"))


def test_the_part_that_is_tested_on_has_its_own_name(tmp_path):
    write_shard(tmp_path / "train-0.parquet", 2, [0, 1])
    write_shard(tmp_path / "test-0.parquet", 3, [-1, -1, -1])
    assert open_source(str(tmp_path), "test").name == f"{tmp_path} (test)"
    write_shard(tmp_path / "validation-0.parquet", 2, [1, 0])
    assert open_source(str(tmp_path), "test").name == f"{tmp_path} (validation)"


@pytest.mark.parametrize("text", ["no json", "[]", '{"info": null}', '{"info": {"features": [1]}}'])
def test_another_description_of_the_columns_is_ignored(tmp_path, text):
    rows = pa.table({"image": [encoded(1)], "label": [3]}).replace_schema_metadata({"huggingface": text})
    pq.write_table(rows, tmp_path / "x.parquet")
    assert open_source(str(tmp_path)).labels.tolist() == [3]


def test_pictures_without_a_label_are_counted(tmp_path):
    write_shard(tmp_path / "1.parquet", 6, [-1, 0, 1, -1, 0, None])
    assert "3 of the 6 pictures" in open_source(str(tmp_path)).notes[0]


def test_a_shard_without_any_label_joins_shards_with_names(tmp_path):
    write_shard(tmp_path / "1.parquet", 2, pa.array([None, None], pa.string()))
    write_shard(tmp_path / "2.parquet", 2, ["cat", "dog"])
    assert of_class(open_source(str(tmp_path))) == [None, None, "cat", "dog"]


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type, member.linkname = tarfile.LNKTYPE, data
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def test_pictures_with_a_second_dot_in_their_names_are_counted_in_tar_files(tmp_path):
    members = {f"cat.{i}.png": encoded(i) for i in range(4)}
    tar(tmp_path / "x.tar", members)
    with pytest.raises(ValueError, match=r"4 pictures with a second dot in their names \(cat\.0\.png, "):
        open_source(str(tmp_path))
    tar(tmp_path / "x.tar", {**members, "a.png": encoded(9)})
    source = open_source(str(tmp_path))
    assert len(source) == 1
    assert "4 pictures with a second dot" in source.notes[0]


def test_hard_links_in_tar_files_are_read(tmp_path):
    tar(tmp_path / "x.tar", {"a.png": encoded(1), "b.png": "a.png"})
    source = open_source(str(tmp_path))
    assert np.array_equal(np.asarray(source[0]), np.asarray(source[1]))


def test_class_files_of_tar_shards(tmp_path):
    def labels(*texts):
        members = {}
        for i, text in enumerate(texts):
            members |= {f"{i}.png": encoded(i), f"{i}.cls": text.encode() if isinstance(text, str) else text}
        tar(tmp_path / "x.tar", members)
        source = open_source(str(tmp_path))
        return of_class(source) if source.classes else source.labels.tolist()

    assert labels("10", "2\n") == [10, 2]
    assert labels("747", "cessna") == ["747", "cessna"]  # names, since not all are numbers
    assert labels("²", "1") == ["²", "1"]
    assert labels("cat", "") == ["cat", None]
    with pytest.raises(ValueError, match=r"cls file of .*x\.tar is no text"):
        labels(b"\xff\xfe")
