"""CNN that reads drawn frames: where a film's creature is, whether it shows, what it does, what it is.

It is fitted on the pixels of real frames, without any I-JEPA, and cached.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.data.menagerie.film_plan import plan
from ijepa_viz.data.menagerie.film_stories import WALKERS
from ijepa_viz.probes.film_reader import FilmReader, Reading, reading_loss
from ijepa_viz.probes.film_truth import FutureFilms
from ijepa_viz.runtime.files import cache_folder
from ijepa_viz.runtime.precision import choose_precision, number_format
from ijepa_viz.runtime.progress import track
from ijepa_viz.runtime.tensors import read_tensors, write_tensors

_VERSION = 2
_WIDTH = 64
_CELL = 8  # pixels that a token of the CNN stands for
_BATCH, _FIT_BATCH = 32, 16  # films

UNSEEN = -100  # label of what no frame shows, as cross_entropy's default


class FrameReading(NamedTuple):
    """What is read of the h frames of n films.

    places (n, h, 2), logits of being visible (n, h), of what happens (n, K), of the species (n, 4), and of facing right
    in the last frame (n,).
    """

    places: Tensor
    visible: Tensor
    kinds: Tensor
    species: Tensor
    facing: Tensor

    @property
    def future(self) -> Reading:
        """The part that :mod:`ijepa_viz.probes.film_measures` measures."""
        return Reading(self.places, self.visible, self.kinds)

    def of(self, rows: Tensor) -> FrameReading:
        """Some of the films, by indices or flags."""
        return FrameReading(*(part[rows] for part in self))


class FrameReader(nn.Module):
    """Reads frames (n, h, 3, s, s) in [-1, 1].

    Args:
        size: s. frames: h.
    """

    def __init__(self, size: int, frames: int) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        channels = 3
        for out, kernel, stride in ((16, 5, 2), (32, 3, 2), (_WIDTH, 3, 2), (_WIDTH, 3, 1)):
            layers += [nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)]
            layers.append(nn.ReLU())
            channels = out
        self.cells = nn.Sequential(*layers)
        side = -(-size // _CELL)
        self.reader = FilmReader((side, side), frames, 1, _WIDTH)
        self.species = nn.Linear(_WIDTH, len(WALKERS))
        self.facing = nn.Linear(_WIDTH, 1)

    def forward(self, frames: Tensor, last: Tensor) -> FrameReading:
        """Read frames (n, h, 3, s, s) of creatures last seen at ``last`` (n, 2), in image widths and heights."""
        cells = self.cells(frames.flatten(0, 1))  # (n h, W, rows, cols)
        tokens = cells.flatten(2).transpose(1, 2).unflatten(0, frames.shape[:2])  # (n, h, N, W)
        reading, attended = self.reader.attend(tokens, last)  # attended: (n, h, W)
        return FrameReading(*reading, self.species(attended.mean(1)), self.facing(attended[:, -1])[:, 0])


def appearances(films: FutureFilms, frames: int, seed: int) -> tuple[Tensor, Tensor]:
    """Species (n,) int64, an index of ``WALKERS``, and whether the creature faces right in the last frame ahead, (n,).

    :data:`UNSEEN` where no frame ahead shows it, or for facing the last one does not.

    Args:
        films: drawn with ``seed``. frames: T of them.
    """
    species, facing = [], []
    ahead = films.places.shape[1]
    for row, index in enumerate(films.numbers.tolist()):
        planned = plan(index, seed, frames)
        own = planned.states[planned.subject][int(films.frames_seen[row]) + ahead - 1]
        species.append(WALKERS.index(planned.things[planned.subject].species) if films.visible[row].any() else UNSEEN)
        facing.append(int(own.yaw > 0) if films.visible[row, -1] else UNSEEN)
    return torch.tensor(species), torch.tensor(facing)


def frames_ahead(frames: Tensor, films: FutureFilms) -> Tensor:
    """The frames (n, ..., h, 3, s, s) after each film's cut, of frames (n, ..., T, 3, s, s)."""
    index = films.frames_seen[:, None] + torch.arange(films.places.shape[1])  # (n, h)
    by_time = frames.movedim(-4, 1)  # (n, T, ..., 3, s, s)
    return by_time[torch.arange(len(frames))[:, None], index].movedim(1, -4)


