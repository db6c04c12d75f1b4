"""Load a model by bundled or published name, folder, reference checkpoint, Hugging Face id or timm name."""

from __future__ import annotations

from pathlib import Path

import torch

from ijepa_viz.checkpoints import published
from ijepa_viz.checkpoints.encoder_only import load_huggingface, load_timm
from ijepa_viz.checkpoints.folders import BUNDLED, CONFIG, bundled_names, load_folder, save_folder, unknown_model
from ijepa_viz.checkpoints.published import PUBLISHED
from ijepa_viz.checkpoints.reference import load_reference
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.files import read_json


def load_model(source: str | Path, device: str | torch.device | None = None) -> IJEPA:
    """Load an I-JEPA from any supported source.

    Args:
        source: a bundled name (``menagerie-tiny``); a published name (``ijepa-vith14-in1k``, a download of 10 GB); a
            folder of :func:`ijepa_viz.checkpoints.save_folder`; a reference ``.pth.tar``; a Hugging Face folder or id,
            or ``timm:NAME``. Hugging Face and timm have the context encoder only: ``model.predictor`` is then None,
            and the target encoder a copy of the context encoder.
        device: of the weights; None is the CPU.

    Returns:
        The model, in float32.

    Raises:
        FileNotFoundError: an unknown source; the message suggests the nearest name.
        ValueError: a file that is damaged, modified, contains code, or is not an I-JEPA.

    >>> model = load_model("menagerie-tiny")
    >>> model.grid, model.config.width  # (rows, cols) of patches, D
    ((8, 8), 128)
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
    raise FileNotFoundError(unknown_model(text, [*bundled_names(), *PUBLISHED]))
