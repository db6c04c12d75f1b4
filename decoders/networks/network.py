"""Common interface of the decoder networks, and their registry.

A network is given noisy pixels of hidden patches, their patch indices and the tokens to decode, and returns its
estimate of the clean pixels. No image is among its inputs. A new decoder is one file with one registered class.
"""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import Tensor

from ijepa_viz.masks import Grid
from ijepa_viz.registry import Registry
from ijepa_viz.runtime.files import read_json
from ijepa_viz.runtime.tensors import read_into


class _Named(IntEnum):
    """Integers, as tensors hold them, with lower-case names for users."""

    @classmethod
    def from_name(cls, name: str) -> Self:
        """Member of a lower-case name: ``Conditioning.from_name("pooled")``.

        Raises:
            ValueError: an unknown name; the message lists the known ones.
        """
        names = {member.name.lower(): member for member in cls}
        if name not in names:
            raise ValueError(f"The {cls.__name__} {name!r} is unknown; there are {', '.join(names)}.")
        return names[name]


class Conditioning(_Named):
    """Conditioning of a network on tokens: none, on the block's average (the paper's setting), or token by token."""

    NULL = 0
    POOLED = 1
    TOKENS = 2


class TokenSource(_Named):
    """Network that the tokens come from: the predictor or the target encoder."""

    PREDICTED = 0
    TARGET = 1


@dataclass(frozen=True)
class ConditioningShares:
    """Conditioning of the training blocks, as shares of all blocks.

    Attributes:
        pooled: share with :attr:`Conditioning.POOLED`. null: with :attr:`Conditioning.NULL`. The rest has
            :attr:`Conditioning.TOKENS`.
        targets: share with tokens of the target encoder. The rest has predicted ones.
        target_noise: largest level of Gaussian noise added to the target tokens, in standard deviations of each
            feature; each block's level is uniform up to it. A second stage that draws *sampled* target tokens needs it
            (conditioning augmentation, arXiv 2106.15282): it must not read what only real tokens have.
        resampled: largest noise level from which the target tokens are sampled anew by the token network of
            ``token_decoder``; each block's level is uniform up to it. Such tokens have the traits of sampled ones, and
            still belong to the pixels. 0 leaves them.
    """

    pooled: float = 0.2
    null: float = 0.1
    targets: float = 0.25
    target_noise: float = 0.0
    resampled: float = 0.0


class BlockNetwork(ModelMixin, ConfigMixin):
    """Base class of the networks; holds the mean and standard deviation that tokens are standardised with.

    Args:
        feature_width: D, of the I-JEPA.

    Attributes:
        stochastic: False where neither noise nor its level is read: one forward pass is the result, and all samples
            are identical.
        trained: False where it has no weights of its own, and ``pixel_decoder`` of a training names what it draws by.
    """

    stochastic = True
    trained = True
    draws = "pixels"

    @staticmethod
    def channels_of(patch_size: int, feature_width: int, tubelet: int = 1) -> int:
        """Numbers that the network draws for each patch: 3 p p, or 3 t p p of a tubelet of t frames."""
        return 3 * tubelet * patch_size**2

    def clean_of(self, clean: Tensor, target: Tensor) -> Tensor:
        """What the network is trained to draw: pixels (B, T, 3 p p), or standardised target tokens (B, T, D)."""
        if self.draws == "pixels":
            return clean
        return self.standardise(target, torch.full((len(target),), TokenSource.TARGET, device=target.device))

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.feature_mean: Tensor
        self.feature_std: Tensor
        # Feature by feature, never LayerNormed: a predicted token's norm carries the predictor's confidence.
        # Row 0 is for predicted tokens, row 1 for target tokens.
        self.register_buffer("feature_mean", torch.zeros(2, feature_width))
        self.register_buffer("feature_std", torch.ones(2, feature_width))

    @property
    def channels(self) -> int:
        """Numbers that the network draws for each patch: 3 t p p, or D where it draws tokens."""
        return self.channels_of(self.config.patch_size, self.config.feature_width, self.tubelet)

    @property
    def steps(self) -> int:
        """Steps of time of the I-JEPA's grid: 1 of pictures."""
        return int(self.config.get("steps", 1))

    @property
    def tubelet(self) -> int:
        """Frames of a patch, t: 1 of pictures."""
        return int(self.config.get("tubelet", 1))

    @property
    def num_patches(self) -> int:
        """N, patches of all steps."""
        return self.steps * self.grid[0] * self.grid[1]

    @property
    def grid(self) -> Grid:
        """(rows, cols) of patches of the I-JEPA."""
        rows, cols = self.config.grid
        return rows, cols

    def grid_noise(self, generator: torch.Generator) -> Tensor:
        """Standard normal noise (N, C) of all patches, C = 3 p p, 3 t p p or D."""
        return torch.randn(self.num_patches, self.channels, generator=generator)

    def at(self, grid: Grid) -> Self:
        """The same network on another grid: the same weights, shared and not copied, with other positions.

        Positions are fixed sines and cosines of rows and columns, computed for the new grid. In rows and columns
        beyond those of the training they are of a kind that the network has never seen.

        Raises:
            ValueError: a network with weights of single patches of its grid.
        """
        if tuple(grid) == self.grid:
            return self
        sizes = {key: value for key, value in self.config.items() if not key.startswith("_")}
        with torch.random.fork_rng(devices=[]):  # its initial weights are replaced
            found = type(self)(**{**sizes, "grid": tuple(grid)}).to(self.feature_mean.device)
        own = self.state_dict()
        if any(value.shape != own[name].shape for name, value in found.state_dict().items()):
            raise ValueError(
                f"The decoder {name_of(self)!r} has weights of every patch of its {self.grid[0]}x{self.grid[1]} grid: "
                "it draws on no other. Train one for this grid."
            )
        found.load_state_dict(own, assign=True)
        for name, buffer in found.named_buffers():
            if name not in own:  # positions, in the precision of the weights
                buffer.data = buffer.to(self.feature_mean.dtype)
        for mine, theirs in zip(self.parameters(), found.parameters(), strict=True):
            theirs.requires_grad_(mine.requires_grad)
        own_forward = self.__dict__.get("forward")
        if own_forward is not None:  # of ijepa_viz.runtime.computation.compute_in
            found.forward = types.MethodType(own_forward.__func__, found)  # type: ignore[method-assign]
        return found.train(self.training)

    def standardise(self, tokens: Tensor, token_source: Tensor) -> Tensor:
        """Tokens (B, T, D) of ``token_source`` (B,), standardised by the statistics of that source."""
        return (tokens - self.feature_mean[token_source][:, None]) / self.feature_std[token_source][:, None]

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        patch_indices: Tensor,
        tokens: Tensor,
        conditioning: Tensor,
        token_source: Tensor,
    ) -> Tensor:
        """Estimate the clean pixels.

        Args:
            noisy: (B, T, 3 p p), of tubelets (B, T, 3 t p p): (1 - sigma) clean + sigma noise, clean in [-1, 1].
            sigma: (B,) in (0, 1], noise levels.
            patch_indices: (B, T) int64, on the grid.
            tokens: (B, T, D), predicted or target tokens.
            conditioning: (B,) int64, of :class:`Conditioning`.
            token_source: (B,) int64, of :class:`TokenSource`.

        Returns:
            (B, T, 3 p p).
        """
        raise NotImplementedError


