"""CIFAR-10, STL-10 and Imagenette, downloaded by torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np

from ijepa_viz.data.source import Source, register
from ijepa_viz.data.transforms import read_image
from ijepa_viz.runtime.files import cache_folder


def _open(name: str, data: Any, labels: Any, classes: Any, split: str) -> Source:
    return Source(
        name=f"{name} ({split})",
        read=lambda i: read_image(data[i][0]),
        count=len(data),
        labels=np.asarray(labels, dtype=np.int64),
        classes=list(classes),
        stamp=[name, split],
    )


@register("cifar10")
def cifar10(options: str, split: str) -> Source:
    """CIFAR-10: 60 000 photographs of 32 px in ten classes."""
    from torchvision.datasets import CIFAR10

    data = CIFAR10(str(cache_folder() / "cifar10"), train=split == "train", download=True)
    return _open("cifar10", data, data.targets, data.classes, split)


@register("stl10")
def stl10(options: str, split: str) -> Source:
    """STL-10: photographs of 96 px; split "train" adds the 100 000 without labels (label -1)."""
    from torchvision.datasets import STL10

    kind = "train+unlabeled" if split == "train" else "test"
    data = STL10(str(cache_folder() / "stl10"), split=kind, download=True)
    return _open("stl10", data, data.labels, data.classes, split)


@register("imagenette")
def imagenette(options: str, split: str) -> Source:
    """Imagenette: about 13 000 photographs of ten ImageNet classes, short side 160 px."""
    from torchvision.datasets import Imagenette

    root = cache_folder() / "imagenette"
    kind = "train" if split == "train" else "val"
    data = Imagenette(str(root), split=kind, size="160px", download=True)
    return _open("imagenette", data, [label for _, label in data._samples], data.classes, split)
