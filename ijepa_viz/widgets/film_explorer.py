"""FilmExplorer: choose a film, what is hidden of it, and a cue; see the predicted future as loops beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image
from torch import Tensor

from ijepa_viz.data.menagerie.film_clip import FilmClip, film
from ijepa_viz.data.menagerie.film_plan import cast
from ijepa_viz.data.menagerie.film_sentences import VOCABULARY, alternative_sentences, event_sentence
from ijepa_viz.data.transforms import to_pil
from ijepa_viz.figures.figure import Figure
from ijepa_viz.figures.film_frames import film_grid
from ijepa_viz.film_prediction import film_pixels, predict_film
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction, Sampler, check_pair
from ijepa_viz.widgets.picture_widget import PictureWidget, data_uri, javascript

_MOST_SAMPLES = 6
# Films of the menu where none are given: of a seed that trainings do not draw from.
_SEED = 1
_SHOWN = ("signpost", "flower", "meets_wall", "hides", "lands", "startled")
_WORDS = {
    "signpost": "at a signpost: left or right (open)", "flower": "at a flower: stays or goes (open)",
    "meets_wall": "comes to a wall and turns", "hides": "goes behind a house", "lands": "a bird lands",
    "startled": "a bird is startled", "walks": "walks straight on",
}  # fmt: skip
# Colour of cosine 1 and 0 over the frames, where no decoder draws them.
_GOOD, _BAD = np.array([0, 158, 115]), np.array([213, 94, 0])


@dataclass(frozen=True)
class _Drawn:
    """What one cue leads to: traits of the page, and what they are of."""

    traits: dict[str, Any]
    prediction: Prediction
    samples: Any


class FilmExplorer(PictureWidget):
    """Scrub through a film, hide its future or a hole in all of its frames, and compare what two cues lead to.

    Samples run as synchronous loops beside the true film; below is the prediction's error by step. Without a decoder
    the true frames are tinted by how well their tokens were predicted.

    Args:
        model: of films, with a predictor.
        decoder: trained on that model; None shows tokens only.
        clips: name -> drawn film, or the frames of one, (T, H, W, 3) uint8. None draws one film of each story.
        traits: ``clip``, ``seen``, ``cue_a``, ``cue_b``, ``samples`` and ``seed``, initial values.

    Attributes:
        last: (prediction, samples) of both sides; samples are None without a decoder.

    Raises:
        ValueError: a model of pictures, films of another size, a decoder of another model, an unknown word in a cue.
        traitlets.TraitError: fewer than one or more than six samples.
    """

    _esm = javascript("film_explorer.js")

    # Each {"name", "cues": suggested sentences}.
    clips = traitlets.List(traitlets.Dict()).tag(sync=True)
    clip = traitlets.Int(0, min=0).tag(sync=True)
    frames = traitlets.Int(16).tag(sync=True)
    tubelet = traitlets.Int(2).tag(sync=True)
    grid = traitlets.List(traitlets.Int()).tag(sync=True)
    # What is hidden: "future", all after ``seen`` steps, or "hole", the patches of ``hole`` in all frames after them.
    hides = traitlets.Enum(["future", "hole"], "future").tag(sync=True)
    seen = traitlets.Int(3, min=0).tag(sync=True)
    hole = traitlets.Unicode("").tag(sync=True)
    takes_cues = traitlets.Bool(True).tag(sync=True)
    cue_a = traitlets.Unicode("").tag(sync=True)
    cue_b = traitlets.Unicode("").tag(sync=True)
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    samples = traitlets.Int(2, min=1, max=_MOST_SAMPLES).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    # Films as one picture each, frame beside frame.
    truth = traitlets.Unicode("").tag(sync=True)
    context = traitlets.Unicode("").tag(sync=True)
    hidden_frames = traitlets.List(traitlets.Bool()).tag(sync=True)
    # Of both sides: {"cue", "films": [picture, ...], "names": [...], "errors": [1 - cosine by step, or None]}.
    sides = traitlets.List(traitlets.Dict()).tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    heard = traitlets.Int(0).tag(sync=True)
    result_seq = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self,
        model: IJEPA,
        decoder: Sampler | None = None,
        clips: Mapping[str, FilmClip | np.ndarray] | None = None,
        **traits: Any,
    ) -> None:
        config = model.config
        if config.frames == 1:
            raise ValueError(
                "This model is of pictures: FilmExplorer needs one of films, such as the bundled film-tiny."
            )
        if decoder is not None:
            check_pair(model, decoder)
        self._model, self._decoder = model, decoder
        if clips is not None and not (isinstance(clips, Mapping) and clips):
            raise ValueError('clips are films by name, at least one: clips={"mine": frames}.')
        size = config.height_and_width[0]
        self._films = dict(clips) if clips is not None else _drawn_films(config.frames, size)
        # The same films, drawn larger; of films that were given there are no others.
        self._shown = [one.frames for one in _drawn_films(config.frames, 2 * size).values()] if clips is None else []
        self._pixels = [film_pixels(_frames_of(one), model) for one in self._films.values()]
        rows, cols = config.grid
        middle = np.zeros(config.grid, bool)
        middle[rows // 4 : rows // 4 + rows // 2, cols // 4 : cols // 4 + cols // 2] = True
        if not 0 <= traits.get("clip", 0) < len(self._films):
            raise ValueError(_no_film(len(self._films), traits["clip"]))
        traits.setdefault("seen", max(1, 3 * config.steps // 8))
        traits.setdefault("hole", "".join("1" if cell else "0" for cell in middle.ravel()))
        suggested = [_cues_of(one) for one in self._films.values()]
        if config.cue_tokens and suggested[traits.get("clip", 0)]:
            traits.setdefault("cue_b", suggested[traits.get("clip", 0)][0])
        super().__init__(
            clips=[{"name": name, "cues": cues} for name, cues in zip(self._films, suggested, strict=True)],
            frames=config.frames, tubelet=config.tubelet, grid=[rows, cols], takes_cues=config.cue_tokens > 0,
            words=list(VOCABULARY.words[1:]), **traits,
        )  # fmt: skip
        self.last: tuple[tuple[Prediction, Any], ...] = ()
        self._show()
        self.observe(lambda _: self._answer(), "seq")

    @property
    def masks(self) -> Masks:
        """What is hidden, B = M = 1.

        Raises:
            ValueError: nothing or everything is hidden.
        """
        config = self._model.config
        if self.hides == "future":
            return Masks.future(config.grid, config.steps, self.seen)
        flat = np.frombuffer(self.hole.encode(), np.uint8) == ord("1")
        hidden = torch.zeros(1, config.steps, *config.grid, dtype=torch.bool)
        hidden[0, self.seen :] = torch.from_numpy(flat.reshape(config.grid))
        return Masks.from_array(hidden)

    def still(self) -> tuple[Figure | Image.Image, str]:
        """Figure of the film and of the samples of both cues, and the alternative text."""
        alt = f"{self.clips[self.clip]['name']}, frame beside frame. {self.caption}"
        if self._decoder is None:
            sheets = [_sheet(self._pixels[self.clip]), *(side.image for side in self._tinted())]
            width = max(sheet.width for sheet in sheets)
            whole = Image.new("RGB", (width, sum(sheet.height for sheet in sheets)))
            for i, sheet in enumerate(sheets):
                whole.paste(sheet, (0, i * sheet.height))
            return whole, alt
        return film_grid(self.last, [side["cue"] or "no cue" for side in self.sides]), alt

    def _tinted(self) -> list[_Tinted]:
        return [_Tinted(prediction) for prediction, _ in self.last]

    def _answer(self) -> None:
        self.heard = self.seq
        try:
            self._show()
        except (ValueError, IndexError) as error:  # shown on the page, where a callback's traceback is not visible
            with self.hold_sync():
                self.error, self.result_seq = str(error), self.seq

    def _show(self) -> None:
        """Predict with both cues and show it."""
        if not self.clip < len(self._pixels):
            raise ValueError(_no_film(len(self._pixels), self.clip))
        pixels, masks = self._pixels[self.clip], self.masks
        sides = [self._side(pixels, masks, cue) for cue in (self.cue_a, self.cue_b)]
        tubelet = self._model.config.tubelet
        drawn = sides[0].samples
        height = pixels.shape[-2] if drawn is None else drawn.images.shape[-2]
        whole = sides[0].prediction.picture(height)
        covered = masks.hidden_pixels(height // masks.grid[0], tubelet)[0]  # (T, H, W)
        seen = torch.where(covered[:, None], torch.full_like(whole, 0.82), whole)
        self.last = tuple((side.prediction, side.samples) for side in sides)
        hidden = masks.hidden[0].flatten(1).any(1).repeat_interleave(tubelet)
        with self.hold_sync():
            self.truth, self.context = data_uri(_sheet(whole)), data_uri(_sheet(seen))
            self.hidden_frames = hidden.tolist()
            self.sides = [side.traits for side in sides]
            self.caption = self._caption(sides)
            self.error, self.result_seq = "", self.seq

    def _side(self, pixels: Tensor, masks: Masks, cue: str) -> _Drawn:
        shown = self._shown[self.clip] if self._shown else None
        prediction = predict_film(self._model, pixels, masks, cue.strip(), shown)
        cosine = torch.full((masks.num_patches,), float("nan"))
        cosine[masks.targets[0, 0]] = prediction.cosine[0]
        by_step = cosine.view(masks.steps, -1)
        errors = [None if row.isnan().all() else float(1 - row.nanmean()) for row in by_step]
        if self._decoder is None:
            drawn, films, names = None, [_sheet(_Tinted(prediction).frames)], ["how well each token is predicted"]
        else:
            drawn = self._decoder.sample(prediction, samples=self.samples, seed=self.seed)
            films = [_sheet(sample) for sample in drawn.on(prediction.picture(drawn.images.shape[-2]))]
            names = [f"sample {i + 1}" for i in range(len(films))]
        traits = {"cue": cue.strip(), "films": [data_uri(one) for one in films], "names": names, "errors": errors}
        return _Drawn(traits, prediction, drawn)

    def _caption(self, sides: list[_Drawn]) -> str:
        means = [float(side.prediction.cosine.mean()) for side in sides]
        cues = [side.traits["cue"] or "no cue" for side in sides]
        words = "; ".join(f"{cue}: cosine {mean:.2f}" for cue, mean in zip(cues, means, strict=True))
        shown = "" if self._decoder is not None else " Green: predicted well, orange: badly; there is no decoder."
        return f"Predicted and true tokens of what is hidden, {words}.{shown}"


class _Tinted:
    """The true film, its hidden tokens tinted by their cosine."""

    def __init__(self, prediction: Prediction) -> None:
        masks = prediction.masks
        share = torch.zeros(masks.num_patches)
        share[masks.targets[0, 0]] = prediction.cosine[0].clamp(0, 1)
        tubelet = prediction.image.shape[0] // masks.steps
        colour = torch.from_numpy(_BAD + share.numpy()[:, None] * (_GOOD - _BAD)).float() / 255  # (N, 3)
        colours = colour.view(masks.steps, *masks.grid, 3).permute(0, 3, 1, 2)
        for axis, times in ((0, tubelet), (2, prediction.patch_size), (3, prediction.patch_size)):
            colours = colours.repeat_interleave(times, axis)
        hidden = masks.hidden_pixels(prediction.patch_size, tubelet)[0][:, None]
        self.frames = torch.where(hidden, 0.45 * prediction.image + 0.55 * colours, prediction.image)

    @property
    def image(self) -> Image.Image:
        """Frame beside frame."""
        return _sheet(self.frames)


def _no_film(count: int, number: int) -> str:
    return f"There {'is 1 film' if count == 1 else f'are {count} films'}, counted from 0, and none of number {number}."


def _frames_of(clip: FilmClip | np.ndarray) -> np.ndarray:
    return clip.frames if isinstance(clip, FilmClip) else np.asarray(clip)


def _sheet(film_frames: Tensor) -> Image.Image:
    """Frames (T, 3, H, W) beside each other."""
    return to_pil(torch.cat(list(film_frames), dim=-1))


def _cues_of(clip: FilmClip | np.ndarray) -> list[str]:
    """Sentences that fit a drawn film: what happens, and what might have happened instead."""
    if not isinstance(clip, FilmClip):
        return []
    planned = clip.film
    event = planned.main_event
    if event is None:
        return []
    own = event_sentence(planned, event)
    return [own, *(text for text in alternative_sentences(planned, event) if text != own)]


def _drawn_films(frames: int, size: int) -> dict[str, FilmClip]:
    """One film of each story, the first of them, at ``size`` px."""
    found: dict[str, FilmClip] = {}
    index = 0
    while len(found) < len(_SHOWN):
        story = cast(index, _SEED)[0]
        if story in _SHOWN and _WORDS[story] not in found:
            found[_WORDS[story]] = film(index, size, _SEED, frames)
        index += 1
    return {_WORDS[story]: found[_WORDS[story]] for story in _SHOWN}
