"""Speed of ``ijepa-viz features`` beside a plain loop over transformers' model, and its memory by number of pictures.

``python tools/time_features.py [--data FILES] [--pictures 1000] [--rounds 4] [--width 192 --depth 12 --heads 3]``.

Speed: both read the same files, run the same weights, average the tokens and write them to a file. After a warm-up
each takes its turn on the same part of the pictures, the other one first every second time; the medians over the parts
are compared, by the clock and in CPU seconds (which other work on the machine disturbs less). The plain loop opens a
picture after the other, as scripts do. Beside it, the forward passes alone, on pixels in memory, and the memory of both
on one of the parts, each in a process of its own. Pictures are drawn, or with ``--data`` those of parquet files or of a
folder, evenly spaced.

Memory: the largest of a process, a forked one for each number of small generated pictures, above what it had before.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import IJepaConfig, IJepaModel

from ijepa_viz.checkpoints import load_model
from ijepa_viz.cli import main as ijepa_viz
from ijepa_viz.cli.command import import_libraries
from ijepa_viz.data.batches import evenly
from ijepa_viz.data.transforms import normalise, to_tensor
from ijepa_viz.probes.feature_files import ENDINGS, read_features
from ijepa_viz.probes.feature_stream import stream_features  # noqa: F401  (imported before memory is measured)

Timed = dict[str, list[tuple[float, float]]]
"""Name -> (seconds by the clock, CPU seconds) of each round."""

COUNTS = (200, 1000, 4000)


def draw(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Pictures with coarse structure and noise, as JPEG."""
    folder.mkdir(parents=True)
    paths = []
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize((width, height), 3)
        noise = rng.integers(-12, 13, (height, width, 3))
        pixels = (np.asarray(coarse).astype(int) + noise).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{i:05}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def photographs(folder: Path, data: Path, count: int) -> list[Path]:
    """Files of ``count`` pictures of parquet shards (column ``image``) or of a folder, evenly spaced, as they are.

    Raises:
        ValueError: there are fewer.
    """
    folder.mkdir(parents=True)
    shards = sorted(data.glob("*.parquet")) if data.is_dir() else [data]
    if shards and shards[0].suffix == ".parquet":
        cells = [
            cell["bytes"] for shard in shards for cell in pq.read_table(shard, columns=["image"])["image"].to_pylist()
        ]
    else:
        cells = sorted(path for path in data.rglob("*") if path.is_file())
    if len(cells) < count:
        raise ValueError(f"{data} has {len(cells)} pictures, and --pictures is {count}.")
    paths = []
    for i in evenly(len(cells), count):
        cell = cells[int(i)]
        with Image.open(io.BytesIO(cell) if isinstance(cell, bytes) else cell) as picture:
            paths.append(folder / f"{i:07}.{str(picture.format).lower()}")
        if isinstance(cell, bytes):
            paths[-1].write_bytes(cell)
        else:
            shutil.copyfile(cell, paths[-1])
    return paths


def save_model(folder: Path, size: int, patch: int, width: int, depth: int, heads: int) -> None:
    """A random IJepaModel."""
    torch.manual_seed(0)
    sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    config = IJepaConfig(**sizes, intermediate_size=4 * width, image_size=size, patch_size=patch, layer_norm_eps=1e-6)
    IJepaModel(config).save_pretrained(folder)


def plain(model: Path, pictures: Path, out: Path, batch: int) -> None:
    """The loop that a script has: transformers' model and Pillow."""
    theirs = IJepaModel.from_pretrained(model).eval()
    files, found = sorted(pictures.iterdir()), []
    with torch.inference_mode():
        for start in range(0, len(files), batch):
            images = torch.stack(
                [
                    to_tensor(Image.open(f).convert("RGB"), theirs.config.image_size)
                    for f in files[start : start + batch]
                ]
            )
            found.append(theirs(normalise(images)).last_hidden_state.mean(1).numpy())
    np.savez(out, layer=np.concatenate(found))


