"""Public interface of a trained decoder: from a prediction to samples of the hidden blocks."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.networks.network import BlockNetwork, Conditioning, ConditioningShares, TokenSource
from decoders.pipeline import BlockPipeline, renamed_condition
from decoders.sampling import (
    DEFAULT_SOLVER,
    DEFAULT_STEPS,
    SOLVERS,
    SamplingStep,
    check_detail,
    check_temperature,
    with_steps,
)
from ijepa_viz.data.picture_size import ImageSize, image_size
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models import unpatchify
from ijepa_viz.prediction import Prediction, check_prediction
from ijepa_viz.runtime.progress import Progress

# Callback: a dict with step, steps and images (S, 3, H, W); returning True ends the sampling.
Callback = Callable[[dict[str, Any]], Any]


# Images of a batch that are drawn at once.
BATCH = 8


class Cancelled(Exception):
    """Sampling was cancelled by the callback."""


@dataclass(frozen=True)
class DecoderConfig:
    """Metadata of a decoder; its network's sizes are in the network's own config.

    Attributes:
        ijepa: name of the I-JEPA it was trained on. ijepa_sha256: of that model's weights; a mismatch shows that a
            decoder is used with another model.
        steps: tested default number of evaluations of the network.
        conditioning: of the training blocks.
        token_steps: the same of the token network, of two stages.
        token_temperature: tested default scale of the tokens' noise, of two stages.
        detail: tested default noise level at which sampling ends with the expected picture.
    """

    ijepa: str = ""
    ijepa_sha256: str = ""
    steps: int = DEFAULT_STEPS
    conditioning: ConditioningShares = field(default_factory=ConditioningShares)
    token_steps: int = DEFAULT_STEPS
    token_temperature: float = 1.0
    detail: float = 0.0


@dataclass(frozen=True)
class Samples:
    """Samples of the hidden blocks of one image, or of a batch.

    Of a batch, the tensors have a dimension more in front, (B, S, 3, H, W), (B, H, W) and (B, S, M, T, D); it is a
    sequence of the samples of its images: ``len``, indexing and iteration. Figures take those of one image.

    Attributes:
        images: (S, 3, H, W) in [0, 1], mid-grey outside the hole.
        inside: (H, W) bool, the hole's pixels.
        tokens: (S, M, T, D), the sampled target tokens that were drawn; None of one stage.
        detail: noise level at which sampling ended with the expected picture; 0 if it did not end early. A figure's
            caption says it.
        frames: T of films, whose images are (S, T, 3, H, W) and whose hole is (T, H, W); 1 of pictures.
    """

    images: Tensor
    inside: Tensor
    tokens: Tensor | None = None
    detail: float = 0.0
    frames: int = 1

    @property
    def batched(self) -> bool:
        """Whether these are of a batch."""
        return self.images.ndim == 5 + (self.frames > 1)

    def __len__(self) -> int:
        if not self.batched:
            raise TypeError("These samples are of one image, not of a batch: their number is len(samples.images).")
        return len(self.images)

    def __bool__(self) -> bool:
        return True  # not by the length, which those of one image have not

    def __getitem__(self, index: int) -> Samples:
        """The samples of one image of a batch.

        Raises:
            TypeError: not of a batch. IndexError: no such image.
        """
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"This batch has {count} images, there is no number {index}.")
        tokens = None if self.tokens is None else self.tokens[index]
        return Samples(self.images[index], self.inside[index], tokens, self.detail, self.frames)

    def __iter__(self) -> Iterator[Samples]:
        return (self[index] for index in range(len(self)))

    def on(self, image: Tensor) -> Tensor:
        """Paste the samples into the hole of ``image`` (3, H, W); returns (S, 3, H, W).

        Samples of another resolution than the image's are resized. Of a batch, (B, 3, H, W) to (B, S, 3, H, W); of
        films, ``image`` is (T, 3, H, W), or (B, T, 3, H, W).

        Raises:
            ValueError: an image of other proportions, or another number of images or frames.
        """
        one = self.images.ndim - 1 - self.batched  # dimensions of one image or film
        if self.batched:
            if image.ndim != one + 1 or len(image) != len(self):
                raise ValueError(f"The images must be ({len(self)}, 3, H, W), got {tuple(image.shape)}.")
            return torch.stack([own.on(given) for own, given in zip(self, image, strict=True)])
        own, wanted = self.images.shape[-2:], image.shape[-2:]
        same = image.ndim == one and image.shape[:-2] == self.images.shape[1:-2]
        if not same or own[0] * wanted[1] != own[1] * wanted[0]:
            raise ValueError(
                f"The image must be {tuple(self.images.shape[1:])} or in proportion, got {tuple(image.shape)}."
            )
        images, inside = self.images, self.inside.unsqueeze(-3)
        if own != wanted:
            flat = images.flatten(0, -4)
            images = F.interpolate(flat, wanted, mode="bilinear", antialias=True).unflatten(0, images.shape[:-3])
            flat = inside.flatten(0, -4) if inside.ndim > 3 else inside[None]
            inside = F.interpolate(flat.float(), wanted, mode="nearest-exact").view(*inside.shape[:-2], *wanted) > 0.5
        return torch.where(inside, images, image.to(images))


class Decoder:
    """A trained decoder: its network, or its two networks, metadata and scheduler.

    Args:
        network: of :mod:`decoders.networks`, which draws pixels.
        config: its metadata.
        scheduler: of diffusers; None is the one that ``decoders.sampling.DEFAULT_SOLVER`` names.
        token_network: samples the target tokens that ``network`` then draws; None is one stage.
        token_scheduler: of the token network; None is ``scheduler``.

    Raises:
        ValueError: networks that draw something else, or of different grids or widths, or a token scheduler without a
            token network.
    """

    def __init__(
        self,
        network: BlockNetwork,
        config: DecoderConfig,
        scheduler: Any = None,
        token_network: BlockNetwork | None = None,
        token_scheduler: Any = None,
    ) -> None:
        self.config = config
        for part, draws in ((network, "pixels"), (token_network, "tokens")):
            if part is not None and part.draws != draws:
                raise ValueError(f"A network that draws {draws} is needed, {type(part).__name__} draws {part.draws}.")
        if token_network is not None:
            mine, its = ((n.grid, n.config.feature_width, n.steps) for n in (network, token_network))
            if mine != its:
                raise ValueError(f"The networks are of different models: grid, width and steps are {mine} and {its}.")
            token_network.eval()
        self.pipeline = BlockPipeline(
            network.eval(), scheduler or SOLVERS[DEFAULT_SOLVER](), token_network, token_scheduler
        )

    @property
    def network(self) -> BlockNetwork:
        """Network of the pipeline."""
        return self.pipeline.network

    @property
    def image_size(self) -> ImageSize:
        """Size in pixels of the images that it draws; the I-JEPA's own input may be smaller."""
        rows, cols = self.network.grid
        return image_size((rows * self.network.config.patch_size, cols * self.network.config.patch_size))

    def at(self, grid: Grid) -> Decoder:
        """This decoder for predictions on another grid, such as ``prediction.masks.grid``: the same weights, shared.

        Args:
            grid: (rows, cols) of patches. Beyond the rows and columns of the training it draws at positions that it has
                never seen, and better or worse for it: docs/how-to/any-picture-size.md has measurements.

        Raises:
            ValueError: a decoder with weights of single patches of its grid (``ridge``).
        """
        if tuple(grid) == self.network.grid:
            return self
        token_network = self.pipeline.token_network
        second = None if token_network is None else token_network.at(grid)
        return Decoder(
            self.network.at(grid), self.config, self.pipeline.scheduler, second, self.pipeline.token_scheduler
        )

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.network.feature_mean.device

    def sample(
        self,
        prediction: Prediction,
        samples: int = 6,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        callback: Callback | None = None,
        *,
        conditioning: str = "tokens",
        source: str = "predicted",
        token_steps: int | None = None,
        token_temperature: float | None = None,
        detail: float | None = None,
        batch: int = BATCH,
        condition: str | None = None,
    ) -> Samples:
        """Sample the hidden blocks' pixels given their tokens, with different noise for each sample.

        Content common to all samples is in the representation; content that varies between them is not
        (section 6 of the paper). The image's pixels are never read.

        Args:
            prediction: of one image or of a batch; only its tokens and its blocks' patch indices are used.
            samples: S, of each image.
            steps: evaluations of the network; None is the decoder's tested default. One step gives the conditional
                mean, the blur of a squared-error decoder.
            guidance: scale of classifier-free guidance; None is 1.0, no guidance. A larger one shrinks the variance
                between samples.
            seed: sample i uses seed + i, of every image of a batch, whose samples are those of the image alone.
            callback: called after each step of the drawing with {"step", "steps", "images"}; True cancels. Of a batch,
                ``images`` are (b, S, 3, H, W) of those that are drawn at once, and "first" is the index of the first.
            conditioning: "tokens", "pooled" (the paper's setting: the block's average) or "null" (none: the control).
            source: "predicted", or "target" for the target encoder's own tokens.
            token_steps: of two stages, evaluations of the token network; None is the decoder's tested default, or
                ``steps`` where these are fewer, so that one step is the mean of both stages. 0 draws the predicted
                tokens themselves, in one stage.
            token_temperature: of two stages, scale of the tokens' noise: above 1 samples vary more, and
                agree less with the prediction; None is the decoder's tested default. A single step ignores it.
            detail: noise level, 0 to 1, at which sampling ends with the expected picture: coarse structure is sampled,
                the finest grain averaged. None is the decoder's tested default, 0 samples the grain too.
            batch: of a batch, images that are drawn at once. Memory grows with it, and beyond that with the number of
                images only by what is returned.
            condition: deprecated name of ``conditioning``.

        Raises:
            ValueError: a number out of range, an unknown conditioning or source, ``token_steps`` for a decoder of one
                stage, or a prediction of another model: of its grid or width, or of its weights where both are known.
            TypeError: a fraction or None where a whole number is needed.
            Cancelled: the callback returned True.
        """
        samples, seed, batch = _whole("samples", samples), _whole("seed", seed), _whole("batch", batch)
        steps = None if steps is None else _whole("steps", steps)
        token_steps = None if token_steps is None else _whole("token_steps", token_steps)
        if token_steps and self.pipeline.token_network is None:
            raise ValueError(
                f"token_steps is for decoders of two stages, and this one ({self.config.ijepa!r}) has one stage: it "
                "samples no tokens. Leave token_steps out."
            )
        guidance = 1.0 if guidance is None else guidance
        if token_steps is None:
            token_steps = self.config.token_steps if steps is None else min(self.config.token_steps, steps)
        steps = self.config.steps if steps is None else steps
        if token_temperature is None:
            token_temperature = self.config.token_temperature
        elif self.pipeline.token_network is None:
            raise ValueError(
                f"token_temperature is for decoders of two stages, and this one ({self.config.ijepa!r}) has one stage: "
                "it samples no tokens. Leave token_temperature out."
            )
        detail = self.config.detail if detail is None else detail
        if isinstance(detail, str):
            raise TypeError(f"detail is a noise level from 0 to 1, got {detail!r}.")
        check_detail(detail)
        check_temperature(token_temperature)
        if samples < 1 or steps < 1 or not 0 <= guidance < math.inf or token_steps < 0:
            raise ValueError(
                "samples and steps must be at least 1, guidance and token_steps at least 0, guidance finite; "
                f"got {samples}, {steps}, {guidance}, {token_steps}."
            )
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}.")
        conditioning = renamed_condition(conditioning, condition)
        _check_names(conditioning, source)
        tokens = prediction.predicted if source == "predicted" else prediction.target
        masks = prediction.masks
        self._check(masks, tokens)
        check_prediction(prediction, self)
        batched = tokens.ndim == 4
        several = tokens if batched else tokens[None]  # (B, M, T, D)
        if several.shape[:3] != masks.targets.shape:
            raise ValueError(
                f"The tokens of target blocks {tuple(masks.targets.shape)} are (B, M, T, D) of a batch or (M, T, D) of "
                f"one image, got {tuple(tokens.shape)}."
            )
        ended_at = self._ended_at(detail, steps)
        parts: list[Samples] = []
        with Progress("drawing samples", len(several), "img", disable=len(several) <= batch) as bar:
            for first in range(0, len(several), batch):
                some, own = several[first : first + batch], masks[first : first + batch]
                after_step = self._previews(callback, samples, steps, own, first if batched else None)
                pixels, sampled = self._draw(
                    some,
                    own,
                    samples,
                    seed,
                    conditioning=Conditioning.from_name(conditioning),
                    token_source=TokenSource.from_name(source),
                    num_inference_steps=steps,
                    token_steps=token_steps,
                    token_temperature=token_temperature,
                    guidance_scale=guidance,
                    detail=detail,
                    callback=after_step,
                )
                drawn = replace(self._compose(pixels, samples, own), detail=ended_at)
                if sampled is not None:
                    shape = (len(some), samples, *some.shape[1:])  # (b, S, M, T, D)
                    drawn = replace(drawn, tokens=sampled.float().cpu().view(shape))
                parts.append(drawn)
                bar.update(len(some))
        joined = _joined(parts)
        return joined if batched else joined[0]

    def sketch(
        self, prediction: Prediction, *, conditioning: str = "tokens", source: str = "predicted"
    ) -> Samples | None:
        """One picture to show while samples are drawn: the mean of what fits the tokens, a blur, in one evaluation.

        The samples of two stages keep one waiting, because their tokens are sampled before anything is drawn.

        Args:
            prediction, conditioning, source: as of :meth:`sample`.

        Returns:
            One sample; None where the drawing begins at once and :meth:`sample`'s callback shows as much as early.

        Raises:
            ValueError: as :meth:`sample`; of one stage only for an unknown conditioning or source.
        """
        _check_names(conditioning, source)
        if self.pipeline.token_network is None or source == "target" or conditioning == "null":
            return None
        return self.sample(prediction, 1, steps=1, token_steps=0, detail=0.0, conditioning=conditioning, source=source)

    @torch.no_grad()
    def _draw(
        self, tokens: Tensor, masks: Masks, samples: int, seed: int, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Draw blocks of images with tokens (b, M, T, D): pixels (b S M, T, 3 p p), and sampled tokens or None.

        The blocks of one sample share its noise, so that overlapping blocks agree on it; so do the images.
        """
        images, blocks = tokens.shape[:2]
        seeds = [seed + i for _ in range(images) for i in range(samples) for _ in range(blocks)]
        return self.pipeline.draw(
            tokens.to(self.device).repeat_interleave(samples, 0).flatten(0, 1),  # (b S M, T, D)
            masks.targets.to(self.device).repeat_interleave(samples, 0).flatten(0, 1),  # (b S M, T)
            generators=[torch.Generator().manual_seed(number) for number in seeds],
            **options,
        )

    def _previews(
        self, callback: Callback | None, samples: int, steps: int, masks: Masks, first: int | None
    ) -> Callable[[SamplingStep], None] | None:
        """What calls ``callback`` with a preview after each step; ``first`` is None of one image."""
        if callback is None:
            return None

        def after_step(state: SamplingStep) -> None:
            # A preview of the clean estimate: the noisy state shows little until the last steps.
            images = self._compose(state.clean, samples, masks).images
            told = {"step": state.index + 1, "steps": steps, "images": images[0] if first is None else images}
            if callback(told if first is None else {**told, "first": first}) is True:
                raise Cancelled(f"cancelled after step {state.index + 1} of {steps}")

        return after_step

    def _ended_at(self, detail: float, steps: int) -> float:
        """Noise level at which sampling ended; 0 if it went to the end, as a deterministic network always does."""
        if not self.network.stochastic:
            return 0.0
        levels = [level for level in with_steps(self.pipeline.scheduler, steps).sigmas.tolist() if level > 0]
        reached = next((level for level in levels if level <= detail + 1e-6), 0.0)
        return float(reached) if reached > min(levels) else 0.0

    def _check(self, masks: Masks, tokens: Tensor) -> None:
        grid, width = self.network.grid, self.network.config.feature_width
        if masks.steps != self.network.steps:
            raise ValueError(
                f"This decoder, of {self.config.ijepa!r}, draws {_films(self.network.steps)}, the prediction is of "
                f"{_films(masks.steps)}."
            )
        if masks.grid != grid or tokens.shape[-1] != width:
            raise ValueError(
                f"This decoder reads {width}-dimensional tokens on a {grid[0]}x{grid[1]} grid (those of "
                f"{self.config.ijepa!r}), the prediction has {tokens.shape[-1]} on {masks.grid[0]}x{masks.grid[1]}."
                + (" decoder.at(prediction.masks.grid) draws it." if tokens.shape[-1] == width else "")
            )

    def _compose(self, pixels: Tensor, samples: int, masks: Masks) -> Samples:
        """Compose pixels (b S M, T, 3 t p p) in [-1, 1] to images; of overlapping blocks the last one is on top."""
        patch, tubelet = self.network.config.patch_size, self.network.tubelet
        images, blocks, count = masks.targets.shape
        canvas = torch.full((images, samples, masks.num_patches, pixels.shape[-1]), 0.5)
        values = (pixels.float().cpu() / 2 + 0.5).clamp(0, 1).view(images, samples, blocks, count, -1)
        for image, targets in enumerate(masks.targets.cpu()):
            for m in range(blocks):
                canvas[image][:, targets[m]] = values[image, :, m]
        time = {} if masks.steps == 1 else {"tubelet": tubelet, "steps": masks.steps}
        drawn = unpatchify(canvas.flatten(0, 1), masks.grid, patch, **time).unflatten(0, (images, samples))
        return Samples(drawn, masks.hidden_pixels(patch, tubelet), frames=masks.steps * tubelet)


def _joined(parts: list[Samples]) -> Samples:
    """The samples of several batches as those of one."""
    tokens = [part.tokens for part in parts if part.tokens is not None]
    return Samples(
        torch.cat([part.images for part in parts]),
        torch.cat([part.inside for part in parts]),
        torch.cat(tokens) if tokens else None,
        parts[0].detail,
        parts[0].frames,
    )


def _check_names(conditioning: str, source: str) -> None:
    names = [member.name.lower() for member in Conditioning]
    if conditioning not in names or source not in ("predicted", "target"):
        raise ValueError(
            f"conditioning is one of {', '.join(reversed(names))} and source predicted or target, "
            f"got {conditioning!r} and {source!r}."
        )


def _films(steps: int) -> str:
    return "pictures" if steps == 1 else f"films of {steps} steps"


def _whole(name: str, value: Any) -> int:
    """A whole number, NumPy's and torch's too, as Python's; TypeError for anything else."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} is a whole number, got {value!r}.") from error