def real_frames(films: FutureFilms) -> Tensor:
    """The true frames (n, h, 3, s, s) uint8 after each film's cut."""
    return frames_ahead(films.frames.permute(0, 1, 4, 2, 3), films)


def fit_frame_reader(films: FutureFilms, frames: int, seed: int, epochs: int = 12) -> FrameReader:
    """Fit a reader on real frames, with random blur and noise, for robustness to soft drawings, or read the cached one.

    Args:
        films: not those it is tested on, drawn with ``seed``. frames: T of them.

    Returns:
        The reader in evaluation mode. The same arguments give the same network.
    """
    pixels, (species, facing) = real_frames(films), appearances(films, frames, seed)
    digest = hashlib.sha256(f"{_VERSION} {frames} {seed} {epochs} {tuple(pixels.shape)}".encode())
    digest.update(pixels.contiguous().numpy().tobytes())
    cached = cache_folder() / "recognisers" / f"{digest.hexdigest()[:24]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = FrameReader(pixels.shape[-1], pixels.shape[1])
        if cached.exists():
            network.load_state_dict(read_tensors(cached), strict=True)
        else:
            _fit(network, pixels, films, species, facing, epochs)
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(cached, network.state_dict())
    return network.eval().requires_grad_(False)


def _fit(
    network: FrameReader, pixels: Tensor, films: FutureFilms, species: Tensor, facing: Tensor, epochs: int
) -> None:
    steps = -(-len(pixels) // _FIT_BATCH) * epochs
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(steps, 2), pct_start=0.2)
    low = number_format(choose_precision()) is torch.bfloat16
    network.train().to(memory_format=torch.channels_last)
    for _ in track(range(epochs), "fitting a reader of frames", "epoch"):
        for rows in torch.randperm(len(pixels)).split(_FIT_BATCH):
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                found = network(_softened(pixels[rows].float() / 127.5 - 1), films.last[rows])
            found = FrameReading(*(part.float() for part in found))
            shown = facing[rows] != UNSEEN
            loss = reading_loss(found.future, films, rows)
            if (species[rows] != UNSEEN).any():
                loss = loss + 0.5 * F.cross_entropy(found.species, species[rows], ignore_index=UNSEEN)
            if shown.any():
                loss = loss + 0.5 * F.binary_cross_entropy_with_logits(found.facing[shown], facing[rows][shown].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.to(memory_format=torch.contiguous_format)


def _softened(frames: Tensor) -> Tensor:
    """Frames (n, h, 3, s, s), those of each film blurred and noisy to a random extent; the noise is one for all."""
    blurred = F.avg_pool2d(frames.flatten(0, 1), 3, 1, padding=1, count_include_pad=False).view_as(frames)
    amounts = torch.rand(2, len(frames), 1, 1, 1, 1)
    return torch.lerp(frames, blurred, amounts[0]) + 0.1 * amounts[1] * torch.randn_like(frames[0])


@torch.no_grad()
def read_frames(reader: FrameReader, frames: Tensor, last: Tensor) -> FrameReading:
    """Read frames (n, h, 3, H, W), uint8 or in [0, 1], of any size, a batch of films at a time.

    Args:
        last: (n, 2), where each film's creature was last seen before them, in image widths and heights.
    """
    side = reader.size
    parts = []
    for some, places in zip(frames.split(_BATCH), last.split(_BATCH), strict=True):
        values = some.float() / 255 if some.dtype == torch.uint8 else some.float()
        if values.shape[-1] > side:  # a decoder may draw larger pictures than the model sees
            values = F.interpolate(values.flatten(0, 1), (side, side), mode="area").unflatten(0, some.shape[:2])
        parts.append(reader(values * 2 - 1, places))
    return FrameReading(*(torch.cat(found) for found in zip(*parts, strict=True)))
