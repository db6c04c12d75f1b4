"""The predictor alone, on tokens of frozen encoders, as V-JEPA 2-AC trains its own (arXiv 2506.09985, section 4)."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, gather_targets, target_layer_norm
from ijepa_viz.models.inflation import inflated
from train.config import TrainConfig
from train.objectives.objective import OBJECTIVES, Objective

# Settings of the predictor, which may be of another size than that of the model that it begins from.
_OF_PREDICTOR = {
    "predictor_width", "predictor_depth", "predictor_heads", "predictor_context", "cue_tokens", "cue_vocabulary",
}  # fmt: skip


@dataclass(frozen=True)
class Encoded:
    """A batch that the frozen encoders have encoded.

    Attributes:
        context: (B, K, D), of the context encoder. targets: (B, N, D), all tokens of the target encoder, through the
            loss's LayerNorm.
    """

    context: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.context)

    def __getitem__(self, rows: slice) -> Encoded:
        return Encoded(self.context[rows], self.targets[rows])


@dataclass(frozen=True)
class PredictorOptions:
    """Options of the objective ``predictor``: none."""


@OBJECTIVES.register("predictor")
class PredictorObjective(Objective):
    """Smooth L1 between predicted and target tokens; only the predictor learns, so that nothing can collapse.

    Raises:
        ValueError: no predictor, or a regularizer, which has nothing to act on.
    """

    Options = PredictorOptions
    columns = ("prediction_loss", "cosine", "cosine_other")
    frozen_encoders = True

    def __init__(self, config: TrainConfig, options: PredictorOptions) -> None:
        super().__init__(config)
        if not config.model.predictor_width:
            raise ValueError("The objective 'predictor' needs a predictor: set model.predictor_width.")
        if config.regularizer.name != "none":
            raise ValueError(
                "The objective 'predictor' trains no encoder, which a regularizer would act on: set "
                "regularizer.name=none."
            )
        self.model = IJEPA(config.model)
        self.model.encoder.requires_grad_(False)

    def encode(self, images: Tensor, masks: Masks) -> Encoded:
        """Encode normalised images (B, 3, H, W) or films (B, T, 3, H, W)."""
        with torch.no_grad():
            return Encoded(
                self.model.encode_context(images, masks), target_layer_norm(self.model.encode_target(images))
            )

    def forward(
        self,
        images: Tensor | Encoded,
        masks: Masks,
        generator: torch.Generator | None = None,
        cues: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """As :meth:`Objective.forward`; of batches that are encoded already too."""
        encoded = images if isinstance(images, Encoded) else self.encode(images, masks)
        target = gather_targets(encoded.targets.float(), masks)
        predicted = self.model.predict(encoded.context.float(), masks, cues).float()
        loss = F.smooth_l1_loss(predicted, target)
        with torch.no_grad():
            own = F.cosine_similarity(predicted, target, dim=-1).mean()
            # Control: the same patch indices in another image's target.
            other = F.cosine_similarity(predicted, target.roll(1, 0), dim=-1).mean()
        return {"loss": loss, "prediction_loss": loss.detach(), "cosine": own, "cosine_other": other}

    @torch.no_grad()
    def energy(self, images: Tensor, masks: Masks, candidates: Tensor, cues: Tensor | None = None) -> Tensor:
        """Smooth L1 between the prediction and the candidates' targets, as :meth:`Objective.energy`."""
        predicted = self.model.predict(self.model.encode_context(images, masks), masks, cues).float()
        target = self.model.targets(candidates, masks).float()
        return F.smooth_l1_loss(predicted, target, reduction="none").mean((1, 2, 3))

    def after_step(self, momentum: float) -> None:
        """Nothing: the teacher stays as it is."""

    def copy_weights(self, saved: IJEPA, name: object) -> None:
        """As :meth:`Objective.copy_weights`; what the predictor has in another size keeps its initial weights.

        A model of films with separate steps begins from one of pictures, whose encoders read every step.

        Raises:
            ValueError: a model of other sizes, or one of pictures for films whose steps are encoded jointly.
        """
        own, other = self.model.config, saved.config
        if own.frames > 1 and other.frames == 1:
            if own.encoder_steps == "joint":
                raise ValueError(
                    f"{name} is a model of pictures: its encoders, which the objective 'predictor' leaves as they are, "
                    "have seen no film. Let them read every step as a picture (model.encoder_steps=separate), or train "
                    "a model of films first (objective.name=ijepa)."
                )
            sizes = {key: getattr(own, key) for key in ("frames", "tubelet", "encoder_steps")}
            films = IJEPA(replace(other, **sizes))
            films.load_state_dict(inflated(saved.state_dict(), films))
            saved, other = films, films.config
        same = replace(other, **{key: getattr(own, key) for key in _OF_PREDICTOR})
        if other == own or same != own:  # the latter is an error there
            super().copy_weights(saved, name)
            return
        found, state = self.model.state_dict(), saved.state_dict()
        anew = {key for key, value in found.items() if key not in state or state[key].shape != value.shape}
        if any(not key.startswith("predictor.cues.") for key in anew):  # no mixture of two predictors
            anew = {key for key in found if key.startswith("predictor.")}
        self.model.load_state_dict({key: found[key] if key in anew else state[key] for key in found})
        if anew:
            parts = sorted({".".join(key.split(".")[:2]) for key in anew})
            print(f"Not of {name}, but initialised: {', '.join(parts)}.", file=sys.stderr)
