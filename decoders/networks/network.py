"""The decoder family: what every network that draws a hidden block has in common, and their registry.

A network never sees an image. It gets noisy pixels of hidden patches, their places, and the representation
to decode; it returns the clean pixels it expects. A new decoder is one file with one registered class.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import Tensor

from ijepa_viz.masks import Grid
from ijepa_viz.registry import Registry
from ijepa_viz.runtime.files import read_json
from ijepa_viz.runtime.tensors import read_into

# How the condition enters: not at all, as its average (the paper's setting), or token by token.
NULL, POOLED, TOKENS = 0, 1, 2

MODES = {"null": NULL, "pooled": POOLED, "tokens": TOKENS}

# Whose representation it is.
PREDICTED, TARGET = 0, 1

KINDS = {"predicted": PREDICTED, "target": TARGET}


@dataclass(frozen=True)
class Conditioning:
    """What a decoder's training blocks were conditioned on, as shares of all blocks.

    Attributes:
        pooled: on the average of the block's tokens. null: on nothing. The rest: token by token.
        targets: on the target encoder's tokens. The rest: on the predictor's.
    """

    pooled: float = 0.2
    null: float = 0.1
    targets: float = 0.25


class BlockNetwork(ModelMixin, ConfigMixin):
    """Base of the networks: stores the statistics that its conditions are standardised with.

    Attributes:
        stochastic: False where neither noise nor its level is read: one forward pass is the picture,
            and all samples are alike.
    """

    stochastic = True

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.feature_mean: Tensor
        self.feature_std: Tensor
        # Feature by feature, never LayerNormed: a condition's norm carries the predictor's confidence.
        # Row 0 is for predictions, row 1 for targets.
        self.register_buffer("feature_mean", torch.zeros(2, feature_width))
        self.register_buffer("feature_std", torch.ones(2, feature_width))

    @property
    def grid(self) -> Grid:
        """(rows, cols) of the I-JEPA it reads."""
        rows, cols = self.config.grid
        return rows, cols

    def standardise(self, condition: Tensor, kind: Tensor) -> Tensor:
        """(B, T, D) tokens of ``kind`` (B,) on the scale the network was trained with."""
        return (condition - self.feature_mean[kind][:, None]) / self.feature_std[kind][:, None]

    def forward(
        self, noisy: Tensor, sigma: Tensor, places: Tensor, condition: Tensor, mode: Tensor, kind: Tensor
    ) -> Tensor:
        """What the clean pixels are expected to be.

        Args:
            noisy: (B, T, 3 p p), (1 - sigma) clean + sigma noise, clean in [-1, 1].
            sigma: (B,) in (0, 1].
            places: (B, T) int64, patch indices on the grid.
            condition: (B, T, D), predicted or target tokens.
            mode: (B,) int64, NULL, POOLED or TOKENS.
            kind: (B,) int64, PREDICTED or TARGET.

        Returns:
            (B, T, 3 p p).
        """
        raise NotImplementedError


class ClosedForm(BlockNetwork):
    """A network that is solved for instead of trained step by step."""

    stochastic = False

    def accumulate(self, places: Tensor, condition: Tensor, kind: int, clean: Tensor) -> None:
        """Take in one batch: (B, T), (B, T, D), PREDICTED or TARGET, and pixels (B, T, 3 p p)."""
        raise NotImplementedError

    def solve(self) -> None:
        """Set the weights from all that was taken in."""
        raise NotImplementedError


# Subclasses of BlockNetwork, called with (grid, patch_size, feature_width, **options).
NETWORKS: Registry[Any] = Registry("decoder")


def build_network(
    name: str, grid: Grid, patch_size: int, feature_width: int, options: Mapping[str, Any]
) -> BlockNetwork:
    """A new network of the family.

    Args:
        name: in :data:`NETWORKS`.
        grid, patch_size, feature_width: of the I-JEPA it is to read.
        options: its own sizes; the arguments of its class.

    Raises:
        ValueError: an unknown name or option; the message names the nearest.
    """
    kind = NETWORKS[name]
    known = list(inspect.signature(kind.__init__).parameters)[4:]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"The decoder {name!r} has no option {option!r}; it has {', '.join(known)}.{hint}")
    return kind(grid, patch_size, feature_width, **options)


def name_of(network: BlockNetwork) -> str:
    """The registered name of a network's class."""
    return next(name for name, kind in NETWORKS.items() if kind is type(network))


NETWORK_WEIGHTS = "diffusion_pytorch_model.safetensors"


def read_network(folder: Path, digest: str | None = None) -> BlockNetwork:
    """A network from the folder that diffusers' ``save_pretrained`` writes, every name and shape checked.

    Args:
        folder: with ``config.json`` and the weights.
        digest: the weights' sha256, where it is known.

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
