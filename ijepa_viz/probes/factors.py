"""Linear probes for the factors of a hidden part of a drawn scene, from the tokens predicted there.

The menagerie provides ground truth for every scene. A block hides one part of the nearest creature or building, the
predictor sees the rest, and linear probes read the factors from the predicted tokens. The same probes on baselines
(position only, average context token, random init) and on the target tokens bound the result from both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.creatures import PART
from ijepa_viz.data.menagerie.framing import framed_scene
from ijepa_viz.data.picture_size import ImageSize, height_and_width, in_words
from ijepa_viz.data.transforms import normalise
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models import IJEPA, Encoder, Predictor
from ijepa_viz.probes.features import standardise
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.linear import fit_linear
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.runtime.progress import Progress, track

# Region -> the drawn parts that belong to it.
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
# Marginals of one probe of all three jointly: facing is drawn differently for every part of every species, so that no
# single direction of the features encodes it.
JOINT = ("species", "part", "facing")
_MARGINALS = ("species_and_part", *JOINT)
KEPT = (*_MARGINALS, "facing_alone", "colour", "pose")
DROPPED = ("texture_phase", "speckle", "background_detail")
FACTORS = (*KEPT, *DROPPED)
# Least share of the part that is hidden, and of its owner that stays visible.
_HIDDEN, _SEEN = 0.5, 0.35
# Least share of a block's pixels that each of two things in it covers: 58 of 576 pixels at 64 px.
_OF_BLOCK = 0.1
# Divided by the number of scenes. Strong, because nine concatenated tokens are many features for 10 000 scenes.
_PENALTY = 50.0
# Limits of the command: at 224 px, so many images take ten gigabytes.
_SCENES, _TESTS = 64000, 2000


@dataclass(frozen=True)
class FactorScenes:
    """Drawn scenes with one part hidden in each, and the factors of that part.

    Attributes:
        images: (n, 3, H, W) uint8.
        masks: one target block an image, n images.
        labels: factor -> (n,) int64; classes: factor -> names of the labels. Beside :data:`FACTORS`, ``joint`` is
            species, part and facing as one class.
        scenes: (n,) int64, the index of each scene of the menagerie ``seed``.
    """

    images: Tensor
    masks: Masks
    labels: dict[str, Tensor]
    classes: dict[str, list[str]]
    scenes: Tensor
    seed: int

    def __getitem__(self, rows: slice) -> FactorScenes:
        labels = {name: label[rows] for name, label in self.labels.items()}
        return replace(self, images=self.images[rows], masks=self.masks[rows], labels=labels, scenes=self.scenes[rows])

    def at(self, size: ImageSize) -> Tensor:
        """The same scenes drawn at another size, (n, 3, H, W) uint8."""
        height, width = height_and_width(size)
        if (height, width) == tuple(self.images.shape[-2:]):
            return self.images
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        drawn = np.empty((len(self.scenes), height, width, 3), np.uint8)
        title = f"drawing scenes at {in_words(size)} px"
        for row, index in zip(drawn, track(self.scenes.tolist(), title, "scene"), strict=True):
            whole = menagerie.scenes(index, index + 1, side, self.seed)[0]
            row[:] = whole[top : top + height, left : left + width]
        return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def draw_factor_scenes(count: int, size: ImageSize, grid: Grid, block: int = 3, seed: int = 0) -> FactorScenes:
    """Draw ``count`` scenes in which ``block`` x ``block`` patches hide one part of the nearest thing.

    Scenes without such a part are skipped.

    Raises:
        ValueError: fewer than one scene, or a block that does not fit in the grid.
    """
    if count < 1 or not 1 <= block < min(grid):
        raise ValueError(f"Needs at least one scene and a block smaller than the grid, got {count} and {block}.")
    rng = np.random.default_rng([seed, 7])
    pictures: list[np.ndarray] = []
    places: list[tuple[int, int]] = []
    factors: list[dict[str, str]] = []
    drawn: list[int] = []
    index = 0
    with Progress("drawing scenes", count, "scene") as bar:
        while len(pictures) < count:
            scene = framed_scene(index, size, seed)
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
            factors.append(
                {
                    "joint": f"{thing.species} {part} {thing.facing}",
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
    classes = {name: sorted({row[name] for row in factors}) for name in factors[0]}
    labels = {name: torch.tensor([names.index(row[name]) for row in factors]) for name, names in classes.items()}
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return FactorScenes(images, _masks(places, grid, block), labels, classes, torch.tensor(drawn), seed)


def _hide(
    scene: menagerie.Scene, grid: Grid, block: int, rng: np.random.Generator
) -> tuple[tuple[int, int], str] | None:
    """Top left patch of a block that hides one part of the nearest thing, and the part; None if no part qualifies."""
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


def draw_two_thing_scenes(count: int, size: ImageSize, grid: Grid, block: int = 3, seed: int = 0) -> FactorScenes:
    """Draw ``count`` scenes in which ``block`` x ``block`` patches hide parts of two things, and nothing of a third.

    The two are of different species. Each covers at least a tenth of the block's pixels, and at least 35 % of the
    visible pixels of each lie outside the block, so that the context shows something of both. Of all such blocks of a
    scene it is the one in which the less hidden thing covers the most pixels. Scenes without one are skipped.

    Returns:
        Scenes whose labels ``species``, ``part``, ``facing``, ``joint``, ``species_and_part`` and ``colour`` are of the
        thing that covers the most pixels of the block, its part being the one with the most pixels there;
        ``second_species`` is the other thing's.

    Raises:
        ValueError: fewer than one scene, or a block that does not fit in the grid.
    """
    if count < 1 or not 1 <= block < min(grid):
        raise ValueError(f"Needs at least one scene and a block smaller than the grid, got {count} and {block}.")
    found: list[tuple[np.ndarray, tuple[int, int], dict[str, str], int]] = []
    index = 0
    with Progress("drawing scenes of two things", count, "scene") as bar:
        while len(found) < count:
            # The plan alone says how many there are.
            several = len(menagerie.things(index, seed)) > 1
            scene = framed_scene(index, size, seed) if several else None
            if scene is not None and (hidden := _hide_two(scene, grid, block)) is not None:
                place, first, second, part = hidden
                thing = scene.things[first]
                factors = {
                    "joint": f"{thing.species} {part} {thing.facing}",
                    "species_and_part": f"{thing.species} {part}",
                    "species": thing.species,
                    "part": part,
                    "facing": thing.facing,
                    "colour": COARSE.get(thing.colour, thing.colour),
                    "second_species": scene.things[second].species,
                }
                found.append((scene.image, place, factors, index))
                bar.update()
            index += 1
    pictures, places, rows, drawn = zip(*found, strict=True)
    classes = {name: sorted({row[name] for row in rows}) for name in rows[0]}
    labels = {name: torch.tensor([names.index(row[name]) for row in rows]) for name, names in classes.items()}
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return FactorScenes(images, _masks(list(places), grid, block), labels, classes, torch.tensor(drawn), seed)


def _hide_two(scene: menagerie.Scene, grid: Grid, block: int) -> tuple[tuple[int, int], int, int, str] | None:
    """Top left patch of a block that hides two things, their indices and the first one's part; None if there is none.

    The first is the one with more pixels in the block.
    """
    owned = np.stack([scene.owners == owner for owner in range(1, scene.count + 1)])
    patch = scene.owners.shape[0] // grid[0]
    by_patch = owned.reshape(scene.count, grid[0], patch, grid[1], patch).sum((2, 4))
    hidden = np.lib.stride_tricks.sliding_window_view(by_patch, (block, block), (1, 2)).sum((-2, -1))
    seen = owned.sum((1, 2))[:, None, None] - hidden
    kept = seen >= _SEEN * (seen + hidden)
    order = np.argsort(-hidden, axis=0, kind="stable")
    amount, kept = np.take_along_axis(hidden, order, 0), np.take_along_axis(kept, order, 0)
    species = np.array([thing.species for thing in scene.things])[order]
    fits = kept[0] & kept[1] & (species[0] != species[1]) & (amount[1] >= _OF_BLOCK * (block * patch) ** 2)
    fits &= amount[2:].sum(0) == 0
    if not fits.any():
        return None
    row, col = np.unravel_index(int(np.where(fits, amount[1], -1).argmax()), fits.shape)
    first, second = (int(owner) for owner in order[:2, row, col])
    window = np.s_[row * patch : (row + block) * patch, col * patch : (col + block) * patch]
    there = scene.parts[window][owned[first][window]]
    counts = {name: np.isin(there, [PART[p] for p in parts]).sum() for name, parts in REGIONS.items()}
    return (int(row), int(col)), first, second, max(counts, key=lambda name: counts[name])


def hidden_species(scenes: FactorScenes) -> Tensor:
    """Share of each hidden block's pixels that each species covers, (n, S) in the order of ``menagerie.NAMES``."""
    shares = torch.zeros(len(scenes.scenes), len(menagerie.NAMES))
    height, width = scenes.images.shape[-2:]
    hidden = scenes.masks.hidden_pixels(height // scenes.masks.grid[0]).numpy()
    for row, index in enumerate(track(scenes.scenes.tolist(), "reading what blocks hide", "scene")):
        scene = framed_scene(index, (height, width), scenes.seed)
        covered = np.bincount(scene.owners[hidden[row]], minlength=scene.count + 1) / hidden[row].sum()
        for thing, share in zip(scene.things, covered[1:], strict=True):
            shares[row, menagerie.NAMES.index(thing.species)] += float(share)
    return shares


def _detail(scene: menagerie.Scene, grid: Grid, block: int, place: tuple[int, int]) -> str:
    """Whether a tuft or stone on the ground, at a random place, is visible in the block: exact background detail."""
    height, width = scene.owners.shape
    for x, y in scene.details:
        if not (0 <= x <= 1 and 0 <= y <= 1):  # beyond the picture, where it is a rectangle
            continue
        row, col = min(int(y * height), height - 1), min(int(x * width), width - 1)
        patch = row * grid[0] // height - place[0], col * grid[1] // width - place[1]
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
    model: IJEPA, scenes: Sequence[FactorScenes], batch: int = 200, seed: int = 0
) -> list[Tensor]:
    """Concatenated predicted tokens of the hidden block by a randomly initialised model of the same sizes.

    One random init serves all of ``scenes``: a second ViT-g would not fit into memory beside the first.

    Returns:
        (n, T * D) for each of ``scenes``.
    """
    torch.manual_seed(seed)
    # No IJEPA: its target encoder would be a third copy of the weights.
    encoder, predictor = Encoder(model.config).to(model.device), Predictor(model.config).to(model.device)
    found = []
    for part_scenes in scenes:
        parts = []
        for start in track(range(0, len(part_scenes.images), batch), "predicting by an untrained model", "batch"):
            some = slice(start, start + batch)
            images = normalise(part_scenes.images[some].to(model.device) / 255)
            masks = part_scenes.masks[some].to(model.device)
            parts.append(predictor(encoder(images, masks.context, masks.context_valid), masks).flatten(1))
        found.append(torch.cat(parts).float().cpu())
    return found