class ClosedForm(BlockNetwork):
    """Base class of networks that are solved in closed form instead of trained by gradient steps."""

    stochastic = False

    def accumulate(self, patch_indices: Tensor, tokens: Tensor, token_source: TokenSource, clean: Tensor) -> None:
        """Add one batch: patch indices (B, T), tokens (B, T, D) of one source, and pixels (B, T, 3 p p)."""
        raise NotImplementedError

    def solve(self) -> None:
        """Set the weights from all accumulated batches."""
        raise NotImplementedError


# Arguments that tell a network of films how time is divided; not options, but those of the I-JEPA.
_OF_FILMS = ("steps", "tubelet")

# Subclasses of BlockNetwork, called with (grid, patch_size, feature_width, **options).
NETWORKS: Registry[Any] = Registry("decoder")


def build_network(
    name: str,
    grid: Grid,
    patch_size: int,
    feature_width: int,
    options: Mapping[str, Any],
    *,
    steps: int = 1,
    tubelet: int = 1,
) -> BlockNetwork:
    """Build a registered network, with initial weights.

    Args:
        name: in :data:`NETWORKS`.
        grid, patch_size, feature_width: of the I-JEPA whose tokens are decoded.
        options: further arguments of its class.
        steps, tubelet: of an I-JEPA of films, steps of time and frames of each; 1 of pictures.

    Raises:
        ValueError: an unknown name or option, whose message names the nearest; a network of pictures for films.
    """
    kind = NETWORKS[name]
    known = [key for key in list(inspect.signature(kind.__init__).parameters)[4:] if key not in _OF_FILMS]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"The decoder {name!r} has no option {option!r}; it has {', '.join(known)}.{hint}")
    time = {} if steps == tubelet == 1 else dict(zip(_OF_FILMS, (steps, tubelet), strict=True))
    if time and not set(time) <= set(inspect.signature(kind.__init__).parameters):
        able = ", ".join(n for n, k in NETWORKS.items() if "tubelet" in inspect.signature(k.__init__).parameters)
        raise ValueError(f"The decoder {name!r} draws pictures, and this I-JEPA is of films: take one of {able}.")
    return kind(grid, patch_size, feature_width, **options, **time)


def name_of(network: BlockNetwork) -> str:
    """Registered name of a network's class."""
    return next(name for name, kind in NETWORKS.items() if kind is type(network))


NETWORK_WEIGHTS = "diffusion_pytorch_model.safetensors"


def read_network(folder: Path, digest: str | None = None) -> BlockNetwork:
    """Read a network from the folder that diffusers' ``save_pretrained`` writes; every name and shape is checked.

    Args:
        folder: with ``config.json`` and the weights.
        digest: sha256 of the weights; None is not checked.

    Raises:
        FileNotFoundError: a file is missing. ValueError: a damaged file, or one that fits no network.
    """
    path = folder / "config.json"
    config = read_json(path)
    name = config.get("_class_name")
    kind = next((kind for kind in NETWORKS.values() if kind.__name__ == name), None)
    if kind is None:
        known = ", ".join(kind.__name__ for kind in NETWORKS.values())
        raise ValueError(f"{path} names the network {name!r}; there are {known}.")
    arguments = list(inspect.signature(kind.__init__).parameters)[1:]
    own = {key: value for key, value in config.items() if not key.startswith("_")}
    if unknown := sorted(set(own) - set(arguments)):
        raise ValueError(f"{path} has unknown keys {', '.join(unknown)}; {name} takes {', '.join(arguments)}.")
    network = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in own.items()})
    read_into(network, folder / NETWORK_WEIGHTS, digest)
    return network
