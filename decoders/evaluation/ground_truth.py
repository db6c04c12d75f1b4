"""The announcement's claim as a number: what can be read from decoded blocks of scenes whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.metric import INSTRUMENTS, closed_form, draw, see
from decoders.evaluation.recogniser import Recogniser, as_images, read_out, train_recogniser
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import TOGETHER, Questions, ask, ask_linearly, coarser, renumbered, share_of
from ijepa_viz.probes.features import standardise
from ijepa_viz.probes.probe import Split

QUESTIONS = ("species", "part", "facing", "colour")

# Which hidden parts make up the three cases that the announcement shows.
CASES = {"head": ("head",), "legs": ("leg",), "building": ("wall", "roof")}

SHAPE = (3, 3)

_MANY = 2000  # from so many scenes on it takes minutes: a progress bar


def blocks_asked(model: IJEPA, count: int, seed: int) -> Questions:
    """Drawn scenes with a block over one part of the nearest thing, at the model's size."""
    return ask(count, model.config.image_size, model.grid, SHAPE[0], seed)


def learned_eye(model: IJEPA, questions: Questions, patch_size: int, epochs: int = 12) -> Recogniser:
    """A recogniser of what ``questions`` hide, trained on the hidden pixels themselves at the decoder's resolution."""
    blocks = see(model, normalise(questions.images / 255), questions.masks, patch_size=patch_size)
    return _eye(blocks.clean, questions, epochs)


def _eye(pixels: Tensor, questions: Questions, epochs: int) -> Recogniser:
    real = as_images(pixels, SHAPE)
    labels = {name: questions.labels[name] for name in QUESTIONS}
    return train_recogniser(real, labels, {name: len(questions.classes[name]) for name in QUESTIONS}, epochs)


@INSTRUMENTS.register("ground-truth")
def ground_truth(
    model: IJEPA, decoder: Decoder, split: Split, train: int = 10000, test: int = 1200, epochs: int = 12
) -> dict[str, dict[str, Any]]:
    """Accuracy of a recogniser on single decoded samples of held-out scenes; the data must be ``menagerie``.

    Rows are whose prediction was decoded, columns what was asked. ``real_pixels`` is the recogniser's own accuracy.
    ``another_image`` decodes the prediction of the next scene in this scene's hole: read against this scene's truth
    it should be chance, and against that of the scene it is from (``..._its_own_truth``) as good as the prediction.
    ``predicted_guidance_2`` has guidance, which is off elsewhere because it shrinks what varies between samples.
    ``read_from_tokens`` has no picture: it is the most probable answer of a linear probe of the same predicted tokens,
    and ``drawn_from_tokens`` one answer drawn by its probabilities. Samples that differ where the prediction leaves
    something open can be expected to reach the latter; what they lack to it is lost by the decoder.

    Raises:
        ValueError: pictures without known truth.
    """
    learned, asked = _scenes(model, split, train, test)
    patch = decoder.network.config.patch_size
    torch.manual_seed(0)
    untrained = IJEPA(model.config).to(model.device).eval()
    seen, blind = (see(m, normalise(asked.images / 255), asked.masks, patch_size=patch) for m in (model, untrained))
    known = see(model, normalise(learned.images / 255), learned.masks, patch_size=patch)
    eye = _eye(known.clean, learned, epochs)
    fit_on = see(untrained, normalise(learned.images[:4000] / 255), learned.masks[:4000], patch_size=patch)
    ridge, random_ridge = closed_form(model, known[:4000]), closed_form(untrained, fit_on)
    tokens, places = seen.predicted, seen.places
    other = draw(decoder, tokens.roll(-1, 0), places)
    decoded = {
        "real_pixels": seen.clean,
        "target_tokens": draw(decoder, seen.target, places, source="target"),
        "predicted_tokens": draw(decoder, tokens, places),
        "predicted_guidance_2": draw(decoder, tokens, places, guidance_scale=2.0),
        "predicted_pooled": draw(decoder, tokens, places, condition="pooled"),
        "blur_of_predicted": draw(decoder, tokens, places, num_inference_steps=1),
        "ridge_predicted": draw(ridge, tokens, places),
        "ridge_random_init": draw(random_ridge, blind.predicted, places),
        "mean_prediction": draw(decoder, tokens.mean(0, keepdim=True).expand_as(tokens), places),
        "another_image": other,
        "another_image_its_own_truth": other,
        "null": draw(decoder, tokens, places, condition="null"),
    }
    answers = {
        row: {name: x.argmax(1) for name, x in read_out(eye, as_images(pixels, SHAPE)).items()}
        for row, pixels in decoded.items()
    }
    answers |= _without_pictures(known.predicted.flatten(1), learned.labels, tokens.flatten(1))
    truth = {name: renumbered(asked, learned, name) for name in QUESTIONS}
    hidden = [asked.classes["part"][int(i)] for i in asked.labels["part"]]
    cases = {case: torch.tensor([part in parts for part in hidden]) for case, parts in CASES.items()}
    cases = {case: there for case, there in cases.items() if there.any()}
    table = {}
    for row, said in answers.items():
        theirs = {n: t.roll(-1) for n, t in truth.items()} if row.endswith("own_truth") else truth
        right = {name: said[name] == theirs[name] for name in QUESTIONS}
        table[row] = {name: _share(right[name]) for name in QUESTIONS}
        for case, there in cases.items():
            there = there.roll(-1) if row.endswith("own_truth") else there
            table[row][f"{case}: all three"] = _share((right["species"] & right["part"] & right["facing"])[there])
    frequent = {name: truth[name].mode().values for name in QUESTIONS}
    alike = {name: truth[name] == frequent[name] for name in QUESTIONS}
    chance = {name: _share(alike[name]) for name in QUESTIONS}
    for case, there in cases.items():
        most = torch.stack([truth[name] for name in ("species", "part", "facing")], 1)[there]
        counts = most.unique(dim=0, return_counts=True)[1]
        chance[f"{case}: all three"] = share_of(int(counts.max()), len(most))
    return {**table, "most_frequent_answer": chance}


def _scenes(model: IJEPA, split: Split, train: int, test: int) -> tuple[Questions, Questions]:
    """Scenes to learn from and others to ask about, of seeds far from those that training draws from."""
    if not split("test").name.startswith("menagerie"):
        raise ValueError("Only drawn scenes have a known truth: use --data menagerie.")
    return blocks_asked(model, train, seed=2001), blocks_asked(model, test, seed=2002)


def _without_pictures(tokens: Tensor, labels: Mapping[str, Tensor], asked: Tensor) -> dict[str, dict[str, Tensor]]:
    """What a linear probe of (n, D) ``tokens`` says of (m, D) others: its first choice, and one drawn by chance."""
    tokens, asked = standardise(tokens, asked)
    rows: dict[str, dict[str, Tensor]] = {"read_from_tokens": {}, "drawn_from_tokens": {}}
    generator = torch.Generator().manual_seed(0)
    for question, names in (("together", TOGETHER), ("colour", ("colour",))):
        found = ask_linearly(tokens, labels[question], asked)
        chosen = found.argmax(1), found.multinomial(1, generator=generator)[:, 0]
        for row, choice in zip(rows.values(), chosen, strict=True):
            row |= {name: coarser(labels[question], labels[name])[choice] for name in names}
    return rows


def _share(right: Tensor) -> dict[str, float]:
    return share_of(int(right.sum()), len(right))
