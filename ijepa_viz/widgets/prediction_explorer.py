"""PredictionExplorer: paint a mask and see samples decoded from the prediction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from ijepa_viz.data import menagerie
from ijepa_viz.data.transforms import read_image, square, to_pil, to_tensor
from ijepa_viz.figures.completion import BOX
from ijepa_viz.figures.token_samples import TokenColours, token_colours
from ijepa_viz.inspections.maps import controls, token_map
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, Sampler, check_pair, predict
from ijepa_viz.widgets.mask_painter import MaskPainter, to_text
from ijepa_viz.widgets.picture_widget import data_uri, javascript

# Arguments of the decoder by the choice of the page's menu.
_SHOW: dict[str, dict[str, str]] = {
    "predicted": {},
    "pooled": {"conditioning": "pooled"},
    "other": {},
    "mean": {},
    "target": {"source": "target"},
    "null": {"conditioning": "null"},
}
_CONTROLS = {"other": "another image", "mean": "mean prediction"}
# Colour of the line around the decoded region, as in the figures.
_LINE = {show: BOX["control"] for show in _SHOW} | {
    "predicted": BOX["predicted"],
    "pooled": BOX["predicted"],
    "target": BOX["target"],
}
# Why there are no sampled tokens to show: of a menu's choice, and of a decoder.
_DRAWN_AT_ONCE = {
    "target": "The target encoder's tokens are drawn as they are: none are sampled.",
    "null": "Without a condition no tokens are sampled.",
}
_ONE_STAGE = "This decoder has one stage: it samples pixels, and no tokens."
_PREVIEW_EVERY = 4
_OTHERS = 24
_NO_TILES: dict[str, Any] = {"token_tiles": [], "reference_tiles": [], "agreement": ""}


class PredictionExplorer(MaskPainter):
    """Paint a mask over an image; on release, samples decoded from the model's prediction appear.

    One worker thread computes; a new stroke cancels the current sampling. The menu has the controls: another image's
    prediction, the mean prediction of many images, the target tokens, and unconditional samples.

    Args:
        model: with a predictor.
        decoder: trained on that model.
        image: any input of :func:`ijepa_viz.data.transforms.read_image`.
        other: one or several other images: the first for the control "another image's prediction", all for the mean
            prediction. None takes drawn scenes.
        hidden: (rows, cols) bool, the initial mask; None is a centred block.
        name: of this model, in the page's menu.
        alternatives: name -> (model, decoder), further entries of the menu, of the same grid.

    Attributes:
        last: the samples on the page.

    Raises:
        ValueError: an unreadable image, a decoder of another model, or models of different grids.
    """

    _esm = javascript("painter_files.js", "painter_surface.js", "prediction_explorer.js")

    samples = traitlets.Int(6).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    steps = traitlets.Int(0, help="0 is the decoder's own default").tag(sync=True)
    guidance = traitlets.Float(1.0).tag(sync=True)
    show = traitlets.Enum(list(_SHOW), "predicted").tag(sync=True)
    choice = traitlets.Unicode("").tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # Mask of the shown samples (``mask`` may be newer), and the colour of its line.
    hole = traitlets.Unicode("").tag(sync=True)
    line = traitlets.Unicode("").tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    # (N,), the cosine of each hidden patch's predicted and target token; -2 where nothing is hidden.
    cosines = traitlets.List(traitlets.Float()).tag(sync=True)
    # Tokens as colours, each {"name", "picture", "words"}: of every sample, in the order of ``pictures``, and, once,
    # predicted and target tokens and where the samples agree.
    token_tiles = traitlets.List(traitlets.Dict()).tag(sync=True)
    reference_tiles = traitlets.List(traitlets.Dict()).tag(sync=True)
    agreement = traitlets.Unicode("").tag(sync=True)
    no_tokens = traitlets.Unicode("Nothing is sampled yet.", help="why there are no tokens").tag(sync=True)
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
        name: str = "this model",
        alternatives: Mapping[str, tuple[IJEPA, Sampler]] | None = None,
        **traits: Any,
    ) -> None:
        self._pairs = {name: (model, decoder), **(alternatives or {})}
        for title, pair in self._pairs.items():
            check_pair(*pair)
            theirs, mine = pair[0].config, model.config
            if (theirs.image_size, theirs.grid) != (mine.image_size, mine.grid):
                raise ValueError(
                    f"{title!r} takes {theirs.image_size} px on a grid of {theirs.grid}, {name!r} {mine.image_size} px "
                    f"on {mine.grid}: they cannot share one painter."
                )
        self._others = _read_others(other, model.config.image_size)
        self._show_source(read_image(image))
        if hidden is None:
            hidden = Masks.from_block(model.grid, model.grid[0] // 4, model.grid[1] // 4,
                                      model.grid[0] // 2, model.grid[1] // 2).hidden[0].numpy()  # fmt: skip
        super().__init__(self._source, model.grid, hidden, choice=name, choices=list(self._pairs), **traits)
        self.last: Any = None
        self._wanted, self._answered = threading.Event(), threading.Event()
        self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True, name="PredictionExplorer")
        self._worker.start()
        self.observe(lambda _: self._wanted.set(), "seq")
        self._wanted.set()

    def close(self) -> None:
        """Stop the worker thread and close the widget."""
        self._closed = True
        if hasattr(self, "_wanted"):  # close() also runs when the constructor failed
            self._wanted.set()
        super().close()

    def _take(self, image: Image.Image) -> None:
        self._show_source(image)
        super()._take(image)
        self._wanted.set()  # independent of the order of image and request number

    def _show_source(self, image: Image.Image) -> None:
        self._source = image
        self._resized: dict[int, Tensor] = {}

    def _pixels(self, size: int) -> Tensor:
        """The image at a size, (3, size, size), resized once and cached."""
        resized = self._resized
        if size not in resized:
            resized[size] = to_tensor(self._source, size)
        return resized[size]

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
            except Exception as error:  # shown on the page, where a thread's traceback is not visible
                self._show_error(seq, error)
            finally:
                self.busy = False
                if not self._wanted.is_set():
                    self._answered.set()

    def _show_error(self, seq: int, error: Exception) -> None:
        if self._wanted.is_set():
            return  # cancelled by a newer stroke
        words = str(error) or type(error).__name__
        self._put(pictures=[], caption="", cosines=[], **_NO_TILES, error=words, result_seq=seq)

    def _answer(self, seq: int) -> None:
        if "1" not in self.mask:  # as after Clear: no error
            words = "Nothing is hidden yet: drag over the picture."
            self._put(pictures=[], caption=words, cosines=[], **_NO_TILES, error="", result_seq=seq)
            return
        traits, self.last = self._ask(self.masks, self.show, preview=True)
        self._put(**traits, error="", result_seq=seq)

    def _put(self, **traits: Any) -> None:
        """Set several traits in one message to the page."""
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def answer(self, hidden: np.ndarray, show: str = "predicted") -> tuple[dict[str, Any], str]:
        """Traits of the page for another mask, and that mask as text, without changing the page.

        Args:
            hidden: (rows, cols) bool. show: choice of the menu.

        Raises:
            ValueError: a mask that hides nothing or everything, or an unknown ``show``.
        """
        if show not in _SHOW:
            raise ValueError(f"show is one of {', '.join(_SHOW)}, got {show!r}.")
        return self._ask(Masks.from_array(hidden), show)[0], to_text(hidden, (self.grid[0], self.grid[1]))

    def _ask(self, masks: Masks, show: str, preview: bool = False) -> tuple[dict[str, Any], Any]:
        model, decoder = self._pairs[self.choice]
        prediction = predict(model, self._pixels(model.config.image_size), masks)
        given = prediction
        if show in _CONTROLS:
            others = self._others[:1] if show == "other" else self._others
            given = prediction.replaced(controls(model, others, masks)[_CONTROLS[show]])
        drawn = decoder.sample(
            given, self.samples, steps=self.steps or None, guidance=self.guidance, seed=self.seed,
            callback=self._preview(prediction, show) if preview else None, **_SHOW[show],
        )  # fmt: skip
        whose = {"other": "another image's", "mean": "the mean"}.get(show, "the")
        caption = f"seed {self.seed}; cosine of {whose} predicted and the target tokens {given.cosine.mean():.2f}"
        if self.guidance != 1:
            caption += f"; guidance {self.guidance:g}: what varies is the guidance's doing too"
        if detail := getattr(drawn, "detail", 0.0):
            caption += f"; sampled down to noise level {detail:.2g}, finer grain averaged"
        around = np.nan_to_num(token_map(given.predicted, given.target, masks).cosine, nan=-2.0)
        return {
            "pictures": [data_uri(to_pil(image)) for image in drawn.on(self._pixels(drawn.images.shape[-1]))],
            **self._around(masks, show),
            "cosines": around.ravel().tolist(),
            "caption": caption,
            **self._tokens(given, drawn, show),
        }, drawn

    def _tokens(self, given: Prediction, drawn: Any, show: str) -> dict[str, Any]:
        if getattr(drawn, "tokens", None) is None:
            return {**_NO_TILES, "no_tokens": _DRAWN_AT_ONCE.get(show, _ONE_STAGE)}
        return {**_token_traits(token_colours(given, drawn), show), "no_tokens": ""}

    def _around(self, masks: Masks, show: str) -> dict[str, str]:
        return {"hole": to_text(masks.hidden[0].cpu().numpy(), masks.grid), "line": _LINE[show]}

    def _preview(self, prediction: Prediction, show: str) -> Callable[[dict[str, Any]], bool]:
        def look(state: dict[str, Any]) -> bool:
            if self._wanted.is_set():
                return True
            if state["step"] % _PREVIEW_EVERY == 1 and state["step"] < state["steps"]:
                size = state["images"].shape[-1] // prediction.masks.grid[1]
                hole = prediction.masks.hidden_pixels(size)[0]
                behind = self._pixels(state["images"].shape[-1])
                shown = [data_uri(to_pil(x)) for x in torch.where(hole, state["images"], behind)]
                # The tokens of these samples come with the last step: until then, none are better than the last ones.
                self._put(pictures=shown, **_NO_TILES, error="", **self._around(prediction.masks, show))
            return False

        return look

    def still(self) -> tuple[Image.Image, str]:
        """The image with its mask beside the samples; waits at most ten seconds for the first samples."""
        if threading.current_thread() is not self._worker:
            self._answered.wait(10)
        first, words = super().still()
        if self.last is None:
            return first, words
        behind = self._pixels(self.last.images.shape[-1])
        pictures = [first, *(to_pil(image) for image in self.last.on(behind))]
        sheet = Image.new("RGB", (160 * len(pictures), 160), "white")
        for i, picture in enumerate(pictures):
            sheet.paste(picture.resize((160, 160), Image.Resampling.NEAREST), (160 * i, 0))
        return sheet, f"{words}, and {len(pictures) - 1} samples of what the model expects there; {self.caption}"


def _token_traits(colours: TokenColours, show: str = "predicted") -> dict[str, Any]:
    """Traits of the page for tokens as colours: one tile a sample, and those of what they are compared with.

    Args:
        colours: of one result. show: choice of the menu, for the name of the predicted tokens.
    """
    tiles = []
    for i, (picture, cosine, mutual) in enumerate(
        zip(colours.sampled, colours.target_cosine, colours.mutual_cosine, strict=True), start=1
    ):
        words = f"Tokens of sample {i} as colours: cosine {cosine:.2f} with the target tokens"
        words += "" if np.isnan(mutual) else f", {mutual:.2f} with the other samples' tokens"
        tiles.append(_tile(f"sample {i}", picture, f"{words}."))
    given = {"other": "tokens predicted for another image", "mean": "mean predicted tokens"}.get(
        show, "predicted tokens"
    )
    words = f"The {given} as colours: cosine {colours.predicted_cosine:.2f} with the target tokens."
    references = [
        _tile(given, colours.predicted, words),
        _tile("target tokens", colours.target, "The target tokens as colours."),
    ]
    if len(tiles) > 1:
        hidden = ~np.isnan(colours.agreement)
        map_colours = colormaps["viridis"](np.where(hidden, colours.agreement, 0.0)) * hidden[..., None]
        references.append(_tile("where samples agree: dark 0, bright 1", map_colours, colours.about))
    return {"token_tiles": tiles, "reference_tiles": references, "agreement": colours.about}


def _tile(name: str, rgba: np.ndarray, words: str) -> dict[str, str]:
    """One pixel a patch."""
    image = Image.fromarray((rgba * 255).round().astype(np.uint8))
    return {"name": name, "picture": data_uri(image), "words": words}


def _read_others(other: Any, size: int) -> Tensor:
    """(n, 3, size, size) uint8."""
    if other is None:
        drawn = menagerie.scenes(0, _OTHERS, size, seed=1)
    else:
        several = other if isinstance(other, Sequence) and not isinstance(other, str) else [other]
        drawn = np.stack([np.array(square(read_image(one), size)) for one in several])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)
