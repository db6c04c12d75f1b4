"""Energies of three architectures: ``python -m train.reports.energies RUN [RUN ...] [--figure FILE] [--json FILE]``.

One part of the nearest creature or building of a drawn scene is masked. Each model assigns an energy to the true
completion and to distractors; the AUROC is the share of scenes in which a distractor has the higher energy. An AUROC
of 0.5 is an invariance of the architecture (the announcement's three architectures; section 2 of the paper).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import COLOURS
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures import write_figure
from ijepa_viz.figures.completion import outline, show
from ijepa_viz.figures.figure import Figure, legible
from ijepa_viz.masks import Masks
from ijepa_viz.probes.factors import FactorScenes, draw_factor_scenes
from ijepa_viz.probes.intervals import wilson
from ijepa_viz.runtime.command_line import SuggestingParser, attempt, print_anything
from ijepa_viz.runtime.outputs import check_output, figure_file, table_file, write_table
from ijepa_viz.runtime.progress import track
from train.config import TrainConfig
from train.objectives.objective import Objective, build, load_objective

# distractor -> how it differs from the true completion.
DISTRACTORS = {
    "other species": "the block of another species from another scene, of the same part if it has one",
    "same species": "the block of another individual of the species from another scene, of the same part if possible",
    "species swapped": "the same scene with another species at the same position",
    "recoloured": "the same scene with the nearest object in another of its colours",
    "mirrored": "the true block, flipped horizontally",
    "moved": "a block from another position of the same image",
    "texture shifted": "the same scene with its faint wave texture shifted by half a period",
}

_SEED = 1004  # scenes disjoint from those of training and of the probes


def corners(masks: Masks) -> Tensor:
    """Row and column of the top left patch of each image's only target block, (n, 2)."""
    first = masks.targets[:, 0].min(1).values
    return torch.stack([first // masks.grid[1], first % masks.grid[1]], 1)


def distractors(questions: FactorScenes, block: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Completed images by distractor, (n, 3, H, W) uint8 each; "true" holds the images themselves.

    Only the pixels of the target block differ from the image.

    Args:
        questions: of :func:`ijepa_viz.probes.factors.draw_factor_scenes`, with blocks of ``block`` x ``block`` patches.

    Raises:
        ValueError: too few scenes to find another of the same and one of another species.
    """
    rng = np.random.default_rng([seed, 3])
    images, at = questions.images, corners(questions.masks)
    side = images.shape[-1] // questions.masks.grid[0]
    length = block * side
    species, both = questions.labels["species"], questions.labels["species_and_part"]
    part = questions.labels["part"]
    found: dict[str, list[Tensor]] = {name: [] for name in ("true", *DISTRACTORS)}

    def block_at(image: Tensor, corner: Tensor) -> Tensor:
        row, col = (int(v) * side for v in corner)
        return image[:, row : row + length, col : col + length]

    def pick(conditions: tuple[Tensor, ...], i: int) -> int:
        for condition in conditions:
            others = condition.nonzero().flatten()
            others = others[others != i]
            if len(others):
                return int(others[rng.integers(len(others))])
        raise ValueError(f"{len(images)} scenes hold too few species to compare: ask for more scenes.")

    for i, (image, corner) in enumerate(track(list(zip(images, at, strict=True)), "drawing distractors", "scene")):
        index = int(questions.scenes[i])
        thing = menagerie.things(index, questions.seed)[-1]
        truth = block_at(image, corner)
        # Any part where no other scene hides the same: only birds have wings, and few of these are hidden.
        same = pick((both == both[i], species == species[i]), i)
        other = pick(((species != species[i]) & (part == part[i]), species != species[i]), i)
        colour = str(rng.choice([name for name in COLOURS[thing.species] if name != thing.colour]))
        size = images.shape[-1]
        swap = str(rng.choice([name for name in menagerie.NAMES if name != thing.species]))
        swapped = menagerie.variant(index, size, questions.seed, species=swap)
        recoloured = menagerie.variant(index, size, questions.seed, colour=colour)
        shifted = menagerie.variant(index, size, questions.seed, texture_shift=math.pi)
        # The corner farthest from the target block, for different content.
        rows = questions.masks.grid[0] - block
        grid_corners = torch.tensor([[r, c] for r in (0, rows) for c in (0, rows)])
        far = grid_corners[(grid_corners - corner).abs().sum(1).argmax()]
        blocks = {
            "true": truth,
            "other species": block_at(images[other], at[other]),
            "same species": block_at(images[same], at[same]),
            "species swapped": block_at(torch.from_numpy(swapped).permute(2, 0, 1), corner),
            "recoloured": block_at(torch.from_numpy(recoloured).permute(2, 0, 1), corner),
            "mirrored": truth.flip(2),
            "moved": block_at(image, far),
            "texture shifted": block_at(torch.from_numpy(shifted).permute(2, 0, 1), corner),
        }
        row, col = (int(v) * side for v in corner)
        for name, pixels in blocks.items():
            completed = image.clone()
            completed[:, row : row + length, col : col + length] = pixels
            found[name].append(completed)
    return {name: torch.stack(completed) for name, completed in found.items()}


@torch.no_grad()
def energies(
    objective: Objective, questions: FactorScenes, candidates: Mapping[str, Tensor], batch: int = 100
) -> Tensor:
    """Energies of all candidates, (candidates, n), in the order of ``candidates``."""
    images = normalise(questions.images / 255)
    rows = []
    for pictures in candidates.values():
        parts = []
        for start in track(range(0, len(images), batch), "energies", "batch"):
            some = slice(start, start + batch)
            parts.append(objective.energy(images[some], questions.masks[some], normalise(pictures[some] / 255)))
        rows.append(torch.cat(parts))
    return torch.stack(rows).float()


def paired_auroc(truth: Tensor, other: Tensor) -> dict[str, float]:
    """AUROC within scenes: share of scenes in which the distractor has the higher energy, with its 95 % interval.

    A tie counts one half. With one true completion and one distractor in each scene this is the mean of the scenes'
    areas under the ROC curve.

    Args:
        truth: (n,) energies of the true completions.
        other: (n,) energies of the distractors.

    Returns:
        ``accuracy`` (the AUROC), and ``low`` and ``high`` of its Wilson interval.
    """
    wins = float(((other > truth).double() + 0.5 * (other == truth).double()).sum())
    low, high = wilson(round(wins), len(truth))
    return {"accuracy": wins / len(truth), "low": low, "high": high}


def energy_table(
    runs: Mapping[str, Objective], count: int = 1000, block: int = 3
) -> tuple[dict[str, dict[str, Any]], Figure]:
    """AUROC by distractor of every model and of its untrained twin (the baseline), and their figure.

    Args:
        runs: name -> a trained objective; all of the same image and patch size.
        count: number of scenes.
        block: side of the square target block, in patches.

    Raises:
        ValueError: models of different grids.
    """
    first = next(iter(runs.values())).model
    if any(
        run.model.grid != first.grid or run.model.config.image_size != first.config.image_size for run in runs.values()
    ):
        raise ValueError("These models have different image or patch sizes: compare models of one size.")
    questions = draw_factor_scenes(count, first.config.image_size, first.grid, block, seed=_SEED)
    candidates = distractors(questions, block)
    table: dict[str, dict[str, Any]] = {}
    shown: dict[str, Tensor] = {}
    for name, run in runs.items():
        torch.manual_seed(0)
        twin = build(TrainConfig(model=run.config.model, objective=run.config.objective)).eval()
        for title, objective in ((name, run), (f"{name}, untrained", twin)):
            values = energies(objective, questions, candidates)
            table[title] = {kind: paired_auroc(values[0], values[i]) for i, kind in enumerate(DISTRACTORS, start=1)}
            if objective is run:
                shown[name] = values
    return table, draw(table, questions, candidates, shown)


def draw(
    table: Mapping[str, Mapping[str, Any]],
    questions: FactorScenes,
    candidates: Mapping[str, Tensor],
    shown: Mapping[str, Tensor],
    rows: int = 3,
) -> Figure:
    """Candidates of the first scenes with every model's energy below, and bars of the AUROC."""
    width = 12.5
    small, usual = legible(7.5, width), legible(9, width)
    figure = Figure(
        "Candidates for a target block with their energies, and how often a distractor has more energy than the truth.",
        figsize=(width, 1.9 * rows + 4.6),
        layout="constrained",
    )
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.9 * rows, 4.4])
    axes = halves[0].subplots(rows, len(candidates), squeeze=False)
    patch = questions.images.shape[-1] // questions.masks.grid[0]
    for i in range(rows):
        for k, (kind, pictures) in enumerate(candidates.items()):
            axis = axes[i, k]
            show(axis, (pictures[i].permute(1, 2, 0) / 255).numpy())
            outline(axis, questions.masks[i : i + 1], patch, "#009E73" if kind == "true" else "#D55E00", 1.5)
            axis.set_title(kind if i == 0 else "", fontsize=small)
            # Relative to the truth, because models have energies of different scales.
            relative = [f"{float(v[k, i] / v[0, i]):.2f}" for v in shown.values()]
            axis.set_xlabel("1" if kind == "true" else " | ".join(relative), fontsize=small)
    halves[0].supxlabel(f"energy over the truth's, by {' | '.join(shown)}", fontsize=usual)
    axis = halves[1].subplots()
    positions, wide = np.arange(len(DISTRACTORS)), 0.8 / len(table)
    colours = {name: f"C{i}" for i, name in enumerate(shown)}
    for i, (name, row) in enumerate(table.items()):
        trained = name in shown
        values = np.array([row[kind]["accuracy"] for kind in DISTRACTORS])
        ends = np.array([[row[kind]["low"], row[kind]["high"]] for kind in DISTRACTORS]).T
        axis.bar(
            positions + (i - (len(table) - 1) / 2) * wide, values, wide * 0.95,
            yerr=np.abs(ends - values), error_kw={"elinewidth": 0.8}, label=name,
            color=colours[name.removesuffix(", untrained")], alpha=1.0 if trained else 0.3,
        )  # fmt: skip
    axis.axhline(0.5, color="0.3", linewidth=0.8)
    axis.set_xticks(positions, [kind.replace(" ", "\n") for kind in DISTRACTORS], fontsize=usual)
    axis.tick_params(axis="y", labelsize=usual)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("distractor against truth (AUROC)", fontsize=usual)
    axis.legend(fontsize=usual, ncols=len(shown), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(
        prog="python -m train.reports.energies", description="Compare energies of true and false completions."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="checkpoint folder or bundled name")
    parser.add_argument("--scenes", type=int, default=1000, help="number of drawn scenes (default: 1000)")
    parser.add_argument("--json", type=table_file, metavar="FILE", help="also write the table: .json or .csv")
    parser.add_argument(
        "--figure", type=figure_file, metavar="FILE", help="write the figure: .png .pdf .svg .jpg .webp"
    )
    options = parser.parse_args(arguments)

    def work() -> None:
        check_output(options.json, options.figure)
        opened = [load_objective(run) for run in options.runs]
        names = [objective.config.objective.name for objective in opened]
        # Named by their objective, unless two runs have the same.
        titles = names if len(set(names)) == len(names) else options.runs
        table, figure = energy_table(dict(zip(titles, opened, strict=True)), options.scenes)
        if options.json:
            write_table(options.json, table)
        if options.figure:
            write_figure(options.figure, figure)
        wide = max(map(len, table))
        print(" " * wide, *(f"{kind:>19}" for kind in DISTRACTORS))
        for name, row in table.items():
            cells = (f"{v['accuracy']:.3f} [{v['low']:.3f} {v['high']:.3f}]" for v in row.values())
            print(f"{name:{wide}}", *(f"{cell:>19}" for cell in cells))

    return attempt("train.reports.energies", work)


if __name__ == "__main__":
    sys.exit(main())
