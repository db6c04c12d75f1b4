"""Every way a model enters or leaves: bundled names, our folders, reference ``.pth.tar``, Hugging Face, timm.

No file is ever unpickled beyond plain tensors, and no state dict is loaded with ``strict=False``.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ijepa_viz import published, strict_config
from ijepa_viz.foreign_names import from_huggingface, from_reference, to_reference
from ijepa_viz.model import IJEPA, ModelConfig
from ijepa_viz.published import PUBLISHED

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
# What an objective of ``train/`` keeps beside its model, where it has more to keep.
OBJECTIVE, OBJECTIVE_WEIGHTS = "objective.json", "objective.safetensors"
BUNDLED = Path(__file__).parent / "weights"


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


def bundled_names() -> list[str]:
    """Models that come with the package."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}"))


def find_bundled(name: str) -> Path:
    """The folder of a bundled model.

    Raises:
        FileNotFoundError: no such name; the message names the nearest.
    """
    if name not in bundled_names():
        raise FileNotFoundError(_unknown(name, bundled_names()))
    return BUNDLED / name


def folder_of(source: str | Path) -> Path:
    """The folder that a bundled name or a path stands for; it need not exist."""
    return BUNDLED / str(source) if str(source) in bundled_names() else Path(source)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"No model {name!r}: no such file or folder, and not one of {', '.join(known)}.{hint}"


# --------------------------------------------------------------------------- writing and reading


