"""A classifier on top of a frozen encoder that can be kept, and knows the model, data and classes it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.batches import identity
from ijepa_viz.data.scan import scan
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.features import FeatureBank
from ijepa_viz.probes.linear import PENALTY, fit_linear, linear_accuracy
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_config
from ijepa_viz.runtime.tensors import check_digest, fingerprint, read_tensors, write_tensors

CARD, WEIGHTS = "head.json", "head.safetensors"

_TENSORS = ("mean", "std", "weights", "bias", "digests")


@dataclass(frozen=True)
class HeadCard:
    """What a head knows of itself.

    Attributes:
        model: source of the model, as ``load_model`` took it. encoder_sha256: of its target encoder's weights, by which
            another model is refused.
        precision: number format that the features were computed in, "fp32" or "bf16"; "" of a head that does not tell.
        data: name of the training pictures. pictures: their number. data_sha256: of their content.
        classes: names of the outputs.
        width: of the features, which are the target encoder's last layer, averaged over each picture.
        test_data: which pictures the accuracy is of. test_pictures: their number.
        accuracy, chance, most_frequent, random_init: on those pictures; of this head, and of its baselines.
    """

    model: str
    encoder_sha256: str
    data: str
    pictures: int
    data_sha256: str
    classes: list = field(default_factory=list)
    width: int = 0
    test_data: str = ""
    test_pictures: int = 0
    accuracy: float = 0.0
    chance: float = 0.0
    most_frequent: float = 0.0
    random_init: float = 0.0
    precision: str = ""


@dataclass(frozen=True)
class Head:
    """A linear classifier of averaged tokens.

    Attributes:
        card: where it comes from.
        mean, std: (D,), by which features are standardised. weights: (D, C). bias: (C,).
        digests: (n,) uint64, the content of the pictures that it was trained on.
    """

    card: HeadCard
    mean: Tensor
    std: Tensor
    weights: Tensor
    bias: Tensor
    digests: np.ndarray

    def __call__(self, features: Tensor) -> Tensor:
        """Class probabilities of features, (n, D) -> (n, C), in the order of ``card.classes``."""
        return ((features.float() - self.mean) / self.std @ self.weights + self.bias).softmax(-1)

    def check(self, model: IJEPA, name: str) -> None:
        """Check that ``model`` has the encoder that this head was trained on; ``name`` is for the message.

        Raises:
            ValueError: another encoder.
        """
        if fingerprint(model.target_encoder) != self.card.encoder_sha256:
            raise ValueError(
                f"This head was trained on the features of {self.card.model!r}, and {name} has another encoder: its "
                "classes would be meaningless. Train one: ijepa-viz evaluate MODEL --probe linear --data DATA "
                "--save-head FOLDER."
            )

    def check_precision(self, precision: str) -> None:
        """Check that features are computed as those that this head was fitted on.

        Args:
            precision: "fp32" or "bf16", of the features to be classified.

        Raises:
            ValueError: the head was fitted on features in another number format.
        """
        if self.card.precision not in ("", precision):
            raise ValueError(
                f"This head was fitted on features computed in {self.card.precision}, these would be in {precision}. "
                f"Add --dtype {self.card.precision}, or train another head: ijepa-viz evaluate MODEL --probe linear "
                f"--dtype {precision} --data DATA --save-head FOLDER."
            )

    def trained_on(self, digests: np.ndarray) -> np.ndarray:
        """Which pictures, by the digests of their content (m,), the head was trained on: (m,) bool."""
        return np.isin(digests, self.digests) & (digests != 0)


def fit_head(
    model: IJEPA, split: Split, name: str, data: str, test_data: str | None = None, precision: str = "fp32"
) -> tuple[dict[str, Any], Head]:
    """Linear probing as ``--probe linear`` does it, and the head that it measured.

    Args:
        model: in evaluation mode. split: opens "train" and "test".
        name: source of the model. data: name of the training pictures.
        test_data: which pictures are tested on, in words; None is the test part's name.
        precision: "fp32" or "bf16", in which ``model`` computes.

    Returns:
        The probe's table with its baselines, and the head of the target encoder's last layer.

    Raises:
        ValueError: as :meth:`ijepa_viz.probes.features.FeatureBank.table`.
    """
    bank = FeatureBank(model, split)
    table = bank.table(linear_accuracy)
    labels, _ = bank.labels()
    train, _ = bank.features["target_encoder"]
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    weights, bias = fit_linear((train - mean) / std, labels, PENALTY)
    source = bank.sources["train"]
    used = scan(source).digests
    assert source.labels is not None
    card = HeadCard(
        model=name,
        encoder_sha256=fingerprint(model.target_encoder),
        data=data,
        pictures=len(labels),
        data_sha256=str(identity(source)["sha256"]),
        classes=bank.class_names(),
        width=train.shape[1],
        test_data=test_data or bank.sources["test"].name,
        test_pictures=int(table["test_images"]),
        accuracy=float(table["target_encoder"]),
        chance=float(table["chance"]),
        most_frequent=float(table["most_frequent"]),
        random_init=float(table["random_init"]),
        precision=precision,
    )
    return table, Head(card, mean, std, weights, bias, np.asarray(used[source.labels >= 0]))


def save_head(head: Head, folder: str | Path) -> None:
    """Write ``head.json`` and ``head.safetensors``.

    Raises:
        FileExistsError: the folder holds a head already, which is never replaced.
        OSError: the disk refuses; then, and after an interruption, there is no part of a head.
    """
    folder = Path(folder)
    refuse_another_head(folder)
    made = not folder.exists()
    tensors = {name: getattr(head, name) for name in _TENSORS[:-1]}
    tensors["digests"] = torch.from_numpy(head.digests.astype(np.uint64).view(np.int64).copy())
    try:
        digest = write_tensors(folder / WEIGHTS, tensors)
        write_config(folder / CARD, head.card, digest)
    except BaseException:  # Ctrl-C as well
        for name in (CARD, WEIGHTS):
            (folder / name).unlink(missing_ok=True)
        if made and folder.is_dir():
            folder.rmdir()
        raise


def refuse_another_head(folder: str | Path) -> None:
    """Refuse a folder that holds a head already: hours of labelling and fitting may be in it.

    Raises:
        FileExistsError: there is one.
    """
    for name in (CARD, WEIGHTS):
        if (Path(folder) / name).exists():
            raise FileExistsError(
                f"{folder} holds a head already ({name}), which is not replaced: name another folder, or remove it."
            )


def load_head(folder: str | Path) -> Head:
    """Load a head of :func:`save_head`.

    Raises:
        FileNotFoundError: no such folder, or none of a head. ValueError: a damaged file.
    """
    folder = Path(folder)
    if not (folder / CARD).is_file():
        raise FileNotFoundError(
            f"{folder} holds no head: it has no {CARD}. ijepa-viz evaluate MODEL --probe linear --data DATA "
            "--save-head FOLDER writes one."
        )
    data = read_json(folder / CARD)
    digest = str(data.pop("weights_sha256", ""))
    card = config_files.build(HeadCard, data, str(folder / CARD))
    tensors = read_tensors(folder / WEIGHTS)
    check_digest(folder / WEIGHTS, digest)
    shapes = {"mean": (card.width,), "std": (card.width,), "weights": (card.width, len(card.classes))}
    shapes["bias"] = (len(card.classes),)
    wrong = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
    if wrong or set(tensors) != set(_TENSORS):
        raise ValueError(
            f"{folder / WEIGHTS} does not fit {CARD}: {', '.join(wrong) or 'other tensors than a head has'}."
        )
    digests = tensors.pop("digests").numpy().view(np.uint64)
    return Head(card, **tensors, digests=digests)
