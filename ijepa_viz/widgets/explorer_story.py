"""From patches to pixels: the steps between a hole and a sample of it, with this hole's own values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from ijepa_viz.data.picture_size import in_words
from ijepa_viz.data.transforms import normalise, to_pil
from ijepa_viz.figures.token_colours import common_components
from ijepa_viz.inspections.maps import token_map
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Prediction
from ijepa_viz.widgets.picture_widget import data_uri

# Side in pixels of the story's pictures of patches.
_SIDE = 128
# What the decoder is told instead of the prediction, by the choice of the page's menu.
_INSTEAD = {
    "pooled": "Now decoded: their average, one token for the whole block.",
    "other": "Now decoded instead, as a control: the tokens predicted for another image.",
    "mean": "Now decoded instead, as a control: the mean predicted tokens of many images.",
    "target": "Now decoded instead: the target encoder's tokens, which are made from the hidden patches themselves.",
    "null": "Now none of them is given to the decoder.",
}
_COLOURS = (
    "Colours are three principal components of context, predicted and target tokens together: equal colours, alike "
    "tokens."
)


class Frames:
    """Keeps the first sample of a few steps of one sampling: ``frames.look`` is a decoder's callback.

    Attributes:
        kept: (step, picture (3, H, W)) each, in the order of the steps.
        done: number of the last step, which may end the sampling early.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[int, Tensor]] = []
        self.done = 0

    def look(self, state: dict[str, Any]) -> None:
        """Keep the first sample of this step if it is the first, or about the third or the two thirds of all."""
        self.done, total = state["step"], state["steps"]
        if self.done in {1, max(2, round(total / 3)), max(3, round(2 * total / 3))} and self.done < total:
            self.kept.append((self.done, state["images"][0].clone()))


@torch.inference_mode()
def tell(model: IJEPA, prediction: Prediction, drawn: Any, frames: Frames, show: str) -> list[dict[str, Any]]:
    """Stations from the patches to the first sample, each {"name", "words", "pictures": [{"picture", "words"}, ...]}.

    Args:
        model: that predicted. prediction: of the image, also where something else is decoded.
        drawn: samples. frames: of their sampling. show: choice of the page's menu.
    """
    masks, config = prediction.masks, model.config
    hidden = masks.hidden[0].cpu()
    rows, cols = masks.grid
    count, away = rows * cols, int(hidden.sum())
    size = prediction.patch_size
    context = model.encode_context(normalise(prediction.image[None]).to(model.device), masks.to(str(model.device)))
    seen, patch_indices = context[0].float().cpu(), masks.context[0].cpu()
    if masks.context_valid is not None:
        valid = masks.context_valid[0].cpu()
        seen, patch_indices = seen[valid], patch_indices[valid]
    predicted, target = (_by_patch(t, prediction) for t in (prediction.predicted, prediction.target))
    found = common_components([seen, predicted, target], min(3, len(seen) + 2 * away - 1))

    def tile(tokens: Tensor, where: Tensor, words: str) -> dict[str, str]:
        rgba = torch.zeros(count, 4)
        rgba[where, :3] = found.colours(tokens)
        rgba[where, 3] = 1
        return _picture(_enlarged(rgba.view(rows, cols, 4).numpy()), words)

    at = hidden.flatten().nonzero().flatten()
    shown = torch.where(masks.hidden_pixels(size)[0], torch.full_like(prediction.image, 0.55), prediction.image)
    stations = [
        {
            "name": "Patches",
            "words": f"The picture of {in_words(config.image_size)} px is cut into {rows} × {cols} patches of "
            f"{size} px; {away} of {count} {'is' if away == 1 else 'are'} hidden.",
            "pictures": [_picture(to_pil(shown), f"The picture with {away} of {count} patches hidden")],
        },
        {
            "name": "Context tokens",
            "words": f"The context encoder turns {_several(len(seen), 'visible patch')} into tokens of {config.width} "
            "numbers, and sees no pixel of the hidden ones.",
            "pictures": [tile(seen, patch_indices, f"{len(seen)} context tokens as colours. {_COLOURS}")],
        },
        _of_predictor(prediction, away, len(seen), show),
        {
            "name": "Predicted tokens",
            "words": f"{_several(away, 'predicted token')} (left): what should be there, not how it looks. Right, the "
            f"target encoder's. {_INSTEAD.get(show, '')}".strip(),
            "pictures": [
                tile(predicted, at, f"{away} predicted tokens as colours. {_COLOURS}"),
                tile(target, at, f"{away} target tokens as colours. {_COLOURS}"),
            ],
        },
        _of_decoder(prediction, drawn, frames),
    ]
    return stations


def _of_predictor(prediction: Prediction, away: int, seen: int, show: str) -> dict[str, Any]:
    words = (
        f"From {_several(seen, 'context token')} and the places of {_several(away, 'hidden patch')} the predictor "
        f"computes {_several(away, 'token')}"
    )
    pictures = []
    if show in ("predicted", "pooled"):
        around = token_map(prediction.predicted, prediction.target, prediction.masks).cosine
        words += (
            f"; their cosine with the target encoder's is {prediction.cosine.mean():.2f} on average, "
            f"{np.nanmin(around):.2f} to {np.nanmax(around):.2f} by patch."
        )
        known = ~np.isnan(around)
        rgba = colormaps["viridis"](np.where(known, around, 0.0)) * known[..., None]
        pictures.append(_picture(_enlarged(rgba), "Cosine of each predicted and target token: dark 0, bright 1"))
    else:
        words += "."
    return {"name": "Predictor", "words": words, "pictures": pictures}


def _of_decoder(prediction: Prediction, drawn: Any, frames: Frames) -> dict[str, Any]:
    behind = prediction.picture(drawn.images.shape[-2]).to(drawn.images)
    hole = drawn.inside
    pictures = [
        _picture(to_pil(torch.where(hole, frame, behind)), f"Sample 1 as expected after step {step} of {frames.done}")
        for step, frame in frames.kept
        if step < frames.done
    ]
    pictures.append(_picture(to_pil(torch.where(hole, drawn.images[0], behind)), "Sample 1"))
    if frames.done <= 1:
        words = "In one step the decoder draws the mean of what is possible: a blur."
    else:
        kept = ", ".join(str(step) for step, _ in frames.kept if step < frames.done)
        words = (
            f"The decoder starts from noise and reaches sample 1 (last) in {frames.done} steps; before it, what it "
            f"expects after step {kept}. Other noise gives the other samples."
        )
    return {"name": "Noise to picture", "words": words, "pictures": pictures}


def _several(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def _by_patch(tokens: Tensor, prediction: Prediction) -> Tensor:
    """(M, T, D) to (n, D) of the hidden patches in reading order; of overlapping blocks the last one counts."""
    rows, cols = prediction.masks.grid
    canvas = torch.zeros(rows * cols, tokens.shape[-1])
    for block, patch_indices in zip(tokens.float().cpu(), prediction.masks.targets[0].cpu(), strict=True):
        canvas[patch_indices] = block
    return canvas[prediction.masks.hidden[0].cpu().flatten()]


def _enlarged(rgba: np.ndarray) -> Image.Image:
    image = Image.fromarray((np.asarray(rgba) * 255).round().astype(np.uint8))
    scale = max(1, _SIDE // max(image.size))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _picture(image: Image.Image, words: str) -> dict[str, str]:
    return {"picture": data_uri(image), "words": words}
