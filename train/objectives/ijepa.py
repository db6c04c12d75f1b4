"""I-JEPA: predict the target encoder's representation of target blocks (section 3, "Loss")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, gather_targets, target_layer_norm
from ijepa_viz.registry import Registry
from train.config import TrainConfig
from train.ema import ema_update
from train.objectives.objective import OBJECTIVES, Objective
from train.regularizers import REGULARIZERS, regularize

# name -> function (B, N, D) -> (B, N, D) that normalises target tokens.
NORMALISATIONS: Registry = Registry("target normalisation")


@NORMALISATIONS.register("layernorm")
def _layernorm(tokens: Tensor) -> Tensor:
    """Parameter-free LayerNorm over each token's features, as in the reference code and ``IJEPA.targets``."""
    return target_layer_norm(tokens)


@NORMALISATIONS.register("standardised")
def _standardised(tokens: Tensor) -> Tensor:
    """Standardise each feature over all tokens of the batch, which removes any vector common to all tokens."""
    return (tokens - tokens.mean((0, 1))) / (tokens.std((0, 1)) + 1e-4)


@NORMALISATIONS.register("instance")
def _instance(tokens: Tensor) -> Tensor:
    """Standardise each feature over the tokens of one image (data2vec 2.0), which removes the image's mean token."""
    return (tokens - tokens.mean(1, keepdim=True)) / (tokens.std(1, keepdim=True) + 1e-4)


@NORMALISATIONS.register("none")
def _none(tokens: Tensor) -> Tensor:
    """No normalisation."""
    return tokens


@dataclass(frozen=True)
class IJEPAOptions:
    """Options of the I-JEPA objective; the defaults are the paper's.

    Attributes:
        target_normalisation: a name in :data:`NORMALISATIONS`.
        target_layers: number of the teacher's last layers whose normalised outputs are averaged as target.
        stop_gradient: False also trains the teacher by the loss, which collapses: a demonstration.
        target_context: "all" encodes whole images or films, as the papers; "masks" encodes only the patches of context
            and targets, in the target encoder too, which saves time where masks leave out many patches
            (``max_context``, ``max_targets``). It takes one target layer.
        noise_targets: targets are Gaussian noise, new in every step, from which nothing can be learned: a
            demonstration.
    """

    target_normalisation: str = "layernorm"
    target_layers: int = 1
    stop_gradient: bool = True
    target_context: str = "all"
    noise_targets: bool = False


@OBJECTIVES.register("ijepa")
class IJEPAObjective(Objective):
    """Smooth L1 between predicted and target tokens, and an optional regularizer on the context encoder.

    Raises:
        ValueError: unknown names, more target layers than the encoder has, or no predictor.
    """

    Options = IJEPAOptions
    columns = ("prediction_loss", "variance", "covariance", "sigreg", "cosine", "cosine_other")

    def __init__(self, config: TrainConfig, options: IJEPAOptions) -> None:
        super().__init__(config)
        if not config.model.predictor_width:
            raise ValueError("The objective 'ijepa' needs a predictor: set model.predictor_width.")
        if not 1 <= options.target_layers <= config.model.depth:
            raise ValueError(f"target_layers must be 1 to {config.model.depth}, got {options.target_layers}.")
        if options.target_context not in ("all", "masks"):
            raise ValueError(f"target_context must be 'all' or 'masks', got {options.target_context!r}.")
        if options.target_context == "masks" and (options.target_layers > 1 or not options.stop_gradient):
            raise ValueError("target_context 'masks' goes with target_layers 1 and stop_gradient true.")
        self.normalise = NORMALISATIONS[options.target_normalisation]
        self.regularizer = config.regularizer
        self.options = options
        _ = REGULARIZERS[config.regularizer.name]
        if config.regularizer.level not in ("tokens", "pooled"):
            raise ValueError(f"regularizer.level must be 'tokens' or 'pooled', got {config.regularizer.level!r}.")
        self.model = IJEPA(config.model)
        if not options.stop_gradient:
            self.model.target_encoder.requires_grad_(True).pos_embed.requires_grad_(False)

    def targets(self, images: Tensor, masks: Masks, generator: torch.Generator | None = None) -> Tensor:
        """Target tokens of the loss, (B, M, T, D) float32."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.options.stop_gradient):
            layers = self.options.target_layers
            among_masks = self.options.target_context == "masks"
            if among_masks:
                tokens = self._targets_and_context(images, masks).float()
            else:
                tokens = self.model.target_encoder(images, layers=layers).float()
            parts = tokens.unflatten(-1, (layers, -1)).unbind(2)
            tokens = torch.stack([self.normalise(part) for part in parts]).mean(0)
            if self.options.noise_targets:
                tokens = torch.randn(tokens.shape, generator=generator).to(tokens)
            return tokens[:, None, : masks.targets.shape[2]] if among_masks else gather_targets(tokens, masks)

    def _targets_and_context(self, images: Tensor, masks: Masks) -> Tensor:
        """The target encoder's tokens (B, T + K, D) of the target block and of the context, which alone it sees."""
        if masks.targets.shape[1] > 1:
            raise ValueError(
                f"target_context 'masks' takes one target block, not {masks.targets.shape[1]}, which may overlap: use "
                "a strategy with one (tubes, future, mixed, random, block), or target_context 'all'."
            )
        shown = masks.targets[:, 0]
        index = torch.cat([shown, masks.context], dim=1)
        valid = None
        if masks.context_valid is not None:
            valid = torch.cat([torch.ones_like(shown, dtype=torch.bool), masks.context_valid], dim=1)
        return self.model.target_encoder(images, index, valid)

    def forward(
        self, images: Tensor, masks: Masks, generator: torch.Generator | None = None, cues: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As :meth:`Objective.forward`; ``cues`` (B, L) as of :meth:`ijepa_viz.models.IJEPA.predict`."""
        target = self.targets(images, masks, generator)
        context = self.model.encode_context(images, masks)
        predicted = self.model.predict(context, masks, cues).float()
        prediction = F.smooth_l1_loss(predicted, target)
        terms = regularize(self.regularizer, context, masks.valid, generator)
        loss = prediction + self.regularizer.weight * sum(terms.values()) if terms else prediction
        with torch.no_grad():
            own = F.cosine_similarity(predicted, target, dim=-1).mean()
            # Control: the same patch indices in another image's target.
            other = F.cosine_similarity(predicted, target.roll(1, 0), dim=-1).mean()
        report = {"prediction_loss": prediction, **terms, "cosine": own, "cosine_other": other}
        return {"loss": loss, **{name: value.detach() for name, value in report.items()}}

    @torch.no_grad()
    def energy(self, images: Tensor, masks: Masks, candidates: Tensor, cues: Tensor | None = None) -> Tensor:
        """Smooth L1 between the prediction and the candidates' targets, as :meth:`Objective.energy`.

        With ``cues`` (B, L) the prediction is given them: the energy of a caption is that of its prediction.
        """
        predicted = self.model.predict(self.model.encode_context(images, masks), masks, cues).float()
        return F.smooth_l1_loss(predicted, self.targets(candidates, masks), reduction="none").mean((1, 2, 3))

    def after_step(self, momentum: float) -> None:
        """EMA of the teacher (:func:`train.ema.ema_update`); none where the loss trains the teacher."""
        if self.options.stop_gradient:
            ema_update(self.model, momentum)