def write_file(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: the old file or the new one, never half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# Where weights are mapped from their file they should begin as allocated ones do: products round by it.
_ALIGNED = 64
# The number formats that models are kept in, by the names that safetensors gives them.
_FORMATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """Safetensors, as :func:`write_file` writes; ``dtype`` converts. Returns the file's sha256.

    One tensor after the other, so that a giant mapped from another file is never in memory as a whole.

    Raises:
        OSError: the disk refuses; the file that was there before is intact.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in sorted(tensors.items()):
        kind = dtype or tensor.dtype
        start, end = end, end + tensor.numel() * kind.itemsize
        header[name] = {"dtype": _FORMATS[kind], "shape": list(tensor.shape), "data_offsets": [start, end]}
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-(len(words) + 8) % _ALIGNED)
    digest = hashlib.sha256()
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            start_of_file: list[bytes | memoryview] = [len(words).to_bytes(8, "little"), words]
            for part in itertools.chain(start_of_file, _bytes(tensors, dtype)):
                file.write(part)
                digest.update(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error}. What was there before is intact.") from error
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()


def _bytes(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Iterator[memoryview]:
    for _, tensor in sorted(tensors.items()):
        flat = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous().flatten()
        yield memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]


def write_config(path: Path, config: Any, digest: str) -> None:
    """A dataclass as JSON, with the sha256 of the weights it belongs to."""
    write_file(path, (json.dumps({**asdict(config), "weights_sha256": digest}, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: no such file. ValueError: not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(_not_a_model(path))
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object.")
    return data


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, on the CPU.

    Raises:
        FileNotFoundError: no such file. ValueError: truncated or damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping: not iterable)


def _not_a_model(missing: Path) -> str:
    saved = sorted(p for p in missing.parent.glob("step-*") if p.name[5:].isdigit())
    hint = f" It is a run's folder: its newest checkpoint is {saved[-1]}." if saved else ""
    return f"{missing.parent} is not a model folder: it has no {missing.name}.{hint}"


def _names(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(_not_a_model(path))
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error


def read_into(module: nn.Module, path: Path, digest: str | None, mapped: bool = False) -> None:
    """Fill ``module`` from safetensors, in float32, every name and shape checked, and its sha256 where known.

    ``mapped``: float32 weights stay where the file is mapped and are read when they are used; ``module`` may be on the
    meta device. Changing them changes no file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not the file its config was written with, or of other names or shapes.
    """
    state = read_tensors(path)
    if digest is not None:
        _check_digest(path, digest)
    try:
        full = {k: v.float() for k, v in state.items()}
        if mapped:
            full = {k: v.clone() if v.data_ptr() % _ALIGNED else v for k, v in full.items()}
        module.load_state_dict(full, strict=True, assign=mapped)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its config: {error}") from error


def _check_digest(path: Path, digest: str) -> None:
    if _sha256(path) != digest:
        raise ValueError(
            f"{path} is not the file that the JSON file beside it was written with (its sha256 differs): "
            "damaged or tampered with. Fetch it again."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(model: nn.Module) -> str:
    """A sha256 over all weights: tells whether a decoder meets the model it was trained on."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# --------------------------------------------------------------------------- our folders


def save_folder(model: IJEPA, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``; ``dtype`` float16 halves the file.

    A model without a teacher of its own, whose two encoders are one, is written with one of them.

    Raises:
        OSError: the disk refuses; what the folder held before is intact.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = _one_encoder(model) if model.predictor is None and _has_no_teacher(model) else model
    digest = write_tensors(folder / WEIGHTS, whole.state_dict(), dtype)
    write_config(folder / CONFIG, model.config, digest)


def _one_encoder(model: IJEPA) -> nn.Module:
    """The context encoder under the name it has in ``model``."""
    return nn.ModuleDict({"encoder": model.encoder})


def _has_no_teacher(model: IJEPA) -> bool:
    pairs = zip(model.encoder.state_dict().values(), model.target_encoder.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def load_folder(folder: str | Path) -> IJEPA:
    """Read what :func:`save_folder` wrote, in float32; raises as :func:`load_model` does."""
    folder = Path(folder)
    data = read_json(folder / CONFIG)
    digest = str(data.pop("weights_sha256", ""))
    config = strict_config.build(ModelConfig, data, str(folder / CONFIG))
    with torch.device("meta"):  # the weights come from the file: no second set beside them
        model = IJEPA(config)
    if model.predictor is None and not any(n.startswith("target_encoder.") for n in _names(folder / WEIGHTS)):
        read_into(_one_encoder(model), folder / WEIGHTS, digest, mapped=True)
        copied = {name: value.clone() for name, value in model.encoder.state_dict().items()}
        model.target_encoder.load_state_dict(copied, assign=True)
    else:
        read_into(model, folder / WEIGHTS, digest, mapped=True)
    return model


def copy_objective(source: str | Path, folder: Path, dtype: torch.dtype | None = None) -> bool:
    """Copy what training kept beside a model, such as the pixel decoder of a masked autoencoder, if there is any.

    Args:
        source: a model's folder, or anything else that :func:`load_model` takes, which has nothing beside it.
        folder: that exists. dtype: float16 halves the file.

    Returns:
        Whether there was something to copy.

    Raises:
        OSError, ValueError: as :func:`load_folder` and :func:`save_folder`.
    """
    came = folder_of(source)
    if not (came / OBJECTIVE).is_file():
        return False
    card = read_json(came / OBJECTIVE)
    tensors = read_tensors(came / OBJECTIVE_WEIGHTS)
    _check_digest(came / OBJECTIVE_WEIGHTS, str(card.get("weights_sha256", "")))
    card["weights_sha256"] = write_tensors(folder / OBJECTIVE_WEIGHTS, tensors, dtype)
    write_file(folder / OBJECTIVE, (json.dumps(card, indent=2) + "\n").encode())
    return True


# --------------------------------------------------------------------------- other people's files


def load_reference(path: str | Path) -> IJEPA:
    """A reference checkpoint: ``encoder``, ``predictor`` and ``target_encoder`` state dicts.

    Sizes are read from the tensors. The number of heads leaves no trace in them: it is the one of
    the published size of that width, or what :func:`save_reference` noted.

    Raises:
        ValueError: not a torch file, one that carries code, or not an I-JEPA.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values (code, perhaps) and was not opened: {error}"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a torch checkpoint, or is damaged: {error}") from error
    config, state = from_reference(data, str(path))
    # The weights stay where the file is mapped, and are read when they are used: no second 5 GB in memory.
    with torch.device("meta"):
        model = IJEPA(config)
    try:
        model.load_state_dict({name: value.float() for name, value in state.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path} is not an I-JEPA checkpoint: {error}") from error
    return model


def save_reference(model: IJEPA, path: str | Path) -> None:
    """Write a ``.pth.tar`` that the reference code's users can read, atomically.

    Raises:
        OSError: the disk refuses; a file that was there before is intact.
        ValueError: the model has no predictor.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        torch.save(to_reference(model), partial)
        os.replace(partial, path)
    except RuntimeError as error:  # how torch.save reports a full disk
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def load_huggingface(folder: str | Path) -> IJEPA:
    """A Hugging Face ``IJepaModel`` folder: the context encoder only; raises as :func:`load_model`."""
    folder = Path(folder)
    data = read_json(folder / CONFIG)
    if data.get("model_type") != "ijepa":
        raise ValueError(f"{folder} holds a {data.get('model_type')!r} model, not an 'ijepa' one.")
    try:
        parts = sorted(folder.glob("model*.safetensors"))
        state = {k: v.float() for part in parts for k, v in safetensors.torch.load_file(part).items()}
    except SafetensorError as error:
        raise ValueError(f"{folder} holds a truncated or damaged safetensors file: {error}") from error
    if not state:
        raise FileNotFoundError(f"{folder} has no model*.safetensors.")
    config, encoder = from_huggingface(data, state, str(folder))
    return _encoder_only(config, encoder, str(folder))


def load_timm(vit: nn.Module) -> IJEPA:
    """A timm I-JEPA ViT such as ``vit_huge_patch14_gap_224.in1k_ijepa``: the context encoder only."""
    state = {k: v.detach().clone() for k, v in vit.state_dict().items()}
    blocks: Any = vit.blocks
    config = ModelConfig(
        image_size=vit.patch_embed.img_size[0],  # type: ignore[union-attr,index,arg-type]
        patch_size=vit.patch_embed.patch_size[0],  # type: ignore[union-attr,index,arg-type]
        width=state["pos_embed"].shape[-1],
        depth=len(blocks),
        heads=blocks[0].attn.num_heads,
        mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / state["pos_embed"].shape[-1],
        predictor_width=0,
    )
    return _encoder_only(config, state, "The timm model")


def _encoder_only(config: ModelConfig, encoder: dict[str, Tensor], where: str) -> IJEPA:
    model = IJEPA(config)
    try:
        for part in (model.encoder, model.target_encoder):
            part.load_state_dict(encoder, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{where} is not an I-JEPA encoder: {error}") from error
    return model
