"""A film drawn step by step, each by the network of a decoder of pictures: for I-JEPAs whose encoders read every step
as a picture, so that their tokens are those of a model of pictures. Of one step: pictures, drawn by the decoder of
another model with the same target encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from decoders.networks.network import NETWORKS, BlockNetwork, read_network
from ijepa_viz.checkpoints import find_bundled
from ijepa_viz.masks import Grid
from ijepa_viz.runtime.tensors import fingerprint


@NETWORKS.register("by-step")
class ByStep(BlockNetwork):
    """Draws every step of a film as a picture, by a network that is not a part of it but named.

    The frames of a tubelet are alike: a token of separate steps is of their average. All steps have the same noise, so
    that what does not move does not flicker. Nothing here is trained.

    Args:
        grid: (rows, cols), patch_size: in pixels of what is drawn, feature_width: D, of the I-JEPA.
        pictures: a bundled model's name or the folder of a decoder of pictures; its first stage is not used.
        pictures_sha256: fingerprint of its network; "" is not checked.
        steps, tubelet: of the I-JEPA, steps of time and frames of each.

    Raises:
        FileNotFoundError: no such decoder. ValueError: a damaged one, another network than the fingerprint's, one of
            films, or of another patch size or width.
    """

    trained = False

    @register_to_config
    def __init__(
        self,
        grid: Grid,
        patch_size: int,
        feature_width: int,
        pictures: str = "menagerie-tiny",
        pictures_sha256: str = "",
        steps: int = 1,
        tubelet: int = 1,
    ) -> None:
        super().__init__(feature_width)
        folder = Path(pictures) if Path(pictures).is_dir() else find_bundled(pictures)
        if not (folder / "network").is_dir():
            folder = folder / "decoder"  # of a model's folder
        network = read_network(folder / "network").requires_grad_(False).eval()
        if pictures_sha256 and fingerprint(network) != pictures_sha256:
            raise ValueError(
                f"The decoder of pictures {pictures!r} has other weights than the one that this decoder was made "
                "with. Make it anew: python -m decoders with network.name=token-vit."
            )
        found = network.steps, network.config.patch_size, network.config.feature_width
        if found != (1, patch_size, feature_width):
            raise ValueError(
                f"A decoder of pictures with patches of {patch_size} px and tokens of {feature_width} numbers is "
                f"needed; {pictures!r} has {found[0]} step{'s' * (found[0] > 1)}, {found[1]} px and {found[2]}."
            )
        # In a list, so that it is no submodule: its weights are saved once, in its own folder.
        self._picture_network = [network.at((grid[0], grid[1]))]
        self.feature_mean.copy_(network.feature_mean)
        self.feature_std.copy_(network.feature_std)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the network of pictures too."""
        self._picture_network[0]._apply(fn)
        return super()._apply(fn, recurse)

    def grid_noise(self, generator: torch.Generator) -> Tensor:
        """Implement :meth:`BlockNetwork.grid_noise`: the same noise in all steps and frames."""
        network = self._picture_network[0]
        frame = network.grid_noise(generator)  # (rows cols, 3 p p)
        return self._frames(frame).repeat(self.steps, 1)

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        patch_indices: Tensor,
        tokens: Tensor,
        conditioning: Tensor,
        token_source: Tensor,
    ) -> Tensor:
        """Implement :meth:`BlockNetwork.forward`."""
        if self.steps == self.tubelet == 1:
            return self._picture_network[0](noisy, sigma, patch_indices, tokens, conditioning, token_source)
        cells = self.grid[0] * self.grid[1]
        first = noisy.unflatten(-1, (3, self.tubelet, -1))[..., 0, :].flatten(2)  # (B, T, 3 p p)
        drawn = torch.empty_like(first)
        of_step = torch.stack([patch_indices // cells == step for step in range(self.steps)], 1)  # (B, S, T)
        counts = of_step.sum(2)
        for count in counts[counts > 0].unique().tolist():  # steps with equally many patches at once
            rows, steps = (counts == count).nonzero().unbind(1)
            chosen = of_step[rows, steps].nonzero()[:, 1].view(-1, count)
            own = rows[:, None]
            drawn[own, chosen] = self._picture_network[0](
                first[own, chosen],
                sigma[rows],
                patch_indices[own, chosen] % cells,
                tokens[own, chosen],
                conditioning[rows],
                token_source[rows],
            ).to(drawn)
        return self._frames(drawn)

    def _frames(self, pixels: Tensor) -> Tensor:
        """Patches of one frame (..., 3 p p) as those of all frames of a tubelet, (..., 3 t p p)."""
        return pixels.unflatten(-1, (3, 1, -1)).expand(*pixels.shape[:-1], 3, self.tubelet, -1).flatten(-3)
