"""Drawing samples: a denoiser and a diffusers scheduler meet here, and the result is put in its box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from decoders.block_vit import NULL, POOLED, PREDICTED, TARGET, TOKENS, BlockViT, DecoderConfig
from ijepa_viz.masks import Masks
from ijepa_viz.model import unpatchify
from ijepa_viz.prediction import Prediction

_MODES = {"tokens": TOKENS, "pooled": POOLED, "null": NULL}
# Callback: a dict with step, steps and images (S, 3, H, W); returning True ends the sampling.
Callback = Callable[[dict[str, Any]], Any]


class Cancelled(Exception):
    """The callback asked to stop."""


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
        """The samples drawn into their hole on ``image`` (3, H, W): (S, 3, H, W)."""
        if image.shape != self.images.shape[1:]:
            raise ValueError(f"The image must be {tuple(self.images.shape[1:])}, got {tuple(image.shape)}.")
        return torch.where(self.inside, self.images, image.to(self.images))


def velocity(
    network: BlockViT,
    noisy: Tensor,
    sigma: Tensor,
    places: Tensor,
    condition: Tensor,
    mode: Tensor,
    kind: Tensor,
) -> Tensor:
    """D noisy / d sigma on the straight path from pixels to noise, from the network's clean pixels."""
    clean = network(noisy, sigma, places, condition, mode, kind)
    return (noisy - clean) / sigma[:, None, None]


class Decoder:
    """A trained decoder, ready to sample."""

    def __init__(self, network: BlockViT) -> None:
        self.network = network.eval()
        self.config: DecoderConfig = network.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.feature_mean.device

    @torch.inference_mode()
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
            steps: Euler steps; None is the decoder's tested default. One step is the blur that a
                squared-error decoder would give.
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
        if condition not in _MODES or source not in ("predicted", "target"):
            raise ValueError(
                f"condition is one of {', '.join(_MODES)} and source predicted or target, got "
                f"{condition!r}, {source!r}."
            )
        tokens = prediction.predicted if source == "predicted" else prediction.target
        self._check(prediction.masks, tokens)
        features = tokens.to(self.device).repeat(samples, 1, 1)  # (S M, T, D)
        places = prediction.masks.targets[0].to(self.device).repeat(samples, 1)
        mode = torch.full((len(places),), _MODES[condition], device=self.device)
        kind = torch.full_like(mode, PREDICTED if source == "predicted" else TARGET)
        noisy = self._noise(samples, prediction.masks, seed)

        scheduler: Any = FlowMatchEulerDiscreteScheduler()
        # The scheduler's own spacing wastes its last step.
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=self.device)
        for i, timestep in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[i].to(noisy).expand(len(noisy))
            flow = velocity(self.network, noisy, sigma, places, features, mode, kind)
            if guidance != 1.0:
                free = velocity(self.network, noisy, sigma, places, features, mode * 0, kind)
                flow = free + guidance * (flow - free)
            noisy_before, noisy = noisy, scheduler.step(flow, timestep, noisy).prev_sample
            if callback is not None:
                # What the network expects now, not the noisy state, is worth looking at.
                clean = noisy_before - sigma[:, None, None] * flow
                preview = self._compose(clean, samples, prediction.masks).images
                if callback({"step": i + 1, "steps": steps, "images": preview}) is True:
                    raise Cancelled(f"cancelled after step {i + 1} of {steps}")
        return self._compose(noisy, samples, prediction.masks)

    def _check(self, masks: Masks, tokens: Tensor) -> None:
        if masks.grid != tuple(self.config.grid) or tokens.shape[-1] != self.config.feature_width:
            raise ValueError(
                f"This decoder reads {self.config.feature_width}-dimensional tokens on a "
                f"{self.config.grid[0]}x{self.config.grid[1]} grid (those of {self.config.ijepa!r}), the "
                f"prediction has {tokens.shape[-1]} on {masks.grid[0]}x{masks.grid[1]}."
            )
        if len(masks) != 1:
            raise ValueError(f"A prediction is of one image, these masks are for {len(masks)}.")

    def _noise(self, samples: int, masks: Masks, seed: int) -> Tensor:
        """(S M, T, 3 p p): drawn for the whole grid, so a patch keeps its noise as the hole changes."""
        shape = (masks.num_patches, 3 * self.config.patch_size**2)
        draws = [torch.randn(shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(samples)]
        return torch.cat([noise[masks.targets[0]] for noise in draws]).to(self.device)

    def _compose(self, pixels: Tensor, samples: int, masks: Masks) -> Samples:
        """(S M, T, 3 p p) in [-1, 1] -> images; where blocks overlap, the last one is on top."""
        rows, cols = self.config.grid
        blocks = masks.targets.shape[1]
        canvas = torch.full((samples, rows * cols, pixels.shape[-1]), 0.5)
        values = (pixels.float().cpu() / 2 + 0.5).clamp(0, 1).view(samples, blocks, -1, pixels.shape[-1])
        for m in range(blocks):
            canvas[:, masks.targets[0, m]] = values[:, m]
        patch = self.config.patch_size
        inside = masks.hidden[0].repeat_interleave(patch, 0).repeat_interleave(patch, 1)
        return Samples(unpatchify(canvas, (rows, cols), patch), inside)
