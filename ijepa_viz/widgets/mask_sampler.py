"""MaskSampler: sliders for a mask strategy, its masks, and the distribution of their context."""

from __future__ import annotations

from typing import Any

import torch
import traitlets

from ijepa_viz import masks as mask_samplers
from ijepa_viz.figures import mask_figure
from ijepa_viz.figures.figure import Figure
from ijepa_viz.masks import STRATEGIES, Grid, Masks
from ijepa_viz.widgets.picture_widget import PictureWidget, javascript

_SHOWN, _MANY = 6, 256


class MaskSampler(PictureWidget):
    """Sliders for the number, scale and aspect ratio of targets, for every strategy of table 6 of the paper.

    Args:
        grid: (rows, cols).
        traits: ``strategy``, ``mode``, ``targets``, ``scale_low`` and ``_high``, ``aspect_low`` and ``_high``,
            ``context_low``, ``scale`` and ``seed``, initial values.

    Attributes:
        drawn: the last sampled masks, 256 images.

    Raises:
        ValueError: invalid settings. Sliders of a range push each other; an error that can still arise, such as of
            traits set in Python, is shown on the page, and the last masks stay.
    """

    _esm = javascript("mask_sampler.js")

    grid = traitlets.List(traitlets.Int()).tag(sync=True)
    strategies = traitlets.List(traitlets.Unicode()).tag(sync=True)
    strategy = traitlets.Unicode("multiblock").tag(sync=True)
    mode = traitlets.Enum(["unbiased", "faithful"], "unbiased").tag(sync=True)
    targets = traitlets.Int(4).tag(sync=True)
    scale_low = traitlets.Float(0.15).tag(sync=True)
    scale_high = traitlets.Float(0.2).tag(sync=True)
    aspect_low = traitlets.Float(0.75).tag(sync=True)
    aspect_high = traitlets.Float(1.5).tag(sync=True)
    context_low = traitlets.Float(0.85).tag(sync=True)
    scale = traitlets.Float(0.6).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    heard = traitlets.Int(0).tag(sync=True)
    # Each mask as a text: "c" context, a digit the target block, "x" both (a leak), "." neither.
    masks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    many = traitlets.Int(_MANY).tag(sync=True)
    context_share = traitlets.List(traitlets.Float()).tag(sync=True)
    context_counts = traitlets.List(traitlets.Int()).tag(sync=True)
    summary = traitlets.Unicode("").tag(sync=True)
    result_seq = traitlets.Int(-1).tag(sync=True)

    def __init__(self, grid: Grid, **traits: Any) -> None:
        super().__init__(grid=list(grid), strategies=sorted(STRATEGIES), **traits)
        self.drawn = self._sample()
        self._show()
        self.observe(lambda _: self._answer(), "seq")

    @property
    def options(self) -> dict[str, Any]:
        """Options of the strategy for :func:`ijepa_viz.masks.sample`."""
        if self.strategy == "multiblock":
            return {
                "mode": self.mode, "targets": self.targets, "target_scale": (self.scale_low, self.scale_high),
                "target_aspect": (self.aspect_low, self.aspect_high), "context_scale": (self.context_low, 1.0),
            }  # fmt: skip
        return {"scale": self.scale} if self.strategy in ("block", "random") else {}

    def still(self) -> tuple[Figure, str]:
        """Figure of the first masks, and the alternative text."""
        return mask_figure(self.drawn, _SHOWN), f"{_SHOWN} masks of the strategy {self.strategy}. {self.summary}"

    def _sample(self) -> Masks:
        for low, high, what in (
            (self.scale_low, self.scale_high, "target's scale"),
            (self.aspect_low, self.aspect_high, "target's aspect ratio"),
        ):
            if self.strategy == "multiblock" and low > high:
                raise ValueError(f"The smallest {what} ({low:g}) is above the largest ({high:g}): move one of the two.")
        generator = torch.Generator().manual_seed(self.seed)
        rows, cols = self.grid
        return mask_samplers.sample(self.strategy, batch=_MANY, grid=(rows, cols), generator=generator, **self.options)

    def _answer(self) -> None:
        self.heard = self.seq
        try:
            self.drawn = self._sample()
        except ValueError as error:  # shown on the page, where a callback's traceback is not visible
            with self.hold_sync():
                self.error, self.result_seq = str(error), self.seq
            return
        self._show()

    def _show(self) -> None:
        drawn = self.drawn
        total = drawn.num_patches
        seen = torch.zeros(len(drawn), total)
        seen.scatter_add_(1, drawn.context, drawn.valid.float())
        counts = seen.sum(1).long()
        texts = []
        for i in range(_SHOWN):
            cells = ["."] * total
            for patch in seen[i].nonzero().flatten().tolist():
                cells[patch] = "c"
            for m, block in enumerate(drawn.targets[i].tolist()):
                for patch in block:
                    cells[patch] = "x" if seen[i, patch] else str(m)
            texts.append("".join(cells))
        hidden = torch.zeros_like(seen).scatter_(1, drawn.targets.flatten(1), 1.0)
        leaked = float((hidden * seen).sum(1).mean())
        with self.hold_sync():
            self.masks, self.error = texts, ""
            self.context_share = seen.mean(0).tolist()
            self.context_counts = torch.bincount(counts, minlength=total + 1).tolist()
            self.summary = (
                f"Context: {counts.float().mean():.1f} of {total} patches on average, {int(counts.min())} to "
                f"{int(counts.max())}. In targets: {hidden.sum(1).mean():.1f}."
            )
            if leaked:
                self.summary += f" Of these, {leaked:.1f} can be seen all the same: the sampler leaks."
            self.result_seq = self.seq