@torch.no_grad()
def representations(
    model: IJEPA, scenes: FactorScenes, batch: int = 200, seed: int = 0, random_init: Tensor | None = None
) -> dict[str, Tensor]:
    """Representations to probe, (n, features) each.

    ``predicted``: concatenated predicted tokens of the hidden block. ``position_only``: the same with every context
    token replaced by the data's mean context token, which leaves positions only. ``context_mean``: the average context
    token. ``random_init``: :func:`untrained_predictions`, unless given. ``target``: concatenated target tokens of the
    block, from the encoder that sees the whole image.
    """
    if random_init is None:
        (random_init,) = untrained_predictions(model, [scenes], batch, seed)
    parts: dict[str, list[Tensor]] = {n: [] for n in ("predicted", "context_mean", "target")}
    total, tokens = torch.zeros(model.config.width, device=model.device), 0
    for start in track(range(0, len(scenes.images), batch), "predicting", "batch"):
        some = slice(start, start + batch)
        images = normalise(scenes.images[some].to(model.device) / 255)
        masks = scenes.masks[some].to(model.device)
        context = model.encode_context(images, masks)
        total += context.sum((0, 1))
        tokens += context.shape[0] * context.shape[1]
        parts["predicted"].append(model.predict(context, masks).flatten(1))
        parts["context_mean"].append(context.mean(1))
        parts["target"].append(model.targets(images, masks).flatten(1))
    blind = []
    for start in track(range(0, len(scenes.images), batch), "predicting from positions only", "batch"):
        masks = scenes.masks[start : start + batch].to(model.device)
        blind.append(model.predict((total / tokens).expand(*masks.context.shape, -1), masks).flatten(1))
    found = {name: torch.cat(p).float().cpu() for name, p in {**parts, "position_only": blind}.items()}
    return {**found, "random_init": random_init}


