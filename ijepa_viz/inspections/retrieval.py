"""Nearest-neighbour retrieval of real patches and blocks by predicted tokens.

Unlike a decoder, retrieval shows real images only: the blocks of a data set whose target tokens are closest to the
prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.batches import evenly
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures.completion import BOX, context_image, outline, show
from ijepa_viz.figures.figure import Figure, panel_size
from ijepa_viz.inspections import maps
from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models import IJEPA, target_layer_norm
from ijepa_viz.runtime.progress import track


@INSPECTIONS.register("retrieval")
def inspect_retrieval(inputs: InspectionInput, k: int = 7) -> dict[str, Any]:
    """Nearest real blocks to the predicted tokens, to the target tokens, and to the mean prediction (the control).

    Of a model without a predictor: to the target tokens, and to the mean target tokens of the others at this place.
    """
    hidden = inputs.masks.hidden[0].nonzero()
    (top, left), (bottom, right) = hidden.min(0).values.tolist(), hidden.max(0).values.tolist()
    shape = (bottom - top + 1, right - left + 1)
    if len(hidden) != shape[0] * shape[1] or inputs.masks.targets.shape[1] != 1:
        raise ValueError("Retrieval needs one rectangular target block.")
    index = TokenIndex.from_images(inputs.model, inputs.others)
    some = inputs.others[evenly(len(inputs.others), 256)]  # the first ones may be of one class
    picture = inputs.image.permute(1, 2, 0).cpu().numpy()
    shown = {"target": picture}
    if inputs.model.predictor is None:
        # The index lies on the scale of cosines, so a mean of its tokens is one of directions.
        queries = {
            "target": _target_tokens(inputs)[0],
            "mean target": index.tokens[:, inputs.masks.targets[0, 0]].mean(0).cpu(),
        }
        shown["mean target"] = picture
    else:
        prediction = inputs.predict()
        queries = {
            "predicted": prediction.predicted[0].cpu(),
            "target": prediction.target[0].cpu(),
            "mean prediction": maps.controls(inputs.model, some, inputs.masks)["mean prediction"][0],
        }
        shown |= dict.fromkeys(("predicted", "mean prediction"), context_image(prediction))
    found = {name: index.blocks(tokens, shape, k) for name, tokens in queries.items()}
    kinds = {name: name if name in BOX else "control" for name in queries}
    wide, high = panel_size(1.3, inputs.masks.grid)
    figure = Figure(
        f"Nearest real blocks to these tokens: {', '.join(queries)}.",
        figsize=(wide * (k + 1), (high + 0.25) * len(found) + 0.3),
        layout="constrained",
    )
    axes = figure.subplots(len(found), k + 1, squeeze=False)
    for line, (name, places) in zip(axes, found.items(), strict=True):
        show(line[0], shown[name])
        outline(line[0], inputs.masks, inputs.model.config.patch_size, BOX[kinds[name]], 1.5)
        line[0].set_title(f"nearest to\n{name}", fontsize=8)
        for i, axis in enumerate(line[1:]):
            if i >= len(places.images):
                axis.set_axis_off()
                continue
            _show_block(axis, inputs, places, i, shape, BOX[kinds[name]])
    best = {f"{name.replace(' ', '_')}_best": float(p.cosine[0]) for name, p in found.items()}
    return {"images": len(inputs.others), "copies_excluded": inputs.excluded, **best, "figure": figure}


@torch.no_grad()
def _target_tokens(inputs: InspectionInput) -> Tensor:
    """Target tokens of the image's blocks, (M, T, D)."""
    pixels = normalise(inputs.image[None].to(inputs.model.device).float())
    return inputs.model.targets(pixels, inputs.masks.to(str(inputs.model.device)))[0].float().cpu()


def _show_block(
    axis: Any, inputs: InspectionInput, found: Neighbours, i: int, shape: tuple[int, int], colour: str
) -> None:
    show(axis, (inputs.others[found.images[i]].permute(1, 2, 0) / 255).numpy())
    row, col = int(found.rows[i]), int(found.cols[i])
    block = Masks.from_block(inputs.model.grid, row, col, *shape)
    outline(axis, block, inputs.model.config.patch_size, colour, 1.5)
    axis.set_title(f"cosine {found.cosine[i]:.2f}", fontsize=8)


