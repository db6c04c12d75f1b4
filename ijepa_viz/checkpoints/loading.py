"""One door for every model: bundled and published names, folders, reference checkpoints, Hugging Face, timm."""

from __future__ import annotations

from pathlib import Path

import torch

from ijepa_viz.checkpoints import published
from ijepa_viz.checkpoints.encoder_only import load_huggingface, load_timm
from ijepa_viz.checkpoints.folders import BUNDLED, CONFIG, _unknown, bundled_names, load_folder, save_folder
from ijepa_viz.checkpoints.published import PUBLISHED
from ijepa_viz.checkpoints.reference import load_reference
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.files import read_json


def load_model(source: str | Path, device: str | torch.device | None = None) -> IJEPA:
    """Load an I-JEPA, whoever made it.

    Args:
        source: a bundled name (``menagerie-tiny``); a published name (``ijepa-vith14-in1k``, 10 GB
            to download); a folder of ours; a reference ``.pth.tar``; a Hugging Face folder or id,
            or ``timm:NAME``. The last three hold the context encoder only: then
            ``model.predictor`` is None and the target encoder is a copy of the context encoder.
        device: None is the CPU.

    Raises:
        FileNotFoundError: nothing of that name; the message names the nearest known one.
        ValueError: damaged, tampered with, carrying code, or not an I-JEPA.
    """
    return _load(source).to(device or "cpu")


def _load(source: str | Path) -> IJEPA:
    text, path = str(source), Path(source)
    if path.is_dir():
        data = read_json(path / CONFIG)
        return load_huggingface(path) if "model_type" in data else load_folder(path)
    if path.is_file():
        return load_reference(path)
    if text in bundled_names():
        return load_folder(BUNDLED / text)
    if text in PUBLISHED:
        return load_folder(published.converted(text, load_reference, save_folder))
    if text.startswith("timm:"):
        import timm

        return load_timm(timm.create_model(text[5:], pretrained=True, num_classes=0))
    if text.count("/") == 1 and not path.suffix and not text.startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download

        return load_huggingface(Path(snapshot_download(text)))
    raise FileNotFoundError(_unknown(text, [*bundled_names(), *PUBLISHED]))
