"""Batches whose tokens are computed once and used again, for objectives that leave the encoders as they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.masks import Masks
from train.config import TrainConfig
from train.objectives.predictor import Encoded, PredictorObjective


class Drawn(NamedTuple):
    """A batch of pictures, before anything is chosen that differs when it comes again.

    Attributes:
        chosen: (B,) indices of the pictures of all processes. images: (b, 3, H, W), of films (b, T, 3, H, W),
            normalised, this process's share; or their tokens. masks: of this share, with all targets. moves: (b, N),
            as of :func:`ijepa_viz.masks.moving.motion`, or None. generator: for what is chosen next.
    """

    chosen: np.ndarray
    images: Tensor | Encoded
    masks: Masks
    moves: Tensor | None
    generator: torch.Generator


def check_frozen(config: TrainConfig, frozen: bool) -> None:
    """Check the settings of a run that leaves its encoders as they are, or asks for their tokens to be kept.

    Args:
        frozen: :attr:`Objective.frozen_encoders`.

    Raises:
        ValueError: settings that contradict each other.
    """
    name, cached = config.objective.name, config.data.cached_batches
    if cached < 0:
        raise ValueError(f"data.cached_batches is a number of batches, or 0 for none, got {cached}.")
    if cached and not frozen:
        raise ValueError(
            f"data.cached_batches keeps the tokens of frozen encoders, but the objective {name!r} trains its encoder: "
            "set objective.name=predictor, or data.cached_batches=0."
        )
    if cached and config.run.fsdp:
        raise ValueError("data.cached_batches and run.fsdp exclude each other: set data.cached_batches=0.")
    if frozen and config.start_from is None:
        raise ValueError(f"The objective {name!r} leaves the encoders as they are: set start_from to a trained model.")
    if frozen and config.data.eval_source:
        raise ValueError(
            f"The objective {name!r} leaves the encoders, and so kNN, as they are: set data.eval_source=null."
        )


class EncodedBatches:
    """The first ``data.cached_batches`` batches, encoded when they first come, and kept on the device as float16.

    When a batch comes again, its crops and masks are the same, and its moving targets and dropped cues are drawn anew.

    Args:
        config: of the run. net: the objective. draw: number of a batch -> the batch. autocast: context of the encoding.

    """

    def __init__(
        self,
        config: TrainConfig,
        net: PredictorObjective,
        draw: Callable[[int], Drawn],
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._count, self._seed = config.data.cached_batches, config.run.seed
        self._net, self._draw, self._autocast = net, draw, autocast
        self._known: dict[int, Drawn] = {}

    def __call__(self, step: int) -> Drawn:
        """The batch of a step, its tokens in place of its images."""
        number = step % self._count
        if number not in self._known:
            drawn = self._draw(number)
            assert isinstance(drawn.images, Tensor)
            with self._autocast():
                encoded = self._net.encode(drawn.images, drawn.masks.to(drawn.images.device))
            self._known[number] = drawn._replace(images=Encoded(encoded.context.half(), encoded.targets.half()))
        # Not the numbers that drew the crops of batch ``step``.
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step + 500_000_000)
        return self._known[number]._replace(generator=generator)
