"""What a decoder's training is made of, one dataclass a concern; YAML only fills them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ijepa_viz.run_folder import RunConfig


@dataclass(frozen=True)
class NetworkConfig:
    """The denoiser's ViT."""

    width: int = 192
    depth: int = 6
    heads: int = 4


@dataclass(frozen=True)
class DataConfig:
    """source: any string ``open_source`` takes; the pictures the I-JEPA was trained on or others."""

    source: str = "menagerie"
    crop_scale: tuple[float, float] = (0.5, 1.0)
    horizontal_flip: bool = True


@dataclass(frozen=True)
class HoleConfig:
    """The holes to learn: ``targets`` blocks an image, their share of the image and height / width."""

    targets: int = 2
    scale: tuple[float, float] = (0.1, 0.3)
    aspect: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True)
class ConditionConfig:
    """Shares of training blocks conditioned on the pooled vector, on nothing (the rest: token by
    token), and on the target encoder's tokens (the rest: predictions).
    """

    pooled: float = 0.2
    null: float = 0.1
    targets: float = 0.25


@dataclass(frozen=True)
class OptimizationConfig:
    """AdamW with a warm-up and a cosine to zero over ``steps``; an average of the weights is kept."""

    steps: int = 3000
    batch_size: int = 64
    lr: float = 6e-4
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.998
    clip_grad: float = 1.0
    min_sigma: float = 0.05


@dataclass(frozen=True)
class DecoderTrainConfig:
    """One decoder's training. ``ijepa``: any string ``load_model`` takes."""

    ijepa: str = "menagerie-tiny"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    hole: HoleConfig = field(default_factory=HoleConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    run: RunConfig = field(default_factory=RunConfig)
