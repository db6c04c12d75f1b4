"""Public interface of a trained decoder: from a prediction to samples of the hidden blocks."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.networks.network import BlockNetwork, Conditioning, ConditioningShares, TokenSource
from decoders.pipeline import BlockPipeline, renamed_condition
from decoders.sampling import DEFAULT_SOLVER, DEFAULT_STEPS, SOLVERS, SamplingStep, check_detail, with_steps
from ijepa_viz.masks import Masks
from ijepa_viz.models import unpatchify
from ijepa_viz.prediction import Prediction, check_prediction

# Callback: a dict with step, steps and images (S, 3, H, W); returning True ends the sampling.
Callback = Callable[[dict[str, Any]], Any]


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
        detail: tested default noise level at which sampling ends with the expected picture.
    """

    ijepa: str = ""
    ijepa_sha256: str = ""
    steps: int = DEFAULT_STEPS
    conditioning: ConditioningShares = field(default_factory=ConditioningShares)
    token_steps: int = DEFAULT_STEPS
    detail: float = 0.0


@dataclass(frozen=True)
class Samples:
    """Samples of the hidden blocks of one image.

    Attributes:
        images: (S, 3, H, W) in [0, 1], mid-grey outside the hole.
        inside: (H, W) bool, the hole's pixels.
        tokens: (S, M, T, D), the sampled target tokens that were drawn; None of one stage.
        detail: noise level at which sampling ended with the expected picture; 0 if it did not end early. A figure's
            caption says it.
    """

    images: Tensor
    inside: Tensor
    tokens: Tensor | None = None
    detail: float = 0.0

    def on(self, image: Tensor) -> Tensor:
        """Paste the samples into the hole of ``image`` (3, H, W); returns (S, 3, H, W).

        Samples of another resolution than the image's are resized.

        Raises:
            ValueError: an image of other proportions.
        """
        own, wanted = self.images.shape[-2:], image.shape[-2:]
        if image.ndim != 3 or image.shape[0] != 3 or own[0] * wanted[1] != own[1] * wanted[0]:
            raise ValueError(
                f"The image must be {tuple(self.images.shape[1:])} or in proportion, got {tuple(image.shape)}."
            )
        images, inside = self.images, self.inside
        if own != wanted:
            images = F.interpolate(images, wanted, mode="bilinear", antialias=True)
            inside = F.interpolate(inside[None, None].float(), wanted, mode="nearest-exact")[0, 0] > 0.5
        return torch.where(inside, images, image.to(images))


