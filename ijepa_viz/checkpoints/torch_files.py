"""Reading of files of ``torch.save``: only tensors and plain values are unpickled, and every refusal names the mend."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ijepa_viz.runtime.file_kinds import mistaken_for

# Parts of parameter names that only say what a module was wrapped in: by DistributedDataParallel, torch.compile, FSDP
# and activation checkpointing. They come in any order, and those of compiled or wrapped layers in the middle.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def read_torch(path: str | Path) -> Any:
    """Read a file of ``torch.save``, zip or legacy; memory-mapped where its format allows.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a torch file, damaged, or one that holds more than tensors and plain values.
    """
    path = Path(path)
    try:
        zipped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (FileNotFoundError, PermissionError):
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(_mistaken(path) or _refused(path, str(error))) from error
    except Exception as error:  # the restricted unpickler fails on damaged bytes by any kind of error
        told = "" if isinstance(error, KeyError) else f": {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        cause = f"{path} is not a torch checkpoint, or is damaged{told}."  # a KeyError tells a byte, and nothing
        raise ValueError(_mistaken(path) or cause) from error


def _mistaken(path: Path) -> str | None:
    what = mistaken_for(path)
    if what:
        return f"{path} {what}."
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped and not zipfile.is_zipfile(path):
        return f"{path} is truncated or damaged: it begins like a file of torch.save and has no end. Fetch it again."
    if zipped:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(n.endswith("/constants.pkl") for n in names) and any("/code/" in n for n in names):
            return f"{path} is a TorchScript archive, which is code: save the model's state_dict() by torch.save."
        if not any(n.endswith("data.pkl") for n in names):
            return f"{path} is a zip archive, but not one of torch.save (it holds {', '.join(names[:3])})."
    return None


def _refused(path: Path, error: str) -> str:
    """The message for a file whose pickle names something else than tensors and plain values."""
    found = re.search(r"GLOBAL (\S+)", error)
    if not found:
        return f"{path} is not a torch checkpoint, or is damaged: {error.partition(chr(10))[0]}"
    name = found[1]
    if name.split(".")[0] != "numpy":
        return (
            f"{path} holds more than tensors and plain values ({name}: code, perhaps, or a whole module) and was not "
            "opened, because unpickling it can run code. Where it was made, save the state_dict()s alone."
        )
    old, new = str(path), str(path.with_name(f"{path.name.split('.')[0]}-plain.pth.tar"))
    return (
        f"{path} holds NumPy values ({name}), such as a loss that was saved as np.float64, and was not opened, because "
        "unpickling those can run code. If you trust whoever made it, this lets NumPy's numbers in and writes the "
        f'weights again without them: python -c "{_LET_NUMPY_IN}; '
        f"d = torch.load({old!r}, map_location='cpu', weights_only=True); "
        f'torch.save({{k: v for k, v in d.items() if k in {_KEPT}}}, {new!r})"'
    )


_KEPT = ("encoder", "predictor", "target_encoder", "state_dict", "model")

# Python code, on one line for a shell. NumPy 1 called its _core core.
_LET_NUMPY_IN = (
    "import codecs, torch, numpy as np; m = np._core.multiarray; torch.serialization.add_safe_globals("
    "[(f, 'numpy.%s.multiarray.%s' % (c, f.__name__)) for c in ('core', '_core') for f in (m.scalar, m._reconstruct)]"
    " + [np.ndarray, np.dtype, codecs.encode] + [type(np.dtype(t)) for t in '?efdiqIQ'])"
)


def plain_names(state: dict[Any, Any], where: str) -> dict[str, torch.Tensor]:
    """The tensors of a state dict under their names without wrappers such as ``module.`` and ``_orig_mod.``.

    Raises:
        ValueError: a value that is no tensor of floats, or two tensors of one name.
    """
    plain: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        name = ".".join(part for part in str(key).split(".") if part not in _WRAPPERS)
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{where}: {key} is no tensor but of type {type(value).__name__}.")
        if not value.is_floating_point():
            raise ValueError(f"{where}: {key} is stored as {value.dtype}: quantised weights are not read. Save floats.")
        if name in plain:
            raise ValueError(f"{where} has two tensors of the name {name}, with and without a wrapper's prefix.")
        plain[name] = value
    return plain
