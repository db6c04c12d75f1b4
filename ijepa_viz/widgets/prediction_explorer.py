"""PredictionExplorer: paint a mask and see samples decoded from the prediction."""

from __future__ import annotations

import secrets
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
from ijepa_viz.widgets.explorer_story import Frames, tell
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
# Choices without a predicted token: neither their caption nor their map has a cosine.
_UNPREDICTED = {
    "target": "decoded from the target encoder's own tokens, not from a prediction",
    "null": "decoded from nothing: neither from a prediction nor from the picture",
}
_PREVIEW_EVERY = 4
_OTHERS = 24
_MOST_SAMPLES = 24
# Pictures of the row to choose from, where none are given; side of their thumbnails; name of an uploaded one.
_ROW, _THUMBNAIL, _OWN = 5, 64, "your own picture"
# Samples on each side of a round of "Predict, then reveal".
_ROUND_SAMPLES = 3
_NOTHING: dict[str, Any] = {"pictures": [], "cosines": [], "story": []}
_NO_TILES: dict[str, Any] = {"token_tiles": [], "reference_tiles": [], "agreement": ""}


class PredictionExplorer(MaskPainter):
    """Paint a mask over an image; on release, samples decoded from the model's prediction appear.

    One worker thread computes; a new stroke cancels the current sampling. The menu has the controls: another image's
    prediction, the mean prediction of many images, the target tokens, and unconditional samples. In *Predict, then
    reveal* the page shows samples of the model and of a control without names: who looks says which is which.

    Args:
        model: with a predictor.
        decoder: trained on that model.
        image: any input of :func:`ijepa_viz.data.transforms.read_image`.
        other: one or several other images: the first for the control "another image's prediction", all for the mean
            prediction. None takes drawn scenes.
        gallery: further pictures of the row to choose from, name -> image, or images. None takes those of ``other``.
        hidden: (rows, cols) bool, the initial mask; None is a centred block.
        name: of this model, in the page's menu.
        alternatives: name -> (model, decoder), further entries of the menu, of the same grid.

    Attributes:
        last: the samples on the page.
        score: of each answered round of *Predict, then reveal*, whether the model was recognised.

    Raises:
        ValueError: an unreadable image, a decoder of another model, or models of different grids.
        traitlets.TraitError: fewer than one or more than 24 samples.
    """

    _esm = javascript(
        "painter_files.js", "picture_crop.js", "painter_surface.js", "explorer_parts.js", "explorer_game.js",
        "prediction_explorer.js",
    )  # fmt: skip

    samples = traitlets.Int(6, min=1, max=_MOST_SAMPLES).tag(sync=True)
    most_samples = traitlets.Int(_MOST_SAMPLES, read_only=True).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    steps = traitlets.Int(0, help="0 is the decoder's own default").tag(sync=True)
    guidance = traitlets.Float(1.0).tag(sync=True)
    show = traitlets.Enum(list(_SHOW), "predicted").tag(sync=True)
    choice = traitlets.Unicode("").tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # The picture as it is, at the samples' resolution.
    truth = traitlets.Unicode("").tag(sync=True)
    # Row of pictures, each {"name", "picture"}, and which one is shown.
    gallery = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    # Stations of :func:`ijepa_viz.widgets.explorer_story.tell`; they come after the samples.
    story = traitlets.List(traitlets.Dict()).tag(sync=True)
    # Number of the round that the page asked for, and what it got:
    # {"number", "sides": [[picture, ...], [picture, ...]], "model": 0 or 1, "control", "hole", "truth"}.
    game = traitlets.Int(0).tag(sync=True)
    game_round = traitlets.Dict().tag(sync=True)
    score = traitlets.List(traitlets.Bool()).tag(sync=True)
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
        gallery: Mapping[str, Any] | Sequence[Any] | None = None,
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
        self._read_gallery(read_image(image), gallery, drawn=other is None)
        self._show_source(self._row[0][1])
        if hidden is None:
            hidden = Masks.from_block(model.grid, model.grid[0] // 4, model.grid[1] // 4,
                                      model.grid[0] // 2, model.grid[1] // 2).hidden[0].numpy()  # fmt: skip
        row = self._thumbnails()
        super().__init__(
            self._source, model.grid, hidden, choice=name, choices=list(self._pairs), gallery=row, **traits
        )
        self.last: Any = None
        self._played = self.game
        self._wanted, self._answered = threading.Event(), threading.Event()
        self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True, name="PredictionExplorer")
        self._worker.start()
        self.observe(lambda _: self._wanted.set(), "seq")
        self.observe(lambda _: self._on_chosen(), "chosen")
        self._wanted.set()

    def close(self) -> None:
        """Stop the worker thread and close the widget."""
        self._closed = True
        if hasattr(self, "_wanted"):  # close() also runs when the constructor failed
            self._wanted.set()
        super().close()

    def _read_gallery(self, first: Image.Image, gallery: Any, drawn: bool) -> None:
        """Set the pictures to choose from, [(name, image), ...]."""
        self._row: list[tuple[str, Image.Image]] = [("the first picture", first)]
        if gallery is None:
            what = "drawn scene" if drawn else "other picture"
            found = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in self._others[:_ROW]]
            self._row += [(f"{what} {i}", one) for i, one in enumerate(found, start=1)]
        elif isinstance(gallery, Mapping):
            self._row += [(str(name), read_image(one)) for name, one in gallery.items()]
        else:
            self._row += [(f"picture {i}", read_image(one)) for i, one in enumerate(gallery, start=2)]

    def _thumbnails(self) -> list[dict[str, str]]:
        return [{"name": name, "picture": data_uri(square(one, _THUMBNAIL))} for name, one in self._row]

    def _on_chosen(self) -> None:
        if not 0 <= self.chosen < len(self._row):
            self.error = f"There is no picture number {self.chosen}: choose 0 to {len(self._row) - 1}."
            return
        if self._row[self.chosen][1] is not self._source:
            self._use(self._row[self.chosen][1])

    def _take(self, image: Image.Image) -> None:
        """Replace the image by an uploaded one, which joins the row."""
        self._row = [(name, one) for name, one in self._row if name != _OWN] + [(_OWN, image)]
        self._use(image)
        with self.hold_sync():
            self.gallery, self.chosen = self._thumbnails(), len(self._row) - 1

    def _use(self, image: Image.Image) -> None:
        self._show_source(image)
        self.truth = ""  # until the first samples on this picture
        super()._take(image)
        self._wanted.set()  # independent of the order of image and request number

    def _show_source(self, image: Image.Image) -> None:
        self._source = image
        self._resized: dict[int, Tensor] = {}
        self._truths: dict[int, str] = {}
        self._control: Tensor | None = None

    def _truth(self, size: int) -> str:
        """The image at a size, as a data: URI, encoded once."""
        truths = self._truths
        if size not in truths:
            truths[size] = data_uri(to_pil(self._pixels(size)))
        return truths[size]

    def _control_images(self) -> Tensor:
        """Other images than the one that is shown, (n, 3, size, size) uint8: a control of itself is none."""
        control = self._control
        if control is None:
            size = self._others.shape[-1]
            shown, first = (_to_uint8(one, size) for one in (self._source, self._row[0][1]))
            candidates = torch.cat([self._others, first[None]])
            differs = (candidates != shown).flatten(1).any(1)
            count = len(self._others)
            control = candidates[:count][differs[:count]] if differs[:count].any() else candidates[differs]
            if not len(control):
                raise ValueError("This control needs another image than the one shown: give one as `other`.")
            self._control = control
        return control

    def _several(self, others: Tensor) -> Tensor:
        """Images for a mean, (n, 3, size, size) uint8: those of the row too where only one was given.

        Raises:
            ValueError: there is only one, of which the mean is itself.
        """
        if len(others) == 1:
            size = others.shape[-1]
            row = torch.stack([_to_uint8(one, size) for _, one in self._row])
            known = torch.cat([others, _to_uint8(self._source, size)[None]])
            others = torch.cat([others, row[[bool((known != one).flatten(1).any(1).all()) for one in row]]])
        if len(others) == 1:
            raise ValueError("A mean prediction needs several other images: give a list as `other`, or a gallery.")
        return others

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
        self._put(**_NOTHING, caption="", **_NO_TILES, error=words, result_seq=seq)

    def _answer(self, seq: int) -> None:
        if "1" not in self.mask:  # as after Clear: no error
            words = "Nothing is hidden yet: drag over the picture."
            self._put(**_NOTHING, caption=words, **_NO_TILES, error="", result_seq=seq)
            return
        masks, show, number = self.masks, self.show, self.game
        if number != self._played:  # a round first: until it is answered, no names are on the page
            self._put(game_round=self._round(masks, number))
            self._played = number
        traits, self.last, story = self._ask(masks, show, preview=True)
        self._put(**traits, truth=self._truth(self.last.images.shape[-1]), error="", result_seq=seq, busy=False)
        # After the samples, which are waited for.
        if not self._wanted.is_set():
            self.story = story()

    def _round(self, masks: Masks, number: int) -> dict[str, Any]:
        """Samples of the model and of a control in random order, for who looks to say which is which."""
        count = min(self.samples, _ROUND_SAMPLES)
        seed = secrets.randbelow(10**6)  # other noise than the page's, whose samples may have been seen
        found = [self._ask(masks, show, count=count, seed=seed) for show in ("predicted", "other")]
        sides = [traits["pictures"] for traits, _, _ in found]
        first = secrets.randbelow(2)  # a side that could be learned would be no test
        return {
            "number": number, "sides": sides[::-1] if first else sides, "model": first, "control": _CONTROLS["other"],
            "hole": to_text(masks.hidden[0].cpu().numpy(), masks.grid),
            "truth": self._truth(found[0][1].images.shape[-1]),
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
        if show not in _SHOW:
            raise ValueError(f"show is one of {', '.join(_SHOW)}, got {show!r}.")
        traits, _, story = self._ask(Masks.from_array(hidden), show)
        return {**traits, "story": story()}, to_text(hidden, (self.grid[0], self.grid[1]))

    def _ask(
        self, masks: Masks, show: str, preview: bool = False, count: int | None = None, seed: int | None = None
    ) -> tuple[dict[str, Any], Any, Callable[[], list[dict[str, Any]]]]:
        """Traits of the page, the samples, and what tells their story."""
        model, decoder = self._pairs[self.choice]
        prediction = predict(model, self._pixels(model.config.image_size), masks)
        given = prediction
        if show in _CONTROLS:
            others = self._control_images()
            others = others[:1] if show == "other" else self._several(others)
            given = prediction.replaced(controls(model, others, masks)[_CONTROLS[show]])
        frames = Frames()
        look = self._preview(prediction, show) if preview else None

        def after_step(state: dict[str, Any]) -> bool:
            frames.look(state)
            return look(state) if look else False

        drawn = decoder.sample(
            given, count or self.samples, steps=self.steps or None, guidance=self.guidance,
            seed=self.seed if seed is None else seed,
            callback=after_step, **_SHOW[show],
        )  # fmt: skip
        whose = {"other": "another image's", "mean": "the mean"}.get(show, "the")
        about = f"cosine of {whose} predicted and the target tokens {given.cosine.mean():.2f}"
        caption = f"seed {self.seed}; {_UNPREDICTED.get(show, about)}"
        if self.guidance != 1 and show != "null":
            caption += f"; guidance {self.guidance:g}: what varies is the guidance's doing too"
        if detail := getattr(drawn, "detail", 0.0):
            caption += f"; sampled down to noise level {detail:.2g}, finer grain averaged"
        if show in _UNPREDICTED:
            around = np.full(masks.grid, -2.0)
        else:
            around = np.nan_to_num(token_map(given.predicted, given.target, masks).cosine, nan=-2.0)
        return {
            "pictures": [data_uri(to_pil(image)) for image in drawn.on(self._pixels(drawn.images.shape[-1]))],
            **self._around(masks, show),
            "cosines": around.ravel().tolist(),
            "caption": caption,
            **self._tokens(given, drawn, show),
        }, drawn, lambda: tell(model, prediction, drawn, frames, show)  # fmt: skip

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
                unknown = [-2.0] * prediction.masks.num_patches
                around = self._around(prediction.masks, show)
                self._put(pictures=shown, cosines=unknown, caption="", **_NO_TILES, error="", **around)
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
        return torch.stack([_to_uint8(read_image(one), size) for one in several])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def _to_uint8(image: Image.Image, size: int) -> Tensor:
    """(3, size, size) uint8."""
    return torch.from_numpy(np.array(square(image, size))).permute(2, 0, 1)
