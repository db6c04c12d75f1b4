"""The joint-embedding architecture of the announcement: two views of a picture, one embedding (VICReg, 2105.04906)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.data.transforms import denormalise, normalise, random_resized_crop
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from train.config import TrainConfig
from train.ema import follow
from train.objectives.objective import OBJECTIVES, Objective
from train.regularizers import variance_covariance


@dataclass(frozen=True)
class InvarianceOptions:
    """The weights are the paper's; the invariance term is averaged over features, where its equation sums them.

    Attributes:
        crop_scale: of the views, a share of the trainer's own crop.
        jitter: brightness, contrast and saturation are multiplied by 1 - jitter to 1 + jitter; half of it is the
            largest turn of the hue, in radians of the colour plane. 0 leaves colours alone.
        grey: share of the views without colour.
        expander: width of the two hidden layers of the expander, and of the embedding.
        invariance, variance, covariance: weights of the three terms.
    """

    crop_scale: tuple[float, float] = (0.15, 1.0)
    jitter: float = 0.4
    grey: float = 0.2
    expander: int = 512
    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0


@OBJECTIVES.register("invariance")
class InvarianceObjective(Objective):
    """Two augmented views of a picture get the same embedding, and embeddings of a batch stay apart.

    ``model`` is the encoder only, average-pooled; there is no teacher, so its ``target_encoder`` always equals it.
    Masks are not used, except to ask for an :meth:`energy`.

    Raises:
        ValueError: a regularizer, because this objective has its own.
    """

    Options = InvarianceOptions
    columns = ("invariance", "variance", "covariance", "cosine", "cosine_other")

    def __init__(self, config: TrainConfig, options: InvarianceOptions) -> None:
        super().__init__(config)
        if config.regularizer.name != "none":
            raise ValueError("The objective 'invariance' has its own regularizer: set regularizer.name=none.")
        self.options = options
        self.model = IJEPA(replace(config.model, predictor_width=0))
        self.model.target_encoder.requires_grad_(False)
        width, wide = config.model.width, options.expander
        self.expander = self.extra = nn.Sequential(
            nn.Linear(width, wide),
            nn.LayerNorm(wide),
            nn.GELU(),
            nn.Linear(wide, wide),
            nn.LayerNorm(wide),
            nn.GELU(),
            nn.Linear(wide, wide, bias=False),
        )

    def view(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """A random view of each normalised image (B, 3, H, W): a crop, perhaps mirrored, its colours changed."""
        options, count = self.options, len(images)
        size = self.model.config.image_size
        pixels = random_resized_crop(denormalise(images), size, generator, scale=options.crop_scale, flip=True)
        draws = torch.rand(5, count, generator=generator).to(pixels.device)[..., None, None, None]
        factors = 1 + options.jitter * (2 * draws[:3] - 1)
        pixels = pixels * factors[0]
        pixels = (pixels - pixels.mean((1, 2, 3), keepdim=True)) * factors[1] + pixels.mean((1, 2, 3), keepdim=True)
        grey = pixels.mean(1, keepdim=True)
        colour = torch.where(draws[4] < options.grey, 0.0, factors[2]) * _turn_hue(
            pixels - grey, 0.5 * options.jitter * (2 * draws[3] - 1)
        )
        return normalise((grey + colour).clamp(0, 1))

    def embed(self, images: Tensor, masks: Masks | None = None) -> Tensor:
        """(B, 3, H, W) normalised -> (B, E): of whole images, or of their visible patches only."""
        if masks is None:
            tokens = self.model.encoder(images)
            return self.expander(tokens.mean(1)).float()
        tokens = self.model.encode_context(images, masks)
        share = masks.valid / masks.valid.sum(1, keepdim=True)
        return self.expander((tokens * share[..., None]).sum(1)).float()

    def forward(self, images: Tensor, masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """As :meth:`Objective.forward`."""
        views = torch.cat([self.view(images, generator), self.view(images, generator)])
        a, b = self.embed(views).chunk(2)
        options = self.options
        terms = [variance_covariance(x, None) for x in (a, b)]
        report = {
            "invariance": (a - b).square().mean(),
            "variance": (terms[0]["variance"] + terms[1]["variance"]) / 2,
            "covariance": terms[0]["covariance"] + terms[1]["covariance"],
        }
        loss = (
            options.invariance * report["invariance"]
            + 2 * options.variance * report["variance"]
            + options.covariance * report["covariance"]
        )
        with torch.no_grad():
            report["cosine"] = F.cosine_similarity(a, b).mean()
            report["cosine_other"] = F.cosine_similarity(a, b.roll(1, 0)).mean()
        return {"loss": loss, **{name: value.detach() for name, value in report.items()}}

    @torch.no_grad()
    def energy(self, images: Tensor, masks: Masks, candidates: Tensor) -> Tensor:
        """Squared distance of two views' embeddings: the visible patches, and the candidate's block as a crop.

        The crop is what training calls a view: the block's bounding box, enlarged. So the energy cannot know where
        the block was cut. As :meth:`Objective.energy`.
        """
        seen = self.embed(images, masks)
        side, size = self.model.config.patch_size, self.model.config.image_size
        total = torch.zeros(len(images), device=images.device)
        blocks = masks.targets.shape[1]
        for m in range(blocks):
            crops = []
            for picture, places in zip(candidates, masks.targets[:, m], strict=True):
                rows, cols = places // masks.grid[1], places % masks.grid[1]
                top, left = int(rows.min()) * side, int(cols.min()) * side
                bottom, right = (int(rows.max()) + 1) * side, (int(cols.max()) + 1) * side
                crop = picture[None, :, top:bottom, left:right]
                crops.append(F.interpolate(crop, (size, size), mode="bilinear", align_corners=False))
            total += (seen - self.embed(torch.cat(crops))).square().mean(1)
        return total / blocks

    def after_step(self, momentum: float) -> None:
        """No teacher: the published copy is the encoder itself."""
        follow(self.model, 0.0)


def _turn_hue(colour: Tensor, angle: Tensor) -> Tensor:
    """Rotate (B, 3, H, W) differences from grey by ``angle`` (B, 1, 1, 1) about the grey axis (Rodrigues)."""
    r, g, b = colour.unbind(1)
    across = torch.stack([b - g, r - b, g - r], 1) / 3**0.5  # the cross product with (1, 1, 1) / sqrt(3)
    return colour * angle.cos() + across * angle.sin()
