"""Probe ``bird-places``: which part of a bird a hole hides and where in it, from the tokens predicted there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.annotations import part_points
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.batches import evenly
from ijepa_viz.data.source import Source
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.bootstrap import balanced_accuracy, share_of_pictures
from ijepa_viz.probes.hole_tokens import ROWS, hole_tokens, predicted_tokens
from ijepa_viz.probes.part_holes import GROUPS, HOLE, group_points, holes_over_parts, in_holes
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.probes.ridge import fit_ridge

# Baselines that do not know the hole's place by themselves: they are told.
_TOLD = ("context_mean", "mean_visible_colour", "visible_colours")
_FEWEST = 10  # holes with a part, and without it


@dataclass(frozen=True)
class Holes:
    """Holes in pictures of birds, some with a part in them.

    Attributes:
        images: (m, 3, H, W) uint8. masks: one hole an image.
        pictures: (m,) int64, the picture of each.
        holds: (m, P, T) bool, whether a part of :data:`ijepa_viz.probes.part_holes.GROUPS` is in each hidden patch.
    """

    images: Tensor
    masks: Masks
    pictures: Tensor
    holds: Tensor

    @property
    def place(self) -> Tensor:
        """(m, N) float, 1 at the hole's first patch."""
        return F.one_hot(self.masks.targets[:, 0, 0], self.masks.grid[0] * self.masks.grid[1]).float()


@PROBES.register("bird-places")
def bird_places(model: IJEPA, split: Split, train: int = 1200, test: int = 300) -> dict[str, Any]:
    """Which part of a bird is in a hole (leg, beak, eye, tail), and where in it, by linear readings and baselines.

    Each bird gets a hole over its legs, and one over beak and tail in turn, up to one patch beside the part; and holes
    where other pictures have theirs, so that a place does not tell what is there. Columns named by a part are balanced
    accuracies of "it is in the hole", by least squares in which holes with and without it weigh the same: 0.5 for a
    constant answer. ``leg_where`` and its like are shares of the holes with the part in which a linear reading of the
    hole's features, one number for each hidden patch, is largest for a patch that holds it. Places are those of the
    data's column ``parts``. Intervals are over pictures; penalties are chosen on a fifth of the training pictures.

    Rows are those of :func:`ijepa_viz.probes.hole_tokens.hole_tokens`; ``another_picture`` reads the tokens that are
    predicted in the same hole from another test picture, and ``hole_place`` knows where the hole is and nothing else.
    The context's mean token and the visible colours are told where the hole is.

    Args:
        train, test: most pictures to fit and to test on, evenly spaced over each part.

    Raises:
        ValueError: data without the column ``parts``, with too few pictures, or without a visible leg. RuntimeError: a
            model without a predictor.
    """
    pair = train_and_test(split)
    learned, held = draw_holes(pair.train, model, train, seed=1), draw_holes(pair.test, model, test, seed=2)
    x, z = (features(model, holes) for holes in (learned, held))
    other = predicted_tokens(model, another_picture(held), held.masks)
    table: dict[str, Any] = {
        "train_images": len(learned.pictures.unique()),
        "test_images": len(held.pictures.unique()),
        "train_holes": len(learned.images),
        "test_holes": len(held.images),
    }
    table |= {row: {} for row in (*ROWS, "hole_place")}
    held_out = learned.pictures % 5 == 0
    for row in x:
        tested = {row: z[row]} | ({"another_picture": other} if row == "predicted_tokens" else {})
        for part, name in enumerate(GROUPS):
            told, told_where = read_part(x[row], learned.holds[:, part], held_out, list(tested.values()))
            holds = held.holds[:, part]
            there = holds.any(1)
            if min(int(there.sum()), int((~there).sum())) < _FEWEST:
                continue
            for reading, where, into in zip(told, told_where, tested, strict=True):
                table[into][name] = balanced_accuracy(reading > 0, there, held.pictures)
                right = holds[there].gather(1, where[there].argmax(1, keepdim=True))[:, 0]
                table[into][f"{name}_where"] = share_of_pictures(right, held.pictures[there])
    return table


