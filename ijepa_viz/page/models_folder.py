"""The folder ``models/`` of the page: ONNX files, and a manifest of all that the engine needs to know about them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data import menagerie
from ijepa_viz.data.transforms import MEAN, STD, normalise, to_pixels
from ijepa_viz.figures.token_colours import common_components
from ijepa_viz.models import IJEPA
from ijepa_viz.models.ijepa import target_layer_norm
from ijepa_viz.page.onnx_files import checked_bytes, run, session_of
from ijepa_viz.page.onnx_graphs import Graph
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.progress import Progress
from ijepa_viz.runtime.weights import Weights

MANIFEST = "manifest.json"

# Drawn scenes for the colours of tokens, and for the accuracy that is kept.
SCENES = 32


@contextmanager
def folder_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder to fill beside ``folder``, which becomes ``folder`` at the end; after an error it is gone.

    Args:
        folder: new or empty.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_models(
    folder: Path,
    name: str,
    model: IJEPA,
    graphs: Sequence[Graph],
    weights: str,
    decoder: Mapping[str, Any] | None = None,
    autoencoder: str | None = None,
) -> dict[str, Any]:
    """Write the graphs and their manifest.

    Args:
        folder: new or empty; written completely or not at all.
        name: of the model. model: whose graphs they are.
        weights: one of :data:`ijepa_viz.page.onnx_files.WEIGHTS`.
        decoder: the manifest's entry of the decoder. autoencoder: name of the masked autoencoder.

    Returns:
        The manifest.

    Raises:
        RuntimeError: onnxruntime differs from torch, or onnx is missing. OSError: the disk refuses.
    """
    rows, cols = model.grid
    manifest: dict[str, Any] = {
        "format": 1,
        "model": name,
        "weights_sha256": Weights(model).sha256(),
        "size": list(model.config.height_and_width),
        "patch": model.config.patch_size,
        "grid": [rows, cols],
        "dim": model.config.width,
        "normalisation": {"mean": MEAN.flatten().tolist(), "std": STD.flatten().tolist()},
        "weights": weights,
        "graphs": {},
        "decoder": decoder,
        "autoencoder": autoencoder,
    }
    with folder_or_nothing(folder) as partial, Progress("exporting networks", len(graphs), "network") as bar:
        files: dict[str, bytes] = {}
        for graph in graphs:
            data, gap = checked_bytes(graph, weights)
            file = f"{graph.name}.onnx"
            write_file(partial / file, data)
            digest = hashlib.sha256(data).hexdigest()
            manifest["graphs"][graph.name] = {"file": file, "bytes": len(data), "sha256": digest, "difference": gap}
            files[graph.name] = data
            bar.update(1)
        images = scene_images(model)
        manifest["colours"] = token_colours(model, images)
        manifest["kept"] = kept_accuracy({g.name: (g, files[g.name]) for g in graphs}, model, images)
        write_file(partial / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def scene_images(model: IJEPA, count: int = SCENES) -> Tensor:
    """Drawn scenes of the test seed as a model's input, (count, 3, H, W) normalised."""
    scenes = np.stack([menagerie.scene(i, seed=1).image for i in range(count)])
    return normalise(to_pixels(list(scenes), model.config.image_size))


def token_colours(model: IJEPA, images: Tensor) -> dict[str, list[Any]]:
    """Projection of tokens to colours: along what varies within the images, the range that of all tokens.

    Returns:
        ``mean`` (D), ``components`` (3, D), ``low`` and ``high`` (3), of tokens after the loss's LayerNorm. A colour is
        (components (token - mean) - low) / (high - low).
    """
    with torch.no_grad():
        tokens = target_layer_norm(model.encode_target(images.to(model.device))).float().cpu()
    found = common_components(list(tokens - tokens.mean(1, keepdim=True)))
    mean = tokens.mean((0, 1))
    along = (tokens - mean).flatten(0, 1) @ found.directions.T
    low, high = torch.quantile(along, torch.tensor([0.01, 0.99]), dim=0)
    parts = {"mean": mean, "components": found.directions, "low": low, "high": high}
    return {name: [[round(v, 6) for v in row] for row in part.tolist()] if part.ndim == 2 else
            [round(v, 6) for v in part.tolist()] for name, part in parts.items()}  # fmt: skip


def kept_accuracy(files: Mapping[str, tuple[Graph, bytes]], model: IJEPA, images: Tensor) -> dict[str, float]:
    """Mean cosine of predicted and target tokens in the central half of the images: of the files, and of torch."""
    rows, cols = model.grid
    hole = [r * cols + c for r in range(rows // 4, rows - rows // 4) for c in range(cols // 4, cols - cols // 4)]
    targets = torch.tensor(hole).expand(len(images), 1, -1)
    context = torch.tensor([i for i in range(rows * cols) if i not in hole]).expand(len(images), -1)
    found: dict[str, float] = {}
    outputs: dict[str, list[Tensor]] = {}
    for name, arguments in (("predict", (images, context, targets)), ("target", (images,))):
        graph, data = files[name]
        outputs[f"{name}-files"] = run(session_of(data), graph, arguments)
        with torch.no_grad():
            torchs = graph.module(*arguments)
        outputs[f"{name}-torch"] = [torchs] if isinstance(torchs, Tensor) else list(torchs)
    for kind in ("files", "torch"):
        predicted, target = outputs[f"predict-{kind}"][1][:, 0], outputs[f"target-{kind}"][0][:, hole]
        found[f"cosine_{kind}"] = float(torch.cosine_similarity(predicted, target, dim=-1).mean())
    return found