@dataclass(frozen=True)
class Neighbours:
    """Nearest patches or blocks, best first.

    Attributes:
        images: (k,) int64, image indices. rows, cols: (k,) int64, the (top left) patch. cosine: (k,).
    """

    images: Tensor
    rows: Tensor
    cols: Tensor
    cosine: Tensor


class TokenIndex:
    """Searchable index of the target tokens of many images.

    A query is one matrix product. Memory: 4 N D bytes an image (33 KB for the tiny models).

    Args:
        tokens: (n, N, D), row-major on the grid. They stay on their device, normalised to length 1.
        grid: (rows, cols), N = rows * cols.

    Raises:
        ValueError: tokens that do not fit the grid, or none.
    """

    def __init__(self, tokens: Tensor, grid: Grid) -> None:
        if tokens.ndim != 3 or tokens.shape[1] != grid[0] * grid[1] or not len(tokens):
            raise ValueError(f"Needs tokens (n, {grid[0] * grid[1]}, D) of at least one image, got {tokens.shape}.")
        self.tokens = F.normalize(tokens.float(), dim=-1)
        self.grid = grid

    @classmethod
    @torch.no_grad()
    def from_images(cls, model: IJEPA, images: Tensor, batch: int = 64) -> TokenIndex:
        """Index (n, 3, H, W) uint8 images by the model's target encoder, after the loss's LayerNorm."""
        parts = []
        for chunk in track(images.split(batch), "indexing images", "batch"):
            tokens = model.encode_target(normalise(chunk.to(model.device).float() / 255))
            parts.append(target_layer_norm(tokens).float().cpu())
        return cls(torch.cat(parts), model.grid)

    def __len__(self) -> int:
        return len(self.tokens)

    def patches(self, token: Tensor, k: int = 8) -> Neighbours:
        """The ``k`` patches of any image and position with the highest cosine to ``token`` (D,)."""
        return self.blocks(token[None], (1, 1), k)

    def blocks(
        self, tokens: Tensor, shape: tuple[int, int], k: int = 8, at: tuple[int, int] | None = None, each: bool = True
    ) -> Neighbours:
        """The ``k`` blocks with the highest mean cosine, token by token, to a block of predicted tokens.

        Args:
            tokens: (T, D), row-major over the block.
            shape: (height, width) of the block in patches, T = height * width.
            k: number of results, or as many as there are.
            at: restrict the search to blocks with this top left patch (row, col); None is any position.
            each: return only the best block of each image.

        Raises:
            ValueError: tokens that do not fit the block, or a block that does not fit in the grid.
        """
        (height, width), (rows, cols) = shape, self.grid
        if tokens.ndim != 2 or len(tokens) != height * width or tokens.shape[1] != self.tokens.shape[-1]:
            raise ValueError(
                f"A {height}x{width} block has tokens ({height * width}, {self.tokens.shape[-1]}), got {tokens.shape}."
            )
        down, right = rows - height + 1, cols - width + 1
        if down < 1 or right < 1 or (at and not (0 <= at[0] < down and 0 <= at[1] < right)):
            raise ValueError(f"A {height}x{width} block at {at} does not fit in the {rows}x{cols} grid.")
        query = F.normalize(tokens.float().to(self.tokens.device), dim=-1)
        if at is not None:
            first = at[0] * cols + at[1]
            patch_indices = [first + r * cols + c for r in range(height) for c in range(width)]
            one_by_one = [self.tokens[:, p] @ q for p, q in zip(patch_indices, query, strict=True)]
            total = torch.stack(one_by_one).sum(0)[:, None, None]
        else:
            # Cosine of every token with every patch of every image, then the sum along each block.
            score = (self.tokens @ query.T).view(len(self), rows, cols, -1)
            total = torch.zeros(len(self), down, right, device=score.device)
            for t in range(len(query)):
                r, c = divmod(t, width)
                total += score[:, r : r + down, c : c + right, t]
        total /= len(query)
        origin, across = at or (0, 0), total.shape[2]
        flat = total.flatten(1)
        if each:
            best, place = flat.max(1)
            cosine, image = best.topk(min(k, len(best)))
            place = place[image]
        else:
            cosine, index = flat.flatten().topk(min(k, flat.numel()))
            image, place = index // flat.shape[1], index % flat.shape[1]
        return Neighbours(image, place // across + origin[0], place % across + origin[1], cosine)