def linear_probe_probabilities(features: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """Class probabilities (m, C) by a linear probe that is fitted on ``features`` and ``labels``.

    Args:
        features, test: (n, D) and (m, D), standardised as ``standardise(features, test)`` does.
        labels: (n,) int64, 0 to C - 1.
    """
    weights, bias = fit_linear(features, labels, _PENALTY / len(features), iterations=60)
    return (test @ weights + bias).softmax(1)


def class_map(classes: Tensor, factor: Tensor) -> Tensor:
    """Class of ``factor`` that each finer class implies, (F,) int64; ``classes`` and ``factor`` are (n,) labels."""
    return torch.zeros(int(classes.max()) + 1, dtype=torch.int64).scatter_(0, classes, factor)


def marginalise(joint: Tensor, classes: Tensor, factor: Tensor) -> Tensor:
    """Marginal probabilities (m, C) of ``factor``, summed over the finer classes that imply each of its classes.

    Args:
        joint: (m, F), probabilities of the finer classes.
        classes, factor: (n,) int64, finer and coarser labels of the same scenes.
    """
    found = joint.new_zeros(len(joint), int(factor.max()) + 1)
    return found.index_add_(1, class_map(classes, factor), joint)


def score(probabilities: Tensor, truth: Tensor) -> dict[str, float]:
    """Top-1 accuracy of (m, C) probabilities for (m,) int64 labels, with Wilson's 95 % interval."""
    return accuracy_with_interval(int((probabilities.argmax(1) == truth).sum()), len(truth))


def factor_table(model: IJEPA, train: int = 20000, test: int = 2000, block: int = 3) -> dict[str, dict[str, Any]]:
    """Accuracy of every factor from every representation, beside that of the most frequent class.

    Species, part and facing are marginals of one linear probe of all three jointly; ``facing_alone`` is a probe of
    facing by itself.

    Args:
        model: with a predictor; scenes are drawn at its image size.
        train, test: number of training and test scenes, of different seeds.
        block: side of the hidden block, in patches.

    Returns:
        factor -> {"most_frequent": test accuracy of the training set's most frequent class, representation:
        {"accuracy", "low", "high"}}.
    """
    size, grid = model.config.image_size, model.grid
    # Seeds far from those that train/ draws from.
    first, second = (draw_factor_scenes(n, size, grid, block, seed) for n, seed in ((train, 1001), (test, 1002)))
    # Random init first: the weights of a large model are mapped from its file and are not yet in memory.
    untrained = untrained_predictions(model, (first, second))
    x, z = (
        representations(model, part_scenes, random_init=r)
        for part_scenes, r in zip((first, second), untrained, strict=True)
    )
    labels, truth = first.labels, {name: relabelled(second, first, name) for name in FACTORS}
    table: dict[str, dict[str, Any]] = {}
    for factor in FACTORS:
        frequent = int(F.one_hot(labels[factor]).sum(0).argmax())
        table[factor] = {"most_frequent": float((truth[factor] == frequent).float().mean())}
    for name in track(list(x), "linear probes", "representation"):
        features, held_out = standardise(x.pop(name), z[name])
        joint = linear_probe_probabilities(features, labels["joint"], held_out)
        for factor in FACTORS:
            if factor in _MARGINALS:
                found = marginalise(joint, labels["joint"], labels[factor])
            else:
                found = linear_probe_probabilities(features, labels[factor], held_out)
            table[factor][name] = score(found, truth[factor])
    return table


def relabelled(scenes: FactorScenes, reference: FactorScenes, name: str) -> Tensor:
    """Labels of ``scenes`` in the numbering of ``reference``, (n,) int64; -1 for a class that is not in it."""
    numbers = {c: i for i, c in enumerate(reference.classes[name])}
    return torch.tensor([numbers.get(scenes.classes[name][int(i)], -1) for i in scenes.labels[name]])


@PROBES.register("factors")
def evaluate_factors(model: IJEPA, split: Split) -> dict[str, Any]:
    """Linear probes of a hidden part's factors, from predicted tokens and baselines (``--data menagerie:count=N``).

    Raises:
        ValueError: another data set than the menagerie, whose scenes alone have ground truth.
    """
    sources = []
    for name in ("train", "test"):
        sources.append(split(name))
        if not sources[-1].name.startswith("menagerie "):
            raise ValueError("The factor probe needs the ground truth of drawn scenes: use --data menagerie.")
    return factor_table(model, min(_SCENES, len(sources[0])), min(_TESTS, len(sources[1])))
