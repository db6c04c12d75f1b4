"""Cues: words that tell the predictor what is coming, the latent variable z of a JEPA made concrete (LeCun 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CueEmbedding(nn.Module):
    """Word ids to tokens of the predictor: an embedding of the word, and of its place in the sentence, both learned.

    The words take part in the predictor's attention as further context tokens, so that they need no layers of their
    own. Padding, id 0, has an embedding too: a row of padding is the learned absence of a cue.

    Args:
        tokens: L, most words of a cue. vocabulary: number of ids, padding among them. width: of the predictor.
    """

    def __init__(self, tokens: int, vocabulary: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(1, tokens, width))
        nn.init.trunc_normal_(self.words.weight, std=0.02)
        nn.init.trunc_normal_(self.places, std=0.02)

    def forward(self, cues: Tensor | None, batch: int) -> Tensor:
        """Embed cues, (B, l) int64 with l at most L, or None for no cues, as (B, L, P).

        Raises:
            ValueError: other shapes, no integers, or an id out of the vocabulary.
        """
        longest = self.places.shape[1]
        if cues is None:
            cues = torch.zeros(batch, longest, dtype=torch.int64, device=self.places.device)
        if cues.ndim != 2 or cues.is_floating_point() or len(cues) != batch or cues.shape[1] > longest:
            raise ValueError(
                f"Cues are word ids (B, L), integers, with B = {batch} and L at most {longest} words for this model, "
                f"got {cues.dtype} {tuple(cues.shape)}."
            )
        # Looked at where they are: on a GPU it would be waited for.
        count = self.words.num_embeddings
        if cues.numel() and not cues.is_meta:
            low, high = (int(v) for v in cues.aminmax())
            if low < 0 or high >= count:
                raise ValueError(
                    f"A cue has the word id {low if low < 0 else high}, but this model's vocabulary has the ids 0 "
                    f"(padding) to {count - 1}."
                )
        cues = cues.to(self.places.device, torch.int64)
        return self.words(F.pad(cues, (0, longest - cues.shape[1]))) + self.places
