"""Photographs with a hole, completed from predicted tokens and by every control, as blocks and as whole pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from decoders.blocks import Blocks
from decoders.decoder import Decoder
from decoders.evaluation.metric import encode_blocks, fit_ridge, sample_blocks
from decoders.sampling import with_steps
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.source import Source
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, patchify, unpatchify

# Rows of the tables, in their order, with their names in figures and what they are.
ROWS: Mapping[str, tuple[str, str]] = {
    "real_pixels": ("the real picture", "target"),
    "target_tokens": ("target tokens", "target"),
    "predicted_tokens": ("predicted tokens", "predicted"),
    "expected_picture": ("expected picture, half way", "predicted"),
    "predicted_pooled": ("their average token", "predicted"),
    "blur_of_predicted": ("one step: blur", "predicted"),
    "another_image": ("another picture's prediction", "control"),
    "mean_prediction": ("mean prediction", "control"),
    "null": ("nothing", "control"),
    "grey_hole": ("grey hole", "control"),
    "mean_picture": ("mean picture", "control"),
    "nearest_training_block": ("nearest training block", "control"),
    "ridge_random_init": ("random init, ridge", "control"),
}


@dataclass(frozen=True)
class Holed:
    """Pictures with the masks of their holes.

    Attributes:
        images: (n, 3, s, s) uint8, of the I-JEPA's size. pictures: (n, 3, S, S) uint8, of the decoder's.
        masks: one for all, or one for each.
        hidden: what each hole hides, (n,) names; controls come from holes over the same. None where all do.
    """

    images: Tensor
    pictures: Tensor
    masks: Masks
    hidden: tuple[str, ...] | None = None

    def alike(self) -> list[tuple[str, Tensor]]:
        """What holes hide, and the indices of those that hide it, each at least once."""
        hidden = self.hidden or ("all",) * len(self.images)
        return [(name, torch.tensor([own == name for own in hidden]).nonzero()[:, 0]) for name in dict.fromkeys(hidden)]

    def blocks(self, model: IJEPA) -> Blocks:
        """The hidden blocks, at the decoder's resolution, with the tokens of ``model``."""
        pictures = None if self.pictures.shape == self.images.shape else self.pictures
        return encode_blocks(model, normalise(self.images / 255), self.masks, pictures=pictures)


@dataclass(frozen=True)
class Completions:
    """Pixels of the held-out pictures' holes, by row of :data:`ROWS`.

    Attributes:
        held: the pictures. rows: name -> (n, T, 3 p p) in [-1, 1].
        patch_indices: (n, T) int64. train: blocks of training pictures.
    """

    held: Holed
    rows: dict[str, Tensor]
    patch_indices: Tensor
    train: Blocks

    def pictures(self, row: str) -> Tensor:
        """The whole pictures, (n, 3, S, S) in [0, 1], with the holes filled by this row's pixels."""
        return paste(self.held.pictures / 255, self.rows[row], self.patch_indices, self.held.masks.grid)

    def nearest_training(self, row: str) -> Tensor:
        """Root mean square difference, (n,) in [0, 1], of each block to the most similar one of the training pictures.

        A sample that is much nearer than real blocks are is a copy, or a blur.
        """
        own, theirs = self.rows[row].flatten(1), self.train.clean.flatten(1)
        nearest = torch.cat([torch.cdist(chunk, theirs).min(1).values for chunk in own.split(100)])
        return nearest / math.sqrt(own.shape[1]) / 2


def holed(
    model: IJEPA,
    decoder: Decoder,
    source: Source,
    indices: Sequence[int] | np.ndarray,
    masks: Masks,
    hidden: Sequence[str] | None = None,
) -> Holed:
    """Read the pictures of ``source`` at ``indices``, at both sizes, with the masks of their holes."""
    images, pictures = (
        torch.from_numpy(np.ascontiguousarray(arrays(source, size)[np.asarray(indices)])).permute(0, 3, 1, 2)
        for size in (model.config.image_size, decoder.image_size)
    )
    return Holed(images, pictures, masks, None if hidden is None else tuple(hidden))


