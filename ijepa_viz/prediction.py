"""Predicted and target tokens of the hidden blocks of images by a frozen model (section 3)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ijepa_viz.data.picture_size import in_words
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import FittedPixels, fit_pixels, normalise, to_tensor
from ijepa_viz.masks import Grid, Masks, central_block
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.progress import Progress
from ijepa_viz.runtime.weights import Weights

# Side in pixels above which a picture is not kept for figures.
LARGEST_ORIGINAL = 512

# Pictures that the networks compute at once.
BATCH = 32

_OTHER_WEIGHTS = (
    "This decoder was trained on other weights ({!r}) than {}: its samples would be meaningless. Train one with "
    "`python -m decoders`."
)


@dataclass(frozen=True)
class Prediction:
    """Predicted and target tokens of the target blocks of one image, or of a batch.

    Of a batch, the tensors have a dimension more in front, (B, M, T, D) and (B, 3, H, W); it is a sequence of the
    predictions of its images: ``len``, indexing and iteration. Decoders and figures take those of one image.

    Attributes:
        predicted: (M, T, D), the predictor's output.
        target: (M, T, D), the target encoder's output after the loss's LayerNorm.
        masks: of this image (B = 1), or of the images of the batch.
        image: (3, H, W) in [0, 1], the model's input, of a film (T, 3, H, W). For figures only; decoders must not read
            it.
        patch_size: in pixels.
        originals: the same part of each image at its own resolution, at most :data:`LARGEST_ORIGINAL` px; empty where
            none is larger than the model's input. Of one film its frames, or none. For figures only.
        weights: those of the model that predicted the tokens; None where that is unknown, or where the tokens were
            replaced. A decoder of another model refuses such a prediction.
    """

    predicted: Tensor
    target: Tensor
    masks: Masks
    image: Tensor
    patch_size: int
    originals: tuple[Image.Image, ...] = ()
    weights: Weights | None = field(default=None, repr=False, compare=False)

    @property
    def cosine(self) -> Tensor:
        """Cosine similarity of each predicted token to its target token, (M, T); (B, M, T) of a batch."""
        return F.cosine_similarity(self.predicted, self.target, dim=-1)

    @property
    def energy(self) -> Tensor:
        """Smooth L1 of each predicted token to its target token, the training loss: (M, T); (B, M, T) of a batch."""
        return F.smooth_l1_loss(self.predicted, self.target, reduction="none").mean(-1)

    @property
    def batched(self) -> bool:
        """Whether this is of a batch."""
        return self.predicted.ndim == 4

    def __len__(self) -> int:
        if not self.batched:
            raise TypeError("This prediction is of one image, not of a batch: it has no length.")
        return len(self.image)

    def __bool__(self) -> bool:
        return True  # not by the length, which one image has not

    def __getitem__(self, index: int) -> Prediction:
        """The prediction of one image of a batch.

        Raises:
            TypeError: not of a batch. IndexError: no such image.
        """
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"This batch has {count} images, there is no number {index}.")
        index %= count
        return replace(
            self,
            predicted=self.predicted[index],
            target=self.target[index],
            masks=self.masks[index : index + 1],
            image=self.image[index],
            originals=self.originals[index : index + 1],
        )

    def picture(self, height: int) -> Tensor:
        """The image with ``height`` rows, (3, height, W) in [0, 1], from its original where there is one: for figures.

        Of a film all frames, (T, 3, height, W).

        Raises:
            TypeError: of a batch.
        """
        if self.batched:
            raise TypeError("This prediction is of a batch: take the picture of one of its images, prediction[0].")
        rows, cols = self.image.shape[-2:]
        if rows == height:
            return self.image
        size = (height, round(height * cols / rows))
        if self.image.ndim == 4:
            if self.originals:
                return torch.stack([to_tensor(frame, size) for frame in self.originals])
            return F.interpolate(self.image, size, mode="bilinear", antialias=True)
        if self.originals:
            return to_tensor(self.originals[0], size)
        return F.interpolate(self.image[None], size, mode="bilinear", antialias=True)[0]

    def __iter__(self) -> Iterator[Prediction]:
        return (self[index] for index in range(len(self)))

    def replaced(self, tokens: Tensor) -> Prediction:
        """Replace the predicted tokens by others, (M, T, D), such as a control's, of whatever model they are.

        Raises:
            ValueError: tokens of another shape.
        """
        if tokens.shape != self.predicted.shape:
            raise ValueError(f"The target blocks need tokens {tuple(self.predicted.shape)}, got {tuple(tokens.shape)}.")
        return replace(self, predicted=tokens, weights=None)


class DrawnSamples(Protocol):
    """Interface of a decoder's samples for figures and widgets."""

    @property
    def images(self) -> Tensor:
        """Samples (S, 3, H, W) in [0, 1]."""
        ...

    def on(self, image: Tensor) -> Tensor:
        """Paste the hidden region of each sample onto ``image`` (3, H, W): (S, 3, H, W)."""
        ...


