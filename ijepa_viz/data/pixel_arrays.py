"""Pictures as NumPy arrays and torch tensors: one rule for their values and one for their layout.

Values: the type says the range. uint8 is 0 to 255, uint16 is 0 to 65535, floats are 0 to 1. Every other type (int32,
int64, bool, complex, ...), and floats beyond 0 to 1, have no range of their own and are an error that asks for it.

Layout, of one picture: (H, W) grey, (H, W, 1), (H, W, 3), (H, W, 4) with transparency, (1, H, W) or (3, H, W); of a
batch: (B, H, W, 1), (B, H, W, 3), (B, H, W, 4), (B, 1, H, W) or (B, 3, H, W). Height and width are at least 8 pixels,
so that no shape can be read in two ways; three dimensions are always one picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

# Smallest height and width of a picture, in pixels.
SMALLEST = 8

ValueRange = tuple[float, float]

# Sums and resizing in float32 may leave [0, 1] by less than a quarter of an 8-bit step.
_ROUNDING = 1e-3
_LAYOUTS = (
    "One picture is (H, W), (H, W, 1), (H, W, 3), (H, W, 4), (1, H, W) or (3, H, W); a batch is (B, H, W, 1), "
    f"(B, H, W, 3), (B, H, W, 4), (B, 1, H, W) or (B, 3, H, W); height and width are at least {SMALLEST}"
)


def is_array(source: Any) -> bool:
    """Whether ``source`` is a NumPy array or a torch tensor."""
    return isinstance(source, np.ndarray | Tensor)


def split_array(array: np.ndarray | Tensor, value_range: ValueRange | None = None) -> tuple[list[np.ndarray], bool]:
    """The pictures of an array, (H, W, C) with C = 1, 3 or 4, uint8 or float32 in [0, 1]; and whether it is a batch.

    Args:
        value_range: the values of black and white, for a type that has no range of its own or does not use it.

    Raises:
        ValueError: a layout that is not of this file's, an empty batch, or values without a known range.
    """
    values = _as_numpy(array)
    shape = values.shape
    if values.ndim == 2:
        values = values[..., None]
    batched = values.ndim == 4
    if values.ndim not in (3, 4) or 0 in shape:
        raise ValueError(f"{_LAYOUTS}; got {shape}.")
    last = values.shape[-1] in (1, 3, 4) and min(values.shape[-3:-1]) >= SMALLEST
    first = values.shape[-3] in (1, 3) and min(values.shape[-2:]) >= SMALLEST
    if not (last or first):
        raise ValueError(f"{_LAYOUTS}; got {shape}.")
    if first:
        values = np.moveaxis(values, -3, -1)
    values = standard_values(values, "The picture array", value_range)
    return (list(values) if batched else [values]), batched


def _as_numpy(array: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(array, np.ndarray):
        if isinstance(array, np.ma.MaskedArray):
            raise ValueError("A masked array has pixels without a value. Fill them first: array.filled(value).")
        return array
    if array.is_meta or array.layout != torch.strided or array.is_quantized:
        raise ValueError("A picture tensor is dense and has values, not sparse, quantized or on the meta device.")
    array = array.detach().cpu()
    return (array.float() if array.dtype == torch.bfloat16 else array).numpy()


def standard_values(values: np.ndarray, name: str, value_range: ValueRange | None = None) -> np.ndarray:
    """``values`` of any shape as they are if uint8, else as float32 in [0, 1], by the rule of this file.

    Args:
        name: subject of the errors. value_range: the values of black and white; what lies beyond is clipped.

    Raises:
        ValueError: NaN or infinite values, a type without a range, or floats beyond 0 to 1.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "uifb":
        raise ValueError(f"{name} holds {values.dtype}; pictures are uint8, uint16 or floats.")
    if kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values.")
    if value_range is not None:
        low, high = (float(v) for v in value_range)
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"value_range is (black, white), finite and black below white, got {value_range}.")
        return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    if (kind, size) == ("u", 1):
        return values
    if (kind, size) == ("u", 2):
        return (values / np.float32(65535)).astype(np.float32)
    low, high = values.min(), values.max()
    if kind == "f":
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            return np.clip(values.astype(np.float32), 0, 1)
        raise ValueError(
            f"{name} holds {values.dtype} from {low:.4g} to {high:.4g}; floats are 0 to 1. {_mend(low, high)}"
        )
    if kind == "b":
        raise ValueError(
            f"{name} is boolean, like a mask. Of a black and white picture give array.astype(np.uint8) * 255."
        )
    raise ValueError(
        f"{name} holds {values.dtype} from {low} to {high}, a type that has no range of its own. Convert it to uint8 "
        "(0 to 255) or uint16 (0 to 65535), or read it by ijepa_viz.data.transforms.read_image(picture, "
        "value_range=(black, white))."
    )


def _mend(low: float, high: float) -> str:
    if low < 0:
        return "Of a normalised picture give ijepa_viz.data.transforms.denormalise(picture), clamped to 0 to 1."
    if high <= 255:
        return "If they are 0 to 255, divide by 255 or convert to uint8; of another range, give value_range."
    return "Divide by the value of white, or read it by read_image(picture, value_range=(black, white))."


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Uint8 as it is; float32 in [0, 1] rounded to the nearest of 256 levels."""
    return values if values.dtype == np.uint8 else (values * 255 + 0.5).astype(np.uint8)
