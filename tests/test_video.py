from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ijepa_viz.data.clips import ClipSource
from ijepa_viz.data.film_files import VideoFile
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.splits import Splits

av = pytest.importorskip("av")

GREY = [10 * i + 5 for i in range(24)]  # each frame's own grey tells its number


def picture(level: int, width: int = 64, height: int = 48) -> Image.Image:
    """A grey frame, lighter in its upper left quarter."""
    pixels = np.full((height, width, 3), level, np.uint8)
    pixels[: height // 2, : width // 2] = min(255, level + 15)
    return Image.fromarray(pixels)


def write_video(path: Path, levels=GREY, *, codec="mpeg4", rotation=None, aspect=None, times=None, **size) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        frame = picture(0, **size)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.gop_size, stream.time_base = 8, Fraction(1, 10)
        if codec == "mpeg4":
            stream.bit_rate, stream.codec_context.max_b_frames = 4_000_000, 2
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for i, level in enumerate(levels):
            image = av.VideoFrame.from_image(picture(level, **size))
            image.pts, image.time_base = (i if times is None else times[i]), Fraction(1, 10)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def write_frames(folder: Path, levels=GREY) -> Path:
    folder.mkdir(parents=True)
    for i, level in enumerate(levels):
        picture(level).save(folder / f"frame{i + 1}.png")  # frame10 is after frame9
    return folder


def write_gif(path: Path, levels=GREY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = [picture(level) for level in levels]
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


def corner(frames) -> list[int]:
    """Grey of the lower right corner of each frame."""
    return [round(float(np.asarray(frame)[-3, -3].mean())) for frame in frames]


WRITERS = {"mp4": lambda p: write_video(p / "a.mp4"), "gif": lambda p: write_gif(p / "a.gif"), "folder": lambda p: write_frames(p / "a")}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_clips_hold_the_frames_in_their_order(kind, tmp_path):
    WRITERS[kind](tmp_path)
    source = open_source(f"video:{tmp_path},frames=4,size=32,stride=2")
    assert isinstance(source, ClipSource)
    assert (len(source), source.frames, source.clip_size) == (3, 4, 32)
    for index in range(3):
        clip = source.clip(index)
        assert clip.frames.shape == (4, 32, 32, 3)
        assert clip.frames.dtype == np.uint8
        wanted = [GREY[8 * index + 2 * i] for i in range(4)]
        assert np.abs(np.array(corner(clip.frames)) - wanted).max() <= 3
        assert source[index].size == (64, 48)
        assert corner([source[index]])[0] == pytest.approx(wanted[0], abs=3)
        assert source.name_of(index).endswith(f"#{index}")
    assert source.clip(2, size=16).frames.shape == (4, 16, 16, 3)


def test_seeking_finds_the_frames_of_decoding_everything(tmp_path):
    """Against PyAV's own loop over the file; with B-frames, key frames every 8, and uneven times, or none (AVI)."""
    times = np.cumsum([1, 3, 1, 2] * 6).tolist()
    for name, options in {"a.mp4": {}, "b.mkv": {"times": times}, "c.avi": {}}.items():
        path = write_video(tmp_path / name, **options)
        with av.open(str(path)) as container:
            everything = [frame.to_image() for frame in container.decode(video=0)]
        film = VideoFile(str(path), [str(path)])
        assert film.count() == len(everything) == 24
        for indices in ([0], [23], [7, 8, 9], [3, 10, 17], list(range(24))):
            found = film.read(indices)
            assert len(found) == len(indices)
            for i, image in zip(indices, found, strict=True):
                assert np.array_equal(np.asarray(image), np.asarray(everything[i])), (name, i)


def test_a_stream_without_times_is_read_by_counting(tmp_path):
    path = tmp_path / "camera.mpg"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i, level in enumerate(GREY):
            frame = av.VideoFrame.from_image(picture(level))
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert all(packet.pts is None for packet in container.demux(video=0))
    film = VideoFile(str(path), [str(path)])
    assert film.count() == 24
    assert np.abs(np.array(corner(film.read([0, 5, 23]))) - [GREY[0], GREY[5], GREY[23]]).max() <= 3


def test_phones_are_turned_and_pixels_made_square(tmp_path):
    upright = VideoFile(str(write_video(tmp_path / "a.mp4")), []).read([3])[0]
    for angle, transpose in ((90, Image.Transpose.ROTATE_90), (-90, Image.Transpose.ROTATE_270), (180, Image.Transpose.ROTATE_180)):  # fmt: skip
        film = VideoFile(str(write_video(tmp_path / f"{angle}.mp4", rotation=angle)), [])
        assert np.array_equal(np.asarray(film.read([3])[0]), np.asarray(upright.transpose(transpose)))
    wide = VideoFile(str(write_video(tmp_path / "wide.mp4", aspect=Fraction(2, 1))), []).read([0])[0]
    assert wide.size == (128, 48)


def test_folders_are_classes_and_parts(tmp_path):
    for part in ("train", "val"):
        for name in ("jump", "run"):
            write_frames(tmp_path / part / name / "film", GREY[:8])
    train, test = (open_source(f"video:{tmp_path},frames=4", split) for split in ("train", "test"))
    assert list(train.classes) == list(test.classes) == ["jump", "run"]
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert not {str(row) for row in train.stamp[3:]} & {str(row) for row in test.stamp[3:]}
    assert train.name_of(2) == "run/film#0"


def test_without_parts_films_are_held_out_whole(tmp_path):
    for i in range(10):
        write_gif(tmp_path / f"{i}.gif", GREY[:9])
    train, test = (open_source(f"video:{tmp_path},frames=3", split) for split in ("train", "test"))
    names = [{s.name_of(i).partition("#")[0] for i in range(len(s))} for s in (train, test)]
    assert not names[0] & names[1]
    assert (len(names[0]), len(names[1])) == (8, 2)
    assert (len(train), len(test)) == (24, 6)
    # Shorter films, which longer clips leave out, do not move a film to the other part.
    for i in range(10):
        write_gif(tmp_path / f"short{i}.gif", GREY[:4])
    both = [[open_source(f"video:{tmp_path},frames={f}", s) for s in ("train", "test")] for f in (3, 9)]
    names = [[{s.name_of(i).partition("#")[0] for i in range(len(s))} for s in pair] for pair in both]
    assert names[1][0] <= names[0][0]
    assert names[1][1] <= names[0][1]
    with pytest.raises(ValueError, match="Clips of one film"):
        Splits(f"video:{tmp_path},frames=3", test_share=0.3)("test")
    for path in tmp_path.glob("*.gif"):
        path.unlink()
    (tmp_path / "one").mkdir()
    write_gif(tmp_path / "one" / "a.gif")
    assert len(open_source(f"video:{tmp_path / 'one'}")) == 1
    with pytest.raises(ValueError, match="one film, so none can be tested on"):
        open_source(f"video:{tmp_path / 'one'}", "test")


def test_films_that_cannot_be_read_are_skipped_and_counted(tmp_path):
    write_gif(tmp_path / "good.gif")
    write_gif(tmp_path / "short.gif", GREY[:3])
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 20)
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    source = open_source(f"video:{tmp_path}")
    assert len(source) == 1
    note = next(note for note in source.notes if "Skipped 3 of 4 films" in note)
    assert "broken.gif cannot be read as GIF" in note
    (tmp_path / "good.gif").unlink()
    with pytest.raises(ValueError, match=r"holds no film of 16 frames.*Skipped 3 of 3"):
        open_source(f"video:{tmp_path}")


@pytest.mark.parametrize("broken", ["broken.mp4", "short.gif", "sound.mp4"])
def test_each_cause_is_named(broken, tmp_path):
    path = tmp_path / broken
    cause = {"broken.mp4": "cannot be read as a video", "short.gif": "has 3 frames, and a clip of 16 needs 16",
             "sound.mp4": "no video stream"}[broken]  # fmt: skip
    if broken == "short.gif":
        write_gif(path, GREY[:3])
    elif broken == "sound.mp4":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    else:
        path.write_bytes(b"no video at all" * 20)
    with pytest.raises(ValueError, match=cause):
        open_source(f"video:{tmp_path}")


def test_options_and_names(tmp_path):
    folder = write_frames(tmp_path / "a, size=3")
    assert open_source(f"video:{folder},frames=8").clip(0).frames.shape == (8, 64, 64, 3)
    assert open_source(f"video:{folder}").clip_size == 64
    for wrong in ("frame=8", "frames=0", "frames=x"):
        with pytest.raises(ValueError, match="frames=N, size=N and stride=N"):
            open_source(f"video:{folder},{wrong}")
    for missing in ("", "nowhere", "nowhere,frames=2"):
        with pytest.raises(FileNotFoundError, match="video:FOLDER needs a folder"):
            open_source(f"video:{missing}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no film of 16 frames"):
        open_source(f"video:{tmp_path / 'empty'}")


def test_a_damaged_middle_is_an_error_and_no_other_frame(tmp_path):
    write_frames(tmp_path / "film", GREY[:8])
    source = open_source(f"video:{tmp_path},frames=4")
    (tmp_path / "film" / "frame6.png").write_bytes(b"")
    source.clip(0)
    with pytest.raises(ValueError, match=r"frame6\.png"):
        source.clip(1)


def test_without_pyav_videos_are_known_and_the_extra_is_named(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "av" else found(name, *rest))
    with pytest.raises(ValueError, match=r"pip install 'ijepa-viz\[video\]'"):
        open_source(f"video:{tmp_path}")
    write_gif(tmp_path / "b.gif")
    source = open_source(f"video:{tmp_path}")
    assert len(source) == 1
    assert "1 videos" in source.notes[0]
    with pytest.raises(ValueError, match=r"is a video.*ijepa-viz\[video\]"):
        VideoFile(str(tmp_path / "a.mp4"), []).read([0])
