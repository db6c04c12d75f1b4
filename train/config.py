"""What a training run is made of, one dataclass a concern; YAML only fills them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ijepa_viz.masks import Masks, sample
from ijepa_viz.models import ModelConfig
from ijepa_viz.runtime.run_folder import RunConfig


@dataclass(frozen=True)
class DataConfig:
    """source: any string ``open_source`` takes. eval_source: pictures never trained on, for kNN.

    crop_scale and crop_ratio: share of the area and width / height of random crops; [1, 1] for both is the whole
    picture.
    keep: true for one array of all centred squares at the model's size, false to decode and crop pictures as they are
    needed, as in the paper; null keeps what is below 24 GiB. workers: threads that decode, null is one a core.
    strict: refuse a data set with damaged pictures instead of skipping them.
    """

    source: str = "menagerie"
    eval_source: str | None = None
    eval_train: int = 8000
    eval_test: int = 2000
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    horizontal_flip: bool = False
    keep: bool | None = None
    workers: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class MaskConfig:
    """strategy: a name of ``masks.STRATEGIES``; options: that strategy's own."""

    strategy: str = "multiblock"
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectiveConfig:
    """name: what the run minimises, a name of ``train.objectives.OBJECTIVES``; options: its own."""

    name: str = "ijepa"
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizationConfig:
    """The paper's schedules over ``steps`` optimizer steps (appendix A.1).

    ``max_minutes`` of the command line ends a run; the schedules always span ``steps``.

    batch_size: of one optimizer step, over all processes. accumulate: its share of a process is computed in so many
    parts, for less memory; the regularizers' statistics are then of one part (over all processes).
    recompute: keep only what goes into each layer and compute the rest again for the gradient: a third more arithmetic
    for a fraction of the activations' memory.
    schedule_steps: what the schedules span where that is not ``steps`` (the reference's ipe_scale).

    schedule: "cosine" (the paper) after the warm-up, or "stable": the full rate until the last ``cooldown``
    steps, then linearly down. A stable run can be made longer later, by --resume with more steps.
    """

    steps: int = 2000
    schedule: str = "cosine"
    cooldown: int = 0
    batch_size: int = 128
    accumulate: int = 1
    recompute: bool = False
    schedule_steps: int | None = None
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
    """name: of ``train.regularizers.REGULARIZERS``; "none" is the paper.

    level: "tokens" takes every visible token as an example, "pooled" each image's average.
    """

    name: str = "none"
    level: str = "tokens"
    weight: float = 1.0


@dataclass(frozen=True)
class PretrainRunConfig(RunConfig):
    """A run that also looks at its features, every so often.

    monitor_every: steps between two looks at the spread and rank of the features of monitor_images pictures.
    eval_every_minutes: between two kNN evaluations, where ``data.eval_source`` is set.
    compile: let torch.compile make kernels of the networks: a minute or more at the start, then about a tenth faster.
    fsdp: spread weights, gradients, optimizer state and teacher over the processes, for models of which a device
    cannot hold a copy. Checkpoints stay whole: a run can go on with or without it.
    """

    monitor_every: int = 50
    monitor_images: int = 256
    eval_every_minutes: float = 10.0
    compile: bool = False
    fsdp: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    start_from: any string ``load_model`` takes: the weights to go on from, with new schedules and a new optimizer.
        None starts at random. (A run that was interrupted is continued with ``--resume`` instead.)
    """

    start_from: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    data: DataConfig = field(default_factory=DataConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    run: PretrainRunConfig = field(default_factory=PretrainRunConfig)


def sample_masks(config: TrainConfig, batch: int, generator: torch.Generator) -> Masks:
    """The masks of ``batch`` images, as ``config.mask`` says.

    Raises:
        ValueError: as :func:`ijepa_viz.masks.sample`.
    """
    grid = config.model.grid
    return sample(config.mask.strategy, batch=batch, grid=grid, generator=generator, **config.mask.options)
