"""MaskPainter: paint a mask over an image, synchronised with the kernel."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image

from ijepa_viz import masks as mask_samplers
from ijepa_viz.data.fitting import centre_crop
from ijepa_viz.data.transforms import read_image
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.runtime.files import read_text, write_file
from ijepa_viz.widgets.picture_widget import PictureWidget, data_uri, javascript

_SIDE = 320
# Number of multi-block masks on the page; seeds 0 to 31.
_PAPER_MASKS = 32
# Seconds without a further stroke before the callback runs.
_REST = 0.03


class MaskPainter(PictureWidget):
    """Paint a mask over an image.

    Drag to hide patches; a drag that starts on a hidden patch shows them again. There are a brush of one to three
    patches, a block tool, multi-block masks by seed, undo and redo, and loading and saving of files. Keyboard: arrow
    keys and space; Shift and an arrow hides along the way; Ctrl+Z undoes.

    Args:
        image: any input of :func:`ijepa_viz.data.transforms.read_image`; the largest centred part of the grid's
            proportions is shown.
        grid: (rows, cols) of patches.
        hidden: (rows, cols) bool, the initial mask; None hides nothing.

    Raises:
        ValueError: an unreadable image, or a mask of another grid.
    """

    _esm = javascript("painter_files.js", "painter_surface.js", "mask_painter.js")

    grid = traitlets.List(traitlets.Int()).tag(sync=True)
    image = traitlets.Unicode().tag(sync=True)
    mask = traitlets.Unicode().tag(sync=True)
    paper_masks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # Number of the page's last request, and of the last one that the kernel received.
    seq = traitlets.Int(0).tag(sync=True)
    heard = traitlets.Int(0).tag(sync=True)
    # An uploaded image, as a data: URI.
    upload = traitlets.Unicode("").tag(sync=True)
    uploads = traitlets.Bool(True).tag(sync=True)

    def __init__(self, image: Any, grid: Grid, hidden: np.ndarray | None = None, **traits: Any) -> None:
        rows, cols = grid
        self._picture = centre_crop(read_image(image), shown_size(grid))
        start = np.zeros((rows, cols), bool) if hidden is None else hidden
        traits.setdefault("paper_masks", _paper_masks(grid))
        super().__init__(grid=[rows, cols], image=data_uri(self._picture), mask=to_text(start, (rows, cols)), **traits)
        self.observe(lambda _: self._on_upload(), "upload")
        self.observe(lambda change: setattr(self, "heard", change["new"]), "seq")

    @property
    def hidden(self) -> np.ndarray:
        """The mask, (rows, cols) bool, True = hidden; assignment changes it on the page."""
        return (np.frombuffer(self.mask.encode(), np.uint8) == ord("1")).reshape(self.grid)

    @hidden.setter
    def hidden(self, value: np.ndarray) -> None:
        text = to_text(value, (self.grid[0], self.grid[1]))
        with self.hold_sync():
            self.mask = text
            self.seq += 1

    @property
    def masks(self) -> Masks:
        """The mask as :class:`ijepa_viz.Masks`, B = M = 1.

        Raises:
            ValueError: nothing or everything is hidden.
        """
        return Masks.from_array(self.hidden)

    @property
    def picture(self) -> Image.Image:
        """The current image, 320 pixels wide, which an upload may have replaced."""
        return self._picture

    def on_hole(self, answer: Callable[[Masks], object]) -> None:
        """Call ``answer(masks)`` for every mask painted from now on; its errors are shown below the image.

        Strokes during a call are merged into one later call with the last mask. Masks that hide nothing or everything
        are skipped. Without a running event loop, as in a script, the call is immediate.
        """
        waiting: list[asyncio.TimerHandle] = []

        def now() -> None:
            if not 0 < self.hidden.sum() < self.hidden.size:
                return
            try:
                answer(self.masks)
            except Exception as error:  # shown on the page, where a callback's traceback is not visible
                self.error = f"This hole was not answered: {str(error) or type(error).__name__}"
            else:
                self.error = ""

        def painted(_: object) -> None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                now()
                return
            while waiting:
                waiting.pop().cancel()
            waiting.append(loop.call_later(_REST, now))

        self.observe(painted, "seq")

    def save(self, path: str | Path) -> None:
        """Save the mask as ``.npy``, (rows, cols) bool, or ``.json`` for :meth:`ijepa_viz.Masks.from_json`.

        Raises:
            ValueError: another suffix, or, for JSON, a mask that hides nothing or everything.
            OSError: a write error; a previous file is intact.
        """
        path = Path(path)
        if path.suffix == ".npy":
            out = io.BytesIO()
            np.save(out, self.hidden, allow_pickle=False)
            write_file(path, out.getvalue())
        elif path.suffix == ".json":
            write_file(path, self.masks.to_json().encode())
        else:
            raise ValueError(f"A mask is saved as .json or .npy, got {path.name!r}.")

    def load(self, path: str | Path) -> None:
        """Load a mask file of :meth:`save` or of the page's menu.

        Raises:
            FileNotFoundError: no such file. ValueError: not a mask, or one of another grid.
        """
        path = Path(path)
        if path.suffix == ".npy":
            self.hidden = np.load(path, allow_pickle=False)
            return
        masks = Masks.from_json(read_text(path))
        if masks.grid != tuple(self.grid):
            raise ValueError(f"{path} is a mask of {masks.grid} patches, this picture has {tuple(self.grid)}.")
        self.hidden = masks.hidden[0].numpy()

    def still(self) -> tuple[Image.Image, str]:
        """The image with its mask, and the alternative text."""
        return self._painted(), f"A picture with {int(self.hidden.sum())} of {self.hidden.size} patches hidden"

    def _painted(self) -> Image.Image:
        overlay = (self.hidden * 184).astype(np.uint8)
        mask = Image.fromarray(overlay).resize(self._picture.size, Image.Resampling.NEAREST)
        return Image.composite(Image.new("RGB", self._picture.size, "#D55E00"), self._picture, mask)

    def _on_upload(self) -> None:
        if not self.upload:
            return
        try:
            head, _, body = self.upload.partition(",")
            if not head.startswith("data:image/"):
                raise ValueError("What was sent is not an image.")
            image = read_image(io.BytesIO(base64.b64decode(body, validate=True)))
            self._take(image)
        except (ValueError, binascii.Error) as error:
            self.error = f"This picture cannot be used: {error}"
        self.upload = ""

    def _take(self, image: Image.Image) -> None:
        """Replace the image."""
        self._picture = centre_crop(image, shown_size((self.grid[0], self.grid[1])))
        with self.hold_sync():
            self.image, self.error = data_uri(self._picture), ""


def shown_size(grid: Grid) -> tuple[int, int]:
    """(height, width) in pixels of the image on the page, whose patches are square."""
    return max(1, round(_SIDE * grid[0] / grid[1])), _SIDE


def _paper_masks(grid: Grid) -> list[str]:
    """Hidden patches of the multi-block sampler as texts, one image a seed."""
    drawn = []
    for seed in range(_PAPER_MASKS):
        masks = mask_samplers.sample(batch=1, grid=grid, generator=torch.Generator().manual_seed(seed))
        drawn.append(to_text(masks.hidden[0].numpy(), grid))
    return drawn


def to_text(hidden: np.ndarray, grid: Grid) -> str:
    """Serialise (rows, cols) bool as "0" and "1", row-major.

    Raises:
        ValueError: not a boolean array of the grid's shape.
    """
    array = np.asarray(hidden)
    if array.shape != grid or array.dtype != bool:
        raise ValueError(f"The mask must be a boolean array ({grid[0]}, {grid[1]}), got {array.dtype} {array.shape}.")
    return "".join("1" if cell else "0" for cell in array.ravel())
