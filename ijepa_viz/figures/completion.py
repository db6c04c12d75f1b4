"""The announcement's figure: original, context, and decoded samples in a box (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ijepa_viz.figures.figure import Figure, legible, panel_size
from ijepa_viz.masks import Masks
from ijepa_viz.prediction import DrawnSamples, Prediction

# Okabe-Ito palette, for every kind of colour vision.
BOX = {"predicted": "#009E73", "control": "#D55E00", "target": "#0072B2"}
_HIDDEN = 0.82


def context_image(prediction: Prediction, height: int | None = None) -> np.ndarray:
    """The image with its hidden patches grey, (H, W, 3); ``height`` in pixels, None is that of the model's input."""
    image = prediction.picture(height or prediction.image.shape[-2]).permute(1, 2, 0).numpy().copy()
    patch = len(image) // prediction.masks.grid[0]
    image[prediction.masks.hidden_pixels(patch)[0].cpu().numpy()] = _HIDDEN
    return image


def outline(axes: Axes, masks: Masks, patch_size: int, colour: str, width: float = 2.0) -> None:
    """Draw the border of the hidden region, of any shape, on an image's axes."""
    hidden = np.pad(masks.hidden[0].cpu().numpy(), 1)
    lines = []
    for r, c in np.argwhere(hidden):
        y, x = (r - 1) * patch_size - 0.5, (c - 1) * patch_size - 0.5
        for dr, dc, start, end in (
            (-1, 0, (0, 0), (1, 0)), (1, 0, (0, 1), (1, 1)), (0, -1, (0, 0), (0, 1)), (0, 1, (1, 0), (1, 1)),
        ):  # fmt: skip
            if not hidden[r + dr, c + dc]:
                lines.append([(x + p * patch_size, y + q * patch_size) for p, q in (start, end)])
    for line in lines:
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=width, solid_capstyle="round", clip_on=False)


def completion_grid(
    rows: Sequence[tuple[Prediction, DrawnSamples] | tuple[Prediction, DrawnSamples, DrawnSamples]],
    control: str = "another image's prediction",
    names: Sequence[str] = (),
) -> Figure:
    """The announcement's figure: one row an image, original | context | S samples in their box on the image (figure 6).

    Args:
        rows: (prediction, samples), or (prediction, samples, control samples); the first two control samples are at the
            right end, in another colour.
        control: source of the control samples, for the legend.
        names: labels of the rows; empty for none.

    Raises:
        ValueError: no rows, or not as many names as rows.

    >>> from ijepa_viz.checkpoints import load_model
    >>> from ijepa_viz.data import menagerie
    >>> from ijepa_viz.prediction import predict
    >>> model = load_model("menagerie-tiny")
    >>> masks = Masks.from_block(model.grid, row=2, col=2, height=4, width=4)
    >>> prediction = predict(model, menagerie.scene(0).image, masks)
    >>> class GreySamples:  # in place of decoders.load_decoder("menagerie-tiny").sample(prediction)
    ...     images = prediction.image[None].expand(6, -1, -1, -1)
    ...     def on(self, image):
    ...         return self.images
    >>> figure = completion_grid([(prediction, GreySamples())])
    >>> [axis.get_title() for axis in figure.axes][:3]
    ['original', 'context', 'sample 1']
    """
    if not rows:
        raise ValueError("completion_grid needs at least one row.")
    if any(row[0].image.ndim == 4 and not row[0].batched for row in rows):
        raise ValueError("completion_grid is of pictures: film_grid draws films, frame beside frame.")
    if names and len(names) != len(rows):
        raise ValueError(f"There are {len(rows)} rows and {len(names)} names: give one a row, or none.")
    count = len(rows[0][1].images)
    extra = min(2, count) if len(rows[0]) == 3 else 0
    columns = 2 + count + extra
    panels = [panel_size(1.25, row[0].masks.grid) for row in rows]
    width = max(wide for wide, _ in panels) * columns + 0.2
    size = legible(9, width)
    figure = Figure(
        f"{len(rows)} rows: a picture, its context with a hole, and {count} samples decoded in a green box.",
        figsize=(width, fmean(high + 0.05 for _, high in panels) * len(rows) + 0.75 * size / 9),
        layout="constrained",
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        prediction, samples = row[0], row[1]
        height = samples.images.shape[-2]
        whole = prediction.picture(height)
        drawn = [(s, "predicted") for s in samples.on(whole)]
        if len(row) == 3:
            drawn += [(s, "control") for s in row[2].on(whole)[:extra]]
        original = whole.permute(1, 2, 0).numpy()
        for axis, picture in zip(line, [original, context_image(prediction, height)], strict=False):
            show(axis, picture)
        for axis, (picture, kind) in zip(line[2:], drawn, strict=True):
            show(axis, picture.permute(1, 2, 0).clamp(0, 1).numpy())
            outline(axis, prediction.masks, height // prediction.masks.grid[0], BOX[kind])
    for axis, name in zip(axes[:, 0], names, strict=False):
        axis.set_ylabel(name, fontsize=size)
    axes[0, 0].set_title("original", fontsize=size)
    axes[0, 1].set_title("context", fontsize=size)
    for i in range(count):
        axes[0, 2 + i].set_title(f"sample {i + 1}", fontsize=size)
    label = "decoded from the prediction" + detail_words(*(getattr(samples, "detail", 0.0) for _, samples, *_ in rows))
    handles = [Patch(edgecolor=BOX["predicted"], fill=False, linewidth=2, label=label)]
    if extra:
        for i in range(extra):
            axes[0, 2 + count + i].set_title(f"control {i + 1}", fontsize=size)
        label = f"control: decoded from {control}"
        handles.append(Patch(edgecolor=BOX["control"], fill=False, linewidth=2, label=label))
    # Two legend entries side by side are as wide as six images.
    beside = 2 if columns >= 6 else 1
    figure.legend(handles=handles, loc="outside lower center", ncols=beside, frameon=False, fontsize=size)
    return figure


def detail_words(*details: float) -> str:
    """What a legend says of samples that ended at these noise levels: nothing where all are 0.

    >>> detail_words(0.0), detail_words(0.0, 0.4, 0.4)
    ('', ', sampled down to noise level 0 or 0.4, finer grain averaged')
    """
    levels = sorted(set(details))
    if levels in ([], [0.0]):
        return ""
    return f", sampled down to noise level {' or '.join(f'{level:.2g}' for level in levels)}, finer grain averaged"


def show(axis: Axes, picture: np.ndarray) -> None:
    """Show an image (H, W, 3) without ticks or frame."""
    axis.imshow(picture, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
