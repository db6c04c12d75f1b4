"""PredictionExplorer: paint a mask and see samples decoded from the prediction."""

from __future__ import annotations

import importlib
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ijepa_viz.data.cat_faces import can_find_faces
from ijepa_viz.data.picture_size import ImageSize, height_and_width, image_size
from ijepa_viz.data.transforms import to_pil
from ijepa_viz.examples import CATS
from ijepa_viz.figures.completion import BOX
from ijepa_viz.figures.figure import Figure
from ijepa_viz.figures.token_samples import token_colours
from ijepa_viz.inspections.maps import controls, token_map
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, Sampler, predict
from ijepa_viz.widgets.explorer_answer import BOX_KIND, CONTROLS, SHOW, UNPREDICTED, Answer, caption_of
from ijepa_viz.widgets.explorer_faces import face_part
from ijepa_viz.widgets.explorer_figure import figure_file, samples_figure, samples_sheet
from ijepa_viz.widgets.explorer_pictures import Entry, to_uint8
from ijepa_viz.widgets.explorer_round import candidates, shuffled
from ijepa_viz.widgets.explorer_row import ShownPicture, check_one_painter, row_of
from ijepa_viz.widgets.explorer_story import Frames, tell
from ijepa_viz.widgets.explorer_tokens import DRAWN_AT_ONCE, NO_TILES, ONE_STAGE, token_traits
from ijepa_viz.widgets.explorer_traits import ExplorerTraits
from ijepa_viz.widgets.mask_painter import to_text
from ijepa_viz.widgets.picture_widget import data_uri, javascript

_PREVIEW_EVERY = 4
# Samples on each side of a round of "Predict, then reveal".
_ROUND_SAMPLES = 3
_NOTHING: dict[str, Any] = {"pictures": [], "cosines": [], "story": []}


