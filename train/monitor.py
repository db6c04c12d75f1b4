"""Statistics of the target encoder during training: spread of features, effective rank, relative weight change."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import Encoder
from train.sharding import local_shard

COLUMNS = ("spread_tokens", "spread_images", "rankme", "teacher_moved", "update_ratio")


def spreads(tokens: Tensor) -> tuple[float, float]:
    """Spread of the tokens within an image, and of the tokens at one patch index over images.

    Args:
        tokens: (B, N, D).

    Returns:
        Root mean square deviation from the image's mean token, and from the mean over images at the same patch
        index. Both are divided by the tokens' own root mean square, so that 0 is collapse at any scale. A model that
        encodes the position only has the first and not the second.
    """
    scale = tokens.square().mean().sqrt().clamp_min(1e-12)
    within = (tokens - tokens.mean(1, keepdim=True)).square().mean().sqrt()
    between = (tokens - tokens.mean(0, keepdim=True)).square().mean().sqrt()
    return float(within / scale), float(between / scale)


def rankme(features: Tensor) -> float:
    """Effective rank of (n, D) features, RankMe (Garrido et al. 2023, arXiv 2210.02885, eq. 1).

    The exponential of the entropy of the singular values, from 1 (collapse to a line) to min(n, D). Features are
    centred here, so that a vector common to all images does not count as a dimension. NaN for features that are not
    finite.
    """
    if not features.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals((features - features.mean(0)).double())
    total = values.sum()
    if total <= 1e-12:
        return 1.0
    shares = values / total
    return float(torch.exp(-(shares * (shares + 1e-12).log()).sum()))


class Monitor:
    """Looks at a target encoder every so often, on the same pictures every time.

    Args:
        pictures: (n, 3, H, W) uint8.
    """

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures
        self.before: Tensor | None = None

    @torch.no_grad()
    def look(self, encoder: Encoder) -> dict[str, float]:
        """Spreads, rank, and ``teacher_moved``: the weights' relative change since the last look."""
        device = encoder.pos_embed.device
        parts = [encoder(normalise(x.float().to(device) / 255)).float().cpu() for x in self.pictures.split(64)]
        tokens = torch.cat(parts)
        within, between = spreads(tokens)
        weights = flat_weights(encoder)
        numbers = {"spread_tokens": within, "spread_images": between, "rankme": rankme(tokens.mean(1))}
        if self.before is not None:
            numbers["teacher_moved"] = float((weights - self.before).norm() / self.before.norm())
        self.before = weights
        return numbers


def flat_weights(module: nn.Module) -> Tensor:
    """All parameters but the fixed position embedding as one CPU vector; of a sharded module, the local shards."""
    named = [(name, local_shard(p.detach())) for name, p in module.named_parameters()]
    return torch.cat([p.flatten().cpu() for name, p in named if not name.endswith("pos_embed")]).clone()
