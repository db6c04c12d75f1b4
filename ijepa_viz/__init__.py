"""ijepa_viz: see what a JEPA predicts.

>>> import ijepa_viz
>>> from ijepa_viz.data import menagerie
>>> model = ijepa_viz.load_model("menagerie-tiny")
>>> masks = ijepa_viz.Masks.from_block(model.grid, row=1, col=2, height=4, width=4)
>>> prediction = ijepa_viz.predict(model, menagerie.scene(0).image, masks)
>>> prediction.predicted.shape  # (M, T, D): one target block of 16 patches
torch.Size([1, 16, 128])
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

# Imported on first use, because torch takes seconds and --help does not need it.
_HOMES = {
    "Masks": "masks",
    "load_model": "checkpoints",
    "predict": "prediction",
    "Prediction": "prediction",
    "IJEPA": "models",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ijepa_viz.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ijepa_viz' has no attribute {name!r}")
