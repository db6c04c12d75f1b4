"""Linear CKA between representations of the same pictures (Kornblith et al. 2019, arXiv 1905.00414).

HSIC is estimated without bias (Song et al. 2012, equation 5; used by Nguyen et al. 2021, arXiv 2010.15327): the plain
estimator approaches 1 for any two representations that have more features than there are pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.data.picture_stream import PictureBatch
from ijepa_viz.models import Encoder
from ijepa_viz.probes.feature_stream import stream_features

FEWEST = 4  # examples, below which the unbiased estimator is not defined


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear CKA of two representations, unbiased: 1 where they agree but for rotation and scale, about 0 by chance.

    Args:
        first, second: (n, D) and (n, E), tensors or NumPy arrays, of the same n examples in the same order.

    Raises:
        ValueError: as :func:`cka_matrix`.

    >>> x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    >>> round(linear_cka(x, -3 * x.flip(1) + 5), 6)
    1.0
    """
    return float(cka_matrix([first], [second])[0, 0])


def cka_matrix(first: Sequence[Tensor], second: Sequence[Tensor]) -> np.ndarray:
    """Linear CKA of every representation of ``first`` with every one of ``second``: (len(first), len(second)) float64.

    Memory is 8 n^2 bytes for each representation.

    Args:
        first, second: (n, D) each, of the same n examples in the same order; D may differ.

    Raises:
        ValueError: different numbers of examples, fewer than :data:`FEWEST`, or a constant representation.
    """
    grams = [torch.stack([_centred_gram(values) for values in some]) for some in (first, second)]
    if grams[0].shape[1] != grams[1].shape[1]:
        counts = [len(some[0]) for some in (first, second)]
        raise ValueError(f"CKA compares representations of the same examples, got {counts[0]} and {counts[1]}.")
    return np.asarray((grams[0] @ grams[1].T).numpy())


def _centred_gram(values: Tensor) -> Tensor:
    """The U-centred Gram matrix of (n, D), flattened and of length 1, (n n,) float64.

    The inner product of two U-centred matrices is n (n - 3) times the unbiased HSIC (Szekely and Rizzo 2014).
    """
    n = len(values)
    if values.ndim != 2 or n < FEWEST:
        raise ValueError(f"CKA needs features (n, D) of at least {FEWEST} examples, got {tuple(values.shape)}.")
    # On the CPU: not every device has float64. Centred first, for precision; the result does not depend on it.
    x = torch.as_tensor(values).detach().cpu().double()
    x = x - x.mean(0)
    gram = (x @ x.T).fill_diagonal_(0)
    rows = gram.sum(1) / (n - 2)
    gram = gram - rows[:, None] - rows[None, :] + gram.sum() / ((n - 1) * (n - 2))
    gram.fill_diagonal_(0)
    length = gram.norm()
    if not float(length) > 0:
        raise ValueError("A representation that is the same for every example has no CKA: is the model collapsed?")
    return (gram / length).flatten()


def picture_features(
    encoder: Encoder,
    pictures: Iterable[PictureBatch],
    layers: Sequence[int],
    tokens: bool = False,
    seed: int = 0,
) -> list[Tensor]:
    """Features of whole pictures after each of these layers, (n, D) each: one row a picture.

    Args:
        encoder: in evaluation mode. pictures: a :class:`ijepa_viz.data.picture_stream.PictureStream`.
        layers: of :func:`ijepa_viz.probes.layers.layer_numbers`.
        tokens: False is the mean of each picture's tokens; True is one token a picture, at a random place that is the
            same for all layers and, as a share of height and width, for all models.
        seed: of these places.
    """
    generator = np.random.default_rng(seed)
    found: dict[int, list[np.ndarray]] = {number: [] for number in layers}
    rows, cols = encoder.config.grid
    for batch in stream_features(encoder, pictures, layers, tokens):
        values = batch.pooled
        if tokens:
            # Picture by picture, so that the places do not depend on how the pictures come in batches.
            down, right = generator.random((len(batch.pictures), 2)).T
            places = (down * rows).astype(int) * cols + (right * cols).astype(int)
            values = {number: all_of[np.arange(len(places)), places] for number, all_of in batch.tokens.items()}
        for number, some in values.items():
            found[number].append(some)
    return [torch.from_numpy(np.concatenate(parts)) for parts in found.values()]
