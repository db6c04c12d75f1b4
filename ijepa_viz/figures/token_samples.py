"""Sampled target tokens as colours, each above the picture that was drawn from exactly them (two-stage decoders)."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torch import Tensor

from ijepa_viz.figures.completion import BOX, context_image, detail_words, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.figures.token_colours import common_components
from ijepa_viz.masks import Masks
from ijepa_viz.prediction import DrawnSamples, Prediction

# Component shown by red, green and blue. Over 10 holes of 16 patches, the distance of two colours (CIELAB) follows that
# of their tokens' components with a correlation of 0.86, and of 0.78, 0.73, 0.75 as seen without red, green or blue
# cones; with the first component in red 0.74, and 0.51, 0.55, 0.81.
_CHANNELS = [2, 0, 1]
_ELSEWHERE = "0.93"


@dataclass(frozen=True)
class TokenColours:
    """Tokens of one hole as colours by one projection, and agreement of the samples.

    Attributes:
        target, predicted: (rows, cols, 4) float32 in [0, 1], RGBA, transparent outside the hole. Of overlapping blocks
            the last one is shown, as a decoder draws it.
        sampled: (S, rows, cols, 4).
        agreement: (rows, cols) float32, mean cosine of two samples' tokens; NaN outside the hole, and of one sample.
        unrelated: mean cosine of two samples' tokens at different patches, which is what agreement by chance would be;
            NaN of one sample or one patch.
        target_cosine: (S,), mean cosine of each sample's tokens and the target tokens.
        predicted_cosine: the same of the predicted tokens.
        mutual_cosine: (S,), mean cosine of each sample's tokens and the other samples'; NaN of one sample.
    """

    target: np.ndarray
    predicted: np.ndarray
    sampled: np.ndarray
    agreement: np.ndarray
    unrelated: float
    target_cosine: np.ndarray
    predicted_cosine: float
    mutual_cosine: np.ndarray

    @property
    def mean_agreement(self) -> float:
        """Mean over the hole of :attr:`agreement`; NaN of one sample."""
        return float(self.mutual_cosine.mean())

    @property
    def about(self) -> str:
        """Sentence that says how far the samples agree."""
        count = len(self.sampled)
        if count == 1:
            return "One sample of tokens, which has no other to agree with."
        low, high = float(np.nanmin(self.agreement)), float(np.nanmax(self.agreement))
        words = f"The tokens of {count} samples agree with a mean cosine of {self.mean_agreement:.2f}"
        words += f", by patch {low:.2f} to {high:.2f}"
        return words + ("." if np.isnan(self.unrelated) else f"; at different patches it is {self.unrelated:.2f}.")


def token_colours(prediction: Prediction, samples: DrawnSamples) -> TokenColours:
    """Colours of target, predicted and sampled tokens by the principal components of all of them together.

    They can be compared within one result, not between two.

    Args:
        prediction: of one image, with the tokens that the samples were drawn from.
        samples: with ``tokens`` (S, M, T, D), of a two-stage decoder.

    Raises:
        ValueError: samples without tokens or of other blocks, or a prediction of a batch.
    """
    sampled = getattr(samples, "tokens", None)
    if sampled is None:
        raise ValueError(
            "These samples have no tokens: they were drawn in one stage. Sample with a decoder of two stages, and not "
            "with source='target', conditioning='null' or token_steps=0."
        )
    if prediction.batched:
        raise ValueError("This prediction is of a batch, samples are of one image: give prediction[0].")
    masks = prediction.masks
    if sampled.shape[1:] != prediction.predicted.shape:
        raise ValueError(
            f"The prediction's blocks have tokens {tuple(prediction.predicted.shape)}, the samples' "
            f"{tuple(sampled.shape[1:])}: they are of different holes."
        )
    target, predicted, drawn = (
        _of_hole(t.float().cpu(), masks) for t in (prediction.target, prediction.predicted, sampled)
    )
    tokens = [target, predicted, drawn.flatten(0, 1)]
    found = common_components(tokens, min(3, sum(map(len, tokens)) - 1))
    hidden = masks.hidden[0].cpu()

    def lay_out(of_hole: Tensor) -> np.ndarray:
        canvas = torch.zeros(*of_hole.shape[:-2], *masks.grid, 4)
        canvas[..., hidden, :3] = found.colours(of_hole)[..., _CHANNELS]
        canvas[..., hidden, 3] = 1
        return canvas.numpy()

    agreement, unrelated, mutual = _agreement(drawn)
    around = torch.full(masks.grid, float("nan"))
    around[hidden] = agreement
    return TokenColours(
        target=lay_out(target),
        predicted=lay_out(predicted),
        sampled=lay_out(drawn),
        agreement=around.numpy(),
        unrelated=unrelated,
        target_cosine=F.cosine_similarity(drawn, target[None], dim=-1).mean(1).numpy(),
        predicted_cosine=float(F.cosine_similarity(predicted, target, dim=-1).mean()),
        mutual_cosine=mutual.numpy(),
    )


def _of_hole(tokens: Tensor, masks: Masks) -> Tensor:
    """Tokens (..., M, T, D) of the n hidden patches in reading order, (..., n, D); the last block is on top."""
    rows, cols = masks.grid
    canvas = tokens.new_zeros(*tokens.shape[:-3], rows * cols, tokens.shape[-1])
    for m, patch_indices in enumerate(masks.targets[0].cpu()):
        canvas[..., patch_indices, :] = tokens[..., m, :, :]
    return canvas[..., masks.hidden[0].cpu().flatten(), :]


def _agreement(tokens: Tensor) -> tuple[Tensor, float, Tensor]:
    """Mean cosine of two samples: by patch (n,), at different patches, and of each sample with the others (S,).

    Args:
        tokens: (S, n, D).
    """
    count, patches = tokens.shape[:2]
    if count == 1:
        return torch.full((patches,), float("nan")), float("nan"), torch.full((1,), float("nan"))
    unit = F.normalize(tokens, dim=-1)
    total = unit.sum(0)
    # Of each token with those of the other samples at its patch, (S, n).
    others = (unit * (total - unit)).sum(-1) / (count - 1)
    if patches == 1:
        return others.mean(0), float("nan"), others.mean(1)
    by_sample = unit.sum(1)
    # All pairs of different samples, less those at the same patch.
    pairs = total.sum(0).square().sum() - by_sample.square().sum() - others.sum() * (count - 1)
    unrelated = float(pairs / (count * (count - 1) * patches * (patches - 1)))
    return others.mean(0), unrelated, others.mean(1)


def token_samples_figure(prediction: Prediction, samples: DrawnSamples) -> Figure:
    """Target, predicted and sampled tokens as colours, each above its picture, and where the samples agree.

    A column is one set of tokens and what belongs to it: the original below the target tokens, the context below the
    tokens that were predicted from it, and below a sample's tokens the picture that was drawn from exactly these.

    Args:
        prediction: of one image, with the tokens that the samples were drawn from.
        samples: with ``tokens``, of a two-stage decoder.

    Raises:
        ValueError: as :func:`token_colours`.

    >>> from types import SimpleNamespace
    >>> from ijepa_viz.checkpoints import load_model
    >>> from ijepa_viz.data import menagerie
    >>> from ijepa_viz.prediction import predict
    >>> model = load_model("menagerie-tiny")
    >>> masks = Masks.from_block(model.grid, row=2, col=2, height=4, width=4)
    >>> prediction = predict(model, menagerie.scene(0).image, masks)
    >>> images = prediction.image.expand(3, -1, -1, -1)
    >>> tokens = prediction.predicted.repeat(3, 1, 1, 1)
    >>> samples = SimpleNamespace(images=images, tokens=tokens, on=lambda image: images)  # in place of a decoder's
    >>> figure = token_samples_figure(prediction, samples)
    >>> [axis.get_title() for axis in figure.axes][:4]
    ['target tokens', 'predicted tokens', 'sample 1', 'sample 2']
    """
    colours = token_colours(prediction, samples)
    count = len(colours.sampled)
    compared = count > 1
    masks = prediction.masks
    columns = 2 + count + compared
    many = f"{count} samples" if compared else "one sample"
    wide, high = panel_size(1.25, masks.grid)
    width = wide * columns + 0.3
    label, note = _legend_texts(getattr(samples, "detail", 0.0), width)
    figure = Figure(
        f"Above, tokens of the hole as colours: target tokens, predicted tokens and {many} of target tokens. "
        f"Below, the original, the context, and the picture drawn from each sample's tokens. {colours.about}",
        figsize=(width, 2 * high + 1.05 + 0.17 * (label.count("\n") + note.count("\n") + 2)),
        layout="constrained",
    )
    axes = figure.subplots(2, columns, squeeze=False)
    tiles = [colours.target, colours.predicted, *colours.sampled]
    cosines = [None, colours.predicted_cosine, *colours.target_cosine]
    titles = ["target tokens", "predicted tokens", *(f"sample {i + 1}" for i in range(count))]
    for axis, tile, title, cosine in zip(axes[0], tiles, titles, cosines, strict=False):
        show(axis, tile)
        axis.set_facecolor(_ELSEWHERE)
        axis.set_title(title, fontsize=9)
        if cosine is not None:
            axis.set_xlabel(f"cosine {cosine:.2f}", fontsize=8)
    height = samples.images.shape[-2]
    whole = prediction.picture(height)
    original = whole.permute(1, 2, 0).numpy()
    drawn = [picture.permute(1, 2, 0).clamp(0, 1).numpy() for picture in samples.on(whole)]
    for axis, picture in zip(axes[1], [original, context_image(prediction, height), *drawn], strict=False):
        show(axis, picture)
    patch = height // masks.grid[0]
    for column in range(2 + count):
        kind = BOX["predicted" if column else "target"]
        outline(axes[0, column], masks, 1, kind)
        if column != 1:
            outline(axes[1, column], masks, patch, kind)
    axes[0, 0].set_ylabel("tokens", fontsize=9)
    axes[1, 0].set_ylabel("pictures", fontsize=9)
    axes[1, 0].set_title("original", fontsize=9)
    axes[1, 1].set_title("context", fontsize=9)
    if compared:
        _show_agreement(axes[0, -1], axes[1, -1], colours, masks)
    figure.legend(
        handles=[
            Patch(edgecolor=BOX["predicted"], fill=False, linewidth=2, label=label),
            Patch(edgecolor=BOX["target"], fill=False, linewidth=2, label="of the original, not given to the model"),
            Patch(fill=False, linewidth=0, label=note),
        ],
        loc="outside lower left", frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _legend_texts(detail: float, width: float) -> tuple[str, str]:
    """Label of what is predicted, and a note, in lines of a figure's width in inches."""
    label = "predicted from the context, sampled given the prediction, and drawn from exactly these samples"
    label += detail_words(detail)
    note = "colours: three principal components of all tokens shown; cosine: with the target tokens"
    letters = int((width - 0.6) / 0.07)
    return fill(label, letters), fill(note, letters)


