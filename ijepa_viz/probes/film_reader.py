"""A small network that reads a film's tokens: where its creature is, whether it shows, and what it does.

A film has several creatures, so the reader is told where the one in question was seen last, and nothing else of the
past. It attends: each token gets a score for each frame of its step, and the place is the scores' softmax average of
the tokens' own places and offsets. Few parameters beside a linear map of all tokens, and none for single places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.masks import Grid
from ijepa_viz.probes.film_truth import NO_EVENT, FutureFilms
from ijepa_viz.runtime.progress import track

_KINDS = NO_EVENT + 1
_PLACE_SCALE = 20.0  # of squared errors of places, in image widths, beside cross-entropies


class Reading(NamedTuple):
    """What is read of n films: places (n, h, 2), logits of being visible (n, h) and of what happens (n, K)."""

    places: Tensor
    visible: Tensor
    kinds: Tensor

    def chosen(self, kinds: Tensor, other_kinds: Tensor) -> Tensor:
        """Whether the first of two kinds (n,) each is the likelier one: (n,) bool."""
        rows = torch.arange(len(self.kinds))
        return self.kinds[rows, kinds] > self.kinds[rows, other_kinds]


class FilmReader(nn.Module):
    """Reads tokens (n, A, N, D) of A steps, N = rows x cols, of t frames each.

    Args:
        grid: (rows, cols). ahead: A. tubelet: t. feature_width: D. width: of the hidden layer.
    """

    def __init__(self, grid: Grid, ahead: int, tubelet: int, feature_width: int, width: int = 64) -> None:
        super().__init__()
        rows, cols = grid
        row, col = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(cols) + 0.5) / cols, indexing="ij")
        self.centres: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("centres", torch.stack([col.flatten(), row.flatten()], dim=-1))  # (N, 2): x and y
        self.register_buffer("mean", torch.zeros(feature_width))
        self.register_buffer("std", torch.ones(feature_width))
        self.tubelet = tubelet
        self.dropout = nn.Dropout(0.2)
        self.hidden = nn.Linear(feature_width, width)
        self.away = nn.Linear(3 + ahead, width, bias=False)  # from where it was last seen, and the step
        self.second = nn.Linear(width, width)
        self.score = nn.Linear(width, tubelet)
        self.near = nn.Parameter(torch.full((ahead, 1), 3.0))
        self.offset = nn.Linear(width, 2 * tubelet)
        self.visible = nn.Linear(width, tubelet)
        happens = ahead * (width + 2 * tubelet)
        self.kinds = nn.Sequential(nn.Linear(happens, 64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, _KINDS))

    def forward(self, tokens: Tensor, last: Tensor) -> Reading:
        """Read tokens (n, A, N, D) of creatures last seen at ``last`` (n, 2), x and y in image widths and heights."""
        return self.attend(tokens, last)[0]

    def attend(self, tokens: Tensor, last: Tensor) -> tuple[Reading, Tensor]:
        """As :meth:`forward`, and what is attended to in each step, (n, A, W)."""
        count, ahead, cells = tokens.shape[:3]
        away = self.centres - last[:, None]  # (n, N, 2)
        squared = away.square().sum(-1, keepdim=True)  # (n, N, 1)
        where = 5 * torch.cat([away, squared.sqrt()], dim=-1)[:, None].expand(-1, ahead, -1, -1)
        when = torch.eye(ahead, device=tokens.device)[None, :, None].expand(count, -1, cells, -1)
        h = self.hidden(self.dropout((tokens - self.mean) / self.std)) + self.away(torch.cat([where, when], dim=-1))
        h = self.dropout(F.gelu(h))  # (n, A, N, W)
        h = h + self.dropout(F.gelu(self.second(h)))
        weight = (self.score(h) - 3 * self.near[:, None] * squared[:, None]).softmax(2)  # (n, A, N, t)
        there = self.centres[:, None] + self.offset(h).unflatten(-1, (self.tubelet, 2))  # (n, A, N, t, 2)
        places = (weight[..., None] * there).sum(2).flatten(1, 2)  # (n, A t, 2)
        pooled = (weight.mean(-1, keepdim=True) * h).sum(2)  # (n, A, W)
        moves = (places - last[:, None]).reshape(count, ahead, -1)
        kinds = self.kinds(torch.cat([pooled, 5 * moves], dim=-1).flatten(1))
        return Reading(places, self.visible(pooled).flatten(1), kinds), pooled


@dataclass(frozen=True)
class ReaderOptions:
    """How a reader is fitted: by AdamW, with a cosine schedule."""

    steps: int = 2500
    batch: int = 64
    lr: float = 4e-3
    weight_decay: float = 0.05


def fit_reader(
    tokens: Tensor, films: FutureFilms, grid: Grid, tubelet: int, options: ReaderOptions | None = None, seed: int = 0
) -> FilmReader:
    """Fit a reader on films that are not those it is tested on.

    Args:
        tokens: (n, A, N, D), of the unseen steps of the films: predicted ones, or the target encoder's.
        films: their truth. grid: (rows, cols). tubelet: frames of a step.
        seed: of the initial weights and the order of the films.

    Returns:
        The reader, in evaluation mode.
    """
    options = options or ReaderOptions()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = FilmReader(grid, tokens.shape[1], tubelet, tokens.shape[-1])
        flat = tokens.flatten(0, 2)[:: max(1, tokens[..., 0].numel() // 20000)].float()
        reader.mean.copy_(flat.mean(0))
        reader.std.copy_(flat.std(0).clamp_min(1e-4))
        optimizer = torch.optim.AdamW(reader.parameters(), options.lr, weight_decay=options.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=options.steps, pct_start=0.1)
        order: list[Tensor] = []
        for _ in track(range(options.steps), "fitting a reader", "step"):
            order = order or list(torch.randperm(len(tokens)).split(options.batch))
            rows = order.pop()
            loss = reading_loss(reader(tokens[rows].float(), films.last[rows]), films, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return reader.eval()


@torch.no_grad()
def read(reader: FilmReader, tokens: Tensor, films: FutureFilms, batch: int = 256) -> Reading:
    """Read tokens (n, A, N, D) of n films, a batch of films at a time."""
    pairs = zip(tokens.split(batch), films.last.split(batch), strict=True)
    parts = [reader(some.float(), last) for some, last in pairs]
    return Reading(*(torch.cat(found) for found in zip(*parts, strict=True)))


def reading_loss(found: Reading, films: FutureFilms, rows: Tensor) -> Tensor:
    """Squared error of places inside the picture, and cross-entropy of showing, and of what happens."""
    inside = films.inside[rows].float()
    place = ((found.places - films.places[rows]).square().sum(-1) * inside).sum() / inside.sum().clamp_min(1)
    shows = F.binary_cross_entropy_with_logits(found.visible, films.visible[rows].float())
    return _PLACE_SCALE * place + 0.5 * shows + 0.5 * F.cross_entropy(found.kinds, films.kinds[rows])