def paste(pictures: Tensor, pixels: Tensor, patch_indices: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pictures (n, 3, S, S) in [0, 1] with ``pixels`` (n, T, 3 p p) in [-1, 1] at ``patch_indices`` (n, T)."""
    patch = math.isqrt(pixels.shape[-1] // 3)
    patches = patchify(pictures * 2 - 1, patch)
    filled = patches.scatter(1, patch_indices[..., None].expand_as(pixels), pixels)
    return (unpatchify(filled, grid, patch) / 2 + 0.5).clamp(0, 1)


def half_way(decoder: Decoder) -> float:
    """Noise level that sampling reaches after half of the decoder's steps."""
    steps = decoder.config.steps
    return float(with_steps(decoder.pipeline.scheduler, steps).sigmas[steps // 2])


def nearest_by_tokens(tokens: Tensor, train: Tensor) -> Tensor:
    """Index (n,) of the training block whose predicted tokens have the largest cosine, standardised by theirs.

    Args:
        tokens: (n, T, D). train: (m, T, D).
    """
    flat = train.flatten(1)
    middle, scale = flat.mean(0), flat.std(0).clamp_min(1e-6)
    own, theirs = (torch.nn.functional.normalize((t.flatten(1) - middle) / scale, dim=1) for t in (tokens, train))
    return torch.cat([(chunk @ theirs.T).argmax(1) for chunk in own.split(100)])


def complete(model: IJEPA, decoder: Decoder, held: Holed, train: Holed) -> Completions:
    """Fill every hole by each row of :data:`ROWS`, one sample each.

    Args:
        model, decoder: a pair. held: pictures that the readings are of.
        train: others, for the mean picture, the nearest training block and the ridge decoder of random init.

    Raises:
        ValueError: only one hole, here or in training, hides what it hides, so that there is no other to compare with.
    """
    blocks, learned = held.blocks(model), train.blocks(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = IJEPA(model.config).to(model.device).eval()
    ridge = fit_ridge(untrained, train.blocks(untrained))
    tokens, patch_indices = blocks.predicted, blocks.patch_indices
    # Of another picture whose hole hides the same: a beak would be no control of legs.
    other, mean, picture = torch.empty_like(tokens), torch.empty_like(tokens), torch.empty_like(blocks.clean)
    theirs = dict(train.alike())
    for name, own in held.alike():
        if len(own) < 2 or name not in theirs:
            raise ValueError(f"Controls of holes over {name} need another such picture, and one to train on.")
        other[own] = tokens[own.roll(1)]
        mean[own] = tokens[own].mean(0)
        picture[own] = learned.clean[theirs[name]].mean(0)
    found = {
        "real_pixels": blocks.clean,
        "target_tokens": sample_blocks(decoder, blocks.target, patch_indices, source="target"),
        "predicted_tokens": sample_blocks(decoder, tokens, patch_indices),
        "expected_picture": sample_blocks(decoder, tokens, patch_indices, detail=half_way(decoder)),
        "predicted_pooled": sample_blocks(decoder, tokens, patch_indices, conditioning="pooled"),
        "blur_of_predicted": sample_blocks(decoder, tokens, patch_indices, num_inference_steps=1),
        "another_image": sample_blocks(decoder, other, patch_indices),
        "mean_prediction": sample_blocks(decoder, mean, patch_indices),
        "null": sample_blocks(decoder, tokens, patch_indices, conditioning="null"),
        "grey_hole": torch.zeros_like(blocks.clean),
        "mean_picture": picture,
        "nearest_training_block": learned.clean[nearest_by_tokens(tokens, learned.predicted)],
        "ridge_random_init": sample_blocks(ridge, held.blocks(untrained).predicted, patch_indices),
    }
    return Completions(held, {row: found[row] for row in ROWS}, patch_indices, learned)