def draw_holes(source: Source, model: IJEPA, limit: int, seed: int) -> Holes:
    """Holes over the parts of each picture, and at the places of other pictures' holes.

    Raises:
        ValueError: as :func:`bird_places`.
    """
    size, patch, grid = model.config.image_size, model.config.patch_size, model.grid
    chosen = evenly(len(source), limit)
    points = group_points(part_points(source, size)[chosen])
    side = max(1, round(HOLE * min(grid)))
    own, _, masks = holes_over_parts(points, grid, patch, side)
    if len(np.unique(own)) < _FEWEST:
        raise ValueError(
            f"The probe bird-places needs at least {_FEWEST} pictures with a visible leg, beak or tail, and "
            f"{source.name} has {len(np.unique(own))}."
        )
    generator = torch.Generator().manual_seed(seed)
    rows = torch.from_numpy(own).repeat(2)
    # The second half are the same holes in the pictures of other holes, half of the set away.
    rows[len(own) :] = torch.from_numpy(np.roll(own, len(own) // 2))
    masks = moved(masks[torch.arange(len(own)).repeat(2)], side, generator)
    places = in_holes(points[rows], masks, patch)  # (m, P, K, 2)
    known = ~places.isnan().any(-1)
    cell = (places.nan_to_num() / patch).floor().long()
    holds = (F.one_hot(cell[..., 1] * side + cell[..., 0], side * side) * known[..., None]).any(2)
    images = torch.tensor(arrays(source, size)[chosen]).permute(0, 3, 1, 2)
    return Holes(images[rows], masks, rows, holds)


def moved(masks: Masks, side: int, generator: torch.Generator) -> Masks:
    """Square holes of ``side`` patches, each moved by up to one patch along either axis, and not beyond the grid."""
    rows, cols = masks.grid
    first = masks.targets[:, 0, 0]
    by = torch.randint(-1, 2, (2, len(first)), generator=generator)
    top, left = (first // cols + by[0]).clamp(0, rows - side), (first % cols + by[1]).clamp(0, cols - side)
    return _squares(top, left, side, masks.grid)


def _squares(top: Tensor, left: Tensor, side: int, grid: Grid) -> Masks:
    hidden = np.zeros((len(top), *grid), bool)
    for mask, row, col in zip(hidden, top.tolist(), left.tolist(), strict=True):
        mask[row : row + side, col : col + side] = True
    return Masks.from_array(hidden)


def another_picture(holes: Holes) -> Tensor:
    """For each hole the image of another picture, half of the set away, (m, 3, H, W) uint8."""
    numbers = holes.pictures.unique()
    first = {int(number): int((holes.pictures == number).nonzero()[0]) for number in numbers}
    follower = dict(zip(numbers.tolist(), numbers.roll(len(numbers) // 2).tolist(), strict=True))
    return holes.images[torch.tensor([first[follower[int(number)]] for number in holes.pictures])]


def features(model: IJEPA, holes: Holes) -> dict[str, Tensor]:
    """Features of each hole by row, (m, F), those of :data:`_TOLD` with the hole's place; and ``hole_place`` alone."""
    found = hole_tokens(model, holes.images, holes.masks)
    for row in _TOLD:
        found[row] = torch.cat([found[row], holes.place], 1)
    return {**found, "hole_place": holes.place}


def read_part(x: Tensor, holds: Tensor, held_out: Tensor, tested: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Read from each of ``tested`` whether a part is in the hole, (m,) above 0 for yes, and in which patch, (m, T).

    Args:
        x: (n, F), features of training holes. holds: (n, T) bool, the patches that hold the part.
        held_out: (n,) bool, the holes on which penalties are chosen. tested: (m, F) each.

    Raises:
        ValueError: holes with the part, or without it, are missing.
    """
    there = holds.any(1)
    counts = int(there.sum()), int((~there).sum())
    if min(counts) < _FEWEST or not (there & held_out).any():
        raise ValueError(
            f"A part is in {counts[0]} of the training holes and not in {counts[1]}: too few to learn from. Give more "
            "pictures with annotated parts."
        )
    weights = torch.where(there, 0.5 / there.float().mean(), 0.5 / (~there).float().mean())
    whether = fit_ridge(x, there.float()[:, None] * 2 - 1, held_out, weights)
    where = fit_ridge(x[there], holds[there].float(), held_out[there])
    return [whether(z)[:, 0] for z in tested], [where(z) for z in tested]
