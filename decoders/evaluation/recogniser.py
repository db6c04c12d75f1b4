"""A small convolutional network that names what a block shows: the independent eye of the instruments.

It is trained here, on real blocks' own pixels, knows nothing of any I-JEPA, and is kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.models import unpatchify
from ijepa_viz.runtime.files import cache_folder
from ijepa_viz.runtime.tensors import read_tensors, write_tensors

_VERSION = 1


class Recogniser(nn.Module):
    """Pixels of a block -> one answer a question.

    Args:
        heads: question -> number of answers.
        width: of the first convolution; each of the two further ones doubles it.
    """

    def __init__(self, heads: Mapping[str, int], width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 4 * width):
            for _ in range(2):
                layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.LazyLinear(count) for name, count in heads.items()})

    def features(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) in [-1, 1] -> (n, F): two by two averages of the last layer, so that place still counts."""
        return F.adaptive_avg_pool2d(self.body(images), 2).flatten(1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(n, 3, h, w) -> question -> (n, answers) logits."""
        found = self.features(images)
        return {name: head(found) for name, head in self.heads.items()}


def as_images(pixels: Tensor, block: tuple[int, int]) -> Tensor:
    """A rectangular block's patches (n, T, 3 p p) as pictures (n, 3, h, w); ``block`` is its (rows, cols)."""
    return unpatchify(pixels, block, math.isqrt(pixels.shape[-1] // 3))


def train_recogniser(
    images: Tensor, labels: Mapping[str, Tensor], classes: Mapping[str, int], epochs: int = 12, seed: int = 0
) -> Recogniser:
    """Train on real blocks, lightly blurred and noised, so that a soft picture is not a riddle.

    Args:
        images: (n, 3, h, w) in [-1, 1]. labels: question -> (n,) int64. classes: question -> number of answers.
        epochs: over the images, with one cosine of the learning rate. seed: of everything.

    Returns:
        In evaluation mode. The same arguments give the same network, which is then read from the cache.
    """
    told = hashlib.sha256(f"{_VERSION} {sorted(classes.items())} {epochs} {seed}".encode())
    for tensor in (images, *(labels[name] for name in sorted(labels))):
        told.update(tensor.contiguous().numpy().tobytes())
    kept = cache_folder() / "recognisers" / f"{told.hexdigest()[:24]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Recogniser(classes)
        network(images[:2])  # the lazy layers learn their sizes
        if kept.exists():
            network.load_state_dict(read_tensors(kept), strict=True)
        else:
            _fit(network, images, labels, epochs)
            _keep(network, kept)
    return network.eval().requires_grad_(False)


def _fit(network: Recogniser, images: Tensor, labels: Mapping[str, Tensor], epochs: int, batch: int = 128) -> None:
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2))
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            shown = images[chosen]
            soft = F.avg_pool2d(F.pad(shown, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            shown = torch.lerp(shown, soft, torch.rand(len(shown), 1, 1, 1))
            shown = shown + torch.randn_like(shown) * 0.1 * torch.rand(len(shown), 1, 1, 1)
            answers = network(shown)
            loss = torch.stack([F.cross_entropy(answers[name], labels[name][chosen]) for name in labels]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _keep(network: Recogniser, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, network.state_dict())


@torch.no_grad()
def read_out(network: Recogniser, images: Tensor, batch: int = 256) -> dict[str, Tensor]:
    """What it says about each picture, question -> (n, answers) logits."""
    parts = [network(chunk) for chunk in images.split(batch)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def features_of(network: Recogniser, images: Tensor, batch: int = 256) -> Tensor:
    """(n, F), the features that its answers are read from."""
    return torch.cat([network.features(chunk) for chunk in images.split(batch)])
