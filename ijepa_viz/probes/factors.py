"""Which facts about a hidden part of a drawn scene can be read, linearly, from what a model predicts there.

The menagerie knows the truth about everything it draws. A block is hidden over one part of the nearest creature
or building, the predictor sees only the rest, and linear probes ask its predicted tokens for the factors. The
same questions go to representations that should know less, or more: the difference is what the predictor knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import PART
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models import IJEPA, Encoder, Predictor
from ijepa_viz.probes.features import standardise
from ijepa_viz.probes.linear import fit_linear
from ijepa_viz.probes.probe import PROBES, Split

# Parts as a person would name them.
REGIONS: dict[str, tuple[str, ...]] = {
    "head": ("head", "ear", "muzzle", "eye", "beak"),
    "body": ("body",),
    "leg": ("leg",),
    "tail": ("tail",),
    "wing": ("wing",),
    "wall": ("wall", "door", "window"),
    "roof": ("roof",),
}
COARSE = {"golden": "brown", "orange": "brown"}
# Read from one probe that names all three at once: which way a thing faces is drawn differently for every part of every
# species, so that no single direction of the features says it.
TOGETHER = ("species", "part", "facing")
_READ_OFF = ("species_and_part", *TOGETHER)
KEPT = (*_READ_OFF, "facing_alone", "colour", "pose")
DROPPED = ("texture_phase", "speckle", "background_detail")
FACTORS = (*KEPT, *DROPPED)
# At least so much of the part is hidden, and so much of its owner is to be seen.
_HIDDEN, _SEEN = 0.5, 0.35
# Over the number of scenes: nine tokens side by side are many features for some ten thousand of them.
_PENALTY = 50.0
# The most that the command takes; a giant's images of so many scenes are ten gigabytes.
_SCENES, _TESTS = 64000, 2000
# From so many scenes on there is a progress bar.
_MANY = 4096


@dataclass(frozen=True)
class Questions:
    """Scenes with one part hidden in each.

    Attributes:
        images: (n, 3, H, W) uint8.
        masks: one target block an image, n images.
        labels: factor -> (n,) int64; classes: factor -> what the numbers mean. Besides the ``FACTORS`` there is
            ``together``: species, part and facing as one class.
        scenes: (n,) int64, the index of each scene of the menagerie ``seed``.
    """

    images: Tensor
    masks: Masks
    labels: dict[str, Tensor]
    classes: dict[str, list[str]]
    scenes: Tensor
    seed: int


def ask(count: int, size: int, grid: Grid, block: int = 3, seed: int = 0) -> Questions:
    """Draw scenes until ``count`` of them had a part that ``block`` x ``block`` patches hide.

    Raises:
        ValueError: fewer than one scene, or a block that does not fit in the grid.
    """
    if count < 1 or not 1 <= block < min(grid):
        raise ValueError(f"Needs at least one scene and a block smaller than the grid, got {count} and {block}.")
    rng = np.random.default_rng([seed, 7])
    pictures: list[np.ndarray] = []
    places: list[tuple[int, int]] = []
    facts: list[dict[str, str]] = []
    drawn: list[int] = []
    index = 0
    bar = tqdm(total=count, desc="drawing scenes", unit="scene", disable=count < _MANY)
    while len(pictures) < count:
        scene = menagerie.scene(index, size, seed)
        index += 1
        found = _hide(scene, grid, block, rng)
        if found is None:
            continue
        bar.update()
        place, part = found
        thing = scene.subject
        pictures.append(scene.image)
        drawn.append(index - 1)
        places.append(place)
        facts.append(
            {
                "together": f"{thing.species} {part} {thing.facing}",
                "species_and_part": f"{thing.species} {part}",
                "species": thing.species,
                "part": part,
                "facing": thing.facing,
                "facing_alone": thing.facing,
                "colour": COARSE.get(thing.colour, thing.colour),
                "pose": f"{thing.species} {thing.pose}",
                "texture_phase": str(int(scene.texture_phase // (math.pi / 2))),
                "speckle": "strong" if scene.speckle > 0.0175 else "weak",
                "background_detail": _detail(scene, grid, block, place),
            }
        )
    bar.close()
    classes = {name: sorted({fact[name] for fact in facts}) for name in facts[0]}
    labels = {name: torch.tensor([known.index(fact[name]) for fact in facts]) for name, known in classes.items()}
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return Questions(images, _masks(places, grid, block), labels, classes, torch.tensor(drawn), seed)


def _hide(
    scene: menagerie.Scene, grid: Grid, block: int, rng: np.random.Generator
) -> tuple[tuple[int, int], str] | None:
    """Where a block hides one part of the nearest thing, and which; None where no part will do."""
    own = scene.owners == scene.count
    patch = scene.parts.shape[0] // grid[0]
    for region in rng.permutation(list(REGIONS)):
        there = own & np.isin(scene.parts, [PART[name] for name in REGIONS[region]])
        if there.sum() < patch * patch // 4:
            continue
        row, col = (
            int(np.clip(round(float(pixels.mean()) / patch - block / 2), 0, cells - block))
            for pixels, cells in zip(there.nonzero(), grid, strict=True)
        )
        window = np.s_[row * patch : (row + block) * patch, col * patch : (col + block) * patch]
        if there[window].sum() >= _HIDDEN * there.sum() and own[window].sum() <= (1 - _SEEN) * own.sum():
            return (row, col), str(region)
    return None


def _detail(scene: menagerie.Scene, grid: Grid, block: int, place: tuple[int, int]) -> str:
    """Whether a tuft or stone on the ground, at a random place, is to be seen in the block: exact background."""
    size = scene.owners.shape[0]
    for x, y in scene.details:
        row, col = (min(int(v * size), size - 1) for v in (y, x))
        patch = row * grid[0] // size - place[0], col * grid[1] // size - place[1]
        if all(0 <= p < block for p in patch) and scene.owners[row, col] == 0:
            return "one or more"
    return "none"


def _masks(places: list[tuple[int, int]], grid: Grid, block: int) -> Masks:
    corner = torch.tensor([row * grid[1] + col for row, col in places])[:, None]
    inside = (torch.arange(block)[:, None] * grid[1] + torch.arange(block)).flatten()
    targets = corner + inside
    visible = torch.ones(len(places), grid[0] * grid[1], dtype=torch.bool).scatter_(1, targets, False)
    context = visible.nonzero()[:, 1].view(len(places), -1)
    return Masks(context, targets[:, None], grid)


@torch.no_grad()
def untrained_predictions(
    model: IJEPA, questions: Sequence[Questions], batch: int = 200, seed: int = 0
) -> list[Tensor]:
    """Predicted tokens of the hidden block side by side, (n, features) for each of ``questions``.

    They come from an untrained model of ``model``'s sizes, drawn once: a second giant would not fit beside the first.
    """
    torch.manual_seed(seed)
    # Not a whole IJEPA: its target encoder would be a third copy of a giant's weights.
    encoder, predictor = Encoder(model.config).to(model.device), Predictor(model.config).to(model.device)
    found = []
    for asked in questions:
        parts = []
        for start in range(0, len(asked.images), batch):
            some = slice(start, start + batch)
            images = normalise(asked.images[some].to(model.device) / 255)
            masks = asked.masks[some].to(model.device)
            parts.append(predictor(encoder(images, masks.context, masks.context_valid), masks).flatten(1))
        found.append(torch.cat(parts).float().cpu())
    return found


@torch.no_grad()
def representations(
    model: IJEPA, questions: Questions, batch: int = 200, seed: int = 0, random_init: Tensor | None = None
) -> dict[str, Tensor]:
    """What is asked, (n, features) each.

    ``predicted``: the predicted tokens of the hidden block side by side. ``position_only``: predicted as well, but
    every context token replaced by the data's mean one, so that only places are known. ``context_mean``: the
    average context token. ``random_init``: :func:`untrained_predictions`, unless given. ``target``: the target
    encoder's tokens of the block; it has seen what is hidden.
    """
    if random_init is None:
        (random_init,) = untrained_predictions(model, [questions], batch, seed)
    parts: dict[str, list[Tensor]] = {n: [] for n in ("predicted", "context_mean", "target")}
    total, tokens = torch.zeros(model.config.width, device=model.device), 0
    for start in range(0, len(questions.images), batch):
        some = slice(start, start + batch)
        images = normalise(questions.images[some].to(model.device) / 255)
        masks = questions.masks[some].to(model.device)
        context = model.encode_context(images, masks)
        total += context.sum((0, 1))
        tokens += context.shape[0] * context.shape[1]
        parts["predicted"].append(model.predict(context, masks).flatten(1))
        parts["context_mean"].append(context.mean(1))
        parts["target"].append(model.targets(images, masks).flatten(1))
    blind = []
    for start in range(0, len(questions.images), batch):
        masks = questions.masks[start : start + batch].to(model.device)
        blind.append(model.predict((total / tokens).expand(*masks.context.shape, -1), masks).flatten(1))
    found = {name: torch.cat(p).float().cpu() for name, p in {**parts, "position_only": blind}.items()}
    return {**found, "random_init": random_init}


def ask_linearly(features: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """(m, C): how probable a linear probe of ``features`` and ``labels`` finds each class in what is ``asked``.

    Args:
        features, asked: (n, D) and (m, D), standardised as ``standardise(features, asked)`` does.
        labels: (n,) int64, 0 to C - 1.
    """
    weights, bias = fit_linear(features, labels, _PENALTY / len(features), iterations=60)
    return (asked @ weights + bias).softmax(1)


def coarser(classes: Tensor, factor: Tensor) -> Tensor:
    """(F,) int64: the class of ``factor`` that each finer class implies; ``classes`` and ``factor`` are (n,) labels."""
    return torch.zeros(int(classes.max()) + 1, dtype=torch.int64).scatter_(0, classes, factor)


def read_off(together: Tensor, classes: Tensor, factor: Tensor) -> Tensor:
    """(m, C): how probable each class of ``factor`` is, where finer classes that imply it were asked for.

    Args:
        together: (m, F), the probabilities of the finer classes.
        classes, factor: (n,) int64, both labels of the same scenes.
    """
    found = together.new_zeros(len(together), int(factor.max()) + 1)
    return found.index_add_(1, coarser(classes, factor), together)


def score(probabilities: Tensor, truth: Tensor) -> dict[str, float]:
    """The most probable class's accuracy, and the ends of Wilson's 95 % interval: (m, C) and (m,) int64."""
    return share_of(int((probabilities.argmax(1) == truth).sum()), len(truth))


def share_of(right: int, total: int) -> dict[str, float]:
    """``right`` of ``total`` as every table here holds it: a share, and the ends of Wilson's 95 % interval."""
    low, high = wilson(right, total)
    return {"accuracy": right / total, "low": low, "high": high}


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a share of ``right`` out of ``total``."""
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return centre - half, centre + half


def factor_table(model: IJEPA, train: int = 20000, test: int = 2000, block: int = 3) -> dict[str, dict[str, Any]]:
    """Accuracy of every factor from every representation; ``chance`` is the most frequent class.

    Species, part and facing are read off one linear probe that names all three; ``facing_alone`` is what a probe reads
    that is asked for nothing else.

    Args:
        model: any size that divides into patches; scenes are drawn at its image size.
        train, test: number of scenes to learn from and to test on, of different seeds.
        block: side of the hidden block, in patches.

    Returns:
        factor -> {"chance": share, representation: {"accuracy", "low", "high"}}.
    """
    size, grid = model.config.image_size, model.grid
    # Seeds far from those that train/ draws from.
    first, second = ask(train, size, grid, block, seed=1001), ask(test, size, grid, block, seed=1002)
    # The untrained ones first, so that a giant's weights, mapped from its file, are not yet in memory beside them.
    untrained = untrained_predictions(model, (first, second))
    x, z = (representations(model, asked, random_init=r) for asked, r in zip((first, second), untrained, strict=True))
    labels, truth = first.labels, {name: renumbered(second, first, name) for name in FACTORS}
    table: dict[str, dict[str, Any]] = {}
    for factor in FACTORS:
        frequent = int(F.one_hot(labels[factor]).sum(0).argmax())
        table[factor] = {"chance": float((truth[factor] == frequent).float().mean())}
    for name in tqdm(list(x), desc="linear probes", unit="representation", disable=train < _MANY):
        known, asked = standardise(x.pop(name), z[name])
        together = ask_linearly(known, labels["together"], asked)
        for factor in FACTORS:
            if factor in _READ_OFF:
                found = read_off(together, labels["together"], labels[factor])
            else:
                found = ask_linearly(known, labels[factor], asked)
            table[factor][name] = score(found, truth[factor])
    return table


def renumbered(questions: Questions, known: Questions, name: str) -> Tensor:
    """(n,) int64: the labels of ``questions`` in the numbering of ``known``; -1 for a class that it never saw."""
    numbers = {c: i for i, c in enumerate(known.classes[name])}
    return torch.tensor([numbers.get(questions.classes[name][int(i)], -1) for i in questions.labels[name]])


@PROBES.register("factors")
def _evaluate(model: IJEPA, split: Split) -> dict[str, Any]:
    """The data must be ``menagerie``: its scenes alone have known factors. ``count=N`` changes how many are learned."""
    sources = split("train"), split("test")
    if not all(source.name.startswith("menagerie") for source in sources):
        raise ValueError("The factor probe knows the truth about drawn scenes only: use --data menagerie.")
    return factor_table(model, min(_SCENES, len(sources[0])), min(_TESTS, len(sources[1])))
