"""Identity of a model's weights: hashed when it is first asked for, and once for as long as they stay the same."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from ijepa_viz.runtime.tensors import fingerprint

_Mark = tuple[Any, ...]

_VALUES = 16  # about as many tensors of a model have one value looked at

# Model -> the mark of its weights when they were hashed, and their fingerprint.
_HASHED: weakref.WeakKeyDictionary[nn.Module, tuple[_Mark, str]] = weakref.WeakKeyDictionary()


class Weights:
    """The weights of a model as they are now. The model is not kept alive, and nothing is hashed yet.

    Hashing reads every weight: 15 ms for the bundled models and seconds for a ViT-H, so that a prediction, which
    remembers whose it is, leaves it to the decoder that has a question.
    """

    def __init__(self, model: nn.Module) -> None:
        model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper gives the weights other names
        self._model: Any = weakref.ref(model)
        self._mark = _mark(model)
        mark, sha256 = _HASHED.get(model, (None, None))
        self._sha256 = sha256 if mark == self._mark else None

    def sha256(self) -> str | None:
        """The :func:`ijepa_viz.runtime.tensors.fingerprint`; None if the model is gone or has changed before this."""
        if self._sha256 is None:
            model = self._model()
            if model is None or _mark(model) != self._mark:
                return None
            mark, self._sha256 = _HASHED.get(model, (None, None))
            if self._sha256 is None or mark != self._mark:
                self._sha256 = fingerprint(model)
                _HASHED[model] = self._mark, self._sha256
        return self._sha256

    def __getstate__(self) -> dict[str, Any]:
        return {"_sha256": self._sha256}

    def __setstate__(self, state: dict[str, Any]) -> None:  # a copy in another process has no model
        self.__dict__.update(state, _model=lambda: None, _mark=())


def _mark(model: nn.Module) -> _Mark:
    """What changes with the weights and is read in half a millisecond: addresses, versions, and some of the values.

    The values, because fused optimizers and changes of ``.data`` leave address and version as they were.
    """
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.numel()]
    some: dict[torch.device, list[Tensor]] = {}
    for t in tensors[:: max(1, len(tensors) // _VALUES)]:
        some.setdefault(t.device, []).append(t.detach().flatten()[t.numel() // 2].float())
    return (
        *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors),
        *(torch.stack(values).cpu().numpy().tobytes() for values in some.values()),
    )