class PredictionExplorer(ExplorerTraits):
    """Paint a mask over an image; on release, samples decoded from the model's prediction appear.

    One worker thread computes; a new stroke cancels the current sampling. The menu has the controls: another image's
    prediction, the mean prediction of many images, the target tokens, and unconditional samples. In *Predict, then
    reveal* the page shows samples of the model and of a control without names: who looks says which is which.

    Args:
        model: with a predictor.
        decoder: trained on that model.
        image: any input of :func:`ijepa_viz.data.transforms.read_image`.
        other: one or several other images: the first for the control "another image's prediction", all for the mean
            prediction. None takes pictures of the model's kind: photographs for the models of photographs, and drawn
            scenes for those of drawn scenes; for a model of your own, drawn scenes, and the caption says so.
        gallery: further pictures of the row to choose from, name -> image, or images. None takes those of ``other``.
        hidden: (rows, cols) bool, the initial mask; None is a centred block.
        name: of this model, in the page's menu.
        alternatives: name -> (model, decoder), further entries of the menu, of the same grid. The menu offers those of
            the shown picture's kind; a model of another kind brings pictures of its own into the row. All given
            pictures are taken to be of the kind of ``model``; an uploaded one may be of any.
        engine: "kernel" computes here. "browser" computes where it is shown, also in an exported page and without a
            kernel: a frame with the exported networks inside, of some 25 MB for the bundled model.
        page: with "browser", the folder of a built page (``make page``) whose networks are this model's and decoder's;
            None is ``out/page`` here or above.

    Attributes:
        last: the samples on the page.
        picks: of each block picked before a reveal, whether it was the truth's, and of how many: "right" and "of".
        score: of each answered round of *Predict, then reveal*, whether the model was recognised.

    Raises:
        ValueError: an unreadable image, a decoder of another model, models of different grids, an unknown engine, or a
            page with other networks. FileNotFoundError: no page.
        traitlets.TraitError: fewer than one or more than 24 samples.
    """

    _esm = javascript(
        "painter_files.js", "picture_crop.js", "painter_surface.js", "explorer_parts.js", "explorer_files.js",
        "explorer_sketch.js", "explorer_game.js", "prediction_explorer.js",
    )  # fmt: skip

    def __init__(
        self,
        model: IJEPA,
        decoder: Sampler,
        image: Any,
        *,
        other: Any = None,
        gallery: Mapping[str, Any] | Sequence[Any] | None = None,
        hidden: np.ndarray | None = None,
        name: str = "this model",
        alternatives: Mapping[str, tuple[IJEPA, Sampler]] | None = None,
        engine: str = "kernel",
        page: str | Path | None = None,
        **traits: Any,
    ) -> None:
        if engine not in ("kernel", "browser"):
            raise ValueError(f'engine is "kernel" or "browser", got {engine!r}.')
        if engine == "kernel" and page is not None:
            raise ValueError('page is of engine="browser".')
        if engine == "browser" and alternatives:
            raise ValueError('engine="browser" computes one model: leave alternatives out.')
        self._folder = _frames().engine_folder(page, model, decoder) if engine == "browser" else None
        self._pairs = {name: (model, decoder), **(alternatives or {})}
        check_one_painter(self._pairs, name)
        self._row = row_of(image, gallery, other, self._pairs, name)
        if hidden is None:
            hidden = Masks.from_block(model.grid, model.grid[0] // 4, model.grid[1] // 4,
                                      model.grid[0] // 2, model.grid[1] // 2).hidden[0].numpy()  # fmt: skip
        super().__init__(
            self._row.shown.image, model.grid, hidden, choice=name, names=list(self._pairs),
            choices=self._row.fitting_models(), gallery=self._row.thumbnails(),
            finds_faces=self._row.has_model_of(CATS) and can_find_faces(), **traits,
        )  # fmt: skip
        self.last: Any = None
        self._shown: tuple[Prediction, Any, str, str] | None = None
        self._played = self.game
        self._wanted, self._answered = threading.Event(), threading.Event()
        self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True, name="PredictionExplorer")
        if self._folder is None:
            self._worker.start()
        self.observe(lambda _: self._wanted.set(), "seq")
        self.observe(lambda _: self._on_chosen(), "chosen")
        self.observe(lambda _: self._on_figure(), "figure_wanted")
        self.observe(lambda _: self.set_trait("face_found", face_part(self.face_wanted)), "face_wanted")
        self._wanted.set()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if self._folder is None:
            return super()._repr_mimebundle_(**kwargs)
        return {"text/html": _frames().explorer_frame(self, self._folder), "text/plain": repr(self)}, {}

    def close(self) -> None:
        """Stop the worker thread and close the widget."""
        self._closed = True
        if hasattr(self, "_wanted"):  # close() also runs when the constructor failed
            self._wanted.set()
        super().close()

    def _on_chosen(self) -> None:
        if not 0 <= self.chosen < len(self._row):
            self.error = f"There is no picture number {self.chosen}: choose 0 to {len(self._row) - 1}."
            return
        if self._row[self.chosen].image is not self._row.shown.image:
            self._use(self._row[self.chosen])

    def _take(self, image: Image.Image) -> None:
        """Replace the image by an uploaded one, which joins the row."""
        self._use(self._row.add_own(image))
        with self.hold_sync():
            self.gallery, self.chosen = self._row.thumbnails(), len(self._row) - 1

    def _use(self, entry: Entry) -> None:
        self._row.shown = ShownPicture(entry)
        with self.hold_sync():
            self.choices = self._row.fitting_models()
            if self.choice not in self.choices:
                self.choice = self.choices[0]
            self.truth = ""  # until the first samples on this picture
        super()._take(entry.image)
        self._wanted.set()  # independent of the order of image and request number

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
        self._put(**_NOTHING, caption="", **NO_TILES, error=words, result_seq=seq)

    def _answer(self, seq: int) -> None:
        if "1" not in self.mask:  # as after Clear: no error
            words = "Nothing is hidden yet: drag over the picture."
            self._put(**_NOTHING, caption=words, **NO_TILES, error="", result_seq=seq)
            return
        masks, show, number = self.masks, self.show, self.game
        if number != self._played:  # a round first: until it is answered, no names are on the page
            self._put(game_round=self._round(masks, number))
            self._played = number
        found = self._ask(masks, show, preview=True)
        self.last = found.drawn
        self._shown = found.prediction, found.drawn, BOX_KIND[show], found.traits["caption"]
        truth = self._row.shown.encoded(_size_of(self.last.images))
        self._put(**found.traits, truth=truth, error="", result_seq=seq, busy=False)
        # After the samples, which are waited for.
        if not self._wanted.is_set():
            self.story = found.story()

    def _round(self, masks: Masks, number: int) -> dict[str, Any]:
        """Samples of the model and of a control in random order, for who looks to say which is which."""
        count = min(self.samples, _ROUND_SAMPLES)
        seed = secrets.randbelow(10**6)  # other noise than the page's, whose samples may have been seen
        found = [self._ask(masks, show, count=count, seed=seed) for show in ("predicted", "other")]
        sides = [one.traits["pictures"] for one in found]
        size = _size_of(found[0].drawn.images)
        blocks, right = candidates(
            to_uint8(self._row.shown.image, size),
            self._row.candidates(self.choice, size),
            masks.hidden_pixels(height_and_width(size)[1] // masks.grid[1]).cpu(),
        )
        return {
            "number": number, **shuffled(sides), "control": CONTROLS["other"],
            "hole": to_text(masks.hidden[0].cpu().numpy(), masks.grid), "truth": self._row.shown.encoded(size),
            "candidates": [data_uri(block) for block in blocks], "right": right,
        }  # fmt: skip

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
        if show not in SHOW:
            raise ValueError(f"show is one of {', '.join(SHOW)}, got {show!r}.")
        found = self._ask(Masks.from_array(hidden), show)
        return {**found.traits, "story": found.story()}, to_text(hidden, (self.grid[0], self.grid[1]))

    def _ask(
        self, masks: Masks, show: str, preview: bool = False, count: int | None = None, seed: int | None = None
    ) -> Answer:
        model, decoder = self._pairs[self.choice]
        prediction = predict(model, self._row.shown.pixels(model.config.image_size), masks)
        given = prediction
        if show in CONTROLS:
            row, name = self._row, self.choice
            others = row.control_images(name)[:1] if show == "other" else row.images_for_mean(name)
            given = prediction.replaced(controls(model, others, masks)[CONTROLS[show]])
        frames = Frames()
        look = self._preview(prediction, show) if preview else None

        def after_step(state: dict[str, Any]) -> bool:
            frames.look(state)
            return look(state) if look else False

        if look:
            self._show_sketch(decoder, given, show)
        drawn = decoder.sample(
            given, count or self.samples, steps=self.steps or None, guidance=self.guidance,
            seed=self.seed if seed is None else seed,
            callback=after_step, **SHOW[show],
        )  # fmt: skip
        caption = caption_of(
            given, drawn, show, seed=self.seed, guidance=self.guidance,
            choice=self.choice if len(self._pairs) > 1 else "", guessed=self._row.is_guessed(self.choice),
        )  # fmt: skip
        if show in UNPREDICTED:
            around = np.full(masks.grid, -2.0)
        else:
            around = np.nan_to_num(token_map(given.predicted, given.target, masks).cosine, nan=-2.0)
        traits = {
            "pictures": [data_uri(to_pil(image)) for image in drawn.on(self._row.shown.pixels(_size_of(drawn.images)))],
            **self._around(masks, show),
            "cosines": around.ravel().tolist(),
            "caption": caption,
            **self._tokens(given, drawn, show),
        }
        return Answer(traits, drawn, given, lambda: tell(model, prediction, drawn, frames, show))

    def _tokens(self, given: Prediction, drawn: Any, show: str) -> dict[str, Any]:
        if getattr(drawn, "tokens", None) is None:
            return {**NO_TILES, "no_tokens": DRAWN_AT_ONCE.get(show, ONE_STAGE)}
        return {**token_traits(token_colours(given, drawn), show), "no_tokens": ""}

    def _around(self, masks: Masks, show: str) -> dict[str, str]:
        return {"hole": to_text(masks.hidden[0].cpu().numpy(), masks.grid), "line": BOX[BOX_KIND[show]]}

    def _preview(self, prediction: Prediction, show: str) -> Callable[[dict[str, Any]], bool]:
        def look(state: dict[str, Any]) -> bool:
            if self._wanted.is_set():
                return True
            if state["step"] % _PREVIEW_EVERY == 1 and state["step"] < state["steps"]:
                self._show_expected(prediction, state["images"], show)
            return False

        return look

    def _show_sketch(self, decoder: Sampler, given: Prediction, show: str) -> None:
        """Until the samples of two stages come, one mean picture in the place of each."""
        sketch = decoder.sketch(given, **SHOW[show]) if hasattr(decoder, "sketch") else None
        if sketch is not None:
            self._show_expected(given, sketch.images.expand(self.samples, -1, -1, -1), show)

    def _show_expected(self, prediction: Prediction, images: Tensor, show: str) -> None:
        """Show (S, 3, H, W) in the hole, without tokens and cosines: those of the samples come with the last step."""
        hole = prediction.masks.hidden_pixels(images.shape[-1] // prediction.masks.grid[1])[0]
        behind = self._row.shown.pixels(_size_of(images))
        shown = [data_uri(to_pil(x)) for x in torch.where(hole, images, behind)]
        unknown = [-2.0] * prediction.masks.num_patches
        self._put(
            pictures=shown, cosines=unknown, caption="", **NO_TILES, error="", **self._around(prediction.masks, show)
        )

    def figure(self) -> Figure:
        """Figure of the samples on the page: original, context and each sample, as the page's *Save figure*.

        Raises:
            ValueError: there are no samples yet.
        """
        if self._shown is None:
            raise ValueError("There is nothing to save yet: hide something first.")
        return samples_figure(*self._shown)

    def _on_figure(self) -> None:
        number = self.figure_wanted.get("number")
        try:
            self.figure_file = {"number": number, **figure_file(self.figure(), str(self.figure_wanted.get("ending")))}
        except Exception as error:  # shown on the page, where a callback's traceback is not visible
            self.figure_file = {"number": number, "error": str(error) or type(error).__name__}

    def still(self) -> tuple[Image.Image, str]:
        """The image with its mask beside the samples; waits at most ten seconds for the first samples."""
        if threading.current_thread() is not self._worker and self._worker.is_alive():
            self._answered.wait(10)
        first, words = super().still()
        if self.last is None:
            return first, words
        behind = self._row.shown.pixels(_size_of(self.last.images))
        pictures = [first, *(to_pil(image) for image in self.last.on(behind))]
        words += f", and {len(pictures) - 1} samples of what the model expects there; {self.caption}"
        return samples_sheet(pictures), words


def _frames() -> Any:
    """The module of the page that shows explorers; by name, because the page is built of the widgets."""
    return importlib.import_module("ijepa_viz.page.explorer_page")


def _size_of(images: Tensor) -> ImageSize:
    """Size of pictures (..., H, W)."""
    return image_size((images.shape[-2], images.shape[-1]))
