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
from train.objectives import Objective
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


class EncodedBatches:
    """The first ``data.cached_batches`` batches, encoded when they first come, in memory as float16.

    When a batch comes again, its crops and masks are the same, and its moving targets and dropped cues are drawn anew.

    Args:
        config: of the run. net: the objective. draw: number of a batch -> the batch. autocast: context of the encoding.

    Raises:
        ValueError: an objective that trains its encoders, whose tokens change with every step, or a number below 1.
    """

    def __init__(
        self,
        config: TrainConfig,
        net: Objective,
        draw: Callable[[int], Drawn],
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        if not isinstance(net, PredictorObjective):
            raise ValueError(
                f"data.cached_batches keeps the tokens of frozen encoders, but the objective {config.objective.name!r} "
                "trains its encoder: set objective.name=predictor, or data.cached_batches=null."
            )
        count = config.data.cached_batches
        if count is None or count < 1:
            raise ValueError(f"data.cached_batches is a number of batches from 1, or null for none, got {count}.")
        self._count, self._seed = count, config.run.seed
        self._net, self._draw, self._autocast = net, draw, autocast
        self._known: dict[int, Drawn] = {}

    def __call__(self, step: int) -> Drawn:
        """The batch of a step, its tokens in place of its images."""
        number = step % self._count
        if number not in self._known:
            drawn = self._draw(number)
            assert isinstance(drawn.images, Tensor)
            with self._autocast():
                encoded = self._net.encode(drawn.images, drawn.masks.to(str(drawn.images.device)))
            self._known[number] = drawn._replace(images=Encoded(encoded.context.half(), encoded.targets.half()))
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        return self._known[number]._replace(generator=generator)
