"""Metric ``realism``: kernel distance and two-sample test between decoded and real blocks.

The features are of a small classifier, trained on real blocks of the same data. The distance has the form of the kernel
inception distance (arXiv 1801.01401), but is not comparable with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.classifier import as_images, classifier_features, train_classifier
from decoders.evaluation.metric import (
    DECODER_METRICS,
    box_of,
    centre_hole,
    sample_blocks,
    source_blocks,
)
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.models import IJEPA, gather_targets, patchify
from ijepa_viz.probes.features import labelled
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track


def kernel_matrix(x: Tensor, y: Tensor) -> Tensor:
    """Cubic polynomial kernel (x y / F + 1)^3 of (n, F) and (m, F): (n, m)."""
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def kernel_distance(gram: Tensor, count: int) -> Tensor:
    """Unbiased squared maximum mean discrepancy of the first ``count`` against the rest, (...).

    Args:
        gram: (..., n + m, n + m), kernel of both sets concatenated.
        count: n.
    """
    rest = gram.shape[-1] - count
    a, b, across = gram[..., :count, :count], gram[..., count:, count:], gram[..., :count, count:]
    within = [
        (part.sum((-1, -2)) - part.diagonal(dim1=-1, dim2=-2).sum(-1)) / (size * (size - 1))
        for part, size in ((a, count), (b, rest))
    ]
    return within[0] + within[1] - 2 * across.mean((-1, -2))


def two_sample_test(x: Tensor, y: Tensor, permutations: int = 200, seed: int = 0) -> tuple[float, float]:
    """Kernel distance of two sets of features, and its p-value by permutation (Gretton et al. 2012).

    Args:
        x, y: (n, F) and (m, F).
        permutations: the p-value is never below 1 / (permutations + 1).
        seed: of the permutations.
    """
    both = torch.cat([x, y])
    gram = kernel_matrix(both, both)
    distance = float(kernel_distance(gram, len(x)))
    generator = torch.Generator().manual_seed(seed)
    further = 0
    for _ in track(range(permutations), "permuting", "permutation"):
        order = torch.randperm(len(both), generator=generator)
        further += float(kernel_distance(gram[order][:, order], len(x))) >= distance
    return distance, (further + 1) / (permutations + 1)


@DECODER_METRICS.register("realism")
def realism(model: IJEPA, decoder: Decoder, split: Split, train: int = 12000, count: int = 400) -> dict[str, Any]:
    """Kernel distance (x 1000) between decoded and real blocks in the centre hole; the data must be labelled.

    ``real_pixels``, other real blocks, is the lower bound. Real and decoded blocks are never of the same images.
    """
    pair = train_and_test(split)
    size, hole = decoder.image_size, centre_hole(model)
    block, patch = box_of(hole), model.config.patch_size
    images, labels = labelled(pair.train, size, train)
    chunks = (patchify(chunk / 127.5 - 1, decoder.network.config.patch_size) for chunk in images.split(100))
    hidden = torch.cat([gather_targets(patches, hole.repeat(len(patches)))[:, 0] for patches in chunks])
    real = as_images(hidden, block, patch)
    classifier = train_classifier(real, {"label": labels}, {"label": int(labels.max()) + 1}, epochs=6)
    blocks = source_blocks(model, pair.test, size, hole, 3 * count)
    third = len(blocks.clean) // 3
    reference = classifier_features(classifier, as_images(blocks.clean[:third], block, patch))
    tokens, patch_indices = blocks.predicted[third:], blocks.patch_indices[third:]
    own, other = slice(0, third), slice(third, 2 * third)
    decoded = {
        "real_pixels": blocks.clean[third:][other],
        "predicted_tokens": sample_blocks(decoder, tokens[own], patch_indices[own]),
        "predicted_pooled": sample_blocks(decoder, tokens[own], patch_indices[own], conditioning="pooled"),
        "blur_of_predicted": sample_blocks(decoder, tokens[own], patch_indices[own], num_inference_steps=1),
        "target_tokens": sample_blocks(decoder, blocks.target[third:][own], patch_indices[own], source="target"),
        "null": sample_blocks(decoder, tokens[own], patch_indices[own], conditioning="null"),
    }
    table: dict[str, Any] = {}
    for name, pixels in decoded.items():
        distance, p = two_sample_test(reference, classifier_features(classifier, as_images(pixels, block, patch)))
        table[name] = {"distance_x_1000": 1000 * distance, "p_value": p}
    return table
