"""A decoder as its users know it: a prediction goes in, samples in their box come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.networks.network import KINDS, MODES, BlockNetwork, Conditioning
from decoders.pipeline import DEFAULT_SOLVER, DEFAULT_STEPS, SOLVERS, BlockPipeline
from ijepa_viz.masks import Masks
from ijepa_viz.models import unpatchify
from ijepa_viz.prediction import Prediction

# Callback: a dict with step, steps and images (S, 3, H, W); returning True ends the sampling.
Callback = Callable[[dict[str, Any]], Any]


class Cancelled(Exception):
    """The callback asked to stop."""


@dataclass(frozen=True)
class DecoderConfig:
    """What a decoder says of itself; its network's sizes are in the network's own config.

    Attributes:
        ijepa: name of the I-JEPA it was trained on. ijepa_sha256: of that model's weights, which
            tells a decoder that meets another model.
        steps: the tested default number of evaluations of the network.
        conditioning: what its training blocks were conditioned on.
    """

    ijepa: str = ""
    ijepa_sha256: str = ""
    steps: int = DEFAULT_STEPS
    conditioning: Conditioning = field(default_factory=Conditioning)


@dataclass(frozen=True)
class Samples:
    """What a decoder drew.

    Attributes:
        images: (S, 3, H, W) in [0, 1], mid-grey outside the hole.
        inside: (H, W) bool, the hole's pixels.
    """

    images: Tensor
    inside: Tensor

    def on(self, image: Tensor) -> Tensor:
        """The samples drawn into their hole on ``image`` (3, H, W): (S, 3, H, W).

        A decoder may draw at another resolution than its model sees; then the samples are resized.
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
    """A trained decoder, ready to sample.

    Args:
        network: of the family.
        config: what it says of itself.
        scheduler: of diffusers; None is :data:`DEFAULT_SOLVER`.
    """

    def __init__(self, network: BlockNetwork, config: DecoderConfig, scheduler: Any = None) -> None:
        self.config = config
        self.pipeline = BlockPipeline(network.eval(), scheduler or SOLVERS[DEFAULT_SOLVER]())

    @property
    def network(self) -> BlockNetwork:
        """What turns noise and tokens into pixels."""
        return self.pipeline.network

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
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
        condition: str = "tokens",
        source: str = "predicted",
    ) -> Samples:
        """Draw what the representation looks like, several times with different noise.

        What the samples share is in the representation; what varies between them is not
        (section 6 of the paper). The image's pixels are never read.

        Args:
            prediction: its predicted tokens and the places of its blocks are all that is used.
            samples: S.
            steps: evaluations of the network; None is the decoder's tested default. One step is the blur
                that a squared-error decoder would give.
            guidance: classifier-free guidance; None is 1.0, none: more shrinks the very variance
                the figure is read for.
            seed: sample i uses seed + i.
            callback: called after each step with {"step", "steps", "images"}; True cancels.
            condition: "tokens", "pooled" (the paper's setting: the block's average) or "null"
                (nothing: the control).
            source: "predicted", or "target" for the target encoder's own tokens.

        Raises:
            ValueError: a number out of range, or a prediction of another model's grid or width.
            Cancelled: the callback returned True.
        """
        steps = self.config.steps if steps is None else steps
        guidance = 1.0 if guidance is None else guidance
        if samples < 1 or steps < 1 or guidance < 0:
            raise ValueError(
                f"samples and steps must be at least 1 and guidance at least 0, got {samples}, {steps}, {guidance}."
            )
        if condition not in MODES or source not in KINDS:
            raise ValueError(
                f"condition is one of {', '.join(sorted(MODES, reverse=True))} and source predicted or target, "
                f"got {condition!r} and {source!r}."
            )
        tokens = prediction.predicted if source == "predicted" else prediction.target
        masks = prediction.masks
        self._check(masks, tokens)
        blocks = len(tokens)
        # The blocks of one sample share its noise, so that overlapping blocks agree on it.
        generators = [torch.Generator().manual_seed(seed + i) for i in range(samples) for _ in range(blocks)]

        def after_step(pipeline: BlockPipeline, step: int, timestep: Any, state: dict[str, Tensor]) -> None:
            if callback is None:
                return
            # What the network expects now, not the noisy state, is worth looking at.
            preview = self._compose(state["clean"], samples, masks).images
            if callback({"step": step + 1, "steps": steps, "images": preview}) is True:
                raise Cancelled(f"cancelled after step {step + 1} of {steps}")

        drawn = self.pipeline(
            tokens.to(self.device).repeat(samples, 1, 1),  # (S M, T, D)
            masks.targets[0].to(self.device).repeat(samples, 1),
            condition=condition,
            source=source,
            generator=generators,
            num_inference_steps=steps,
            guidance_scale=guidance,
            callback_on_step_end=after_step if callback else None,
        )
        return self._compose(drawn.pixels, samples, masks)

    def _check(self, masks: Masks, tokens: Tensor) -> None:
        grid, width = self.network.grid, self.network.config.feature_width
        if masks.grid != grid or tokens.shape[-1] != width:
            raise ValueError(
                f"This decoder reads {width}-dimensional tokens on a {grid[0]}x{grid[1]} grid (those of "
                f"{self.config.ijepa!r}), the prediction has {tokens.shape[-1]} on {masks.grid[0]}x{masks.grid[1]}."
            )
        if len(masks) != 1:
            raise ValueError(f"A prediction is of one image, these masks are for {len(masks)}.")

    def _compose(self, pixels: Tensor, samples: int, masks: Masks) -> Samples:
        """(S M, T, 3 p p) in [-1, 1] -> images; where blocks overlap, the last one is on top."""
        (rows, cols), patch = masks.grid, self.network.config.patch_size
        blocks = masks.targets.shape[1]
        canvas = torch.full((samples, rows * cols, pixels.shape[-1]), 0.5)
        values = (pixels.float().cpu() / 2 + 0.5).clamp(0, 1).view(samples, blocks, -1, pixels.shape[-1])
        for m in range(blocks):
            canvas[:, masks.targets[0, m]] = values[:, m]
        inside = masks.hidden_pixels(patch)[0]
        return Samples(unpatchify(canvas, (rows, cols), patch), inside)
