"""Images to patches and back; the tokens of target blocks gathered from all tokens."""

from __future__ import annotations

from torch import Tensor

from ijepa_viz.masks import Grid, Masks


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """(B, 3, H, W) -> (B, N, 3 p p): the pixels of each patch, channel first, row-major grid."""
    batch, channels, height, width = images.shape
    rows, cols = height // patch_size, width // patch_size
    x = images.view(batch, channels, rows, patch_size, cols, patch_size)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * cols, -1)


def unpatchify(patches: Tensor, grid: Grid, patch_size: int) -> Tensor:
    """The inverse of :func:`patchify`: (B, N, 3 p p) -> (B, 3, H, W)."""
    rows, cols = grid
    x = patches.view(patches.shape[0], rows, cols, -1, patch_size, patch_size)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(x.shape[0], -1, rows * patch_size, cols * patch_size)


def gather_targets(tokens: Tensor, masks: Masks) -> Tensor:
    """The tokens of each target block: (B, N, D) -> (B, M, T, D)."""
    batch, blocks, patches = masks.targets.shape
    index = masks.targets.flatten(1)[..., None].expand(-1, -1, tokens.shape[-1])
    return tokens.gather(1, index).view(batch, blocks, patches, -1)
