"""The folder ``models/`` of the page: ONNX files, and a manifest of all that the engine needs to know about them."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
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
from ijepa_viz.page.onnx_files import PACKED, checked_bytes, kind_of, run, session_of
from ijepa_viz.page.onnx_graphs import Graph
from ijepa_viz.runtime.files import folder_or_nothing, read_json, write_file
from ijepa_viz.runtime.progress import Progress
from ijepa_viz.runtime.weights import Weights

MANIFEST = "manifest.json"

# Drawn scenes for the colours of tokens, and for the accuracy that is kept.
SCENES = 32


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
            data, gap = checked_bytes(graph, kind_of(graph, weights))
            file, written = f"{graph.name}.onnx", data
            if weights in PACKED:
                file, written = f"{file}.gz", gzip.compress(data, 9, mtime=0)
            write_file(partial / file, written)
            digest = hashlib.sha256(written).hexdigest()
            manifest["graphs"][graph.name] = {"file": file, "bytes": len(written), "sha256": digest, "difference": gap}
            files[graph.name] = data
            bar.update(1)
        images = scene_images(model)
        manifest["colours"] = token_colours(model, images)
        manifest["kept"] = kept_accuracy({g.name: (g, files[g.name]) for g in graphs}, model, images)
        write_file(partial / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def decoder_fingerprints(decoder: Any) -> list[str | None]:
    """Fingerprints of a decoder's networks, by which an export of it is known: of the pixels' and of the tokens'."""
    networks = (decoder.network, decoder.pipeline.token_network)
    return [Weights(network).sha256() for network in networks if network is not None]


def check_is_export_of(folder: Path, model: IJEPA, decoder: Any) -> dict[str, Any]:
    """The manifest of an export, if it is of this model and this decoder.

    Raises:
        FileNotFoundError: no export. ValueError: it is of other weights, samples otherwise, or has no decoder.
    """
    manifest = read_json(folder / MANIFEST)
    again = f"export the same (ijepa-viz export MODEL --onnx {folder}, into a new folder of that name)"
    if manifest.get("weights_sha256") != Weights(model).sha256():
        raise ValueError(f"{folder} holds {manifest.get('model')!r} with other weights than this model: {again}.")
    theirs = manifest.get("decoder")
    if theirs is None:
        raise ValueError(f"{folder} was exported without a decoder: {again}, with --decoder.")
    if theirs.get("weights_sha256") != decoder_fingerprints(decoder):
        raise ValueError(f"{folder} holds another decoder of {manifest.get('model')!r} than this one: {again}.")
    exported = {**theirs, "fresh_noise": _is_sde(theirs.get("token_solver") or theirs.get("solver") or {})}
    changed = [name for name, value in _sampling_of(decoder).items() if exported.get(name, value) != value]
    if changed:
        raise ValueError(f"{folder} samples with another {' and '.join(changed)} than this decoder: {again}.")
    return manifest


def _sampling_of(decoder: Any) -> dict[str, Any]:
    """How a decoder samples by default, as a manifest has it."""
    config, pipeline = decoder.config, decoder.pipeline
    found = {"steps": config.steps, "detail": config.detail}
    scheduler = pipeline.scheduler
    if pipeline.token_network is not None:
        found |= {"token_steps": config.token_steps, "token_temperature": config.token_temperature}
        scheduler = pipeline.scheduler_of_tokens
    return {**found, "fresh_noise": str(scheduler.config.get("algorithm_type", "")).startswith("sde-")}


def _is_sde(solver: dict[str, Any]) -> bool:
    return str(solver.get("name", "")).startswith("sde-")


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