def features(model: Path, pictures: Path, out: Path, batch: int, *more: str) -> None:
    """``ijepa-viz features``, called as the command calls it."""
    command = ["features", str(model), "--data", str(pictures), "--out", str(out), "--batch", str(batch)]
    with contextlib.redirect_stdout(io.StringIO()):
        status = ijepa_viz([*command, "--device", "cpu", *more])
    if status:
        raise RuntimeError("ijepa-viz features failed.")


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and CPU seconds of all threads."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def speed(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Medians of both, and of the forward passes alone."""
    model, part = root / "model", options.pictures // options.rounds
    save_model(model, options.size, options.patch, options.width, options.depth, options.heads)
    everything = root / "pictures" / "all"
    paths = (
        photographs(everything, options.data, options.pictures)
        if options.data
        else draw(everything, options.pictures, 400, 320)
    )
    parts = [root / "pictures" / f"part-{i}" for i in range(options.rounds + 1)]
    for i, folder in enumerate(parts):  # the last one is the warm-up's
        folder.mkdir()
        for path in paths[i * part : (i + 1) * part] if i < options.rounds else paths[: options.batch]:
            os.link(path, folder / path.name)
    theirs, ours = IJepaModel.from_pretrained(model).eval(), load_model(model).eval().target_encoder
    pixels = torch.randn(options.batch, 3, options.size, options.size)
    work: dict[str, Callable[[Path], Any]] = {
        "plain loop": lambda folder: plain(model, folder, root / "plain.npz", options.batch),
        "ijepa-viz features": lambda folder: features(model, folder, root / "ours.npz", options.batch),
        "transformers, forward": lambda _: theirs(pixels).last_hidden_state.mean(1),
        "ours, forward": lambda _: ours(pixels).mean(1),
    }
    found: Timed = {name: [] for name in work}
    with torch.inference_mode():
        for one in work.values():
            one(parts[-1])
        for i, folder in enumerate(parts[:-1]):
            for name in sorted(work, reverse=i % 2 == 1):
                found[name].append(timed(lambda name=name, folder=folder: work[name](folder)))  # type: ignore[misc]
    theirs_of, ours_of = np.load(root / "plain.npz")["layer"], read_features(root / "ours.npz").values
    table: dict[str, Any] = {}
    for name, rounds in found.items():
        count = part if name in ("plain loop", "ijepa-viz features") else options.batch
        clock, cpu = (statistics.median(values) for values in zip(*rounds, strict=True))
        table[name] = {"pictures_a_second": count / clock, "pictures_a_cpu_second": count / cpu}
    for name, (own, other) in {
        "times": ("ijepa-viz features", "plain loop"), "times, forward": ("ours, forward", "transformers, forward"),
    }.items():  # fmt: skip
        table[name] = {key: value / table[other][key] for key, value in table[own].items()}
    for name, one in (("plain loop", plain), ("ijepa-viz features", features)):
        table[name]["mib"] = peak(partial(one, model, parts[0], root / "memory.npz", options.batch), "spawn")
    table["largest_difference"] = float(np.abs(next(iter(ours_of.values())) - theirs_of).max())
    return table


def peak(work: Callable[[], Any], start: str = "fork") -> float:
    """MiB by which the largest memory of a process of its own is above that before ``work``.

    A spawned one (``start``) has imported the libraries and computed nothing, a forked one has what this one has.
    """
    context: Any = multiprocessing.get_context(start)
    told = context.SimpleQueue()
    process = context.Process(target=_measured, args=(work, told))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("The measured process failed.")
    return float(told.get())


def _measured(work: Callable[[], Any], told: Any) -> None:
    import_libraries()
    before = _memory("VmRSS")
    work()
    told.put(_memory("VmHWM") - before)


def _memory(name: str) -> float:
    """MiB of a line of ``/proc/self/status``; ``ru_maxrss`` of a spawned process would begin with its parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 2**10


def growth(root: Path, counts: Sequence[int] = COUNTS, endings: Sequence[str] = ENDINGS) -> dict[str, dict[str, float]]:
    """Memory in MiB of features and tokens of a small model, by ending and number of pictures."""
    model = root / "small"
    save_model(model, 64, 8, 64, 2, 2)
    paths = draw(root / "small-pictures" / "all", max(counts), 96, 80)
    folders = {}
    for count in counts:
        folders[count] = root / "small-pictures" / str(count)
        folders[count].mkdir()
        for path in paths[:count]:
            os.link(path, folders[count] / path.name)
    features(model, folders[counts[0]], root / "warm.npz", 32)  # libraries and kernels
    return {
        ending: {
            str(count): peak(lambda c=count, e=ending: features(model, folders[c], root / f"f{e}", 32, "--tokens"))  # type: ignore[misc]
            for count in counts
        }
        for ending in endings
    }


def main() -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, metavar="FILES", help="pictures: a parquet file, or a folder (drawn ones)")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=4, help="parts that the pictures are divided into (default: 4)")
    parser.add_argument("--batch", type=int, default=32)
    for name, value in (("width", 192), ("depth", 12), ("heads", 3), ("size", 224), ("patch", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", choices=("speed", "memory"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import_libraries()
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IJEPA_VIZ_CACHE"] = f"{folder}/cache"
        if options.only != "memory":
            table["speed"] = speed(Path(folder), options)
        if options.only != "speed":
            table["memory_mib"] = growth(Path(folder))
    for name, rows in table.items():
        print(name)
        for row, values in rows.items():
            numbers = values.items() if isinstance(values, dict) else [("", values)]
            print(f"  {row:24}", "  ".join(f"{key} {value:.4g}" for key, value in numbers))
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
