"""Energies of three architectures: ``python -m train.reports.energies RUN [RUN ...] [--figure FILE] [--json FILE]``.

One part of the nearest creature or building of a drawn scene is hidden. Each model gives the true completion and
others an energy; a distractor that gets more energy than the truth is told apart from it. What a model cannot tell
apart is what its architecture is invariant to (the announcement's three architectures; section 2 of the paper).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import COLOURS
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures import png
from ijepa_viz.figures.completion import outline, show
from ijepa_viz.figures.figure import Figure
from ijepa_viz.masks import Masks
from ijepa_viz.probes.factors import Questions, ask, wilson
from ijepa_viz.runtime.files import write_file
from train.config import TrainConfig
from train.objectives.objective import Objective, build, open_trained

# What each distractor changes, for the figure.
KINDS = {
    "other species": "a part of another species (the same, if it has one), from another scene",
    "same species": "a part of another of the same species (the same, if one is hidden), from another scene",
    "species swapped": "another species drawn in the same place of the same scene",
    "recoloured": "the nearest thing in another of its colours",
    "mirrored": "the true block, left and right swapped",
    "moved": "a block of the same image, from elsewhere",
    "texture shifted": "the faint wave over the picture, half a period on",
}

_SEED = 1004  # far from those that train/ and the probes draw from


def corners(masks: Masks) -> Tensor:
    """(n, 2): row and column of the top left patch of each image's one block."""
    first = masks.targets[:, 0].min(1).values
    return torch.stack([first // masks.grid[1], first % masks.grid[1]], 1)


def distractors(questions: Questions, block: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Completed images by kind, (n, 3, H, W) uint8 each; "true" are the images themselves.

    Only the pixels of the hidden block differ from the image.

    Args:
        questions: of :func:`ijepa_viz.probes.factors.ask`, with blocks of ``block`` x ``block`` patches.

    Raises:
        ValueError: too few scenes to find another one of the same and one of another species.
    """
    rng = np.random.default_rng([seed, 3])
    images, at = questions.images, corners(questions.masks)
    side = images.shape[-1] // questions.masks.grid[0]
    length = block * side
    species, both = questions.labels["species"], questions.labels["species_and_part"]
    part = questions.labels["part"]
    found: dict[str, list[Tensor]] = {name: [] for name in ("true", *KINDS)}

    def cut(picture: Tensor, place: Tensor) -> Tensor:
        row, col = (int(v) * side for v in place)
        return picture[:, row : row + length, col : col + length]

    def pick(wishes: tuple[Tensor, ...], i: int) -> int:
        for wish in wishes:
            others = wish.nonzero().flatten()
            others = others[others != i]
            if len(others):
                return int(others[rng.integers(len(others))])
        raise ValueError(f"{len(images)} scenes hold too few species to compare: ask for more scenes.")

    for i, (picture, place) in enumerate(zip(images, at, strict=True)):
        index = int(questions.scenes[i])
        thing = menagerie.things(index, questions.seed)[-1]
        truth = cut(picture, place)
        # Only birds have wings, and few of them are hidden: then any part must do.
        same = pick((both == both[i], species == species[i]), i)
        other = pick(((species != species[i]) & (part == part[i]), species != species[i]), i)
        colour = str(rng.choice([name for name in COLOURS[thing.species] if name != thing.colour]))
        size = images.shape[-1]
        swap = str(rng.choice([name for name in menagerie.NAMES if name != thing.species]))
        swapped = menagerie.variant(index, size, questions.seed, species=swap)
        recoloured = menagerie.variant(index, size, questions.seed, colour=colour)
        shifted = menagerie.variant(index, size, questions.seed, texture_shift=math.pi)
        # The place farthest from the hole, so that it shows something else.
        rows = questions.masks.grid[0] - block
        away = torch.tensor([[r, c] for r in (0, rows) for c in (0, rows)])
        far = away[(away - place).abs().sum(1).argmax()]
        blocks = {
            "true": truth,
            "other species": cut(images[other], at[other]),
            "same species": cut(images[same], at[same]),
            "species swapped": cut(torch.from_numpy(swapped).permute(2, 0, 1), place),
            "recoloured": cut(torch.from_numpy(recoloured).permute(2, 0, 1), place),
            "mirrored": truth.flip(2),
            "moved": cut(picture, far),
            "texture shifted": cut(torch.from_numpy(shifted).permute(2, 0, 1), place),
        }
        row, col = (int(v) * side for v in place)
        for name, pixels in blocks.items():
            whole = picture.clone()
            whole[:, row : row + length, col : col + length] = pixels
            found[name].append(whole)
    return {name: torch.stack(pictures) for name, pictures in found.items()}


@torch.no_grad()
def energies(objective: Objective, questions: Questions, candidates: Mapping[str, Tensor], batch: int = 100) -> Tensor:
    """(kinds, n): the energy of every candidate, in the order of ``candidates``."""
    images = normalise(questions.images / 255)
    rows = []
    for pictures in candidates.values():
        parts = []
        for start in range(0, len(images), batch):
            some = slice(start, start + batch)
            parts.append(objective.energy(images[some], questions.masks[some], normalise(pictures[some] / 255)))
        rows.append(torch.cat(parts))
    return torch.stack(rows).float()


def told_apart(truth: Tensor, other: Tensor) -> dict[str, float]:
    """AUROC within scenes: how often the distractor has the higher energy, a tie counting half, and its 95 % interval.

    With one true completion and one distractor a scene this is the mean of the scenes' areas under the ROC curve.

    Args:
        truth, other: (n,) energies.
    """
    wins = float(((other > truth).double() + 0.5 * (other == truth).double()).sum())
    low, high = wilson(round(wins), len(truth))
    return {"accuracy": wins / len(truth), "low": low, "high": high}


def energy_table(
    runs: Mapping[str, Objective], count: int = 1000, block: int = 3
) -> tuple[dict[str, dict[str, Any]], Figure]:
    """Every model's AUROC by kind of distractor, its untrained twin below it, and the picture of it.

    Args:
        runs: name -> a trained objective; all of one image and patch size.
        count: number of scenes.

    Raises:
        ValueError: models of different grids.
    """
    first = next(iter(runs.values())).model
    if any(
        run.model.grid != first.grid or run.model.config.image_size != first.config.image_size for run in runs.values()
    ):
        raise ValueError("These models have different image or patch sizes: compare those of one size.")
    questions = ask(count, first.config.image_size, first.grid, block, seed=_SEED)
    candidates = distractors(questions, block)
    table: dict[str, dict[str, Any]] = {}
    shown: dict[str, Tensor] = {}
    for name, run in runs.items():
        torch.manual_seed(0)
        twin = build(TrainConfig(model=run.told.model, objective=run.told.objective)).eval()
        for title, objective in ((name, run), (f"{name}, untrained", twin)):
            values = energies(objective, questions, candidates)
            table[title] = {kind: told_apart(values[0], values[i]) for i, kind in enumerate(KINDS, start=1)}
            if objective is run:
                shown[name] = values
    return table, draw(table, questions, candidates, shown)


def draw(
    table: Mapping[str, Mapping[str, Any]],
    questions: Questions,
    candidates: Mapping[str, Tensor],
    shown: Mapping[str, Tensor],
    rows: int = 3,
) -> Figure:
    """The first scenes' candidates with every model's energy below, and the AUROCs as bars."""
    figure = Figure(
        "Candidates for a hole with each model's energy, and how often a false one gets more than the true one.",
        figsize=(12.5, 1.8 * rows + 4.2),
        layout="constrained",
    )
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.8 * rows, 4.0])
    axes = halves[0].subplots(rows, len(candidates), squeeze=False)
    patch = questions.images.shape[-1] // questions.masks.grid[0]
    for i in range(rows):
        for k, (kind, pictures) in enumerate(candidates.items()):
            axis = axes[i, k]
            show(axis, (pictures[i].permute(1, 2, 0) / 255).numpy())
            outline(axis, questions.masks[i : i + 1], patch, "#009E73" if kind == "true" else "#D55E00", 1.5)
            axis.set_title(kind if i == 0 else "", fontsize=9)
            # Relative to the truth, because the scales of energies differ from model to model.
            relative = [f"{float(v[k, i] / v[0, i]):.2f}" for v in shown.values()]
            axis.set_xlabel("1" if kind == "true" else " | ".join(relative), fontsize=8)
    halves[0].supxlabel(f"energy over the truth's, by {' | '.join(shown)}", fontsize=9)
    axis = halves[1].subplots()
    places, wide = np.arange(len(KINDS)), 0.8 / len(table)
    colours = {name: f"C{i}" for i, name in enumerate(shown)}
    for i, (name, row) in enumerate(table.items()):
        trained = name in shown
        values = np.array([row[kind]["accuracy"] for kind in KINDS])
        ends = np.array([[row[kind]["low"], row[kind]["high"]] for kind in KINDS]).T
        axis.bar(
            places + (i - (len(table) - 1) / 2) * wide, values, wide * 0.95,
            yerr=np.abs(ends - values), error_kw={"elinewidth": 0.8}, label=name,
            color=colours[name.removesuffix(", untrained")], alpha=1.0 if trained else 0.3,
        )  # fmt: skip
    axis.axhline(0.5, color="0.3", linewidth=0.8)
    axis.set_xticks(places, list(KINDS))
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("told apart from the truth (AUROC)")
    axis.legend(fontsize=8, ncols=len(shown), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.reports.energies", description="What models call compatible."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="checkpoints' folders, or bundled names")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args(arguments)
    try:
        opened = [open_trained(run) for run in options.runs]
        names = [objective.told.objective.name for objective in opened]
        # By what they minimise, unless two minimise the same.
        titles = names if len(set(names)) == len(names) else options.runs
        table, figure = energy_table(dict(zip(titles, opened, strict=True)), options.scenes)
        if options.json:
            write_file(options.json, (json.dumps(table, indent=2) + "\n").encode())
        if options.figure:
            write_file(options.figure, png(figure))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"train.reports.energies: {error}", file=sys.stderr)
        return 1
    wide = max(map(len, table))
    print(" " * wide, *(f"{kind:>19}" for kind in KINDS))
    for name, row in table.items():
        cells = (f"{v['accuracy']:.3f} [{v['low']:.3f} {v['high']:.3f}]" for v in row.values())
        print(f"{name:{wide}}", *(f"{cell:>19}" for cell in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
