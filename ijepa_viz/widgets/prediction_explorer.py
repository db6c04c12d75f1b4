"""PredictionExplorer: paint a hole, let go, and see what the model expects there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image

from ijepa_viz.data.transforms import read_image, to_pil, to_tensor
from ijepa_viz.demo import check_pair
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA
from ijepa_viz.prediction import Prediction, Sampler, predict
from ijepa_viz.widgets.mask_painter import MaskPainter, data_uri, javascript

# What the decoder is given, by the value of the page's menu.
_SHOW: dict[str, dict[str, str]] = {
    "predicted": {},
    "pooled": {"condition": "pooled"},
    "other": {},
    "target": {"source": "target"},
    "null": {"condition": "null"},
}
_PREVIEW_EVERY = 4


class PredictionExplorer(MaskPainter):
    """Paint a hole over a picture; samples of the model's expectation appear when the pen is lifted.

    One worker thread computes; a new stroke cancels what is being drawn. The menu holds the controls:
    another image's prediction, the target encoder's own tokens, nothing at all.

    Args:
        model: with a predictor.
        decoder: trained on that model.
        image: whatever ``data.transforms.read_image`` takes.
        other: the picture behind the control "another image's prediction"; None is a plain grey one.
        hidden: (rows, cols) bool, the hole to begin with; None is a block in the middle.

    Raises:
        ValueError: a picture that cannot be used, or a decoder of another model.
    """

    _esm = javascript("prediction_explorer.js")

    samples = traitlets.Int(6).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    show = traitlets.Enum(list(_SHOW), "predicted").tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    result_seq = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self,
        model: IJEPA,
        decoder: Sampler,
        image: Any,
        *,
        other: Any = None,
        hidden: np.ndarray | None = None,
        **traits: Any,
    ) -> None:
        check_pair(model, decoder)
        size = model.config.image_size
        self._model, self._decoder = model, decoder
        self._pixels = to_tensor(read_image(image), size)
        self._other = torch.full_like(self._pixels, 0.5) if other is None else to_tensor(read_image(other), size)
        if hidden is None:
            hidden = Masks.from_block(model.grid, model.grid[0] // 4, model.grid[1] // 4,
                                      model.grid[0] // 2, model.grid[1] // 2).hidden[0].numpy()  # fmt: skip
        super().__init__(image, model.grid, hidden, **traits)
        self.last: Any = None
        self._wanted = threading.Event()
        self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True, name="PredictionExplorer")
        self._worker.start()
        self.observe(lambda _: self._wanted.set(), "seq")
        self._wanted.set()

    def close(self) -> None:
        """End the worker and close the widget."""
        self._closed = True
        if hasattr(self, "_wanted"):  # close() also runs when the constructor failed
            self._wanted.set()
        super().close()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed:
                return
            seq = self.seq
            try:
                self.busy = True
                self._answer(seq)
            except Exception as error:  # shown on the page: a callback's traceback would be seen nowhere
                self._show_error(seq, error)
            finally:
                self.busy = False

    def _show_error(self, seq: int, error: Exception) -> None:
        if self._wanted.is_set():
            return  # cancelled by a newer stroke
        with self.hold_sync():
            self.pictures, self.caption = [], ""
            self.error, self.result_seq = str(error) or type(error).__name__, seq

    def _answer(self, seq: int) -> None:
        masks, show, count, seed = self.masks, self.show, self.samples, self.seed
        prediction = predict(self._model, self._pixels, masks)
        given = predict(self._model, self._other, masks) if show == "other" else prediction
        drawn = self._decoder.sample(given, count, seed=seed, callback=self._preview(seq, prediction), **_SHOW[show])
        self.last = drawn
        cosine = float(prediction.cosine.mean())
        caption = f"seed {seed}; cosine of predicted and target tokens {cosine:.2f}"
        self._publish(drawn.on(self._pixels), seq, caption)

    def _preview(self, seq: int, prediction: Prediction) -> Callable[[dict[str, Any]], bool]:
        size = prediction.patch_size
        hole = prediction.masks.hidden[0].repeat_interleave(size, 0).repeat_interleave(size, 1)

        def look(state: dict[str, Any]) -> bool:
            if self._wanted.is_set():
                return True
            if state["step"] % _PREVIEW_EVERY == 1 and state["step"] < state["steps"]:
                self._publish(torch.where(hole, state["images"], self._pixels), None, "")
            return False

        return look

    def _publish(self, images: torch.Tensor, seq: int | None, caption: str) -> None:
        pictures = [data_uri(to_pil(image)) for image in images]
        with self.hold_sync():
            self.pictures, self.error = pictures, ""
            if seq is not None:
                self.caption, self.result_seq = caption, seq

    def _still(self) -> Image.Image:
        if self.last is None:
            return super()._still()
        pictures = [to_pil(image).resize((160, 160), Image.Resampling.NEAREST) for image in self.last.on(self._pixels)]
        sheet = Image.new("RGB", (160 * (1 + len(pictures)), 160), "white")
        for i, picture in enumerate([super()._still().resize((160, 160)), *pictures]):
            sheet.paste(picture, (160 * i, 0))
        return sheet
