"""Is a run learning, or collapsing? Numbers on its features, and a verdict on its log in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import Encoder
from train.sharding import local

COLUMNS = ("spread_tokens", "spread_images", "rankme", "teacher_moved", "update_ratio")


# --------------------------------------------------------------------------- numbers


def spreads(tokens: Tensor) -> tuple[float, float]:
    """How different the tokens of one image are, and one place's tokens over images.

    Args:
        tokens: (B, N, D).

    Returns:
        Root mean squares, over features, of the deviation from the image's mean token, and of the deviation
        from the mean over images at the same place. Both are shares of the tokens' own root mean square, so
        that 0 is collapse at any scale. A model that knows only the position has the first and not the second.
    """
    scale = tokens.square().mean().sqrt().clamp_min(1e-12)
    within = (tokens - tokens.mean(1, keepdim=True)).square().mean().sqrt()
    between = (tokens - tokens.mean(0, keepdim=True)).square().mean().sqrt()
    return float(within / scale), float(between / scale)


def rankme(features: Tensor) -> float:
    """The effective rank of (n, D) features (Garrido et al. 2023, arXiv 2210.02885, eq. 1).

    The exponential of the entropy of the singular values, 1 (collapse to a line) to min(n, D). Centred here, so
    that a vector common to all images does not count as a dimension.
    """
    if not features.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals((features - features.mean(0)).double())
    total = values.sum()
    if total <= 1e-12:
        return 1.0
    shares = values / total
    return float(torch.exp(-(shares * (shares + 1e-12).log()).sum()))


class Monitor:
    """Looks at a target encoder every so often, on the same pictures every time.

    Args:
        pictures: (n, 3, H, W) uint8.
    """

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures
        self.before: Tensor | None = None

    @torch.no_grad()
    def look(self, encoder: Encoder) -> dict[str, float]:
        """Spreads, rank, and ``teacher_moved``: the weights' relative change since the last look."""
        device = encoder.pos_embed.device
        parts = [encoder(normalise(x.float().to(device) / 255)).float().cpu() for x in self.pictures.split(64)]
        tokens = torch.cat(parts)
        within, between = spreads(tokens)
        weights = flat(encoder)
        numbers = {"spread_tokens": within, "spread_images": between, "rankme": rankme(tokens.mean(1))}
        if self.before is not None:
            numbers["teacher_moved"] = float((weights - self.before).norm() / self.before.norm())
        self.before = weights
        return numbers


def flat(module: nn.Module) -> Tensor:
    """All weights that training may move, as one vector on the CPU; the fixed position embedding is not one.

    Of a sharded module, this process's share.
    """
    named = [(name, local(p.detach())) for name, p in module.named_parameters()]
    return torch.cat([p.flatten().cpu() for name, p in named if not name.endswith("pos_embed")]).clone()


# --------------------------------------------------------------------------- the verdict


@dataclass(frozen=True)
class Verdict:
    """name: one of the keys of :data:`MEANINGS`; why: the numbers that decided."""

    name: str
    why: str

    @property
    def healthy(self) -> bool:
        """Whether the run may go on as it is."""
        return self.name in ("healthy", "rising loss but learning", "too early to say")

    def __str__(self) -> str:
        return f"{self.name}: {MEANINGS[self.name]} ({self.why})"


MEANINGS = {
    "too early to say": "too few looks at the features so far",
    "healthy": "features stay apart, and predictions fit their own image better than another",
    "rising loss but learning": "the loss rises because the targets get richer, not because the run fails",
    "diverging": "the steps are as large as the weights: the learning rate is far too high",
    "teacher frozen": "the target encoder's weights do not move: its momentum is 1",
    "complete collapse": "every token of every image becomes the same; is the gradient stopped at the teacher, "
    "and does a short run have a regularizer?",
    "collapse to position": "tokens differ by their place but no longer between images",
    "dimensional collapse": "images differ along very few directions only",
    "nothing to predict": "predictions fit no target at all: the targets are noise",
    "learning nothing": "features are apart, but no better for kNN than those of random init",
    "context ignored": "predictions fit their own image no better than another: the predictor uses positions only",
}

# Shares of the first look's spread below which it counts as gone.
_GONE = 0.25
# Of the weights' length, moved in one optimizer step; healthy runs stay below 0.01.
_LEAP = 0.03
# Of the width: an effective rank below it is a collapse of dimensions.
_FLAT = 0.03
_FEW = 4
# Of kNN accuracy, above random init's: less is nothing learned.
_BETTER = 0.005


def verdict(rows: Sequence[Mapping[str, str | float]], width: int) -> Verdict:
    """What a run's log says about it: one of :data:`MEANINGS`, the gravest that fits.

    Args:
        rows: of ``log.csv``, in order; empty cells are allowed.
        width: D, the encoder's.
    """
    loss = _column(rows, "loss")
    tokens, images, rank = (_column(rows, name) for name in ("spread_tokens", "spread_images", "rankme"))
    if not all(map(math.isfinite, [*loss, *images])):
        return Verdict("diverging", "the loss or the features are not numbers any more")
    moved, leaps = _column(rows, "teacher_moved"), _column(rows, "update_ratio")
    if len(images) < _FEW or len(moved) < _FEW - 1:
        return Verdict("too early to say", f"{len(images)} looks, at least {_FEW} are needed")
    leap = max(leaps[1:], default=0.0)  # the first look is at a step of the warm-up
    if leap > _LEAP:
        return Verdict("diverging", f"a step of {leap:.3f} of the weights' length")
    if max(moved) == 0:
        return Verdict("teacher frozen", f"moved by 0 between {len(moved)} looks")
    here, place = tokens[-1] / tokens[0], images[-1] / images[0]
    spread = f"spread over tokens {here:.2f}, over images {place:.2f} of what it was at first"
    if place < _GONE:
        return Verdict("complete collapse" if here < _GONE else "collapse to position", spread)
    if rank[-1] < max(2.0, _FLAT * width):
        return Verdict("dimensional collapse", f"effective rank {rank[-1]:.1f} of {width}")
    right, wrong = _column(rows, "cosine"), _column(rows, "cosine_other")
    why = f"effective rank {rank[-1]:.0f} of {width}, {spread}"
    if right:
        late = slice(-max(3, len(right) // 5), None)
        own, other = _middle(right[late]), _middle(wrong[late])
        why = f"cosine with the own image's target {own:.3f}, with another's {other:.3f}; {why}"
        if own < 0.05:
            return Verdict("nothing to predict", why)
        if own - other < 0.01 * (1 - other):
            return Verdict("context ignored", why)
    good, untrained = _column(rows, "knn"), _column(rows, "knn_random_init")
    if good and good[-1] <= untrained[-1] + _BETTER:
        return Verdict("learning nothing", f"kNN {good[-1]:.3f}, random init {untrained[-1]:.3f}; {why}")
    if _rises(_column(rows, "prediction_loss") or loss):
        return Verdict("rising loss but learning", why)
    return Verdict("healthy", why)


def _rises(loss: Sequence[float]) -> bool:
    """Whether the last fifth lies clearly above the lowest fifth before it."""
    size = max(2, len(loss) // 5)
    fifths = [_middle(loss[i : i + size]) for i in range(0, len(loss) - size + 1, size)]
    return len(fifths) > 2 and fifths[-1] > 1.15 * min(fifths[:-1])


def _column(rows: Sequence[Mapping[str, str | float]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) not in ("", None)]


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
