"""Speed and memory of ``ijepa-viz features`` on generated pictures, beside a plain loop over transformers' model.

Both read the same files, run the same weights, average the tokens and write them to a file, each in a process of its
own: ``python tools/time_features.py [--pictures 1000] [--width 192 --depth 12 --heads 3] [--json FILE]``. The plain
loop opens a picture after the other, as scripts do, and keeps all averages until its end.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def draw(folder: Path, count: int) -> None:
    """Pictures of 400x320 pixels with structure and noise, as JPEG."""
    folder.mkdir()
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize((400, 320), 3)
        noise = rng.integers(-12, 13, (320, 400, 3))
        pixels = (np.asarray(coarse).astype(int) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05}.jpg", quality=90)


def save_model(folder: Path, options: argparse.Namespace) -> None:
    """A random IJepaModel of the asked size."""
    from transformers import IJepaConfig, IJepaModel

    torch.manual_seed(0)
    config = IJepaConfig(
        hidden_size=options.width,
        num_hidden_layers=options.depth,
        num_attention_heads=options.heads,
        intermediate_size=4 * options.width,
        image_size=options.size,
        patch_size=options.patch,
        layer_norm_eps=1e-6,
    )
    IJepaModel(config).save_pretrained(folder)


def memory() -> float:
    """Largest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def plain(root: Path, batch: int) -> dict[str, float]:
    """The loop that a script has: transformers' model and Pillow."""
    from transformers import IJepaModel

    from ijepa_viz.data.transforms import normalise, to_tensor

    model = IJepaModel.from_pretrained(root / "model").eval()
    files = sorted((root / "pictures").iterdir())
    before, started, found = memory(), time.perf_counter(), []
    with torch.inference_mode():
        for start in range(0, len(files), batch):
            images = torch.stack(
                [to_tensor(Image.open(f).convert("RGB"), model.config.image_size) for f in files[start : start + batch]]
            )
            found.append(model(normalise(images)).last_hidden_state.mean(1).numpy())
    np.savez(root / "plain.npz", layer=np.concatenate(found))
    seconds = time.perf_counter() - started
    return {"pictures_a_second": len(files) / seconds, "peak_mib": memory(), "before_mib": before}


def ours(root: Path, batch: int, tokens: bool) -> dict[str, float]:
    """``ijepa-viz features``, called as the command calls it."""
    import contextlib
    import io

    from ijepa_viz.cli import main
    from ijepa_viz.cli.command import import_libraries

    import_libraries()
    before, written = memory(), io.StringIO()
    command = ["features", str(root / "model"), "--data", str(root / "pictures"), "--out", str(root / "ours.parquet")]
    with contextlib.redirect_stdout(written):
        status = main([*command, "--batch", str(batch), "--device", "cpu", *(["--tokens"] if tokens else [])])
    assert status == 0
    speed = re.search(r"([\d.]+) pictures a second", written.getvalue())
    assert speed
    return {"pictures_a_second": float(speed[1]), "peak_mib": memory(), "before_mib": before}


def main() -> None:
    """Generate, run both, compare their numbers, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    for name, value in (("width", 192), ("depth", 12), ("heads", 3), ("size", 224), ("patch", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", nargs=2, metavar=("ROLE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        role, root = options.role[0], Path(options.role[1])
        found = plain(root, options.batch) if role == "plain" else ours(root, options.batch, role == "tokens")
        print(json.dumps(found))
        return
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root / "pictures", options.pictures)
        save_model(root / "model", options)
        for role in ("plain", "features", "tokens"):
            command = [sys.executable, __file__, "--role", role, folder, "--batch", str(options.batch)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            table[role] = json.loads(done.stdout.splitlines()[-1])
        from ijepa_viz.probes.feature_files import read_features

        kept = read_features(root / "ours.parquet")
        theirs = np.load(root / "plain.npz")["layer"]
        (own,) = (value for name, value in kept.values.items() if name.startswith("layer_"))
        table["difference"] = {"largest": float(np.abs(own - theirs).max())}
    for name, row in table.items():
        print(f"{name:12}", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
