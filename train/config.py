"""What a training run is made of, one dataclass a concern; YAML only fills them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ijepa_viz.model import ModelConfig
from ijepa_viz.run_folder import RunConfig


@dataclass(frozen=True)
class DataConfig:
    """source: any string ``open_source`` takes. eval_source: pictures never trained on, for kNN."""

    source: str = "menagerie"
    eval_source: str | None = None
    eval_train: int = 8000
    eval_test: int = 2000
    crop_scale: tuple[float, float] = (0.3, 1.0)
    horizontal_flip: bool = False


@dataclass(frozen=True)
class MaskConfig:
    """strategy: a name of ``masks.STRATEGIES``; options: that strategy's own."""

    strategy: str = "multiblock"
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizationConfig:
    """The paper's schedules over ``steps`` optimizer steps (appendix A.1).

    ``max_minutes`` of the command line ends a run; the schedules always span ``steps``.
    """

    steps: int = 2000
    batch_size: int = 128
    lr: float = 1e-3
    start_lr: float = 2e-4
    final_lr: float = 1e-6
    warmup: int = 100
    weight_decay: float = 0.04
    final_weight_decay: float = 0.4
    ema: tuple[float, float] = (0.996, 1.0)
    clip_grad: float | None = None


@dataclass(frozen=True)
class RegularizerConfig:
    """name: "none" (the paper) or "variance-covariance" (VICReg's terms on the context encoder).

    level: "tokens" takes every visible token as an example, "pooled" each image's average.
    """

    name: str = "none"
    level: str = "tokens"
    weight: float = 1.0


@dataclass(frozen=True)
class PretrainRunConfig(RunConfig):
    """A run that also evaluates, every so often."""

    eval_every_minutes: float = 10.0


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    run: PretrainRunConfig = field(default_factory=PretrainRunConfig)
