"""Interface of a training objective (a model and its loss), and the registry of objectives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ijepa_viz.checkpoints import OBJECTIVE, OBJECTIVE_WEIGHTS, folder_of, load_folder, load_model, save_folder
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.models.inflation import inflated
from ijepa_viz.registry import Registry
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_config
from ijepa_viz.runtime.tensors import read_into, write_tensors
from train.config import ObjectiveConfig, TrainConfig


@dataclass(frozen=True)
class ObjectiveCard:
    """Metadata of ``objective.json``, beside the sha256 of its weights."""

    objective: ObjectiveConfig
    model: ModelConfig


class Objective(nn.Module):
    """A model and the loss that trains it, in one module, so that wrappers such as DDP wrap both.

    The trainer evaluates and saves ``model``; probes read the features of its ``target_encoder``.

    Attributes:
        Options: dataclass of the objective's own settings, read strictly from ``objective.options``.
        columns: names of the scalars that ``forward`` returns besides ``loss``.
        frozen_encoders: whether the encoders are left as they are, so that a run must begin from a trained model.
        model: encoder, predictor and target encoder.
        extra: module trained besides ``model`` and saved beside it (a decoder, an expander); None for I-JEPA.
        config: the training config.
    """

    Options: type
    columns: tuple[str, ...] = ()
    frozen_encoders: bool = False
    model: IJEPA

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        # In __init__, because a class attribute would hide the submodule of this name.
        self.extra: nn.Module | None = None

    def forward(self, images: Tensor, masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Loss on a batch: (B, 3, H, W) normalised images -> ``loss`` and the scalars named in ``columns``."""
        raise NotImplementedError

    def energy(self, images: Tensor, masks: Masks, candidates: Tensor) -> Tensor:
        """Energy of candidate contents for the target blocks given the context, (B,), low for compatible pairs.

        Measured by the error or distance that the objective minimises; comparable within one model only.

        Args:
            images: (B, 3, H, W) normalised; only their context patches are used.
            masks: masks of the B images.
            candidates: (B, 3, H, W) normalised, images with candidate contents in the target blocks.
        """
        raise NotImplementedError

    def after_step(self, momentum: float) -> None:
        """Update after every optimizer step: the teacher's EMA, where the objective has a teacher."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write the model into ``folder``, and :attr:`extra` with its :class:`ObjectiveCard` beside it."""
        save_folder(self.model, folder)
        if self.extra is not None:
            digest = write_tensors(folder / OBJECTIVE_WEIGHTS, self.extra.state_dict())
            write_config(folder / OBJECTIVE, ObjectiveCard(self.config.objective, self.config.model), digest)

    def load(self, folder: Path) -> None:
        """Load the weights that :meth:`save` wrote.

        Raises:
            FileNotFoundError, ValueError: as :func:`ijepa_viz.load_model`.
        """
        self.copy_weights(load_folder(folder), folder)
        if self.extra is not None:
            read_into(self.extra, folder / OBJECTIVE_WEIGHTS, str(read_json(folder / OBJECTIVE)["weights_sha256"]))

    def copy_weights(self, saved: IJEPA, name: object) -> None:
        """Copy the weights of ``saved`` into ``model``.

        Args:
            saved: a model of the same config, or of one for pictures of another size: its positions are then computed
                for this one's (:meth:`ijepa_viz.models.IJEPA.at`). A model of films begins from one of pictures too:
                each frame of a tubelet gets its share of the patch embedding, so that a still film is embedded as its
                picture is, and an embedding of cues that the model of pictures lacks keeps its initial weights.
            name: its name in error messages.

        Raises:
            ValueError: a model of other sizes.
        """
        size = self.model.config.image_size
        own, other = asdict(self.model.config), asdict(saved.config)
        different = [key for key in own if own[key] != other[key]]
        of_films = self.model.config.frames > 1 and saved.config.frames == 1
        if set(different) <= ({"image_size", *_OF_FILMS} if of_films else {"image_size"}) and "image_size" in different:
            try:
                saved = saved.at(*self.model.config.height_and_width, positions="recomputed")
            except ValueError as error:
                raise ValueError(
                    f"{name} cannot begin at {size}, its own size is {saved.config.image_size}: {error} Train at "
                    f"model.image_size={saved.config.image_size}."
                ) from error
            different.remove("image_size")
        if set(different) <= _OF_FILMS and of_films:
            self.model.load_state_dict(inflated(saved.state_dict(), self.model))
            return
        if saved.config != self.model.config:
            found = ", ".join(f"model.{key} {other[key]} instead of {own[key]}" for key in different)
            raise ValueError(f"{name} holds a model of other sizes than the config's: it has {found}.")
        self.model.load_state_dict(saved.state_dict())


# Settings in which a model of films may differ from the model of pictures that it begins from.
_OF_FILMS = {"frames", "tubelet", "cue_tokens", "cue_vocabulary", "encoder_steps"}


OBJECTIVES: Registry[type[Objective]] = Registry("objective")


def build(config: TrainConfig) -> Objective:
    """Build the objective named by ``config.objective``, its weights initialised from torch's global seed.

    Raises:
        ValueError: an unknown objective or option, or settings that contradict each other.
    """
    objective: Any = OBJECTIVES[config.objective.name]
    where = f"objective.options of {config.objective.name!r}"
    return objective(config, config_files.build(objective.Options, config.objective.options, where))


def load_objective(source: str | Path) -> Objective:
    """Load a trained objective of any kind, in eval mode, ready for :meth:`Objective.energy`.

    Args:
        source: a checkpoint's folder or a bundled name; any other source of ``load_model`` is read as an I-JEPA.

    Raises:
        FileNotFoundError, ValueError: as ``load_model``, or a damaged ``objective.json``.
    """
    folder = folder_of(source)
    if (folder / OBJECTIVE).is_file():
        data = read_json(folder / OBJECTIVE)
        data.pop("weights_sha256", None)
        card = config_files.build(ObjectiveCard, data, str(folder / OBJECTIVE))
        objective = build(TrainConfig(model=card.model, objective=card.objective))
        objective.load(folder)
    else:
        model = load_model(source)
        objective = build(TrainConfig(model=model.config))
        objective.copy_weights(model, source)
    return objective.eval()
