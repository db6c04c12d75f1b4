"""Linear decoder, solved in closed form: the baseline without a generative model."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from decoders.networks.network import NETWORKS, ClosedForm, Conditioning, TokenSource
from ijepa_viz.masks import Grid


@NETWORKS.register("ridge")
class Ridge(ClosedForm):
    """Ridge regression from a patch's token (or the block's average) and its patch index to its pixels.

    One map for every pair of token source and conditioning. Each patch index has its own intercept, which is the whole
    map for ``Conditioning.NULL``.

    Args:
        grid: (rows, cols), patch_size: in pixels, feature_width: D, of the I-JEPA.
        penalty: on the squared weights of standardised features, per training patch; none on intercepts.
    """

    @register_to_config
    def __init__(self, grid: Grid, patch_size: int, feature_width: int, penalty: float = 1e-3) -> None:
        super().__init__(feature_width)
        patches, pixels = grid[0] * grid[1], 3 * patch_size**2
        self.weights: Tensor
        self.intercepts: Tensor
        self.register_buffer("weights", torch.zeros(2, 2, feature_width, pixels))
        self.register_buffer("intercepts", torch.zeros(2, 3, patches, pixels))
        self._sums: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        patch_indices: Tensor,
        tokens: Tensor,
        conditioning: Tensor,
        token_source: Tensor,
    ) -> Tensor:
        """Implement :meth:`BlockNetwork.forward`; ``noisy`` and ``sigma`` are not read."""
        features = self.standardise(tokens, token_source)
        pooled = features.mean(1, keepdim=True).expand_as(features)
        features = torch.where((conditioning == Conditioning.POOLED)[:, None, None], pooled, features)
        features = features * (conditioning != Conditioning.NULL)[:, None, None]
        weights = self.weights[token_source, (conditioning == Conditioning.TOKENS).long()]
        intercepts = self.intercepts[token_source, conditioning]  # (B, N, 3 p p)
        return features @ weights + intercepts[torch.arange(len(patch_indices))[:, None], patch_indices]

    def accumulate(self, patch_indices: Tensor, tokens: Tensor, token_source: TokenSource, clean: Tensor) -> None:
        """Implement :meth:`ClosedForm.accumulate`: sums of the normal equations, in float64 on the CPU."""
        sources = torch.full((len(patch_indices),), token_source, device=patch_indices.device)
        # Not every device has float64.
        features = self.standardise(tokens, sources).cpu().double()
        pooled = features.mean(1, keepdim=True).expand_as(features)
        count = self.intercepts.shape[2]
        position = torch.nn.functional.one_hot(patch_indices.flatten().cpu(), count).double()
        pixels = clean.flatten(0, 1).cpu().double()
        for conditioning, regressors in ((Conditioning.POOLED, pooled), (Conditioning.TOKENS, features)):
            x = torch.cat([regressors.flatten(0, 1), position], dim=1)
            gram, cross = x.T @ x, x.T @ pixels
            before = self._sums.get((token_source, conditioning), (0.0, 0.0))
            self._sums[token_source, conditioning] = gram + before[0], cross + before[1]

    def solve(self) -> None:
        """Implement :meth:`ClosedForm.solve`."""
        width = self.weights.shape[2]
        for source in TokenSource:
            for conditioning in (Conditioning.POOLED, Conditioning.TOKENS):
                gram, cross = self._sums[source, conditioning]
                patches = gram[width:, width:].sum()
                # The intercept of a patch index that never occurred stays zero, mid-grey.
                penalty = torch.full((len(gram),), 1e-9 * float(patches), dtype=gram.dtype)
                penalty[:width] = self.config.penalty * patches
                solution = torch.linalg.solve(gram + penalty.diag(), cross)
                self.weights[source, int(conditioning == Conditioning.TOKENS)] = solution[:width].float()
                self.intercepts[source, conditioning] = solution[width:].float()
            counts = gram[width:, width:].diagonal().clamp_min(1)
            self.intercepts[source, Conditioning.NULL] = (cross[width:] / counts[:, None]).float()
