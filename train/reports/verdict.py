"""Verdict on a run's log: healthy, or one of the known failures such as collapse, with the numbers that decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ijepa_viz.probes.intervals import mean_with_interval


@dataclass(frozen=True)
class Verdict:
    """One of the keys of :data:`MEANINGS`, and the numbers that decided.

    Attributes:
        name: a key of :data:`MEANINGS`.
        why: the numbers that decided, as a sentence.
    """

    name: str
    why: str

    @property
    def healthy(self) -> bool:
        """Whether the run can continue unchanged."""
        return self.name in ("healthy", "rising loss but learning", "too early to say")

    def __str__(self) -> str:
        return f"{self.name}: {MEANINGS[self.name]} ({self.why})"


MEANINGS = {
    "too early to say": "too few measurements of the features so far",
    "healthy": "features keep their spread, and predictions fit their own image clearly better than another",
    "rising loss but learning": "the loss rises because the targets get richer, not because training fails",
    "diverging": "update steps are as large as the weights: the learning rate is far too high",
    "teacher frozen": "the target encoder's weights do not change: its EMA momentum is 1",
    "complete collapse": "all tokens of all images become equal: check the stop-gradient at the teacher, and use a "
    "regularizer in a short run",
    "collapse to position": "tokens differ between patch indices but no longer between images",
    "dimensional collapse": "features of images vary along very few directions only",
    "nothing to predict": "predictions fit no target: the targets are noise",
    "learning nothing": "features keep their spread, but kNN accuracy is not above random init's beyond the noise",
    "context ignored": "predictions fit their own image no better than another, within the noise: the predictor uses "
    "positions only",
    "hardly learning": "predictions fit their own image better than another, but by little more than untrained "
    "networks do: train longer, or look for what holds the features together, such as a missing regularizer",
}

# Collapse: spread below this share of the first measurement's.
_COLLAPSED_SPREAD = 0.25
# Divergence: an update longer than this share of the weights' norm; healthy runs stay below 0.01.
_MAX_UPDATE_RATIO = 0.03
# Dimensional collapse: effective rank below this share of the width.
_MIN_RANK_SHARE = 0.03
_MIN_MEASUREMENTS = 4
# Least gap between the cosines with the own and with another image's target that counts as learning: in the first 40
# steps of train/configs/collapse.yaml, before anything is learned, the gap is at most 0.005.
_MIN_GAP = 0.005
# Measurements of the gap that its interval rests on: at least so many of the last, and a fifth of all.
_LATE = 5
# Nothing learned, where the number of test images is not known: kNN accuracy less than this above random init's.
_MIN_KNN_GAIN = 0.005


def verdict(rows: Sequence[Mapping[str, str | float]], width: int, tested: int | None = None) -> Verdict:
    """Classify a run by its log: the gravest of :data:`MEANINGS` that fits.

    A run counts as learning where the lower end of a 95 % interval is above a threshold, and not where a number happens
    to be: of the gap between the cosines with the own and with another image's target (Student's t over the last
    measurements, each of another batch), and of the gain in kNN accuracy over random init.

    Args:
        rows: of ``log.csv``, in order; empty cells are allowed.
        width: D, the encoder's.
        tested: number of images that kNN is tested on, ``data.eval_test`` (of a smaller data set, all of it); None
            if not known, then kNN has no interval.
    """
    loss = _column(rows, "loss")
    tokens, images, rank = (_column(rows, name) for name in ("spread_tokens", "spread_images", "rankme"))
    if not all(map(math.isfinite, [*loss, *images])):
        return Verdict("diverging", "the loss or the features are not finite")
    moved, ratios = _column(rows, "teacher_moved"), _column(rows, "update_ratio")
    if len(images) < _MIN_MEASUREMENTS or len(moved) < _MIN_MEASUREMENTS - 1:
        return Verdict("too early to say", f"{len(images)} measurements, at least {_MIN_MEASUREMENTS} are needed")
    ratio = max(ratios[1:], default=0.0)  # the first measurement falls into the warm-up
    if ratio > _MAX_UPDATE_RATIO:
        return Verdict("diverging", f"an update of {ratio:.3f} of the weights' norm")
    if max(moved) == 0:
        return Verdict("teacher frozen", f"no change of its weights between {len(moved)} measurements")
    tokens_left, images_left = tokens[-1] / tokens[0], images[-1] / images[0]
    spread = f"spread over tokens {tokens_left:.2f}, over images {images_left:.2f} of its first value"
    if images_left < _COLLAPSED_SPREAD:
        return Verdict("complete collapse" if tokens_left < _COLLAPSED_SPREAD else "collapse to position", spread)
    if rank[-1] < max(2.0, _MIN_RANK_SHARE * width):
        return Verdict("dimensional collapse", f"effective rank {rank[-1]:.1f} of {width}")
    right, wrong = _column(rows, "cosine"), _column(rows, "cosine_other")
    why = f"effective rank {rank[-1]:.0f} of {width}, {spread}"
    hardly = False
    if right:
        late = slice(-max(_LATE, len(right) // 5), None)
        own, other = right[late], wrong[late]
        if len(own) < _MIN_MEASUREMENTS:
            return Verdict("too early to say", f"{len(own)} measurements of the cosines; {why}")
        gap = mean_with_interval([a - b for a, b in zip(own, other, strict=True)])
        why = (
            f"cosine with the own image's target {_mean(own):.3f}, with another's {_mean(other):.3f}, a gap of "
            f"{gap['accuracy']:.3f}, 95 % interval {gap['low']:.3f} to {gap['high']:.3f}; {why}"
        )
        if _mean(own) < 0.05:
            return Verdict("nothing to predict", why)
        if gap["low"] <= 0:
            return Verdict("context ignored", why)
        hardly = gap["low"] < _MIN_GAP
    good, untrained = _column(rows, "knn"), _column(rows, "knn_random_init")
    if good:
        gain, half = good[-1] - untrained[-1], _half_of_difference(good[-1], untrained[-1], tested)
        noise = f", a gain of {gain:.3f} give or take {half:.3f}" if tested else ""
        why = f"kNN {good[-1]:.3f}, random init {untrained[-1]:.3f}{noise}; {why}"
        if gain <= max(half, _MIN_KNN_GAIN):
            return Verdict("learning nothing", why)
    else:
        why += "; kNN not measured (data.eval_source)"
    if hardly:
        return Verdict("hardly learning", why)
    if _rises(_column(rows, "prediction_loss") or loss):
        return Verdict("rising loss but learning", why)
    return Verdict("healthy", why)


def _half_of_difference(first: float, second: float, tested: int | None) -> float:
    """Half the 95 % interval of the difference of two accuracies on ``tested`` images each; 0 if not known.

    As if the images were other ones each time, which is wider than on the same ones where the answers are alike.
    """
    return 1.96 * math.sqrt((first * (1 - first) + second * (1 - second)) / tested) if tested else 0.0


def _rises(loss: Sequence[float]) -> bool:
    """Whether the median of the last fifth is more than 15 % above the lowest earlier fifth's."""
    size = max(2, len(loss) // 5)
    fifths = [_median(loss[i : i + size]) for i in range(0, len(loss) - size + 1, size)]
    return len(fifths) > 2 and fifths[-1] > 1.15 * min(fifths[:-1])


def _column(rows: Sequence[Mapping[str, str | float]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) not in ("", None)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
