"""Joint-embedding baseline: one embedding for two views, VICReg (Bardes et al. 2022, arXiv 2105.04906)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.data.transforms import denormalise, normalise, random_resized_crop
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from train.config import TrainConfig
from train.ema import ema_update
from train.objectives.objective import OBJECTIVES, Objective
from train.regularizers import variance_covariance


@dataclass(frozen=True)
class InvarianceOptions:
    """Options of the VICReg objective.

    The weights are the paper's; the invariance term is averaged over features, where the paper's equation sums.

    Attributes:
        crop_scale: area of a view's crop, as a share of the trainer's own crop.
        jitter: brightness, contrast and saturation are multiplied by factors in [1 - jitter, 1 + jitter]; the hue is
            rotated by at most jitter / 2 radians in the colour plane. 0 turns colour jitter off.
        grey: probability that a view is greyscale.
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
    """VICReg: two augmented views get the same embedding, with variance and covariance terms against collapse.

    Embeddings are expanded average-pooled tokens. ``model`` has no predictor, and there is no teacher:
    ``target_encoder`` is a copy of the encoder. Masks are used by :meth:`energy` only.

    Raises:
        ValueError: a regularizer, because this objective has its own.
    """

    Options = InvarianceOptions
    columns = ("invariance", "variance", "covariance", "cosine", "cosine_other")

    def __init__(self, config: TrainConfig, options: InvarianceOptions) -> None:
        super().__init__(config)
        if config.regularizer.name != "none":
            raise ValueError("The objective 'invariance' has its own regularizer: set regularizer.name=none.")
        if config.model.frames > 1 or config.model.cue_tokens:
            raise ValueError(
                "The objective 'invariance' is of pictures without cues: set model.frames=1, model.tubelet=1, "
                "model.cue_tokens=0 and model.cue_vocabulary=0."
            )
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
        """Random view of each normalised image, (B, 3, H, W): crop, horizontal flip and colour jitter."""
        options, count = self.options, len(images)
        size = self.model.config.image_size
        pixels = random_resized_crop(denormalise(images), size, generator, scale=options.crop_scale, flip=True)
        draws = torch.rand(5, count, generator=generator).to(pixels.device)[..., None, None, None]
        factors = 1 + options.jitter * (2 * draws[:3] - 1)
        pixels = pixels * factors[0]
        pixels = (pixels - pixels.mean((1, 2, 3), keepdim=True)) * factors[1] + pixels.mean((1, 2, 3), keepdim=True)
        grey = pixels.mean(1, keepdim=True)
        colour = torch.where(draws[4] < options.grey, 0.0, factors[2]) * rotate_hue(
            pixels - grey, 0.5 * options.jitter * (2 * draws[3] - 1)
        )
        return normalise((grey + colour).clamp(0, 1))

    def embed(self, images: Tensor, masks: Masks | None = None) -> Tensor:
        """Embeddings of whole images or of their context patches: (B, 3, H, W) normalised -> (B, E)."""
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
        """Squared distance between the embeddings of context and candidate block, as :meth:`Objective.energy`.

        The block enters as a view of training: its bounding box, resized to the image size. The energy is therefore
        independent of the block's position.
        """
        context = self.embed(images, masks)
        side, size = self.model.config.patch_size, self.model.config.height_and_width
        total = torch.zeros(len(images), device=images.device)
        blocks = masks.targets.shape[1]
        for m in range(blocks):
            crops = []
            for image, indices in zip(candidates, masks.targets[:, m], strict=True):
                rows, cols = indices // masks.grid[1], indices % masks.grid[1]
                top, left = int(rows.min()) * side, int(cols.min()) * side
                bottom, right = (int(rows.max()) + 1) * side, (int(cols.max()) + 1) * side
                crop = image[None, :, top:bottom, left:right]
                crops.append(F.interpolate(crop, size, mode="bilinear", align_corners=False))
            total += (context - self.embed(torch.cat(crops))).square().mean(1)
        return total / blocks

    def after_step(self, momentum: float) -> None:
        """Copy the encoder into ``target_encoder``: there is no teacher."""
        ema_update(self.model, 0.0)


def rotate_hue(colour: Tensor, angle: Tensor) -> Tensor:
    """Rotate (B, 3, H, W) differences from grey about the grey axis by ``angle`` (B, 1, 1, 1), radians (Rodrigues)."""
    r, g, b = colour.unbind(1)
    across = torch.stack([b - g, r - b, g - r], 1) / 3**0.5  # the cross product with (1, 1, 1) / sqrt(3)
    return colour * angle.cos() + across * angle.sin()
