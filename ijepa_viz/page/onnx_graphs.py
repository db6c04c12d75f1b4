"""The networks of an I-JEPA as modules of plain tensors, which can be traced: what the browser computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ijepa_viz.models import IJEPA, Predictor, patchify
from ijepa_viz.models.encoder import Encoder

# Free lengths of the inputs: B images, K visible patches, M blocks of T hidden ones.
MASKED_INPUTS: dict[str, dict[int, str]] = {
    "images": {0: "batch"},
    "context": {0: "batch", 1: "visible"},
    "targets": {0: "batch", 1: "blocks", 2: "hidden"},
}


@dataclass(frozen=True)
class Graph:
    """A module, and how it becomes a file.

    Attributes:
        name: of the file. module: to trace.
        inputs: name -> free lengths, position -> name; in the order of the module's arguments.
        outputs: names, in order.
        example: arguments to trace with; no free length may be 1.
        tests: more arguments, with other free lengths, on which the file is compared with the module.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    example: tuple[Tensor, ...]
    tests: tuple[tuple[Tensor, ...], ...]


class _Indices(NamedTuple):
    """Of :class:`ijepa_viz.masks.Masks` what the predictor reads; no checks, which a trace cannot hold."""

    context: Tensor
    targets: Tensor
    context_valid: None = None


class ContextAndPrediction(nn.Module):
    """Context encoder and predictor: images, visible and hidden patches -> context tokens, predicted tokens."""

    def __init__(self, encoder: Encoder, predictor: nn.Module) -> None:
        super().__init__()
        self.encoder, self.predictor = encoder, predictor

    def forward(self, images: Tensor, context: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised, (B, K) int64, (B, M, T) int64 -> (B, K, D), (B, M, T, D)."""
        tokens = self.encoder(images, context)
        return tokens, self.predictor(tokens, _Indices(context, targets))


class TargetTokens(nn.Module):
    """Target encoder and the loss's LayerNorm: (B, 3, H, W) normalised -> (B, N, D)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        # target_layer_norm, with the width known to a trace.
        self.norm = nn.LayerNorm(encoder.config.width, elementwise_affine=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, N, D)."""
        return self.norm(self.encoder(images))


class Reconstruction(nn.Module):
    """Encoder and pixel decoder of a masked autoencoder.

    Args:
        normalised: it was trained on patches of mean 0 and variance 1, which are taken from the image, as in figure 2
            of the MAE paper (arXiv 2111.06377).
    """

    def __init__(self, encoder: Encoder, decoder: nn.Module, normalised: bool) -> None:
        super().__init__()
        self.encoder, self.decoder, self.normalised = encoder, decoder, normalised

    def forward(self, images: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """(B, 3, H, W) normalised, (B, K) int64, (B, M, T) int64 -> (B, M, T, 3 p p), normalised as the images."""
        pixels = self.decoder(self.encoder(images, context), _Indices(context, targets))
        if self.normalised:
            patches = patchify(images, self.encoder.config.patch_size)
            index = targets.flatten(1)[..., None].expand(-1, -1, patches.shape[-1])
            own = patches.gather(1, index).unflatten(1, targets.shape[1:])
            pixels = pixels * (own.var(-1, keepdim=True) + 1e-6).sqrt() + own.mean(-1, keepdim=True)
        return pixels


def model_graphs(model: IJEPA) -> list[Graph]:
    """Graphs ``predict`` and ``target`` of a model.

    Raises:
        RuntimeError: it has no predictor.
    """
    if model.predictor is None:
        raise RuntimeError(f"This model has an encoder only, so it cannot predict. {model.why_no_predictor}")
    arguments = [_masked(model.encoder, *lengths) for lengths in ((3, 2, 4), (1, 1, 1), (2, 3, 7))]
    images = [a[:1] for a in arguments]
    return [
        Graph(
            "predict",
            ContextAndPrediction(model.encoder, model.predictor),
            MASKED_INPUTS,
            ("context_tokens", "predicted"),
            arguments[0],
            tuple(arguments[1:]),
        ),
        Graph(
            "target",
            TargetTokens(model.target_encoder),
            {"images": {0: "batch"}},
            ("tokens",),
            images[0],
            tuple(images[1:]),
        ),
    ]


def reconstruction_graph(encoder: Encoder, decoder: Predictor, normalised: bool) -> Graph:
    """Graph ``reconstruct`` of a masked autoencoder."""
    arguments = [_masked(encoder, *lengths) for lengths in ((3, 2, 4), (1, 1, 1), (2, 3, 7))]
    module = Reconstruction(encoder, decoder, normalised)
    return Graph("reconstruct", module, MASKED_INPUTS, ("pixels",), arguments[0], tuple(arguments[1:]))


def _masked(encoder: Encoder, batch: int, blocks: int, hidden: int) -> tuple[Tensor, ...]:
    """Random images and masks of these free lengths, as far as the grid holds them."""
    generator = torch.Generator().manual_seed(batch)
    height, width = encoder.config.height_and_width
    patches = encoder.config.grid[0] * encoder.config.grid[1]
    hidden = min(hidden, patches - 2)
    images = torch.randn(batch, 3, height, width, generator=generator)
    orders = torch.stack([torch.randperm(patches, generator=generator) for _ in range(batch)])
    targets = torch.stack([orders[:, :hidden].roll(shift, 1) for shift in range(blocks)], 1)
    return images, orders[:, hidden:].sort(1).values, targets
