"""Masks of films: tubes through time, and the future (V-JEPA, arXiv 2404.08471, section 3.2 and appendix)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ijepa_viz.masks.masks import Grid, Masks, padded_indices
from ijepa_viz.masks.rectangles import block_size, interpolate, random_blocks, subsample
from ijepa_viz.masks.strategies import register_film


@register_film("tubes")
def tubes(
    batch: int,
    grid: Grid,
    generator: torch.Generator | None = None,
    *,
    steps: int,
    ranges: tuple[tuple[int, float], ...] = ((8, 0.15), (2, 0.7)),
    aspect: tuple[float, float] = (0.75, 1.5),
    min_keep: int = 4,
    max_context: int | None = None,
    max_targets: int | None = None,
) -> Masks:
    """Blocks of the grid, hidden at all steps; the complement of their union is the context.

    A batch draws one of ``ranges``, and the blocks' aspect ratio; each film the blocks' positions.

    Args:
        steps: of the films.
        ranges: pairs of the number of blocks and the area of each, as a share of the grid's: V-JEPA's short-range and
            long-range masks.
        aspect: range of height / width.
        min_keep: least number of places of the grid that stay visible.
        max_context, max_targets: at most so many tokens, chosen at random: saves time. Targets are one block, M = 1, of
            as many tokens as the film with the fewest has.

    Raises:
        ValueError: no ranges, or a limit below 1.
    """
    if not ranges or any(count < 1 or not 0 < share < 1 for count, share in ranges):
        raise ValueError(f"ranges are pairs of a number of blocks and a share of the area below 1, got {ranges!r}.")
    rows, cols = grid
    draws = torch.rand(2, generator=generator).tolist()
    count, share = ranges[min(int(draws[0] * len(ranges)), len(ranges) - 1)]
    ratio = math.exp(interpolate((math.log(aspect[0]), math.log(aspect[1])), draws[1]))
    size = block_size(rows * cols * share, ratio, grid)
    keep = max(1, min(min_keep, rows * cols // 4))
    if rows * cols - size[0] * size[1] < keep:
        size = (max(1, rows - 1), max(1, cols - 1))
    hidden = torch.zeros(batch, rows * cols, dtype=torch.bool)
    for _ in range(count):
        more = hidden | random_blocks(batch, grid, generator, size, 0)
        # A further block that would hide too much is left out; the first never is.
        fits = (~more).sum(1, keepdim=True) >= keep
        hidden = torch.where(fits | ~hidden.any(1, keepdim=True), more, hidden)
    everywhere = hidden.repeat(1, steps)
    return _masks(~everywhere, everywhere, grid, steps, generator, max_context, max_targets)


@register_film("future")
def future(
    batch: int,
    grid: Grid,
    generator: torch.Generator | None = None,
    *,
    steps: int,
    seen: tuple[int, int] = (2, 4),
    ahead: int | None = None,
    max_context: int | None = None,
    max_targets: int | None = None,
) -> Masks:
    """The first steps are the context, and later ones the targets. A batch draws the number of steps seen.

    Args:
        steps: of the films.
        seen: fewest and most steps of the context.
        ahead: most steps after them that are targets; None is all.
        max_context, max_targets: at most so many tokens, as of :func:`tubes`.

    Raises:
        ValueError: as many steps seen as there are, or a limit below 1.
    """
    low, high = seen
    if not 1 <= low <= high < steps:
        raise ValueError(
            f"seen is the fewest and most steps of the context, at least 1 and below the {steps} of the film, got "
            f"{low} to {high}."
        )
    if ahead is not None and ahead < 1:
        raise ValueError(f"ahead is at least 1 step, got {ahead}.")
    count = int(torch.randint(low, high + 1, (1,), generator=generator))
    step = torch.arange(steps).repeat_interleave(grid[0] * grid[1]).expand(batch, -1)
    last = steps if ahead is None else count + ahead
    return _masks(step < count, (step >= count) & (step < last), grid, steps, generator, max_context, max_targets)


@register_film("mixed")
def mixed(
    batch: int,
    grid: Grid,
    generator: torch.Generator | None = None,
    *,
    steps: int,
    mix: dict[str, float] | None = None,
    tubes: dict | None = None,
    future: dict | None = None,
    max_context: int | None = None,
    max_targets: int | None = None,
) -> Masks:
    """Tubes for some batches and the future for others.

    Args:
        steps: of the films.
        mix: odds of ``tubes`` and ``future``; None is even odds.
        tubes, future: options of each. max_context, max_targets: of both.

    Raises:
        ValueError: odds of another name, or that do not sum to a positive number.
    """
    odds = {"tubes": 0.5, "future": 0.5} if mix is None else mix
    own = {"tubes": tubes or {}, "future": future or {}}
    if not odds or set(odds) - set(own) or min(odds.values()) < 0 or not sum(odds.values()):
        raise ValueError(f"mix has the odds of 'tubes' and 'future', none negative, got {odds!r}.")
    draw = torch.rand(1, generator=generator).item() * sum(odds.values())
    name = "tubes" if draw < odds.get("tubes", 0.0) else "future"
    limits = {"max_context": max_context, "max_targets": max_targets}
    return _SAMPLERS[name](batch, grid, generator, steps=steps, **{**limits, **own[name]})


_SAMPLERS = {"tubes": tubes, "future": future}


def _masks(
    visible: Tensor,
    hidden: Tensor,
    grid: Grid,
    steps: int,
    generator: torch.Generator | None,
    max_context: int | None,
    max_targets: int | None,
) -> Masks:
    """Masks of bool maps (B, N), with limits."""
    if max_context is not None:
        visible = subsample(visible, max_context, generator)
    fewest = int(hidden.sum(1).min())
    if max_targets is not None and max_targets < 1:
        raise ValueError(f"max_targets must be at least 1, got {max_targets}.")
    limit = fewest if max_targets is None else min(max_targets, fewest)
    hidden = subsample(hidden, limit, generator)
    targets = hidden.nonzero()[:, 1].view(len(hidden), 1, limit)
    context, valid = padded_indices(visible)
    return Masks(context, targets, grid, valid, steps)
