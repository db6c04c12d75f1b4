"""Config of a pretraining run, one dataclass for each concern; YAML fills them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from ijepa_viz.masks import Masks, sample
from ijepa_viz.models import ModelConfig
from ijepa_viz.runtime.run_folder import RunConfig


@dataclass(frozen=True)
class DataConfig:
    """Data sets and random crops.

    Attributes:
        source: any string that ``open_source`` takes.
        eval_source: held-out images for kNN, as ``source``; None skips kNN. Images that are also in ``source`` are
            an error.
        drop_shared: leave these images out of ``eval_source`` instead.
        eval_train, eval_test: number of images in kNN's bank and test set.
        crop_scale: area of random crops, as a share of the image's.
        crop_ratio: width / height of random crops. [1, 1] here and in ``crop_scale`` is the whole image.
        horizontal_flip: flip half of the crops.
        keep: True holds all images as centred squares at the model's size in one array; False decodes and crops the
            full images of every batch, as in the paper (films are decoded at the model's size and then cropped); None
            is True below 24 GiB.
        workers: decoding threads; None is one for each core.
        strict: raise on unreadable images instead of skipping them.
        cue_dropout: share of the images or films that are without a cue, where the model takes cues.
        cached_batches: with the objective ``predictor``, whose encoders are frozen: so many batches are encoded once
            and kept in the device's memory, and come again and again; 0 encodes every batch. (That of decoders keeps
            its features on disk.)
    """

    source: str = "menagerie"
    eval_source: str | None = None
    drop_shared: bool = False
    eval_train: int = 8000
    eval_test: int = 2000
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    horizontal_flip: bool = False
    keep: bool | None = None
    workers: int | None = None
    strict: bool = False
    cue_dropout: float = 0.5
    cached_batches: int = 0


@dataclass(frozen=True)
class MaskConfig:
    """Mask strategy.

    Attributes:
        strategy: a name in ``masks.STRATEGIES``, of films in ``masks.FILM_STRATEGIES``.
        options: the strategy's own options.
        moving_targets: of films: so many of the target tokens take part in a step, those that move with greater odds
            (:mod:`ijepa_viz.masks.moving`); None is all.
    """

    strategy: str = "multiblock"
    options: dict = field(default_factory=dict)
    moving_targets: int | None = None


@dataclass(frozen=True)
class ObjectiveConfig:
    """Training objective.

    Attributes:
        name: a name in ``train.objectives.OBJECTIVES``.
        options: the objective's own options.
    """

    name: str = "ijepa"
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizationConfig:
    """Batch size, optimizer, and the schedules of learning rate, weight decay and EMA momentum (appendix A.1).

    ``--max-minutes`` ends a run early; the schedules still span ``steps``.

    Attributes:
        steps: optimizer steps.
        schedule: learning rate after the warm-up: "cosine" (the paper), or "stable", which is ``lr`` until the last
            ``cooldown`` steps, then linear decay. A stable run can be extended by ``--resume`` with more steps.
        cooldown: steps of linear decay at the end of a "stable" schedule.
        batch_size: images of one optimizer step, over all processes.
        accumulate: gradient accumulation: each process computes its part of the batch in this many forward and
            backward passes, for less memory. Regularizer statistics are then those of one pass (over all processes).
        activation_checkpointing: store layer inputs only and recompute activations in the backward pass: a third more
            arithmetic for a fraction of the activation memory.
        schedule_steps: number of steps that the schedules span; None is ``steps`` (the reference's ``ipe_scale``).
        lr, start_lr, final_lr: learning rate at its peak, at the start of the warm-up, and at the end.
        warmup: steps of linear warm-up.
        weight_decay, final_weight_decay: first and last value of a cosine.
        ema: first and last momentum of the teacher, linear in between.
        clip_grad: maximum norm of the gradient; None does not clip.
    """

    RENAMED: ClassVar[dict[str, str]] = {"recompute": "activation_checkpointing"}

    steps: int = 2000
    schedule: str = "cosine"
    cooldown: int = 0
    batch_size: int = 128
    accumulate: int = 1
    activation_checkpointing: bool = False
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
    """Regularizer on the context encoder's output.

    Attributes:
        name: a name in ``train.regularizers.REGULARIZERS``; "none" is the paper.
        level: examples of its statistics: "tokens", every context token, or "pooled", each image's mean token.
        weight: factor of the regularizer in the loss.
    """

    name: str = "none"
    level: str = "tokens"
    weight: float = 1.0


@dataclass(frozen=True)
class PretrainRunConfig(RunConfig):
    """Run settings, and the monitoring of features during training.

    Attributes:
        keep_every: steps between two models that are kept in the run's ``history/``, from the initial one on (with
            ``fsdp`` without it), for ``ijepa-viz look RUN --over-time``; 0 keeps the last checkpoint alone.
        monitor_every: steps between two measurements of the features' spread and effective rank.
        monitor_images: number of images that these are measured on.
        eval_every_minutes: minutes between two kNN evaluations, where ``data.eval_source`` is set.
        fsdp: shard weights, gradients, optimizer state and teacher over the processes (FSDP), for models of which a
            device cannot hold a copy. Checkpoints are not sharded: a run can resume with or without it.
    """

    keep_every: int = 0
    monitor_every: int = 50
    monitor_images: int = 256
    eval_every_minutes: float = 10.0
    fsdp: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """Config of one pretraining run.

    Attributes:
        start_from: initial weights, any string that ``load_model`` takes, with new schedules and a new optimizer.
            None is random initialisation. (An interrupted run is continued by ``--resume`` instead.)
    """

    start_from: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    data: DataConfig = field(default_factory=DataConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    run: PretrainRunConfig = field(default_factory=PretrainRunConfig)


def sample_masks(config: TrainConfig, batch: int, generator: torch.Generator, all_targets: bool = False) -> Masks:
    """Sample masks for ``batch`` images by the strategy of ``config.mask``.

    Args:
        all_targets: also those that ``mask.moving_targets`` leaves out, which the pixels decide; without, as many
            target tokens as a step takes.

    Raises:
        ValueError: as :func:`ijepa_viz.masks.sample`, or ``mask.moving_targets`` for a model of pictures.
    """
    model, moving = config.model, config.mask.moving_targets
    if moving is not None and model.frames == 1:
        raise ValueError("mask.moving_targets is of films, and model.frames is 1: set mask.moving_targets=null.")
    if moving is not None and moving < 1:
        raise ValueError(f"mask.moving_targets must be at least 1, or null for all, got {moving}.")
    masks = sample(
        config.mask.strategy,
        batch=batch,
        grid=model.grid,
        generator=generator,
        steps=model.steps,
        **config.mask.options,
    )
    if moving is not None and masks.targets.shape[1] > 1:
        raise ValueError(
            f"mask.moving_targets takes one target block, not {masks.targets.shape[1]} as {config.mask.strategy!r}. "
            "Use tubes, future or mixed, or set mask.moving_targets=null."
        )
    if moving is None or all_targets:
        return masks
    return replace(masks, targets=masks.targets[..., :moving])
