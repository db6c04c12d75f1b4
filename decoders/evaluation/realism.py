"""Do decoded blocks look like real ones? A kernel distance and a two-sample test, in an independent network's eyes.

The features are a small recogniser's, trained here on the same data's real blocks. The distance is of the same form
as the kernel inception distance, and is not comparable with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.metric import INSTRUMENTS, box_of, centre_hole, draw, pictures, see
from decoders.evaluation.recogniser import as_images, features_of, train_recogniser
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.features import labelled
from ijepa_viz.probes.probe import Split


def kernel_matrix(x: Tensor, y: Tensor) -> Tensor:
    """(n, F), (m, F) -> (n, m): the cubic polynomial kernel (x y / F + 1)^3."""
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def kernel_distance(gram: Tensor, count: int) -> Tensor:
    """The unbiased squared maximum mean discrepancy of the first ``count`` against the rest.

    Args:
        gram: (..., n + m, n + m), the kernel of both sets, side by side.
    """
    rest = gram.shape[-1] - count
    a, b, across = gram[..., :count, :count], gram[..., count:, count:], gram[..., :count, count:]
    within = [
        (part.sum((-1, -2)) - part.diagonal(dim1=-1, dim2=-2).sum(-1)) / (size * (size - 1))
        for part, size in ((a, count), (b, rest))
    ]
    return within[0] + within[1] - 2 * across.mean((-1, -2))


def two_sample_test(x: Tensor, y: Tensor, permutations: int = 200, seed: int = 0) -> tuple[float, float]:
    """The kernel distance of two sets of features, and how often shuffled sets are as far apart: the p-value.

    Args:
        x, y: (n, F) and (m, F).
        permutations: the p-value is never below 1 / (permutations + 1).
    """
    both = torch.cat([x, y])
    gram = kernel_matrix(both, both)
    distance = float(kernel_distance(gram, len(x)))
    generator = torch.Generator().manual_seed(seed)
    further = 0
    for _ in range(permutations):
        order = torch.randperm(len(both), generator=generator)
        further += float(kernel_distance(gram[order][:, order], len(x))) >= distance
    return distance, (further + 1) / (permutations + 1)


@INSTRUMENTS.register("realism")
def realism(model: IJEPA, decoder: Decoder, split: Split, train: int = 12000, count: int = 400) -> dict[str, Any]:
    """Kernel distance (x 1000) of decoded and real blocks in the centre hole; the data must be labelled.

    ``real_pixels`` is the floor: other real blocks. Real and decoded blocks are never of the same images.
    """
    size, hole = model.config.image_size, centre_hole(model)
    block, patch = box_of(hole), decoder.network.config.patch_size
    images, labels = labelled(split("train"), size, train)
    real = as_images(see(model, normalise(images / 255), hole, patch_size=patch).clean, block)
    eye = train_recogniser(real, {"label": labels}, {"label": int(labels.max()) + 1}, epochs=6)
    test = pictures(split("test"), size, 3 * count)
    seen = see(model, test, hole, patch_size=patch)
    third = len(test) // 3
    reference = features_of(eye, as_images(seen.clean[:third], block))
    tokens, places = seen.predicted[third:], seen.places[third:]
    own, other = slice(0, third), slice(third, 2 * third)
    decoded = {
        "real_pixels": seen.clean[third:][other],
        "predicted_tokens": draw(decoder, tokens[own], places[own]),
        "predicted_pooled": draw(decoder, tokens[own], places[own], condition="pooled"),
        "blur_of_predicted": draw(decoder, tokens[own], places[own], num_inference_steps=1),
        "target_tokens": draw(decoder, seen.target[third:][own], places[own], source="target"),
        "null": draw(decoder, tokens[own], places[own], condition="null"),
    }
    table: dict[str, Any] = {}
    for name, pixels in decoded.items():
        distance, p = two_sample_test(reference, features_of(eye, as_images(pixels, block)))
        table[name] = {"distance_x_1000": 1000 * distance, "p_value": p}
    return table
