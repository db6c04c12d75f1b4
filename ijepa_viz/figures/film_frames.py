"""Films as rows of frames: the true ones, and samples of those that a model did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from ijepa_viz.figures.completion import BOX
from ijepa_viz.figures.figure import Figure
from ijepa_viz.prediction import DrawnSamples, Prediction

_HIDDEN = 0.82


def film_grid(
    films: Sequence[tuple[Prediction, DrawnSamples]], names: Sequence[str] = (), every: int | None = None
) -> Figure:
    """One block of rows a film: the truth, what the model saw, and each sample, frame beside frame.

    Args:
        films: a prediction of one film, and samples of it. names: of the films; empty for none.
        every: show each ``every``-th frame; None is the tubelet, one frame a step.

    Raises:
        ValueError: no films, a prediction of a picture or of a batch, or not as many names as films.
    """
    if not films or any(prediction.image.ndim != 4 or prediction.batched for prediction, _ in films):
        raise ValueError("This figure is of films, one prediction each, (T, 3, H, W); there is at least one.")
    if names and len(names) != len(films):
        raise ValueError(f"There are {len(films)} films and {len(names)} names.")
    rows: list[tuple[str, Tensor, Prediction, str | None]] = []
    for number, (prediction, samples) in enumerate(films):
        height = samples.images.shape[-2]
        rows.append((f"{names[number]}:\ntrue" if names else "true", prediction.picture(height), prediction, None))
        rows.append(("seen", _seen(prediction, height), prediction, None))
        for i, film in enumerate(samples.on(prediction.picture(height))):
            rows.append((f"sample {i + 1}", film, prediction, "predicted"))
    frames = films[0][0].image.shape[0]
    step = every or max(1, frames // films[0][0].masks.steps)
    shown = range(step - 1, frames, step)
    about = f"{len(films)} films, every {step} frames: the true film, what was seen, and samples of what was not."
    figure = Figure(about, figsize=(0.95 * len(shown) + 1.0, 0.98 * len(rows) + 0.3), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(rows), len(shown), squeeze=False))
    for line, (name, film, prediction, kind) in enumerate(rows):
        hidden = _frames_hidden(prediction)
        for axis, frame in zip(axes[line], shown, strict=True):
            _show(axis, film[frame], BOX[kind] if kind and hidden[frame] else None)
            if line == 0:
                axis.set_title(f"{frame + 1}", fontsize=8)
        axes[line, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def _seen(prediction: Prediction, height: int) -> Tensor:
    """The film with its hidden tubelets grey, (T, 3, height, W)."""
    film = prediction.picture(height).clone()
    tubelet = film.shape[0] // prediction.masks.steps
    hidden = prediction.masks.hidden_pixels(height // prediction.masks.grid[0], tubelet)[0]  # (T, H, W)
    film[hidden[:, None].expand_as(film)] = _HIDDEN
    return film


def _frames_hidden(prediction: Prediction) -> list[bool]:
    """Whether anything of each frame is hidden."""
    tubelet = prediction.image.shape[0] // prediction.masks.steps
    return prediction.masks.hidden[0].flatten(1).any(1).repeat_interleave(tubelet).tolist()


def _show(axis: Axes, picture: Tensor, colour: str | None) -> None:
    """A frame (3, H, W), with a border where it was predicted."""
    image = picture.permute(1, 2, 0).clamp(0, 1).cpu().numpy()
    axis.imshow(image, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(False)
    if colour is not None:
        height, width = image.shape[:2]
        axis.add_patch(
            Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=colour, linewidth=1.6, clip_on=False)
        )
