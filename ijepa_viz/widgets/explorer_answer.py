"""What the explorer answers a hole with: its choices of what is decoded, and the words below the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ijepa_viz.prediction import Prediction

# Arguments of the decoder by the choice of the page's menu.
SHOW: dict[str, dict[str, str]] = {
    "predicted": {},
    "pooled": {"conditioning": "pooled"},
    "other": {},
    "mean": {},
    "target": {"source": "target"},
    "null": {"conditioning": "null"},
}
CONTROLS = {"other": "another image", "mean": "mean prediction"}
# Kind of box around the decoded region, as in the figures.
BOX_KIND = {show: "control" for show in SHOW} | {"predicted": "predicted", "pooled": "predicted", "target": "target"}
# Choices without a predicted token: neither their caption nor their map has a cosine.
UNPREDICTED = {
    "target": "decoded from the target encoder's own tokens, not from a prediction",
    "null": "decoded from nothing: neither from a prediction nor from the picture",
}


class Answer(NamedTuple):
    """Traits of the page, samples and the prediction they are of, and what tells their story."""

    traits: dict[str, Any]
    drawn: Any
    prediction: Prediction
    story: Callable[[], list[dict[str, Any]]]


def caption_of(
    given: Prediction, drawn: Any, show: str, *, seed: int, guidance: float, choice: str = "", guessed: bool = False
) -> str:
    """The line below the samples: where they come from, and what limits what they show.

    Args:
        given: prediction that was decoded, M = 1. drawn: samples. show: choice of the menu.
        choice: name of the model, "" where there is only one. guessed: a control's pictures may be of another kind.
    """
    whose = {"other": "another image's", "mean": "the mean"}.get(show, "the")
    about = f"cosine of {whose} predicted and the target tokens {given.cosine.mean():.2f}"
    caption = f"seed {seed}; {UNPREDICTED.get(show, about)}"
    if choice:
        caption = f"{choice}; {caption}"
    if show in CONTROLS and guessed:
        caption += "; the control is of drawn scenes, which may be another kind of picture: give `other`"
    if guidance != 1 and show != "null":
        caption += f"; guidance {guidance:g}: what varies is the guidance's doing too"
    if detail := getattr(drawn, "detail", 0.0):
        caption += f"; sampled down to noise level {detail:.2g}, finer grain averaged"
    return caption