class Decoder:
    """A trained decoder: its network, or its two networks, metadata and scheduler.

    Args:
        network: of :mod:`decoders.networks`, which draws pixels.
        config: its metadata.
        scheduler: of diffusers; None is the one that ``decoders.sampling.DEFAULT_SOLVER`` names.
        token_network: samples the target tokens that ``network`` then draws; None is one stage.

    Raises:
        ValueError: networks that draw something else, or of different grids or widths.
    """

    def __init__(
        self,
        network: BlockNetwork,
        config: DecoderConfig,
        scheduler: Any = None,
        token_network: BlockNetwork | None = None,
    ) -> None:
        self.config = config
        for part, draws in ((network, "pixels"), (token_network, "tokens")):
            if part is not None and part.draws != draws:
                raise ValueError(f"A network that draws {draws} is needed, {type(part).__name__} draws {part.draws}.")
        if token_network is not None:
            mine, its = ((n.grid, n.config.feature_width) for n in (network, token_network))
            if mine != its:
                raise ValueError(f"The networks are of different models: grid and width are {mine} and {its}.")
            token_network.eval()
        self.pipeline = BlockPipeline(network.eval(), scheduler or SOLVERS[DEFAULT_SOLVER](), token_network)

    @property
    def network(self) -> BlockNetwork:
        """Network of the pipeline."""
        return self.pipeline.network

    @property
    def image_size(self) -> int:
        """Height in pixels of the images that it draws; the I-JEPA's own input may be smaller."""
        return self.network.grid[0] * self.network.config.patch_size

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
        detail: float | None = None,
        condition: str | None = None,
    ) -> Samples:
        """Sample the hidden blocks' pixels given their tokens, with different noise for each sample.

        Content common to all samples is in the representation; content that varies between them is not
        (section 6 of the paper). The image's pixels are never read.

        Args:
            prediction: only its tokens and its blocks' patch indices are used.
            samples: S.
            steps: evaluations of the network; None is the decoder's tested default. One step gives the conditional
                mean, the blur of a squared-error decoder.
            guidance: scale of classifier-free guidance; None is 1.0, no guidance. A larger one shrinks the variance
                between samples.
            seed: sample i uses seed + i.
            callback: called after each step with {"step", "steps", "images"}; True cancels.
            conditioning: "tokens", "pooled" (the paper's setting: the block's average) or "null" (none: the control).
            source: "predicted", or "target" for the target encoder's own tokens.
            token_steps: of two stages, evaluations of the token network; None is the decoder's tested default, or
                ``steps`` where these are fewer, so that one step is the mean of both stages. 0 draws the predicted
                tokens themselves, in one stage.
            detail: noise level, 0 to 1, at which sampling ends with the expected picture: coarse structure is sampled,
                the finest grain averaged. None is the decoder's tested default, 0 samples the grain too.
            condition: deprecated name of ``conditioning``.

        Raises:
            ValueError: a number out of range, an unknown conditioning or source, ``token_steps`` for a decoder of one
                stage, or a prediction of another model: of its grid or width, or of its weights where both are known.
            TypeError: a fraction or None where a whole number is needed.
            Cancelled: the callback returned True.
        """
        samples, seed = _whole("samples", samples), _whole("seed", seed)
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
        detail = self.config.detail if detail is None else detail
        if isinstance(detail, str):
            raise TypeError(f"detail is a noise level from 0 to 1, got {detail!r}.")
        check_detail(detail)
        if samples < 1 or steps < 1 or guidance < 0 or token_steps < 0:
            raise ValueError(
                "samples and steps must be at least 1, guidance and token_steps at least 0, "
                f"got {samples}, {steps}, {guidance}, {token_steps}."
            )
        conditioning = renamed_condition(conditioning, condition)
        names = [member.name.lower() for member in Conditioning]
        if conditioning not in names or source not in ("predicted", "target"):
            raise ValueError(
                f"conditioning is one of {', '.join(reversed(names))} and source predicted or target, "
                f"got {conditioning!r} and {source!r}."
            )
        tokens = prediction.predicted if source == "predicted" else prediction.target
        masks = prediction.masks
        self._check(masks, tokens)
        check_prediction(prediction, self)
        blocks = len(tokens)
        # The blocks of one sample share its noise, so that overlapping blocks agree on it.
        generators = [torch.Generator().manual_seed(seed + i) for i in range(samples) for _ in range(blocks)]

        patch_indices = masks.targets[0].to(self.device).repeat(samples, 1)  # (S M, T)

        def after_step(state: SamplingStep) -> None:
            # A preview of the clean estimate: the noisy state shows little until the last steps.
            preview = self._compose(state.clean, samples, masks).images
            if callback is not None and callback({"step": state.index + 1, "steps": steps, "images": preview}) is True:
                raise Cancelled(f"cancelled after step {state.index + 1} of {steps}")

        with torch.no_grad():
            pixels, sampled = self.pipeline.draw(
                tokens.to(self.device).repeat(samples, 1, 1),  # (S M, T, D)
                patch_indices,
                generators=generators,
                conditioning=Conditioning.from_name(conditioning),
                token_source=TokenSource.from_name(source),
                num_inference_steps=steps,
                token_steps=token_steps,
                guidance_scale=guidance,
                detail=detail,
                callback=after_step if callback else None,
            )
        drawn = replace(self._compose(pixels, samples, masks), detail=self._ended_at(detail, steps))
        if sampled is None:
            return drawn
        return replace(drawn, tokens=sampled.float().cpu().view(samples, blocks, *sampled.shape[1:]))

    def _ended_at(self, detail: float, steps: int) -> float:
        """Noise level at which sampling ended; 0 if it went to the end, as a deterministic network always does."""
        if not self.network.stochastic:
            return 0.0
        levels = [level for level in with_steps(self.pipeline.scheduler, steps).sigmas.tolist() if level > 0]
        reached = next((level for level in levels if level <= detail + 1e-6), 0.0)
        return float(reached) if reached > min(levels) else 0.0

    def _check(self, masks: Masks, tokens: Tensor) -> None:
        grid, width = self.network.grid, self.network.config.feature_width
        if masks.grid != grid or tokens.shape[-1] != width:
            raise ValueError(
                f"This decoder reads {width}-dimensional tokens on a {grid[0]}x{grid[1]} grid (those of "
                f"{self.config.ijepa!r}), the prediction has {tokens.shape[-1]} on {masks.grid[0]}x{masks.grid[1]}."
            )
        if len(masks) != 1 or tokens.ndim != 3:
            raise ValueError(
                f"A decoder samples for one image, this prediction is of a batch of {len(masks)}: give prediction[0]."
            )

    def _compose(self, pixels: Tensor, samples: int, masks: Masks) -> Samples:
        """Compose pixels (S M, T, 3 p p) in [-1, 1] to images; of overlapping blocks the last one is on top."""
        (rows, cols), patch = masks.grid, self.network.config.patch_size
        blocks = masks.targets.shape[1]
        canvas = torch.full((samples, rows * cols, pixels.shape[-1]), 0.5)
        values = (pixels.float().cpu() / 2 + 0.5).clamp(0, 1).view(samples, blocks, -1, pixels.shape[-1])
        for m in range(blocks):
            canvas[:, masks.targets[0, m]] = values[:, m]
        inside = masks.hidden_pixels(patch)[0]
        return Samples(unpatchify(canvas, (rows, cols), patch), inside)


def _whole(name: str, value: Any) -> int:
    """A whole number, NumPy's and torch's too, as Python's; TypeError for anything else."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} is a whole number, got {value!r}.") from error
