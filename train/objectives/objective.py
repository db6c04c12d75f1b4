"""What a run minimises: the interface of an objective, and the registry of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ijepa_viz.checkpoints import OBJECTIVE, OBJECTIVE_WEIGHTS, folder_of, load_folder, load_model, save_folder
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.registry import Registry
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_config
from ijepa_viz.runtime.tensors import read_into, write_tensors
from train.config import ObjectiveConfig, TrainConfig


@dataclass(frozen=True)
class _Told:
    """What ``objective.json`` records beside the digest of its weights."""

    objective: ObjectiveConfig
    model: ModelConfig


class Objective(nn.Module):
    """A model and the loss that trains it, as one module, so that wrappers such as DDP see one.

    The trainer evaluates and publishes ``model``: its ``target_encoder`` is what probes look at.

    Attributes:
        Options: a dataclass of the objective's own settings, read strictly from ``objective.options``.
        columns: the names of what ``forward`` reports besides ``loss``.
        extra: what the objective trains besides ``model`` and keeps beside it; None for I-JEPA, whose model is all.
        told: the config it was built from.
    """

    Options: type
    columns: tuple[str, ...] = ()
    model: IJEPA

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.told = config
        # Not a class attribute: that would hide the module of this name.
        self.extra: nn.Module | None = None

    def forward(self, images: Tensor, masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised images -> ``loss`` (to minimise) and what the log shows, scalars."""
        raise NotImplementedError

    def energy(self, images: Tensor, masks: Masks, candidates: Tensor) -> Tensor:
        """How badly candidates for the hidden blocks go with the visible patches, by this objective's own measure.

        Args:
            images: (B, 3, H, W) normalised; only the context is looked at.
            masks: of them. candidates: (B, 3, H, W) normalised, the images with something in their hidden blocks.

        Returns:
            (B,), low for compatible pairs; comparable within one model only.
        """
        raise NotImplementedError

    def after_step(self, momentum: float) -> None:
        """Once after every optimizer step: where there is a teacher, it moves."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write the model into ``folder``, and :attr:`extra` and what it is beside it."""
        save_folder(self.model, folder)
        if self.extra is not None:
            digest = write_tensors(folder / OBJECTIVE_WEIGHTS, self.extra.state_dict())
            write_config(folder / OBJECTIVE, _Told(self.told.objective, self.told.model), digest)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError, ValueError: as :func:`ijepa_viz.load_model`.
        """
        self.adopt(load_folder(folder), folder)
        if self.extra is not None:
            read_into(self.extra, folder / OBJECTIVE_WEIGHTS, str(read_json(folder / OBJECTIVE)["weights_sha256"]))

    def adopt(self, saved: IJEPA, name: object) -> None:
        """Take over the weights of ``saved``, which ``name`` names in errors.

        Raises:
            ValueError: a model of other sizes.
        """
        if saved.config != self.model.config:
            raise ValueError(
                f"{name} holds a model of other sizes ({saved.config}) than the config's ({self.model.config})."
            )
        self.model.load_state_dict(saved.state_dict())


OBJECTIVES: Registry[type[Objective]] = Registry("objective")


def build(config: TrainConfig) -> Objective:
    """The objective that ``config.objective`` names, with a fresh model from torch's global seed.

    Raises:
        ValueError: an unknown objective or option, or settings that contradict each other.
    """
    kind: Any = OBJECTIVES[config.objective.name]
    where = f"objective.options of {config.objective.name!r}"
    return kind(config, config_files.build(kind.Options, config.objective.options, where))


def open_trained(source: str | Path) -> Objective:
    """A trained objective, whichever it is, ready for :meth:`Objective.energy`.

    Args:
        source: a checkpoint's folder; or anything else that ``load_model`` takes, which is an I-JEPA.

    Raises:
        FileNotFoundError, ValueError: as ``load_model``, or a damaged ``objective.json``.
    """
    folder = folder_of(source)
    if (folder / OBJECTIVE).is_file():
        data = read_json(folder / OBJECTIVE)
        data.pop("weights_sha256", None)
        told = config_files.build(_Told, data, str(folder / OBJECTIVE))
        objective = build(TrainConfig(model=told.model, objective=told.objective))
        objective.load(folder)
    else:
        model = load_model(source)
        objective = build(TrainConfig(model=model.config))
        objective.adopt(model, source)
    return objective.eval()


@dataclass(frozen=True)
class NoOptions:
    """For objectives without settings of their own."""
