"""Metric ``by-part``: factors classified from decoded blocks for every species and part, so that an average hides none.

Beside each of them heads by the size of the creature, and blocks that hide two things at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.classifier import BlockClassifier, predict_logits, train_classifier
from decoders.evaluation.metric import DECODER_METRICS, sample_blocks
from decoders.evaluation.scenes import (
    BLOCK_SHAPE,
    accuracy,
    block_images,
    drawn_test_data,
    scene_blocks,
    train_and_test_scenes,
    train_on_pixels,
)
from ijepa_viz.data import menagerie
from ijepa_viz.figures import by_part_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import REGIONS, FactorScenes, draw_two_thing_scenes, hidden_species, relabelled
from ijepa_viz.probes.probe import Split

# Factor -> classes, all there are: blocks of two things may hide parts that blocks of one thing in training do not.
_CLASSES: dict[str, tuple[str, ...]] = {
    "species": menagerie.NAMES,
    "part": tuple(REGIONS),
    "facing": ("left", "right"),
}
_FACTORS = tuple(_CLASSES)

# Least share of a block's pixels that a species covers to be in it: half the share of each thing in a block of two, so
# that none of those is a borderline case.
_PRESENT = 0.05

# Seeds of the scenes with two things in one block, for training and for testing.
_TRAIN_SEED, _TEST_SEED = 2006, 2007

# Blocks of two things for each four of one thing: they are rarer, thus slower to find.
_RARER = 4

# Case -> factor -> (n,) bool: whether the answer is right.
Right = Mapping[str, Mapping[str, Tensor]]


@DECODER_METRICS.register("by-part")
def by_part(
    model: IJEPA, decoder: Decoder, split: Split, train: int = 10000, test: int = 3000, epochs: int = 12
) -> dict[str, Any]:
    """Accuracy of a classifier of real blocks on single decoded samples, for every species and part, worst first.

    A row is named ``SUBJECT: CASE``, and its columns are the count of blocks and the accuracy of species, part, facing
    and of all three at once. Subjects are all blocks, every species and part ("cat head"), every species, every part,
    and heads by the height of the creature (terciles of the test scenes). The cases are decoded ``predicted_tokens``
    and ``target_tokens``, ``real_pixels``, which no decoder surpasses, and the ``most_frequent_answer`` of all training
    blocks, the same one for every subject. The scenes and the classifier are those of ``ground-truth``.

    Blocks of :func:`ijepa_viz.probes.factors.draw_two_thing_scenes` hide parts of two things. They are read by a second
    classifier, trained on real blocks of one and of two things: ``first of two things`` is scored by the thing with the
    most pixels in the block. That classifier also answers, for each species, whether it is in the block; the score of
    this is in the column ``species``: ``second of two things`` is the share of blocks whose less hidden species it
    finds, ``no third species`` that of blocks in which it finds no species that is not there, and ``exactly both
    species`` that of blocks in which it finds these two and no other. The most frequent answer there is the two most
    frequent species.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes; a quarter of each for blocks of two things. epochs: of the classifiers.

    Raises:
        ValueError: a data set other than ``menagerie``, or fewer than four scenes.
    """
    if min(train, test) < _RARER:
        raise ValueError(f"by-part needs at least {_RARER} scenes for training and for testing, got {train}, {test}.")
    train_scenes, scenes = train_and_test_scenes(model, split, train, test)
    train_pixels = scene_blocks(model, train_scenes, decoder.image_size).clean
    classifier = train_on_pixels(model, train_pixels, train_scenes, epochs)
    right = _factors_right(
        model, classifier, _decoded(model, decoder, scenes), scenes, train_scenes, train_scenes.classes
    )
    rows = {subject: _rows(right, chosen) for subject, chosen in _subjects(scenes, right["predicted_tokens"]).items()}

    size, grid, side = model.config.image_size, model.grid, BLOCK_SHAPE[0]
    train_two = draw_two_thing_scenes(train // _RARER, size, grid, side, _TRAIN_SEED)
    two = draw_two_thing_scenes(test // _RARER, size, grid, side, _TEST_SEED)
    decoded = _decoded(model, decoder, two)
    few = train_scenes[: len(train_two.images)]
    real = torch.cat([train_pixels[: len(few.images)], scene_blocks(model, train_two, decoder.image_size).clean])
    labels = {n: torch.cat([_numbered(few, n, c), _numbered(train_two, n, c)]) for n, c in _CLASSES.items()}
    present = torch.cat([hidden_species(few), hidden_species(train_two)]) >= _PRESENT
    labels |= {name: present[:, i].long() for i, name in enumerate(menagerie.NAMES)}
    heads = {**dict.fromkeys(menagerie.NAMES, 2), **{name: len(classes) for name, classes in _CLASSES.items()}}
    detector = train_classifier(block_images(model, real), labels, heads, epochs)
    rows["first of two things"] = _rows(_factors_right(model, detector, decoded, two, train_two, _CLASSES))
    for subject, species_right in _species_right(model, detector, decoded, two, train_two).items():
        rows[subject] = _rows(species_right)
    table = {f"{subject}: {case}": row for subject, cases in rows.items() for case, row in cases.items()}
    about = f"{drawn_test_data(train_scenes, scenes)}; of two things: {drawn_test_data(train_two, two)}"
    return {"test_data": about, **table, "figure": by_part_figure(rows)}


def _decoded(model: IJEPA, decoder: Decoder, scenes: FactorScenes) -> dict[str, Tensor]:
    """Pixels (n, T, 3 p p) of the scenes' blocks by case: two decoded ones and the real ones."""
    blocks = scene_blocks(model, scenes, decoder.image_size)
    return {
        "predicted_tokens": sample_blocks(decoder, blocks.predicted, blocks.patch_indices),
        "target_tokens": sample_blocks(decoder, blocks.target, blocks.patch_indices, source="target"),
        "real_pixels": blocks.clean,
    }


