"""Probe ``captions``: what a predictor of pictures makes of a sentence about what is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.composition import NAMES, Thing
from ijepa_viz.data.menagerie.creatures import COLOURS
from ijepa_viz.data.menagerie.film_sentences import portrait_sentence
from ijepa_viz.data.transforms import normalise
from ijepa_viz.film_prediction import cue_ids
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.bootstrap import auroc_of_pairs
from ijepa_viz.probes.features import standardise
from ijepa_viz.probes.film_tokens import energies
from ijepa_viz.probes.film_truth import TEST_SEED, TRAIN_SEED
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.linear import fit_linear
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.runtime.progress import Progress, track

# Least share of a thing's pixels that its hole hides.
_HIDDEN = 0.8
_BATCH = 128
# Divided by the number of scenes; strong, because the tokens of a hole are thousands of features.
_PENALTY = 50.0

TRAITS = ("species", "facing")
_SIDES = ("left", "right")


@dataclass(frozen=True)
class HiddenThings:
    """n scenes whose nearest thing is hidden: images (n, 3, H, W) in [0, 1], a block each, and the things."""

    images: Tensor
    masks: Masks
    things: tuple[Thing, ...]

    def labels(self, trait: str) -> Tensor:
        """(n,) int64, of "species" or "facing"."""
        return _labels(self.things, trait)


def hidden_things(model: IJEPA, count: int, seed: int) -> HiddenThings:
    """The first ``count`` scenes of a seed whose nearest thing fits into a block of half of the rows and one more.

    Raises:
        ValueError: a model of films, or of oblong pictures.
    """
    (height, width), (rows, cols), patch = model.config.height_and_width, model.grid, model.config.patch_size
    if model.config.frames > 1:
        raise ValueError("Captions are of drawn scenes, and this model is of films: --probe film measures its cues.")
    if height != width:
        raise ValueError(f"Scenes are drawn as squares, this model's pictures are {height}x{width}.")
    side = rows // 2 + 1
    images: list[Tensor] = []
    hidden: list[Tensor] = []
    things: list[Thing] = []
    index = 0
    with Progress("drawing scenes", count, "scene") as bar:
        while len(images) < count:
            scene = menagerie.scene(index, height, seed)
            index += 1
            own = torch.from_numpy(scene.owners == len(scene.things))
            if not own.any():
                continue
            y, x = (places.float().mean() / patch for places in own.nonzero().unbind(1))
            top, left = (int((at - side / 2).round().clamp(0, most - side)) for at, most in ((y, rows), (x, cols)))
            block = torch.zeros(rows, cols, dtype=torch.bool)
            block[top : top + side, left : left + side] = True
            pixels = block.repeat_interleave(patch, 0).repeat_interleave(patch, 1)
            if (own & pixels).sum() < _HIDDEN * own.sum():
                continue
            images.append(torch.from_numpy(scene.image).permute(2, 0, 1).float() / 255)
            hidden.append(block)
            things.append(scene.things[-1])
            bar.update()
    return HiddenThings(torch.stack(images), Masks.from_array(torch.stack(hidden)), tuple(things))


def contradicted(things: Sequence[Thing], trait: str) -> list[Thing]:
    """Things of another species, colour or side than each thing, and like it in all else that they can be.

    Another species comes in its own colours: the thing's, where it has that one.
    """
    found = []
    for thing in things:
        if trait == "facing":
            other = replace(thing, facing=_SIDES[1 - _SIDES.index(thing.facing)])
        elif trait == "colour":
            colours = list(COLOURS[thing.species])
            other = replace(thing, colour=colours[(colours.index(thing.colour) + 1) % len(colours)])
        else:
            species = NAMES[(NAMES.index(thing.species) + 1) % len(NAMES)]
            colours = list(COLOURS[species])
            colour = thing.colour if thing.colour in colours else colours[0]
            other = replace(thing, species=species, colour=colour)
        found.append(other)
    return found


@PROBES.register("captions")
def captions_table(model: IJEPA, split: Split, train: int = 4000, test: int = 1000) -> dict[str, Any]:
    """A predictor of pictures with cues: energies of right and wrong captions of a hidden thing, and what is read then.

    ``energy``: AUROC of the right caption against one that names another species, colour or side, and against none,
    and in ``pairs`` the share of scenes in which the right one has the lower energy; nothing is fitted. ``read``:
    species and side by a linear map of the hole's tokens, fitted on the *target* encoder's tokens of other scenes, so
    that it cannot read the caption itself: of "real" tokens, of predictions with "no_cue" and with the "right_cue" the
    share that agrees with the scene, of the "wrong_cue" the share that agrees with the *caption*.

    Args:
        model: of pictures, with cues. split: of ``menagerie``. train, test: number of scenes, of seeds that no training
            draws.

    Raises:
        ValueError: another data set, a model of films or without cues. RuntimeError: a model without a predictor.
    """
    source = split("test")
    if not source.name.startswith("menagerie ("):
        raise ValueError(f"Only drawn scenes have known captions: use --data menagerie, not {source.name}.")
    if not model.config.cue_tokens:
        raise ValueError(
            "This model takes no cues (model.cue_tokens is 0): train/configs/menagerie-tiny-cues.yaml trains one that "
            "takes captions."
        )
    scenes, learned = hidden_things(model, test, TEST_SEED), hidden_things(model, train, TRAIN_SEED)
    target = _target(model, scenes)
    right = _predicted(model, scenes, [portrait_sentence(thing) for thing in scenes.things])
    plain = _predicted(model, scenes, [""] * test)
    wrong = {
        trait: _predicted(model, scenes, [portrait_sentence(thing) for thing in contradicted(scenes.things, trait)])
        for trait in (*TRAITS, "colour")
    }
    own = energies(right, target)
    table: dict[str, Any] = {"scenes": test, "energy": {}, "read": {}}
    for name, tokens in {**wrong, "no_cue": plain}.items():
        table["energy"][name] = auroc_of_pairs(-own, -energies(tokens, target))
    known = _target(model, learned).flatten(1).float()
    for trait in TRAITS:
        rows = {"real": target, "no_cue": plain, "right_cue": right, "wrong_cue": wrong[trait]}
        truth, said = scenes.labels(trait), _labels(contradicted(scenes.things, trait), trait)
        fitted = standardise(known, known)[0]
        weights, bias = fit_linear(fitted, learned.labels(trait), _PENALTY / len(known))
        found: dict[str, Any] = {}
        for name, tokens in rows.items():
            answers = (standardise(known, tokens.flatten(1).float())[1] @ weights + bias).argmax(1)
            agreed = int((answers == (said if name == "wrong_cue" else truth)).sum())
            found[name] = accuracy_with_interval(agreed, test)
        table["read"][trait] = {**found, "most_frequent": float(truth.bincount().max()) / test}
    note = f"{test} scenes drawn with seed {TEST_SEED}, read by maps fitted on {train} with seed {TRAIN_SEED}"
    return {**table, "test_data": note}


def _labels(things: Sequence[Thing], trait: str) -> Tensor:
    """(n,) int64, of "species" or "facing"."""
    if trait == "species":
        return torch.tensor([NAMES.index(thing.species) for thing in things])
    return torch.tensor([_SIDES.index(thing.facing) for thing in things])


@torch.inference_mode()
def _predicted(model: IJEPA, scenes: HiddenThings, sentences: Sequence[str]) -> Tensor:
    """Predicted tokens of the holes, (n, 1, T, D) float16, as :func:`energies` takes them."""
    ids, parts = cue_ids(model, sentences), []
    for rows in track(torch.arange(len(ids)).split(_BATCH), "scenes to tokens", "batch"):
        images, masks = normalise(scenes.images[rows]).to(model.device), scenes.masks[rows].to(str(model.device))
        parts.append(model.predict(model.encode_context(images, masks), masks, ids[rows].to(model.device)).half().cpu())
    return torch.cat(parts)


@torch.inference_mode()
def _target(model: IJEPA, scenes: HiddenThings) -> Tensor:
    """The target encoder's tokens of the holes, (n, 1, T, D) float16, through the loss's LayerNorm."""
    parts = []
    for rows in track(torch.arange(len(scenes.images)).split(_BATCH), "scenes to tokens", "batch"):
        images, masks = normalise(scenes.images[rows]).to(model.device), scenes.masks[rows].to(str(model.device))
        parts.append(model.targets(images, masks).half().cpu())
    return torch.cat(parts)