class Sampler(Protocol):
    """Interface of a decoder for the demo and the widgets, implemented by ``decoders.Decoder``."""

    @property
    def config(self) -> Any:
        """Config with ``ijepa``, ``ijepa_sha256`` and ``steps``."""
        ...

    def sample(self, prediction: Prediction, samples: int = 6, *args: Any, **kwargs: Any) -> Any:
        """Draw ``samples`` images conditioned on the predicted tokens."""
        ...


@torch.inference_mode()
def predict(
    model: IJEPA,
    image: Any,
    masks: Any = None,
    batch: int = BATCH,
    *,
    fit: str = "crop",
    positions: str = "interpolated",
    patches: int | None = None,
) -> Prediction:
    """Predict the tokens of the target blocks of one image or a batch (section 3; figure 6 decodes such predictions).

    Args:
        model: with a predictor; set to eval mode.
        image: one picture or a batch: a path, a binary file, a PIL image, a NumPy array or a torch tensor (uint8 0 to
            255, uint16 0 to 65535 or float 0 to 1; grey, RGB or, channels last, RGBA; channels first or last), or a
            list of these. What is not of the model's size is fitted to it. See
            :func:`ijepa_viz.data.transforms.to_pixels`.
        masks: of these images or of one, for all of them, on the grid that ``fit`` gives them; or a boolean array or
            tensor (rows, cols) or (B, rows, cols), True = hidden, as :meth:`Masks.from_array` takes it. None hides a
            block of half the picture's height and width, in the middle of it.
        batch: pictures that the networks compute at once. Memory grows with it, and beyond that with the number of
            pictures only by what is returned; :func:`predictions` keeps neither.
        fit: how a picture of other proportions lies on a grid of patches (:func:`ijepa_viz.data.fitting.place`).
            "crop" takes the largest centred part that has the proportions of the model's pictures. "pad" puts the whole
            picture on the model's grid: patches beside it are taken out of the context, no target encoder reads them,
            and masks that hide one are refused. "native" gives the picture a grid of its own, by :meth:`IJEPA.at`. The
            grid is that of ``prediction.masks``.
        positions: of "native", as of :meth:`IJEPA.at`.
        patches: of "native", about how many; None is as many as the model's own grid has.

    Returns:
        Predicted and target tokens (M, T, D) in float32; (B, M, T, D) of a batch.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable or ambiguous image, masks of another grid, kind or number of images, or that hide
            padding, an unknown fit, or with "native" pictures of several grids in one batch.
        TypeError: the name of a model instead of a model.
        RuntimeError: the model has no predictor.

    >>> from ijepa_viz.checkpoints import load_model
    >>> from ijepa_viz.data import menagerie
    >>> model = load_model("menagerie-tiny")
    >>> masks = Masks.from_block(model.grid, row=2, col=2, height=3, width=3)
    >>> prediction = predict(model, menagerie.scene(0).image, masks)
    >>> prediction.cosine.shape  # (M, T)
    torch.Size([1, 9])
    >>> bool(prediction.cosine.mean() > 0.5)
    True
    """
    if not isinstance(model, nn.Module):
        named = f"load_model({str(model)!r})" if isinstance(model, str | os.PathLike) else "load_model(NAME)"
        raise TypeError(f"predict takes a model, got {type(model).__name__}: load it, ijepa_viz.checkpoints.{named}.")
    original, config = model, model.config
    fitted = fit_pixels(image, config.image_size, config.patch_size, LARGEST_ORIGINAL, fit, patches)
    pixels = fitted.pixels
    model = model if fit != "native" else _native(model, pixels, positions)
    batched = pixels.ndim == 4
    every = pixels if batched else pixels[None]
    masks, inside = _masks_of(masks, model, fitted, len(every), fit == "native")
    if batch < 1:
        raise ValueError(f"A batch has at least one picture, got {batch}.")
    model.eval()
    parts: list[tuple[Tensor, Tensor]] = []
    with Progress("predicting", len(every), "img", disable=len(every) <= batch) as bar:
        for start in range(0, len(every), batch):
            images = normalise(every[start : start + batch]).to(model.device)
            some = masks[start : start + batch].to(str(model.device))
            predicted = model.predict(model.encode_context(images, some), some).float()
            covered = None if inside is None else inside[start : start + batch].to(model.device)
            parts.append((predicted, model.targets(images, some, covered).float()))
            bar.update(len(images))
    predicted, target = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    if not batched:
        predicted, target = predicted[0], target[0]
    weights = Weights(original)
    return Prediction(predicted, target, masks, pixels, config.patch_size, fitted.originals, weights)


def _native(model: IJEPA, pixels: Tensor, positions: str) -> IJEPA:
    """The model at the resolution of pixels (..., 3, H, W)."""
    height, width = pixels.shape[-2:]
    return model if (height, width) == model.config.height_and_width else model.at(height, width, positions)


