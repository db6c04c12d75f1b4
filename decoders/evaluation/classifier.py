"""CNN classifier used as an independent evaluator of decoded blocks.

It is trained on the pixels of blocks, without any I-JEPA, and cached.
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
from ijepa_viz.runtime.progress import track
from ijepa_viz.runtime.tensors import read_tensors, write_tensors

_VERSION = 1


class BlockClassifier(nn.Module):
    """CNN with one classification head a factor.

    Args:
        heads: factor -> number of classes.
        width: channels of the first stage; each of the two further ones has twice as many.
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
        """Average the last layer over 2x2 cells, (n, 3, h, w) in [-1, 1] -> (n, F): coarse positions are preserved."""
        return F.adaptive_avg_pool2d(self.body(images), 2).flatten(1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Classify images (n, 3, h, w): factor -> logits (n, classes)."""
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}


def as_images(pixels: Tensor, block: tuple[int, int], patch_size: int | None = None) -> Tensor:
    """Arrange the patches (n, T, 3 p p) of rectangular blocks to images (n, 3, h, w); ``block`` is (rows, cols).

    Args:
        patch_size: that of the I-JEPA, to which larger patches are averaged down, so that a classifier reads what is
            drawn and not the resolution; None leaves them.

    Raises:
        ValueError: patches of no whole multiple of ``patch_size``.
    """
    own = math.isqrt(pixels.shape[-1] // 3)
    images = unpatchify(pixels, block, own)
    if patch_size is None or own <= patch_size:
        return images
    if own % patch_size:
        raise ValueError(f"Patches of {own} px cannot be averaged down to {patch_size} px.")
    return F.avg_pool2d(images, own // patch_size)


def train_classifier(
    images: Tensor, labels: Mapping[str, Tensor], classes: Mapping[str, int], epochs: int = 12, seed: int = 0
) -> BlockClassifier:
    """Train a classifier on blocks with random blur and noise, for robustness to blur, or read it from the cache.

    Args:
        images: (n, 3, h, w) in [-1, 1]. labels: factor -> (n,) int64. classes: factor -> number of classes.
        epochs: with a one-cycle learning rate. seed: of the initialisation, order and augmentation.

    Returns:
        The classifier in evaluation mode. The same arguments give the same network.
    """
    digest = hashlib.sha256(f"{_VERSION} {sorted(classes.items())} {epochs} {seed}".encode())
    for tensor in (images, *(labels[name] for name in sorted(labels))):
        digest.update(tensor.contiguous().numpy().tobytes())
    cached = cache_folder() / "recognisers" / f"{digest.hexdigest()[:24]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BlockClassifier(classes)
        network(images[:2])  # the lazy layers infer their sizes
        if cached.exists():
            network.load_state_dict(read_tensors(cached), strict=True)
        else:
            _fit(network, images, labels, epochs)
            _write(network, cached)
    return network.eval().requires_grad_(False)


def _fit(network: BlockClassifier, images: Tensor, labels: Mapping[str, Tensor], epochs: int, batch: int = 128) -> None:
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2))
    network.train()
    for _ in track(range(epochs), "training a classifier", "epoch"):
        for chosen in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            inputs = images[chosen]
            blurred = F.avg_pool2d(F.pad(inputs, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            inputs = torch.lerp(inputs, blurred, torch.rand(len(inputs), 1, 1, 1))
            inputs = inputs + torch.randn_like(inputs) * 0.1 * torch.rand(len(inputs), 1, 1, 1)
            logits = network(inputs)
            loss = torch.stack([F.cross_entropy(logits[name], labels[name][chosen]) for name in labels]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _write(network: BlockClassifier, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, network.state_dict())


@torch.no_grad()
def predict_logits(network: BlockClassifier, images: Tensor, batch: int = 256) -> dict[str, Tensor]:
    """Logits of images (n, 3, h, w) in batches: factor -> (n, classes)."""
    parts = [network(chunk) for chunk in track(images.split(batch), "classifying", "batch")]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def classifier_features(network: BlockClassifier, images: Tensor, batch: int = 256) -> Tensor:
    """Features of images (n, 3, h, w) before the heads, in batches: (n, F)."""
    return torch.cat([network.features(chunk) for chunk in track(images.split(batch), "classifying", "batch")])


def answer_shares(logits: Tensor) -> Tensor:
    """Share of samples whose most probable class is each class: logits (n, S, classes) -> (n, classes)."""
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).float().mean(1)
