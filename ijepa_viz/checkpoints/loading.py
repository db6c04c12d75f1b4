"""Load a model by bundled or published name, folder, reference checkpoint, Hugging Face id or timm name."""

from __future__ import annotations

import difflib
from pathlib import Path

import torch

from ijepa_viz.checkpoints import published
from ijepa_viz.checkpoints.folders import BUNDLED, CONFIG, bundled_names, load_folder, save_folder, unknown_model
from ijepa_viz.checkpoints.hub import hub_folder, is_hub_name
from ijepa_viz.checkpoints.huggingface import load_huggingface
from ijepa_viz.checkpoints.published import PUBLISHED
from ijepa_viz.checkpoints.reference import load_reference
from ijepa_viz.checkpoints.timm_vit import load_timm
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.files import not_a_model_folder, read_json


def load_model(source: str | Path, device: str | torch.device | None = None) -> IJEPA:
    """Load an I-JEPA from any supported source.

    Args:
        source: a bundled name (``menagerie-tiny``); a published name (``ijepa-vith14-in1k``, a download of 10 GB); a
            folder of :func:`ijepa_viz.checkpoints.save_folder`; a reference ``.pth.tar``; a Hugging Face folder or id,
            or ``timm:NAME``. Hugging Face's own models and timm's have the context encoder only: ``model.predictor`` is
            then None, and the target encoder a copy of the context encoder. An id may also be of a folder of ours,
            which :func:`ijepa_viz.checkpoints.push_to_hub` sent there.
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
    text, path = str(source), Path(source).expanduser()
    if path.is_dir():
        return _load_folder(path)
    if path.is_file():
        return _load_file(path)
    if text in bundled_names():
        return load_folder(BUNDLED / text)
    if text in PUBLISHED:
        return load_folder(published.converted(text, load_reference, save_folder))
    if text.startswith("timm:"):
        return _load_timm(text.removeprefix("timm:"))
    if is_hub_name(text):
        return _load_folder(_snapshot(text))
    beside = _beside(path)
    raise FileNotFoundError(unknown_model(text, [*bundled_names(), *PUBLISHED]) + (beside and f" Beside it: {beside}."))


def _load_folder(folder: Path) -> IJEPA:
    """Load a folder of ours, of Hugging Face's or of timm's, told apart by its config."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{not_a_model_folder(folder / CONFIG)}{_other_folder(folder)}")
    data = read_json(folder / CONFIG)
    if "model_type" in data:
        return load_huggingface(folder)
    if "architecture" in data and "pretrained_cfg" in data:  # as timm pushes to the Hugging Face Hub
        return _load_timm(f"local-dir:{folder}")
    return load_folder(folder)


def _other_folder(folder: Path) -> str:
    """A sentence on a folder that is known, but is no model folder."""
    snapshots = sorted(p for p in folder.glob(f"snapshots/*/{CONFIG}"))
    if snapshots:
        return f" It is a folder of Hugging Face's cache: give {snapshots[-1].parent}."
    if (folder / "decoder.json").is_file():
        return " It is a decoder: open it by decoders.load_decoder."
    if (folder / ".metadata").is_file():
        return (
            " It is a distributed checkpoint: `python -m torch.distributed.checkpoint.format_utils dcp_to_torch "
            "FOLDER FILE` makes one file of it."
        )
    if (folder / "adapter_config.json").is_file():
        return " It holds an adapter: merge it into its model first (merge_and_unload() in peft), and save that."
    checkpoints = sorted(p for kind in ("*.pth.tar", "*.pth", "*.pt", "*.ckpt") for p in folder.glob(kind))
    if checkpoints:
        return f" It holds a checkpoint, though: give {checkpoints[-1]}."
    inner = sorted(p.parent for p in folder.glob(f"*/{CONFIG}"))
    return f" A folder in it has one: {inner[-1]}." if inner and not list(folder.glob("step-*")) else ""


def _load_file(path: Path) -> IJEPA:
    if path.name == CONFIG or path.suffix in (".safetensors", ".json"):
        whole = (path.parent / CONFIG).is_file()
        mend = f"give its folder, {path.parent}" if whole else f"it needs a {CONFIG} beside it"
        raise ValueError(f"{path} is one file of a model folder: {mend}.")
    return load_reference(path)


def _load_timm(name: str) -> IJEPA:
    import timm

    try:
        vit = timm.create_model(name, pretrained=True, num_classes=0)
    except OSError as error:  # includes a missing network
        raise FileNotFoundError(f"timm's weights of {name!r} could not be fetched: {error}") from error
    except RuntimeError as error:
        near = difflib.get_close_matches(name, timm.list_pretrained("*ijepa*"), n=1, cutoff=0.3)
        hint = f" Did you mean 'timm:{near[0]}'?" if near else ""
        raise ValueError(f"timm could not make {name!r}: {error}.{hint}") from error
    return load_timm(vit)


def _snapshot(name: str) -> Path:
    """The folder of a model of the Hugging Face hub."""
    try:
        return hub_folder(name)
    except FileNotFoundError as error:
        beside = _beside(Path(name))
        raise FileNotFoundError(
            f"There is no file or folder {name}{beside and f' (beside it: {beside})'}, and {error}"
        ) from error


def _beside(path: Path) -> str:
    """Names beside a path that does not exist, the likeliest one or the first few; empty where its folder is not."""
    parent = path.parent
    if parent == Path() or not parent.is_dir():
        return ""
    names = sorted(p.name for p in parent.iterdir() if not p.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.4)
    return ", ".join(near or names[:5])
