"""ijepa_viz: see what a JEPA predicts.

>>> import ijepa_viz
>>> model = ijepa_viz.load_model("menagerie-tiny")
>>> masks = ijepa_viz.Masks.from_block(model.grid, row=1, col=2, height=4, width=4)
>>> prediction = ijepa_viz.predict(model, image, masks)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Imported on first use: torch takes seconds, and drawing or --help should not wait for it.
_HOMES = {
    "Masks": "masks",
    "load_model": "checkpoints",
    "predict": "prediction",
    "Prediction": "prediction",
    "IJEPA": "model",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ijepa_viz.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ijepa_viz' has no attribute {name!r}")
