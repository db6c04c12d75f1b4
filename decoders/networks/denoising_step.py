"""One evaluation of a decoder network as a module that can be traced, for export to ONNX."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from decoders.networks.block_vit import BlockViT, SeamRefiner
from decoders.networks.network import BlockNetwork, name_of
from ijepa_viz.masks import Grid

# Inputs of DenoisingStep, in order, and their free lengths: S samples, T hidden patches, and the box's sides.
STEP_INPUTS: dict[str, dict[int, str]] = {
    "noisy": {0: "samples", 1: "hidden"},
    "sigma": {0: "samples"},
    "patch_indices": {0: "samples", 1: "hidden"},
    "tokens": {0: "samples", 1: "hidden"},
    "conditioning": {0: "samples"},
    "token_source": {0: "samples"},
    "box": {0: "rows", 1: "columns"},
}


class DenoisingStep(nn.Module):
    """A network's forward pass, with the extent of the holes as an input: a trace cannot compute a shape from numbers.

    Args:
        network: a ``block-vit``, ``token-vit`` or ``squared-error``; it is copied.

    Raises:
        ValueError: another kind of network.
    """

    def __init__(self, network: BlockNetwork) -> None:
        super().__init__()
        if not isinstance(network, BlockViT):
            raise ValueError(
                f"Decoders of the kind {name_of(network)!r} cannot be exported to ONNX; block-vit, token-vit and "
                "squared-error can."
            )
        if network.steps > 1:
            raise ValueError("Decoders of films cannot be exported to ONNX yet: the page draws pictures.")
        self.network = copy.deepcopy(network).eval()
        self._refiner = None if network.smooth is None else _RefinerInBox(network.smooth)
        if self._refiner is not None:
            self.network.smooth = self._refiner

    def forward(
        self,
        noisy: Tensor,
        sigma: Tensor,
        patch_indices: Tensor,
        tokens: Tensor,
        conditioning: Tensor,
        token_source: Tensor,
        box: Tensor,
    ) -> Tensor:
        """As :meth:`BlockNetwork.forward`, (S, T, C) -> (S, T, C).

        Args:
            noisy, sigma, patch_indices, tokens, conditioning, token_source: of that.
            box: (rows, columns), of which only the shape is read: patches of a box that holds every hole.
        """
        if self._refiner is not None:
            self._refiner.box = (box.shape[0], box.shape[1])
        return self.network(noisy, sigma, patch_indices, tokens, conditioning, token_source)


class _RefinerInBox(nn.Module):
    """A :class:`SeamRefiner` in a box that is given, with the corner of each hole in the box's."""

    def __init__(self, refiner: SeamRefiner) -> None:
        super().__init__()
        self.refiner = copy.deepcopy(refiner)
        self.box: Grid = (1, 1)

    def forward(self, estimate: Tensor, noisy: Tensor, patch_indices: Tensor, vector: Tensor) -> Tensor:
        """As :meth:`SeamRefiner.forward`."""
        columns = self.refiner.columns
        row, col = patch_indices // columns, patch_indices % columns
        row, col = row - row.amin(1, keepdim=True), col - col.amin(1, keepdim=True)
        return self.refiner.in_box(estimate, noisy, row * self.box[1] + col, self.box, vector)
