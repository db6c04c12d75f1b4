"""What a run minimises: the interface of an objective, and the registry of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ijepa_viz import strict_config
from ijepa_viz.checkpoints import load_folder
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA
from ijepa_viz.registry import Registry
from train.config import TrainConfig


class Objective(nn.Module):
    """A model and the loss that trains it, as one module, so that wrappers such as DDP see one.

    The trainer evaluates and publishes ``model``: its ``target_encoder`` is what probes look at.

    Attributes:
        Options: a dataclass of the objective's own settings, read strictly from ``objective.options``.
        columns: the names of what ``forward`` reports besides ``loss``.
    """

    Options: type
    columns: tuple[str, ...] = ()
    model: IJEPA

    def forward(self, images: Tensor, masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised images -> ``loss`` (to minimise) and what the log shows, scalars."""
        raise NotImplementedError

    def after_step(self, momentum: float) -> None:
        """Once after every optimizer step: where there is a teacher, it moves."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write the model, and whatever else a resumed run needs, into ``folder``."""
        self.model.save(folder)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError, ValueError: as :func:`ijepa_viz.load_model`.
        """
        self.adopt(load_folder(folder), folder)

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
    return kind(config, strict_config.build(kind.Options, config.objective.options, where))


@dataclass(frozen=True)
class NoOptions:
    """For objectives without settings of their own."""


# They register themselves; they build on the names above.
from train.objectives import ijepa, mae  # noqa: E402, F401
