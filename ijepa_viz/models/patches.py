"""Images and films to patches and back; the tokens of target blocks gathered from all tokens."""

from __future__ import annotations

from torch import Tensor

from ijepa_viz.masks import Grid, Masks


def patchify(images: Tensor, patch_size: int, tubelet: int = 1) -> Tensor:
    """Pixels of each patch, channel first; the grid is row-major, after time.

    Args:
        images: (B, 3, H, W), or films (B, T, 3, H, W).
        tubelet: t, frames of a patch; T is a multiple of it.

    Returns:
        (B, N, 3 t p p). Patch (step, row, col) has the index (step rows + row) cols + col.
    """
    films = images[:, None] if images.ndim == 4 else images
    batch, frames, channels, height, width = films.shape
    steps, rows, cols = frames // tubelet, height // patch_size, width // patch_size
    x = films.reshape(batch, steps, tubelet, channels, rows, patch_size, cols, patch_size)
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(batch, steps * rows * cols, -1)


def unpatchify(patches: Tensor, grid: Grid, patch_size: int, tubelet: int = 1, steps: int = 1) -> Tensor:
    """The inverse of :func:`patchify`.

    Returns:
        (B, 3, H, W), or of several ``steps`` or a ``tubelet`` of several frames, films (B, T, 3, H, W).
    """
    rows, cols = grid
    x = patches.view(patches.shape[0], steps, rows, cols, -1, tubelet, patch_size, patch_size)
    x = x.permute(0, 1, 5, 4, 2, 6, 3, 7)
    films = x.reshape(x.shape[0], steps * tubelet, -1, rows * patch_size, cols * patch_size)
    return films[:, 0] if steps * tubelet == 1 else films


def gather_targets(tokens: Tensor, masks: Masks) -> Tensor:
    """The tokens of each target block: (B, N, D) -> (B, M, T, D)."""
    batch, blocks, patches = masks.targets.shape
    index = masks.targets.flatten(1)[..., None].expand(-1, -1, tokens.shape[-1])
    return tokens.gather(1, index).view(batch, blocks, patches, -1)
