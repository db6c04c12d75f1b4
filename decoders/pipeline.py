"""The decoders as a diffusers pipeline: a network and a scheduler, saved and loaded together.

``save_pretrained`` is diffusers' own. ``from_pretrained`` is overridden: that of diffusers loads only networks that
diffusers ships, and accepts missing weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import Tensor

from decoders.networks.network import BlockNetwork, Conditioning, TokenSource, read_network
from decoders.sampling import DEFAULT_STEPS, SamplingStep, grid_noise, sample_loop, sample_tokens
from ijepa_viz.runtime.files import read_json

# Files of diffusers: the pipeline's components, and a scheduler's settings.
INDEX, SCHEDULER_CONFIG = "model_index.json", "scheduler_config.json"

_NO_TOKEN_NETWORK = "A token scheduler is of a token network, and there is none: leave it out."


@dataclass
class SampledBlocks(BaseOutput):
    """``pixels``: (B, T, 3 p p) in [-1, 1], or beyond where the network overshoots.

    ``tokens``: (B, T, D), the sampled target tokens that were drawn; None of one stage.
    """

    pixels: Tensor
    tokens: Tensor | None = None


class BlockPipeline(DiffusionPipeline):
    """A network and a scheduler, and for two stages a network that samples target tokens first.

    Args:
        network: of :mod:`decoders.networks`, which draws pixels.
        scheduler: one of ``decoders.sampling.SOLVERS``, or any that takes flow predictions and keeps ``sigmas``.
        token_network: of the kind that draws tokens. With it, ``network`` draws the tokens that it sampled.
        token_scheduler: as ``scheduler``, of the token network; None is the same.

    Raises:
        ValueError: a token scheduler without a token network.
    """

    _optional_components: ClassVar[list[str]] = ["token_network", "token_scheduler"]

    def __init__(
        self,
        network: BlockNetwork,
        scheduler: Any,
        token_network: BlockNetwork | None = None,
        token_scheduler: Any = None,
    ) -> None:
        super().__init__()
        if token_scheduler is not None and token_network is None:
            raise ValueError(_NO_TOKEN_NETWORK)
        self.register_modules(
            network=network, scheduler=scheduler, token_network=token_network, token_scheduler=token_scheduler
        )
        self._interrupt = False

    @classmethod
    def from_pretrained(cls, source: str | Path) -> BlockPipeline:
        """Load a saved pipeline from a folder or an id on the Hugging Face hub, as :func:`read_pipeline` does."""
        return read_pipeline(Path(source) if Path(source).is_dir() else Path(cls.download(str(source))))

    @property
    def scheduler_of_tokens(self) -> Any:
        """The token network's scheduler: its own, or that of the drawing."""
        return self.token_scheduler or self.scheduler

    def noise(self, generators: list[torch.Generator], patch_indices: Tensor) -> Tensor:
        """Noise (B, T, 3 p p) of blocks at ``patch_indices`` (B, T), by :func:`grid_noise`."""
        return grid_noise(self.network, generators, patch_indices)

    def _inputs(self, tokens: Tensor | np.ndarray, patch_indices: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        """Tensors on the network's device, checked."""
        device = self.network.feature_mean.device
        tokens, indices = (torch.as_tensor(v, device=device) for v in (tokens, patch_indices))
        width, patches = self.network.config.feature_width, self.network.num_patches
        if tokens.ndim != 3 or tokens.shape[-1] != width or not tokens.is_floating_point():
            raise ValueError(f"Tokens are (B, T, {width}) floats, got {tokens.dtype} {tuple(tokens.shape)}.")
        if indices.is_floating_point() or indices.dtype == torch.bool or indices.shape != tokens.shape[:2]:
            raise ValueError(
                f"Patch indices of these tokens are integers {tuple(tokens.shape[:2])}, got {indices.dtype} "
                f"{tuple(indices.shape)}. Masks.from_array(grid).targets are those of a boolean grid."
            )
        if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < patches):
            raise ValueError(f"Patch indices of this decoder's grid run from 0 to {patches - 1}.")
        return tokens.to(self.network.feature_mean.dtype), indices.long()

    @torch.no_grad()
    def __call__(
        self,
        tokens: Tensor | np.ndarray,
        patch_indices: Tensor | np.ndarray,
        *,
        conditioning: str = "tokens",
        source: str = "predicted",
        generator: list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        num_inference_steps: int = DEFAULT_STEPS,
        token_steps: int | None = None,
        token_temperature: float = 1.0,
        guidance_scale: float = 1.0,
        detail: float = 0.0,
        callback_on_step_end: Callable[[BlockPipeline, int, Any, dict[str, Tensor]], Any] | None = None,
        condition: str | None = None,
    ) -> SampledBlocks:
        """Sample blocks, by :func:`sample_loop`.

        Args:
            tokens: (B, T, D) float. patch_indices: (B, T) integers, on the grid. Both tensors or NumPy arrays, which
                are moved to the network's device.
            conditioning: "tokens", "pooled" (the paper's setting: the block's average) or "null" (none).
            source: "predicted" or "target": network that ``tokens`` come from.
            generator: one for each block. latents: (B, T, 3 p p), the noise itself, instead.
            num_inference_steps: evaluations of the network.
            token_steps: evaluations of the token network; None is as many, and 0 is one stage: ``network`` draws the
                predicted tokens themselves. Target tokens are always drawn in one stage.
            token_temperature: scale of the tokens' noise, of more than one step.
            guidance_scale: of classifier-free guidance; 1.0 is none, anything else doubles the evaluations.
            detail: noise level, 0 to 1, at which the drawing ends with the expected picture (:func:`sample_loop`).
            callback_on_step_end: ``f(pipeline, step, timestep, {"latents", "clean"})``; ``clean`` is the network's
                estimate of the clean pixels. Setting ``pipeline._interrupt`` or raising ends the sampling.
            condition: deprecated name of ``conditioning``.

        Raises:
            ValueError: neither or both of ``generator`` and ``latents``, tokens or patch indices of another shape or
                type or beyond the grid, or an unknown conditioning or source.
        """
        if (generator is None) == (latents is None):
            raise ValueError("Give either a generator for each block or latents.")
        tokens, patch_indices = self._inputs(tokens, patch_indices)
        self._interrupt = False

        def after_step(state: SamplingStep) -> bool:
            if callback_on_step_end is not None:
                tensors = {"latents": state.latents, "clean": state.clean}
                callback_on_step_end(self, state.index, state.timestep, tensors)
            return self._interrupt

        pixels, sampled = self.draw(
            tokens,
            patch_indices,
            generators=generator,
            latents=latents,
            conditioning=Conditioning.from_name(renamed_condition(conditioning, condition)),
            token_source=TokenSource.from_name(source),
            num_inference_steps=num_inference_steps,
            token_steps=token_steps,
            token_temperature=token_temperature,
            guidance_scale=guidance_scale,
            detail=detail,
            callback=after_step,
        )
        return SampledBlocks(pixels=pixels, tokens=sampled)

    def draw(
        self,
        tokens: Tensor,
        patch_indices: Tensor,
        *,
        generators: list[torch.Generator] | None,
        latents: Tensor | None = None,
        conditioning: Conditioning,
        token_source: TokenSource,
        num_inference_steps: int,
        token_steps: int | None,
        token_temperature: float = 1.0,
        guidance_scale: float,
        detail: float = 0.0,
        callback: Callable[[SamplingStep], Any] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Draw blocks in one stage or two: pixels (B, T, 3 p p), and the sampled target tokens (B, T, D) or None.

        Arguments as of :meth:`__call__`, on the network's device. Guidance is of the stage that decides, the tokens'
        where there are two.

        Raises:
            ValueError: two stages, and ``latents`` without generators; one, and a token scheduler.
        """
        if self.token_scheduler is not None and self.token_network is None:
            raise ValueError(_NO_TOKEN_NETWORK)
        noise = self.noise(generators or [], patch_indices) if latents is None else latents
        sampled = None
        if self.has_two_stages(conditioning, token_source, token_steps):
            if generators is None:
                raise ValueError("Two stages draw the tokens' noise too: give a generator for each block, not latents.")
            sampled = sample_tokens(
                self.token_network,
                self.scheduler_of_tokens,
                grid_noise(self.token_network, generators, patch_indices),
                patch_indices,
                tokens,
                conditioning=conditioning,
                num_inference_steps=num_inference_steps if token_steps is None else token_steps,
                temperature=token_temperature,
                guidance_scale=guidance_scale,
                generators=generators,
            )
            tokens, guidance_scale = sampled, 1.0
            conditioning, token_source = Conditioning.TOKENS, TokenSource.TARGET
        pixels = sample_loop(
            self.network,
            self.scheduler,
            noise,
            patch_indices,
            tokens,
            conditioning=conditioning,
            token_source=token_source,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            detail=detail,
            generators=generators,
            callback=callback,
        )
        return pixels, sampled

    def has_two_stages(self, conditioning: Conditioning, source: TokenSource, token_steps: int | None) -> bool:
        """Whether target tokens are sampled first: given predicted tokens, unless ``token_steps`` is 0."""
        wanted = conditioning != Conditioning.NULL and source == TokenSource.PREDICTED and token_steps != 0
        return wanted and self.token_network is not None


def renamed_condition(conditioning: str, condition: str | None) -> str:
    """``conditioning``, or the deprecated ``condition`` where it is given."""
    if condition is None:
        return conditioning
    warnings.warn("condition= is called conditioning= now", DeprecationWarning, stacklevel=3)
    return condition


def read_pipeline(folder: Path, digest: str | None = None, token_digest: str | None = None) -> BlockPipeline:
    """Read a pipeline strictly from the folder that ``save_pretrained`` or ``save_decoder`` wrote.

    Args:
        folder: with ``network/`` and ``scheduler/``, of two stages ``token_network/``, and ``token_scheduler/`` where
            it has its own.
        digest, token_digest: sha256 of the networks' weights; None is not checked.

    Raises:
        FileNotFoundError: a file is missing. ValueError: a damaged file, or names and shapes that do not fit.
    """
    second, own = folder / "token_network", folder / "token_scheduler"
    index = read_json(folder / INDEX) if (folder / INDEX).is_file() else {}
    for part in (second, own):
        named = index.get(part.name) not in (None, [None, None])
        if named != part.is_dir():  # save_pretrained over another pipeline leaves that one's folders
            raise ValueError(
                f"{folder} is damaged: its {INDEX} and the folder {part.name} belong together, and only one of them is "
                "there. Save the decoder to a new folder."
            )
    if own.is_dir() and not second.is_dir():
        raise ValueError(f"{folder} is damaged: it has a token_scheduler, and no token_network.")
    return BlockPipeline(
        read_network(folder / "network", digest),
        _read_scheduler(folder / "scheduler"),
        read_network(second, token_digest) if second.is_dir() else None,
        _read_scheduler(own) if own.is_dir() else None,
    )


def _read_scheduler(folder: Path) -> Any:
    """A scheduler from the folder that diffusers wrote."""
    path = folder / SCHEDULER_CONFIG
    config = read_json(path)
    kind: Any = getattr(diffusers, str(config.get("_class_name")), None)
    known = isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)
    if not known:
        raise ValueError(f"{path} names no scheduler of diffusers: {config.get('_class_name')!r}.")
    return kind.from_config(config)
