"""The linear decoder, solved in closed form: what a prediction shows with no learning of pictures at all."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from decoders.networks.network import NETWORKS, NULL, POOLED, PREDICTED, TARGET, TOKENS, ClosedForm
from ijepa_viz.masks import Grid


@NETWORKS.register("ridge")
class Ridge(ClosedForm):
    """Ridge regression from a patch's token (or the block's average) and its place to its pixels.

    One map for every (kind, mode); the place enters as an intercept of its own, which is all that the
    null mode has.

    Args:
        grid: (rows, cols), patch_size: in pixels, feature_width: D, of the I-JEPA it reads.
        penalty: on the squared weights of standardised features, per training patch; none on intercepts.
    """

    @register_to_config
    def __init__(self, grid: Grid, patch_size: int, feature_width: int, penalty: float = 1e-3) -> None:
        super().__init__(feature_width)
        places, pixels = grid[0] * grid[1], 3 * patch_size**2
        self.weights: Tensor
        self.intercepts: Tensor
        self.register_buffer("weights", torch.zeros(2, 2, feature_width, pixels))
        self.register_buffer("intercepts", torch.zeros(2, 3, places, pixels))
        self._sums: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def forward(
        self, noisy: Tensor, sigma: Tensor, places: Tensor, condition: Tensor, mode: Tensor, kind: Tensor
    ) -> Tensor:
        """As :meth:`BlockNetwork.forward`; ``noisy`` and ``sigma`` are not read."""
        features = self.standardise(condition, kind)
        pooled = features.mean(1, keepdim=True).expand_as(features)
        features = torch.where((mode == POOLED)[:, None, None], pooled, features)
        features = features * (mode != NULL)[:, None, None]
        weights = self.weights[kind, (mode == TOKENS).long()]
        return features @ weights + self.intercepts[kind, mode][torch.arange(len(places))[:, None], places]

    def accumulate(self, places: Tensor, condition: Tensor, kind: int, clean: Tensor) -> None:
        """As :meth:`ClosedForm.accumulate`: products of features, in float64."""
        features = self.standardise(condition, torch.full((len(places),), kind, device=places.device)).double()
        pooled = features.mean(1, keepdim=True).expand_as(features)
        count = self.intercepts.shape[2]
        where = torch.nn.functional.one_hot(places.flatten(), count).double()
        for mode, given in ((POOLED, pooled), (TOKENS, features)):
            x = torch.cat([given.flatten(0, 1), where], dim=1)
            gram, cross = x.T @ x, x.T @ clean.flatten(0, 1).double()
            before = self._sums.get((kind, mode), (0.0, 0.0))
            self._sums[kind, mode] = gram + before[0], cross + before[1]

    def solve(self) -> None:
        """As :meth:`ClosedForm.solve`."""
        width = self.weights.shape[2]
        for kind in (PREDICTED, TARGET):
            for mode in (POOLED, TOKENS):
                gram, cross = self._sums[kind, mode]
                patches = gram[width:, width:].sum()
                # A place that was never seen keeps an intercept of zero, mid-grey.
                penalty = torch.full((len(gram),), 1e-9 * float(patches), dtype=gram.dtype, device=gram.device)
                penalty[:width] = self.config.penalty * patches
                solution = torch.linalg.solve(gram + penalty.diag(), cross)
                self.weights[kind, int(mode == TOKENS)] = solution[:width].float()
                self.intercepts[kind, mode] = solution[width:].float()
            seen = gram[width:, width:].diagonal().clamp_min(1)
            self.intercepts[kind, NULL] = (cross[width:] / seen[:, None]).float()