def _show_agreement(above: Axes, below: Axes, colours: TokenColours, masks: Masks) -> None:
    """Draw the map of agreement, and its colour bar in the panel below it."""
    values = colours.agreement
    low = min(0.0, float(np.nanmin(values)))
    drawn = above.imshow(values, vmin=low, vmax=1, cmap="viridis", interpolation="nearest")
    above.set_xticks([])
    above.set_yticks([])
    above.spines[:].set_visible(False)
    above.set_facecolor(_ELSEWHERE)
    above.set_title("samples agree", fontsize=9)
    above.set_xlabel(f"mean {colours.mean_agreement:.2f}", fontsize=8)
    outline(above, masks, 1, BOX["predicted"])
    below.set_axis_off()
    bar = below.inset_axes((0.05, 0.72, 0.9, 0.1))
    below.figure.colorbar(drawn, cax=bar, orientation="horizontal", ticks=[low, 1] if low else [0, 0.5, 1])
    bar.tick_params(labelsize=7)
    bar.set_title("cosine of two samples", fontsize=8)
    if not np.isnan(colours.unrelated):
        bar.axvline(colours.unrelated, color="white", linewidth=2)
        below.text(0.05, 0.4, f"white line: at different\npatches, {colours.unrelated:.2f}", fontsize=7.5, va="top")
