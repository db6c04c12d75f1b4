"""Cues of training: the sentences of a data set as word ids, left out for a share of the examples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.menagerie.film_sentences import VOCABULARY
from ijepa_viz.data.source import Source
from train.config import TrainConfig


class TrainingCues:
    """Word ids of the cues of a data set, written when they are first asked for.

    Args:
        source: with :attr:`Source.cue`. config: of a model with cues.

    Raises:
        ValueError: a data set without sentences, another vocabulary than the films', mirrored pictures (cues name left
            and right), or a share out of range.
    """

    def __init__(self, source: Source, config: TrainConfig) -> None:
        model, data = config.model, config.data
        if source.cue is None:
            raise ValueError(
                f"model.cue_tokens is {model.cue_tokens}, but {source.name} has no sentences: use menagerie-film or "
                "menagerie, or set model.cue_tokens=0 and model.cue_vocabulary=0."
            )
        if model.cue_vocabulary != len(VOCABULARY):
            raise ValueError(
                f"model.cue_vocabulary is {model.cue_vocabulary}, the vocabulary of the sentences has "
                f"{len(VOCABULARY)} ids: set model.cue_vocabulary={len(VOCABULARY)}."
            )
        if data.horizontal_flip:
            raise ValueError(
                "data.horizontal_flip mirrors left and right, which the cues name: set it to false, or train without "
                "cues (model.cue_tokens=0 and model.cue_vocabulary=0)."
            )
        if not 0 <= data.cue_dropout <= 1:
            raise ValueError(f"data.cue_dropout is a share, 0 to 1, got {data.cue_dropout}.")
        self._sentence = source.cue
        self._length = model.cue_tokens
        self._dropout = data.cue_dropout
        self._known: dict[int, np.ndarray] = {}

    def __call__(self, indices: np.ndarray, dropped: Tensor) -> Tensor:
        """Word ids (b, L) of examples (b,), zeros where ``dropped`` (b,) bool."""
        ids = torch.from_numpy(np.stack([self._ids(int(i)) for i in indices]))
        return ids.masked_fill(dropped[:, None], 0)

    def draw_dropped(self, count: int, generator: torch.Generator) -> Tensor:
        """Which of ``count`` examples are without a cue, (count,) bool."""
        return torch.rand(count, generator=generator) < self._dropout

    def _ids(self, index: int) -> np.ndarray:
        if index not in self._known:
            self._known[index] = VOCABULARY.encode(self._sentence(index), self._length)
        return self._known[index]