def _factors_right(
    model: IJEPA,
    classifier: BlockClassifier,
    decoded: Mapping[str, Tensor],
    scenes: FactorScenes,
    train_scenes: FactorScenes,
    classes: Mapping[str, Sequence[str]],
) -> Right:
    """Whether the classifier's answers, and the most frequent one of the training scenes, are right.

    Args:
        classes: factor -> names of the classes that the classifier answers with.
    """
    truth = {name: _numbered(scenes, name, classes[name]) for name in _FACTORS}
    right: dict[str, dict[str, Tensor]] = {}
    for case, pixels in decoded.items():
        logits = predict_logits(classifier, block_images(model, pixels))
        right[case] = {name: logits[name].argmax(1) == truth[name] for name in _FACTORS}
        right[case]["all_three"] = torch.stack([right[case][name] for name in _FACTORS]).all(0)
    common = {name: train_scenes.labels[name].mode().values for name in (*_FACTORS, "joint")}
    frequent = {name: relabelled(scenes, train_scenes, name) == common[name] for name in common}
    right["most_frequent_answer"] = {**{name: frequent[name] for name in _FACTORS}, "all_three": frequent["joint"]}
    return right


def _subjects(scenes: FactorScenes, right: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which of the scenes' blocks each subject is of, (n,) bool; those of a kind are sorted, the worst first."""
    found = {"all": torch.ones(len(scenes.images), dtype=torch.bool)}
    for factor in ("species_and_part", "species", "part"):
        label = scenes.labels[factor]
        kinds = {name: label == i for i, name in enumerate(scenes.classes[factor])}
        order = sorted(kinds, key=lambda name: float(right["all_three"][kinds[name]].float().mean()))
        found |= {f"every {name}" if factor != "species_and_part" else name: kinds[name] for name in order}
    return {**found, **_heads_by_size(scenes)}


def _heads_by_size(scenes: FactorScenes) -> dict[str, Tensor]:
    """Heads of the smallest, middle and largest third by the creature's height in pixels; none of fewer than three."""
    heads = torch.tensor([scenes.classes["part"][int(i)] == "head" for i in scenes.labels["part"]]).nonzero()[:, 0]
    if len(heads) < 3:
        return {}
    things = [menagerie.things(int(scenes.scenes[i]), scenes.seed)[-1] for i in heads]
    heights = torch.tensor([thing.size for thing in things]) * scenes.images.shape[-2]
    found = {}
    for name, third in zip(("small", "middle", "large"), heights.argsort(stable=True).tensor_split(3), strict=True):
        chosen = torch.zeros(len(scenes.images), dtype=torch.bool)
        chosen[heads[third]] = True
        found[f"{name} heads ({heights[third].min():.0f} to {heights[third].max():.0f} px)"] = chosen
    return found


def _species_right(
    model: IJEPA,
    detector: BlockClassifier,
    decoded: Mapping[str, Tensor],
    scenes: FactorScenes,
    train_scenes: FactorScenes,
) -> Mapping[str, Right]:
    """Whether the species that are found in blocks of two things are those that are there, by subject."""
    first, second = (_numbered(scenes, name, menagerie.NAMES) for name in ("species", "second_species"))
    there = F.one_hot(first, len(menagerie.NAMES)) + F.one_hot(second, len(menagerie.NAMES)) > 0
    both = torch.cat([_numbered(train_scenes, name, menagerie.NAMES) for name in ("species", "second_species")])
    frequent = torch.zeros(len(menagerie.NAMES), dtype=torch.bool)
    frequent[both.bincount(minlength=len(menagerie.NAMES)).topk(2).indices] = True
    answers = {"most_frequent_answer": frequent.expand_as(there)}
    for case, pixels in decoded.items():
        logits = predict_logits(detector, block_images(model, pixels))
        answers[case] = torch.stack([logits[name].argmax(1) == 1 for name in menagerie.NAMES], 1)
    found: dict[str, dict[str, dict[str, Tensor]]] = {}
    for case in (*decoded, "most_frequent_answer"):
        said = answers[case]
        of_case = {
            "second of two things": said.gather(1, second[:, None])[:, 0],
            "no third species": ~(said & ~there).any(1),
            "exactly both species": (said == there).all(1),
        }
        for subject, right in of_case.items():
            found.setdefault(subject, {})[case] = {"species": right}
    return found


def _numbered(scenes: FactorScenes, name: str, classes: Sequence[str]) -> Tensor:
    """Labels of one factor as indices into ``classes``, (n,) int64; -1 for a class that is not in it."""
    numbers = torch.tensor([classes.index(c) if c in classes else -1 for c in scenes.classes[name]])
    return numbers[scenes.labels[name]]


def _rows(right: Right, chosen: Tensor | None = None) -> dict[str, dict[str, Any]]:
    """Count and accuracies by case, of all blocks or of the ``chosen`` ones, (n,) bool."""
    found: dict[str, dict[str, Any]] = {}
    for case, factors in right.items():
        of_case = {name: each if chosen is None else each[chosen] for name, each in factors.items()}
        found[case] = {
            "count": len(next(iter(of_case.values()))),
            **{name: accuracy(each) for name, each in of_case.items()},
        }
    return found