def _masks_of(masks: Any, model: IJEPA, fitted: FittedPixels, count: int, native: bool) -> tuple[Masks, Tensor | None]:
    """Masks of ``count`` images without padding in their context, and what is no padding, (count, rows, cols) bool."""
    inside = None if fitted.inside is None else fitted.inside.expand(count, -1, -1)
    if masks is None:
        masks = _central(model.grid, inside, count)
    elif not isinstance(masks, Masks):
        masks = Masks.from_array(masks)
    if masks.grid != model.grid:
        raise ValueError(
            f"The mask is for a {masks.grid[0]}x{masks.grid[1]} grid, this {'picture' if native else 'model'}'s is "
            f"{model.grid[0]}x{model.grid[1]}: pictures of {in_words(model.config.image_size)} px in patches of "
            f"{model.config.patch_size} px."
        )
    if len(masks) == 1 and count > 1:
        masks = masks.repeat(count)
    if len(masks) != count:
        raise ValueError(f"Masks for {len(masks)} images, but there are {count} images.")
    return (masks, None) if inside is None else (masks.within(inside), inside)


def _central(grid: Grid, inside: Tensor | None, count: int) -> Masks:
    """A block of half the height and width of the grid, or of the part of it that each picture covers."""
    if inside is None:
        return Masks.from_block(grid, *central_block(grid))
    hidden = torch.zeros(count, *grid, dtype=torch.bool)
    for one, part in zip(hidden, inside, strict=True):
        (top, left), (bottom, right) = part.nonzero().amin(0).tolist(), part.nonzero().amax(0).tolist()
        row, col, height, width = central_block((bottom - top + 1, right - left + 1))
        one[top + row : top + row + height, left + col : left + col + width] = True
    if len(hidden.flatten(1).sum(1).unique()) > 1:
        raise ValueError(
            "Pictures of different proportions have blocks of different sizes in their middle, and a batch has one: "
            "give masks, or predict the pictures one by one."
        )
    return Masks.from_array(hidden)


def predictions(
    model: IJEPA, images: Iterable[Any] | Source, masks: Any = None, batch: int = BATCH, **options: Any
) -> Iterator[Prediction]:
    """Predict many pictures, a batch at a time: memory is that of one batch, however many there are.

    Args:
        model: as of :func:`predict`.
        images: pictures as :func:`predict` takes them, a generator of these, or a data set of
            :func:`ijepa_viz.data.opening.open_source`.
        masks: of one image, for all of them, or of each of the images, as of :func:`predict`.
        batch: pictures at once. options: ``fit``, ``positions`` and ``patches`` of :func:`predict`.

    Yields:
        Predictions of a batch each, of ``batch`` pictures, the last one perhaps of fewer.

    Raises:
        FileNotFoundError, ValueError, TypeError, RuntimeError: as :func:`predict`; masks of fewer or more images.

    >>> from ijepa_viz.checkpoints import load_model
    >>> from ijepa_viz.data.opening import open_source
    >>> model = load_model("menagerie-tiny")
    >>> masks = Masks.from_block(model.grid, row=2, col=2, height=3, width=3)
    >>> found = predictions(model, open_source("menagerie:count=5", "test"), masks, batch=2)
    >>> [len(prediction) for prediction in found]
    [2, 2, 1]
    """
    if batch < 1:
        raise ValueError(f"A batch has at least one picture, got {batch}.")
    if masks is not None and not isinstance(masks, Masks):
        masks = Masks.from_array(masks)
    several = masks is not None and len(masks) > 1
    total = len(images) if isinstance(images, Sized) else None
    pictures = (images[i] for i in range(len(images))) if isinstance(images, Source) else iter(images)
    done = 0
    with Progress("predicting", total, "img") as bar:
        while some := list(itertools.islice(pictures, batch)):
            if several and done + len(some) > len(masks):
                raise ValueError(f"Masks for {len(masks)} images, but there are more images.")
            yield predict(model, some, masks[done : done + len(some)] if several else masks, batch, **options)
            done += len(some)
            bar.update(len(some))
    if several and done != len(masks):
        raise ValueError(f"Masks for {len(masks)} images, but there are {done} images.")


def check_pair(model: IJEPA, decoder: Sampler) -> None:
    """Check that ``decoder`` was trained on this model's predictions, by the fingerprint of the weights.

    Raises:
        ValueError: a decoder of another model.
    """
    if decoder.config.ijepa_sha256 != Weights(model).sha256():
        raise ValueError(_OTHER_WEIGHTS.format(decoder.config.ijepa, "this model's"))


def check_prediction(prediction: Prediction, decoder: Sampler) -> None:
    """Check that ``decoder`` was trained on the model that made ``prediction``, where both are known.

    Raises:
        ValueError: a prediction of another model.
    """
    expected = decoder.config.ijepa_sha256
    found = prediction.weights.sha256() if expected and prediction.weights else None
    if found is not None and found != expected:
        raise ValueError(_OTHER_WEIGHTS.format(decoder.config.ijepa, "those of this prediction's model"))
