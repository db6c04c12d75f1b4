"""Landmarks of aligned pictures by a template that is learned from pictures without any annotation.

Congealing (Learned-Miller 2006): the template is the mean of what is around the landmark, each picture is moved to
where it matches the template best, and the mean is taken anew. What is matched are edges by direction, relative to the
edges around, so that light and dark fur match alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DIRECTIONS = 4
_LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Template:
    """Mean edges around a landmark, and where to look for it.

    Attributes:
        edges: (C, h, w), of mean 0 and length 1.
        centre: (x, y), its usual place, in pixels. reach: (x, y), whole pixels to either side that are searched.
    """

    edges: Tensor
    centre: tuple[int, int]
    reach: tuple[int, int]


def edge_channels(pictures: Tensor) -> Tensor:
    """Strength of edges in four directions, relative to the edges nearby, (n, 3, H, W) uint8 -> (n, 4, H, W)."""
    light = F.pad((pictures.float() / 255 * _LUMA[:, None, None]).sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    dx = light[:, :, 1:-1, 2:] - light[:, :, 1:-1, :-2]
    dy = light[:, :, 2:, 1:-1] - light[:, :, :-2, 1:-1]
    # Twice the angle: an edge from dark to light counts as one from light to dark.
    angle, size = 2 * torch.atan2(dy, dx), (dx.square() + dy.square()).sqrt()
    steps = torch.arange(_DIRECTIONS)[:, None, None] * (2 * math.pi / _DIRECTIONS)
    edges = _mean_around((size * (angle - steps).cos().clamp_min(0)).sqrt(), 1)
    nearby = _mean_around(edges.square().sum(1, keepdim=True), max(2, pictures.shape[-1] // 8))
    return edges / (nearby.sqrt() + 1e-3)


def learn_template(
    pictures: Tensor, centre: tuple[int, int], size: tuple[int, int], reach: tuple[int, int], rounds: int = 5
) -> Template:
    """Learn what is around a landmark.

    Args:
        pictures: (n, 3, H, W) uint8, in which the landmark is within ``reach`` of ``centre``.
        centre: (x, y) in pixels. size: (width, height) of the template, even. reach: (x, y) in pixels.
        rounds: of moving and taking the mean.

    Raises:
        ValueError: the template leaves the picture somewhere within its reach.
    """
    (width, height), (rows, cols) = size, pictures.shape[-2:]
    low = centre[0] - width // 2 - reach[0], centre[1] - height // 2 - reach[1]
    high = centre[0] + width // 2 + reach[0], centre[1] + height // 2 + reach[1]
    if min(low) < 0 or high[0] > cols or high[1] > rows:
        raise ValueError(
            f"A template of {size} px at {centre}, moved by {reach}, leaves pictures of {cols} x {rows} px."
        )
    edges = edge_channels(pictures)
    moved = torch.zeros(len(pictures), 2, dtype=torch.int64)
    template = Template(_mean_window(edges, moved, centre, size), centre, reach)
    for _ in range(rounds):
        moved = _best(_scores(template, edges), reach)
        template = Template(_mean_window(edges, moved, centre, size), centre, reach)
    return template


def find_landmark(template: Template, pictures: Tensor) -> Tensor:
    """Places (n, 2) as (x, y) in pixels, where the template matches best in pictures (n, 3, H, W) uint8."""
    best = _best(_scores(template, edge_channels(pictures)), template.reach)
    return best + torch.tensor(template.centre, dtype=torch.float32)


def _mean_around(values: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    return F.avg_pool2d(F.pad(values, (radius,) * 4, mode="replicate"), side, stride=1)


def _mean_window(edges: Tensor, moved: Tensor, centre: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Mean of windows (C, h, w), of mean 0 and length 1; each picture's is moved by (x, y)."""
    width, height = size
    cols = centre[0] - width // 2 + moved[:, :1] + torch.arange(width)  # (n, w)
    rows = centre[1] - height // 2 + moved[:, 1:] + torch.arange(height)
    windows = edges[torch.arange(len(edges))[:, None, None], :, rows[:, :, None], cols[:, None]]  # (n, h, w, C)
    windows = windows - windows.mean((1, 2, 3), keepdim=True)
    windows = windows / windows.flatten(1).norm(dim=1).clamp_min(1e-9)[:, None, None, None]
    mean = windows.mean(0).permute(2, 0, 1)
    return mean / mean.norm().clamp_min(1e-9)


def _scores(template: Template, edges: Tensor) -> Tensor:
    """Normalised correlation of the template with every window within reach, (n, 2 reach_y + 1, 2 reach_x + 1)."""
    channels, height, width = template.edges.shape
    (x, y), (dx, dy) = template.centre, template.reach
    left, top = x - width // 2 - dx, y - height // 2 - dy
    area = edges[:, :, top : top + height + 2 * dy, left : left + width + 2 * dx]
    product = F.conv2d(area, template.edges[None])[:, 0]
    count = channels * height * width
    total, squares = (F.avg_pool2d(v.sum(1, keepdim=True), (height, width), 1)[:, 0] for v in (area, area.square()))
    total, squares = total * height * width, squares * height * width
    return product / (squares - total.square() / count).clamp_min(1e-9).sqrt()


def _best(scores: Tensor, reach: tuple[int, int]) -> Tensor:
    """Movement (n, 2) int64 as (x, y) of the largest of (n, rows, cols)."""
    index = scores.flatten(1).argmax(1)
    return torch.stack([index % scores.shape[2] - reach[0], index // scores.shape[2] - reach[1]], 1)
