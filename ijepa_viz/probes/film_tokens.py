"""Tokens of the unseen steps of films: predicted with a cue or without, and those of the target encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.transforms import normalise
from ijepa_viz.film_prediction import cue_ids
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.film_truth import FutureFilms
from ijepa_viz.runtime.progress import track

_BATCH = 32


@torch.inference_mode()
def predicted_tokens(model: IJEPA, films: FutureFilms, cues: Sequence[str] | None = None) -> Tensor:
    """Predicted tokens of the steps after the cut, (n, A, N, D) float16.

    Args:
        cues: one sentence a film, "" for none; None is none for all.

    Raises:
        RuntimeError: a model without a predictor. ValueError: as :func:`cue_ids`.
    """
    ids = None if cues is None else cue_ids(model, cues)

    def compute(clips: Tensor, masks: Masks, rows: Tensor) -> Tensor:
        own = None if ids is None else ids[rows].to(model.device)
        return model.predict(model.encode_context(clips, masks), masks, own)

    return _by_cut(model, films, compute)


@torch.inference_mode()
def target_tokens(model: IJEPA, films: FutureFilms) -> Tensor:
    """The target encoder's tokens of the steps after the cut, (n, A, N, D) float16, through the loss's LayerNorm.

    The target encoder sees the whole film, the frames after each step too.
    """
    return _by_cut(model, films, lambda clips, masks, rows: model.targets(clips, masks))


def energies(predicted: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 of predicted and target tokens (n, A, N, D), the training loss, averaged over each film: (n,)."""
    parts = [
        F.smooth_l1_loss(p.float(), t.float(), reduction="none").mean((1, 2, 3))
        for p, t in zip(predicted.split(64), target.split(64), strict=True)
    ]
    return torch.cat(parts)


def share_of_the_way(predicted: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Where predictions lie between two futures' tokens, (n, A, N, D) each: 0 at the first, 1 at the second, (n,).

    The projection on the line through both: 1/2 is the middle, where a squared error is least for even odds.
    """
    found = []
    for p, a, b in zip(predicted, first, second, strict=True):
        line = (b.float() - a.float()).flatten()
        found.append((p.float() - a.float()).flatten() @ line / line.square().sum().clamp_min(1e-12))
    return torch.stack(found)


def _by_cut(model: IJEPA, films: FutureFilms, compute: Callable[[Tensor, Masks, Tensor], Tensor]) -> Tensor:
    """Compute (b, 1, A N, D) of films with equal cuts at once: nothing is padded. Returns (n, A, N, D) float16."""
    model.eval()
    steps, cells = model.config.steps // 2, model.grid[0] * model.grid[1]
    out = torch.zeros(len(films), steps, cells, model.config.width, dtype=torch.float16)
    batches = [
        rows for seen in films.seen.unique().tolist() for rows in (films.seen == seen).nonzero().flatten().split(_BATCH)
    ]
    for rows in track(batches, "films to tokens", "batch"):
        clips = normalise(films.frames[rows].permute(0, 1, 4, 2, 3).to(model.device).float() / 255)
        seen = int(films.seen[rows[0]])
        some = Masks.future(model.grid, model.config.steps, seen, ahead=steps).repeat(len(rows)).to(str(model.device))
        out[rows] = compute(clips, some, rows)[:, 0].unflatten(1, (steps, cells)).half().cpu()
    return out
