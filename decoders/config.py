"""What a decoder's training is made of, one dataclass a concern; YAML only fills them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from decoders.networks.network import Conditioning
from ijepa_viz.runtime.run_folder import RunConfig


@dataclass(frozen=True)
class NetworkConfig:
    """A name in ``family.NETWORKS``, and the options of its class: for ``block-vit`` width, depth, heads."""

    name: str = "block-vit"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """The pictures to learn from.

    Attributes:
        source: any string ``open_source`` takes; the pictures the I-JEPA was trained on or others.
        crop_scale, horizontal_flip: of the random crops.
        patch_size: of the decoded pixels; None is the I-JEPA's own. With 8 an I-JEPA that sees 16x16 patches of
            14 px is decoded at 128 px.
        keep: True holds all pictures as squares in one array, False decodes and crops them at full size as they are
            needed; None takes the array below 24 GiB. workers: threads that decode; None is one a core.
        cached_batches: 0 runs the I-JEPA in every step. n > 0 keeps the features of the first n batches on
            disk, in half precision, and goes through them again and again: for large I-JEPAs, whose
            forward passes would take most of the time.
    """

    source: str = "menagerie"
    crop_scale: tuple[float, float] = (0.5, 1.0)
    horizontal_flip: bool = True
    patch_size: int | None = None
    keep: bool | None = None
    workers: int | None = None
    cached_batches: int = 0


@dataclass(frozen=True)
class HoleConfig:
    """The holes to learn: ``targets`` blocks an image, their share of the image and height / width."""

    targets: int = 2
    scale: tuple[float, float] = (0.1, 0.3)
    aspect: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True)
class OptimizationConfig:
    """AdamW with a warm-up and a cosine to zero over ``steps``; an average of the weights is kept.

    Noise levels are logit-normal around ``level`` (more noise above 0), but a share of ``uniform`` is spread evenly
    and a share of ``pure`` is all noise: where sampling begins, and where the logit-normal never comes.

    A closed-form decoder takes in ``steps`` batches and is solved; of the rest it reads the batch size only.
    """

    steps: int = 3000
    batch_size: int = 64
    lr: float = 6e-4
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.998
    clip_grad: float = 1.0
    min_sigma: float = 0.05
    level: float = 0.0
    uniform: float = 0.2
    pure: float = 0.05


@dataclass(frozen=True)
class DecoderTrainConfig:
    """One decoder's training.

    ijepa: any string ``load_model`` takes.
    start_from: any string ``load_decoder`` takes: the weights to go on from, with a new schedule and optimizer, also
        where they were learned on another I-JEPA. None starts at random. (``--resume`` continues an interrupted run.)
    """

    ijepa: str = "menagerie-tiny"
    start_from: str | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    hole: HoleConfig = field(default_factory=HoleConfig)
    condition: Conditioning = field(default_factory=Conditioning)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    run: RunConfig = field(default_factory=RunConfig)
