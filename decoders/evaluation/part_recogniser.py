"""CNN that says whether a part, such as an eye or a leg, is in a block of pixels, and where.

It is trained on the pixels of blocks of real pictures, without any I-JEPA, and cached.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.runtime.files import cache_folder
from ijepa_viz.runtime.progress import track
from ijepa_viz.runtime.tensors import read_tensors, write_tensors

_VERSION = 1
_TRIES = 8
CELL = 4  # pixels: the heat maps have one value for a square of this side


class PartRecogniser(nn.Module):
    """CNN whose heat maps, with one number for "not in the block", are the logits of where each part is.

    Args:
        parts: number P of parts. width: channels of the first stage.
    """

    def __init__(self, parts: int, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out, stride, dilation in (
            (width, 1, 1), (2 * width, 2, 1), (2 * width, 1, 1), (4 * width, 2, 1), (4 * width, 1, 1), (4 * width, 1,
            2),
        ):  # fmt: skip
            layers += [
                nn.Conv2d(channels, out, 3, stride, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            channels = out
        self.body = nn.Sequential(*layers)
        self.heat = nn.Conv2d(channels, parts, 1)
        self.absent = nn.Linear(channels, parts)

    def forward(self, blocks: Tensor) -> Tensor:
        """Log-probabilities (n, P, cells + 1) of blocks (n, 3, h, w) in [-1, 1]; the last is "not in the block"."""
        features = self.body(blocks)
        logits = torch.cat([self.heat(features).flatten(2), self.absent(features.mean((2, 3)))[..., None]], -1)
        return logits.log_softmax(-1)


@dataclass(frozen=True)
class Reading:
    """What was read from blocks.

    Attributes:
        present: (n, P), probability that the part is in the block.
        places: (n, P, 2), where it is if it is there, (x, y) in pixels of the block.
    """

    present: Tensor
    places: Tensor


@torch.no_grad()
def read_parts(network: PartRecogniser, blocks: Tensor, batch: int = 256) -> Reading:
    """Read blocks (n, 3, h, w) in [-1, 1]; a place is the middle of the heat around its largest value."""
    rows, cols = (-(-side // CELL) for side in blocks.shape[-2:])
    found = torch.cat([network(chunk) for chunk in track(blocks.split(batch), "reading parts", "batch")]).exp()
    heat = found[..., :-1].unflatten(-1, (rows, cols))
    index = heat.flatten(2).argmax(-1)
    padded = F.pad(heat, (1, 1, 1, 1))
    top, left = index // cols, index % cols  # of the 3 x 3 window, on the padded map
    offsets = torch.arange(3)
    n, p = (torch.arange(k) for k in heat.shape[:2])
    window = padded[
        n[:, None, None, None],
        p[:, None, None],
        (top[..., None] + offsets)[..., None],
        (left[..., None] + offsets)[..., None, :],
    ]
    window = window / window.sum((-1, -2), keepdim=True).clamp_min(1e-9)
    x = left + (window.sum(-2) * (offsets - 1)).sum(-1)
    y = top + (window.sum(-1) * (offsets - 1)).sum(-1)
    return Reading(1 - found[..., -1], (torch.stack([x, y], -1) + 0.5) * CELL)


def read_windows(network: PartRecogniser, blocks: Tensor, side: int) -> Reading:
    """Read blocks (n, 3, h, w) through windows of ``side`` px, 4 px apart: of each part, the window that is surest.

    A recogniser reads blocks of the size that it was trained on; these may be larger.
    """
    tops, lefts = (range(0, length - side + 1, CELL) for length in blocks.shape[-2:])
    corners = [(top, left) for top in tops for left in lefts]
    found = [read_parts(network, blocks[..., y : y + side, x : x + side]) for y, x in corners]
    present = torch.stack([reading.present for reading in found])  # (windows, n, P)
    places = torch.stack([r.places + torch.tensor([x, y]) for r, (y, x) in zip(found, corners, strict=True)])
    best = present.argmax(0, keepdim=True)
    return Reading(present.amax(0), places.gather(0, best[..., None].expand(1, *places.shape[1:]))[0])


def train_recogniser(
    images: Tensor,
    points: Tensor,
    side: int,
    epochs: int,
    margin: tuple[float, float] = (1.0, 3.0),
    per_image: int = 2,
    seed: int = 0,
) -> PartRecogniser:
    """Train a recogniser on blocks cut from real pictures, or read it from the cache.

    Half of the blocks have a part in them, chosen at random; the others have none where the picture has room for that.
    Pictures are mirrored at random.

    Args:
        images: (n, 3, H, W) uint8. points: (n, P, K, 2), up to K places of each part as (x, y) in pixels, NaN for none.
        side: of the blocks, in pixels, a multiple of 4.
        epochs: with a one-cycle learning rate.
        margin: a place is in a block if it is so many pixels inside of its edges, and not in it if it is so many
            outside; between these, nothing is learned about the part.
        per_image: blocks of each picture an epoch. seed: of the initialisation and everything drawn.

    Returns:
        The recogniser in evaluation mode. The same arguments give the same network.

    Raises:
        ValueError: a side that is no multiple of 4, or larger than the pictures; or a part that no picture has.
    """
    if side % CELL or not CELL <= side <= min(images.shape[-2:]):
        size = tuple(images.shape[-2:])
        raise ValueError(f"Blocks of pictures {size} have a side of a multiple of {CELL}, got {side}.")
    if bool((points.isnan().any(-1).all(-1)).all(0).any()):
        raise ValueError("A part is in none of the training pictures: it cannot be learned.")
    digest = hashlib.sha256(f"{_VERSION} {side} {epochs} {margin} {per_image} {seed}".encode())
    for tensor in (images, points):
        digest.update(f"{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    cached = cache_folder() / "recognisers" / f"parts-{digest.hexdigest()[:24]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PartRecogniser(points.shape[1])
        if cached.exists():
            network.load_state_dict(read_tensors(cached), strict=True)
        else:
            _fit(network, images, points.float(), side, epochs, margin, per_image)
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(cached, network.state_dict())
    return network.eval().requires_grad_(False)


def _fit(
    network: PartRecogniser,
    images: Tensor,
    points: Tensor,
    side: int,
    epochs: int,
    margin: tuple[float, float],
    per_image: int,
    batch: int = 64,
) -> None:
    chosen = torch.arange(len(images)).repeat(per_image)
    steps = max(2, epochs * -(-len(chosen) // batch))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    network.train()
    for _ in track(range(epochs), "training a recogniser", "epoch"):
        for some in chosen[torch.randperm(len(chosen))].split(batch):
            blocks, own = cut_blocks(images[some], points[some], side, margin)
            blurred = F.avg_pool2d(F.pad(blocks, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            blocks = torch.lerp(blocks, blurred, torch.rand(len(blocks), 1, 1, 1))
            blocks = blocks + torch.randn_like(blocks) * 0.1 * torch.rand(len(blocks), 1, 1, 1)
            target, known = cell_targets(own, side, margin)
            loss = -(target * network(blocks)).sum(-1)
            loss = (loss * known).sum() / known.sum().clamp_min(1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def cut_blocks(images: Tensor, points: Tensor, side: int, margin: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Cut one block of each picture, mirrored or not: half around a part that is drawn, the others without any part.

    Of eight places that are drawn for a block without parts, the first one that has none is taken, or the first of all.

    Args:
        images: (n, 3, H, W) uint8. points: (n, P, K, 2), NaN for none.
        side: of the blocks. margin: as of :func:`train_recogniser`.

    Returns:
        Blocks (n, 3, side, side) in [-1, 1], and the points in pixels of the blocks.
    """
    count, _, height, width = images.shape
    mirrored = torch.rand(count) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    x, y = points.unbind(-1)
    points = torch.stack([torch.where(mirrored[:, None, None], width - x, x), y], -1)
    flat = points.flatten(1, 2)
    tried = (torch.rand(count, _TRIES, 2) * torch.tensor([width - side + 1, height - side + 1])).floor()
    depth = _depth(flat[:, None] - tried[:, :, None], side).amax(-1)  # (n, tries)
    corners = tried[torch.arange(count), (depth <= -margin[1]).int().argmax(1)]
    weight = (~flat.isnan().any(-1)).float()
    has = weight.sum(1) > 0
    drawn = (weight + 1e-9).multinomial(1)[:, 0]
    around = flat[torch.arange(count), drawn] - torch.rand(count, 2) * side
    limit = torch.tensor([width - side, height - side])
    use = (has & (torch.rand(count) < 0.5))[:, None]
    corners = torch.where(use, around.nan_to_num(), corners).floor().long().clamp_min(0).minimum(limit)
    rows = corners[:, 1, None] + torch.arange(side)
    cols = corners[:, 0, None] + torch.arange(side)
    blocks = images[torch.arange(count)[:, None, None], :, rows[:, :, None], cols[:, None, :]]  # (n, side, side, 3)
    return blocks.permute(0, 3, 1, 2).float() / 127.5 - 1, points - corners[:, None, None]


