"""``ijepa-viz look`` at one model, at several side by side, and at the checkpoints of a run as a strip or a film."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ijepa_viz.cli.compute import open_model
from ijepa_viz.cli.hints import hint_at_fit, hint_at_kind, say_once
from ijepa_viz.cli.pictures import open_picture
from ijepa_viz.cli.tables import as_text
from ijepa_viz.runtime.outputs import FILM_ENDINGS

# torch takes seconds, and every file of this folder is imported for --help.
if TYPE_CHECKING:
    from torch import Tensor

    from ijepa_viz.figures.hole_views import HoleView
    from ijepa_viz.inspections import InspectionInput
    from ijepa_viz.masks import Grid

Block = tuple[int, int, int, int]

_STRIP, _FRAMES = 8, 60  # most checkpoints, where nobody says
# What the inspections that compare with other pictures need these for.
_COMPARING = {
    "components": "the colours",
    "hole": "the control and the nearest block",
    "maps": "the controls",
    "retrieval": "the nearest blocks and the control",
}


def look_at_one(options: argparse.Namespace, model: str, first: Grid | None = None) -> tuple[dict[str, Any], Grid]:
    """Numbers and the figure of ``--inspection`` of one model, and the grid that ``--block`` is on."""
    from ijepa_viz.inspections import INSPECTIONS
    from ijepa_viz.runtime.progress import Progress

    inputs, grid = _Inputs(options)(model, first)
    with Progress(f"inspecting: {options.inspection}"):
        return INSPECTIONS[options.inspection](inputs), grid


def look_at_several(options: argparse.Namespace) -> int:
    """Write the figure or film of several models or checkpoints, and print their numbers; returns the exit status."""
    from ijepa_viz.runtime.progress import Progress

    steps = _checkpoints(options) if options.over_time else {}
    sources = [str(path) for path in steps.values()] or [model for model in (options.model, *options.models) if model]
    names = [f"step {step:,}" for step in steps] or _distinct(sources)
    is_film = options.out.suffix.lower() in FILM_ENDINGS
    look = _hole if options.inspection == "hole" else _any_inspection
    tables, figures = look(options, sources, names, list(steps), is_film)
    with Progress(f"drawing {options.out.name}"):
        _write(options.out, figures, is_film)
    print(as_text(dict(zip(names, tables, strict=True))))
    print(options.out.resolve())
    return 0


Looked = tuple[list[dict[str, Any]], list[Any]]


def _hole(options: argparse.Namespace, sources: list[str], names: list[str], steps: list[int], is_film: bool) -> Looked:
    """Numbers of each model, and the figure of all on common scales, or the frames of a film."""
    from ijepa_viz.figures.hole_views import hole_frames, hole_views_figure
    from ijepa_viz.inspections.hole import hole_numbers
    from ijepa_viz.runtime.progress import track

    views = list(track(_views(options, sources), "looking at the hole", "model", len(sources)))
    figures = hole_frames(views, steps) if is_film else [hole_views_figure(views, names)]
    return [hole_numbers(view) for view in views], figures


def _views(options: argparse.Namespace, sources: list[str]) -> Iterator[HoleView]:
    from ijepa_viz.inspections.hole import hole_view

    inputs_of = _Inputs(options)
    before, grid = None, None
    for source in sources:
        inputs, grid = inputs_of(source, grid)
        view = hole_view(inputs, before)
        yield view
        # A run's colours go over slowly from one checkpoint to the next; several models have those of the first.
        before = view if options.over_time or before is None else before


def _any_inspection(
    options: argparse.Namespace, sources: list[str], names: list[str], steps: list[int], is_film: bool
) -> Looked:
    """Numbers of each model, and the figures of ``--inspection`` beneath each other, or as the frames of a film."""
    from ijepa_viz.figures.film import stacked_figure
    from ijepa_viz.runtime.progress import track

    tables, figures, grid = [], [], None
    for source, name in track(list(zip(sources, names, strict=True)), options.inspection, "model"):
        table, grid = look_at_one(options, source, grid)
        figures.append(table.pop("figure"))
        tables.append(table)
        if is_film:
            figures[-1].suptitle(name, fontsize=11)
    return tables, figures if is_film else [stacked_figure(figures, names)]


def _write(out: Path, figures: list[Any], is_film: bool) -> None:
    from ijepa_viz.figures import write_figure
    from ijepa_viz.figures.film import write_film

    if is_film:
        write_film(out, figures)
    else:
        write_figure(out, figures[0])


def _checkpoints(options: argparse.Namespace) -> dict[int, Path]:
    """Step -> checkpoint of the run, evenly spaced, the first and the last among them."""
    import numpy as np

    from ijepa_viz.runtime.run_folder import run_history

    found = run_history(options.model)
    if len(found) < 2:
        has = f"one checkpoint, {next(iter(found.values())).name}" if found else "no checkpoint"
        raise ValueError(
            f"{options.model} has {has}: a run keeps its last one alone. Train with run.keep_every=STEPS to keep one "
            "every so many steps, from the first on."
        )
    most = options.checkpoints or (_FRAMES if options.out.suffix.lower() in FILM_ENDINGS else _STRIP)
    steps = sorted(found)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int))
    if len(chosen) < len(steps):
        print(f"Showing {len(chosen)} of {len(steps)} checkpoints, evenly spaced (--checkpoints).", file=sys.stderr)
    return {steps[i]: found[steps[i]] for i in chosen}


def _distinct(sources: list[str]) -> list[str]:
    """Names for figures: the last two parts of paths; numbered where a model is named twice."""
    short = ["/".join(Path(source).parts[-2:]) for source in sources]
    return [name if short.count(name) == 1 else f"{i + 1}: {name}" for i, name in enumerate(short)]


class _Inputs:
    """Inputs of inspections of one picture; the other images are read once for all models of one size."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self._others: dict[Any, Tensor] = {}

    def __call__(self, source: str, first: Grid | None) -> tuple[InspectionInput, Grid]:
        """The input for a model, and the grid that ``--block`` is on: ``first``, else this model's."""
        from ijepa_viz.data.fitting import place
        from ijepa_viz.data.transforms import to_tensor
        from ijepa_viz.inspections import InspectionInput
        from ijepa_viz.masks import Masks, central_block
        from ijepa_viz.runtime.progress import Progress

        options = self.options
        with Progress(f"loading {source}"):
            model = open_model(source, options)
        picture = open_picture(options.image, model.config.image_size)
        hint_at_fit(options.image, picture, model.config, options.fit)
        hint_at_kind(options.image, picture, source, options.fit)
        if options.fit == "native":
            own = place((picture.height, picture.width), model.config.image_size, model.config.patch_size, "native")
            model = model.at(*own.size)
        grid, size = first or model.grid, model.config.image_size
        row, col, height, width = options.block or central_block(grid)
        masks = Masks.from_block(model.grid, *scaled_block((row, col, height, width), grid, model.grid))
        image = to_tensor(picture, size)
        if size not in self._others:
            self._others[size] = self._read(size)
        return InspectionInput(model, image, masks, self._others[size], options.scenes, options.layers), grid

    def _read(self, size: Any) -> Tensor:
        """At most ``--limit`` images of ``--data``, (n, 3, H, W) uint8, evenly spaced."""
        import torch

        from ijepa_viz.data.arrays import arrays
        from ijepa_viz.data.batches import evenly
        from ijepa_viz.data.unreadable import open_readable

        limit = self.options.limit
        if self.options.data is None and self.options.inspection in _COMPARING and Path(self.options.image).exists():
            say_once(
                f"The other pictures, for {_COMPARING[self.options.inspection]}, are drawn scenes: --data names a "
                f"folder of pictures more like {self.options.image}."
            )
        found = arrays(open_readable(self.options.data or f"menagerie:count={limit}"), size)
        return torch.from_numpy(found[evenly(len(found), limit)]).permute(0, 3, 1, 2)


def scaled_block(block: Block, grid: Grid, other: Grid) -> Block:
    """The same part of the picture on another grid: (row, col, height, width) in its patches.

    Raises:
        ValueError: it is no whole number of patches there.

    >>> scaled_block((2, 2, 4, 4), (8, 8), (16, 16))
    (4, 4, 8, 8)
    """
    scaled = [value * other[i % 2] / grid[i % 2] for i, value in enumerate(block)]
    if any(value != int(value) for value in scaled):
        raise ValueError(
            f"The block {' '.join(map(str, block))} on a grid of {grid[0]}x{grid[1]} is no whole number of patches on "
            f"one of {other[0]}x{other[1]}: choose another --block, whose borders are on both."
        )
    row, col, height, width = map(int, scaled)
    return row, col, height, width
