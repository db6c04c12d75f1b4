"""Predicted and target tokens of the hidden tubelets of films, with a cue or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ijepa_viz.data.menagerie.film_sentences import VOCABULARY
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction
from ijepa_viz.runtime.weights import Weights


def film_pixels(frames: Any, model: IJEPA) -> Tensor:
    """Frames of one film or of several as a tensor (..., T, 3, H, W) in [0, 1].

    Args:
        frames: (T, H, W, 3) or (T, 3, H, W), uint8 or float 0 to 1, arrays or tensors; or (B, ...).
        model: of films of this size.

    Raises:
        ValueError: pictures' model, another number of frames or another size, or other values; the message names what
            the model takes.
    """
    config = model.config
    if config.frames == 1:
        raise ValueError("This model is of pictures: a film needs a model of films, such as the bundled film-tiny.")
    if not isinstance(frames, Tensor):
        frames = np.ascontiguousarray(frames)  # torch takes no array that runs backwards
        if frames.dtype.kind not in "biuf":
            raise ValueError(
                f"Frames are an array of numbers (T, H, W, 3), got one of {frames.dtype}: of a drawn film give its "
                "frames, clip.frames."
            )
    array = torch.as_tensor(frames)
    if array.ndim in (4, 5) and array.shape[-1] == 3:
        array = array.movedim(-1, -3)
    wanted = (config.frames, 3, *config.height_and_width)
    if array.ndim not in (4, 5) or tuple(array.shape[-4:]) != wanted:
        raise ValueError(f"This model takes films {wanted}, one or a batch, got {tuple(array.shape)}.")
    if array.dtype == torch.uint8:
        return array.float() / 255
    low, high = (float(end) for end in array.aminmax())
    if not array.is_floating_point() or low < 0 or high > 1 or low != low:
        raise ValueError(f"Frames are uint8, or floats from 0 to 1, got {array.dtype} from {low:g} to {high:g}.")
    return array.float()


def cue_ids(model: IJEPA, sentences: Sequence[str]) -> Tensor:
    """Word ids (n, L) int64 of cues for a model's predictor; zeros of an empty sentence, which is no cue.

    Raises:
        ValueError: a model without cues; an unknown word, whose message names the nearest; a sentence that is too long.
    """
    length = model.config.cue_tokens
    if not length:
        raise ValueError("This model takes no cues (model.cue_tokens is 0): leave the cue out.")
    return torch.from_numpy(np.stack([VOCABULARY.encode(text, length) for text in sentences]))


@torch.inference_mode()
def predict_film(
    model: IJEPA, frames: Any, masks: Masks, cue: str | Sequence[str] = "", shown: np.ndarray | None = None
) -> Prediction:
    """Predict the tokens of the target blocks of one film or of several (V-JEPA, arXiv 2404.08471).

    Args:
        model: of films, with a predictor; set to eval mode. frames: as of :func:`film_pixels`.
        masks: of these films or of one, for all of them, such as :meth:`Masks.future`.
        cue: a sentence of what happens, of the words of the films' vocabulary, or one for each film; "" is no cue.
        shown: (T, H', W', 3) uint8, the frames of one film at a higher resolution, for figures only.

    Returns:
        Tokens (M, T, D), of several films (B, M, T, D); ``image`` is (T, 3, H, W), of several (B, T, 3, H, W).

    Raises:
        ValueError: as :func:`film_pixels` and :func:`cue_ids`; masks or cues of another number of films, or grid;
            ``shown`` of several films, or of another length.
        RuntimeError: a model without a predictor.
    """
    pixels = film_pixels(frames, model)
    several = pixels if pixels.ndim == 5 else pixels[None]
    masks = masks.repeat(len(several)) if len(masks) == 1 else masks
    sentences = [cue] * len(several) if isinstance(cue, str) else cue
    if not isinstance(sentences, Sequence) or not all(isinstance(one, str) for one in sentences):
        raise TypeError(f'A cue is a sentence, or one for each film, and "" is none; got {cue!r}.')
    if len(sentences) != len(several):
        raise ValueError(f"There are {len(several)} films and {len(sentences)} cues: give one for each.")
    ids = cue_ids(model, sentences).to(model.device) if any(sentences) else None
    model.eval()
    clips, own = normalise(several.to(model.device)), masks.to(str(model.device))
    predicted = model.predict(model.encode_context(clips, own), own, ids).float()
    target = model.targets(clips, own).float()
    if pixels.ndim == 4:
        predicted, target = predicted[0], target[0]
    if shown is not None and (pixels.ndim == 5 or shown.shape != (len(pixels), *shown.shape[1:3], 3)):
        raise ValueError(f"shown is the frames of one film, ({model.config.frames}, H', W', 3), got {shown.shape}.")
    originals = () if shown is None else tuple(Image.fromarray(frame) for frame in shown)
    return Prediction(predicted, target, masks, pixels, model.config.patch_size, originals, Weights(model))