def cell_targets(points: Tensor, side: int, margin: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """What :class:`PartRecogniser` should say, (n, P, cells + 1), and whether that is known, (n, P) float.

    Args:
        points: (n, P, K, 2) in pixels of blocks of ``side``. margin: as of :func:`train_recogniser`.
    """
    cells = side // CELL
    inner, outer = margin
    depth = _depth(points, side)  # (n, P, K)
    x, y = points.nan_to_num(nan=-1e4).unbind(-1)
    inside, unclear = depth >= inner, (depth < inner) & (depth > -outer)
    index = (y / CELL).floor().clamp(0, cells - 1) * cells + (x / CELL).floor().clamp(0, cells - 1)
    heat = torch.zeros(*points.shape[:2], cells * cells).scatter_add(2, index.long(), inside.float())
    amount = heat.sum(-1, keepdim=True)
    target = torch.cat([heat / amount.clamp_min(1), (amount == 0).float()], -1)
    return target, (inside.any(-1) | ~unclear.any(-1)).float()


def _depth(points: Tensor, side: int) -> Tensor:
    """How far points (..., 2) are inside of a block of ``side`` px, (...); negative outside, far outside for NaN."""
    x, y = points.nan_to_num(nan=-1e4).unbind(-1)
    return torch.stack([x, y, side - x, side - y]).amin(0)
