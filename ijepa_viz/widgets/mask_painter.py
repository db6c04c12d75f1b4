"""MaskPainter: draw over a picture which patches to hide; the kernel has the mask at once."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from PIL import Image

from ijepa_viz.data.transforms import read_image, square
from ijepa_viz.masks import Grid, Masks

_HERE = Path(__file__).parent


def javascript(name: str) -> str:
    """A widget's ESM: the shared surface, then the widget's own file. Nothing is imported at run time."""
    return (_HERE / "painter_surface.js").read_text() + "\n" + (_HERE / name).read_text()


def data_uri(image: Image.Image) -> str:
    """A picture as a PNG ``data:`` URI."""
    return "data:image/png;base64," + base64.b64encode(_png(image)).decode()


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "png", compress_level=1)
    return out.getvalue()


class MaskPainter(anywidget.AnyWidget):
    """Paint a mask over a picture.

    Drag to hide patches; a drag that starts on a hidden patch shows them again. Arrow keys and space
    work as well, and Ctrl+Z takes a stroke back.

    Args:
        image: whatever ``data.transforms.read_image`` takes; its centred square is shown.
        grid: (rows, cols).
        hidden: (rows, cols) bool, the mask to begin with; None hides nothing.

    Raises:
        ValueError: a picture that cannot be used, or a mask of another grid.
    """

    _esm = javascript("mask_painter.js")

    grid = traitlets.List(traitlets.Int()).tag(sync=True)
    image = traitlets.Unicode().tag(sync=True)
    mask = traitlets.Unicode().tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(self, image: Any, grid: Grid, hidden: np.ndarray | None = None, **traits: Any) -> None:
        rows, cols = grid
        self._picture = square(read_image(image), 320)
        start = np.zeros((rows, cols), bool) if hidden is None else hidden
        super().__init__(grid=[rows, cols], image=data_uri(self._picture), mask=_to_text(start, (rows, cols)), **traits)

    @property
    def hidden(self) -> np.ndarray:
        """(rows, cols) bool, True = hidden. Set it to change the mask on the page."""
        return (np.frombuffer(self.mask.encode(), np.uint8) == ord("1")).reshape(self.grid)

    @hidden.setter
    def hidden(self, value: np.ndarray) -> None:
        text = _to_text(value, (self.grid[0], self.grid[1]))
        with self.hold_sync():
            self.mask = text
            self.seq += 1

    @property
    def masks(self) -> Masks:
        """The mask for a model.

        Raises:
            ValueError: nothing is hidden, or everything is.
        """
        return Masks.from_array(self.hidden)

    def _still(self) -> Image.Image:
        """The picture with its mask, for places where widgets do not run."""
        overlay = Image.fromarray((self.hidden * 184).astype(np.uint8)).resize((320, 320), Image.Resampling.NEAREST)
        return Image.composite(Image.new("RGB", (320, 320), "#D55E00"), self._picture, overlay)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if data is None:
            return bundle
        still = base64.b64encode(_png(self._still())).decode()
        alt = f"A picture with {int(self.hidden.sum())} of {self.hidden.size} patches hidden"
        html = f'<img alt="{alt}" src="data:image/png;base64,{still}">'
        return {**data, "text/html": html, "image/png": still}, metadata


def _to_text(hidden: np.ndarray, grid: Grid) -> str:
    array = np.asarray(hidden)
    if array.shape != grid or array.dtype != bool:
        raise ValueError(f"The mask must be a boolean array ({grid[0]}, {grid[1]}), got {array.dtype} {array.shape}.")
    return "".join("1" if cell else "0" for cell in array.ravel())
