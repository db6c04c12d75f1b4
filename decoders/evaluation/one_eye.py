"""Metric ``one-eye``: whether an eye is drawn where it belongs, and whether it matches the visible one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation import bootstrap
from decoders.evaluation.classifier import as_images
from decoders.evaluation.completions import ROWS, Holed, complete, holed
from decoders.evaluation.judges import require_cat_faces
from decoders.evaluation.metric import DECODER_METRICS, box_of, drawn_indices
from decoders.evaluation.part_recogniser import CELL, PartRecogniser, Reading, read_windows, train_recogniser
from ijepa_viz.data.annotations import head_box
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.figures import readings_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.part_holes import LEFT_EYE, LEFT_EYE_CENTRE, Box, face_hole, inside
from ijepa_viz.probes.probe import Split

SHOWN = 6  # pictures of the figure: the first ones
IRIS = 1 / 18  # radius of the disc whose colour is read, as a share of the head's width
# Sides and distances as shares of the head's width. Eyes are read through square windows; one is learned as an eye
# where the eyes' usual centre is so far inside of it, and as none where that is so far outside, since the usual centre
# is off by up to 1/16, and an eye is less than a quarter wide.
WINDOW, _INSIDE, _OUTSIDE = 1 / 4, 1 / 20, 1 / 9


@DECODER_METRICS.register("one-eye")
def one_eye(
    model: IJEPA, decoder: Decoder, split: Split, test: int = 500, train: int = 4000, epochs: int = 10
) -> dict[str, Any]:
    """Cats' faces with one eye hidden: how often an eye is drawn in its place, and how far it matches the visible one.

    A recogniser reads the hole's pixels; it was trained on blocks of half of the real training pictures, with and
    without the eye of aligned faces. ``eye``: it gives more than ``threshold`` to an eye, which it does in one of
    twenty places of the other half where none is. ``in_place``: and the eye is within one patch of where the visible
    one is, mirrored; that is found by the same recogniser, and pictures in which it finds none, closed eyes among them,
    are left out. ``colour`` is the correlation with the visible eye's, of CIELAB's a and b (their mean); ``brightness``
    that of L, and ``height`` that of the place. ``colour_shuffled`` compares with a distant picture's visible eye, and
    ``fur_colour`` the hole's pixels beside the eye with the visible eye: what they have in common is the light, and no
    eye. Colours and heights are of all pictures, those in which no eye is found too. ``real_elsewhere`` reads other
    places of the real pictures, where no eye is. One sample each; the eye on the left of the picture is hidden. Needs
    the extra ``judge``: OpenCV's cascade says whether the pictures are cats' faces at all.

    Args:
        model, decoder: a pair. split: of cats' faces.
        test: number of test pictures. train: of training pictures. epochs: of the recogniser.

    Raises:
        ValueError: the cascade finds a face, or the recogniser an eye, in hardly any real picture; OpenCV is missing.
    """
    pair = train_and_test(split)
    head = head_box(pair.train, model.config.image_size)
    masks = face_hole(model, head, LEFT_EYE)
    shape, patch = box_of(masks), model.config.patch_size
    held = holed(model, decoder, pair.test, drawn_indices(pair.test, test), masks)
    require_cat_faces(held.pictures / 255, pair.test.name)
    # One half for the recogniser, the other for its threshold and the controls: it must not read what it has learned.
    order = drawn_indices(pair.train, train)
    fitted, learned = (holed(model, decoder, pair.train, order[first::2], masks) for first in (0, 1))
    side = window_side(head, patch * min(shape))
    recogniser = train_eye_recogniser(fitted.images, head, side, epochs)
    visible_blocks = hidden_images(held, mirrored=True)
    visible = read_windows(recogniser, visible_blocks, side)
    threshold = eye_threshold(read_windows(recogniser, elsewhere(learned, shape, patch), side).present[:, 0])
    usable = visible.present[:, 0] > threshold
    if int(usable.sum()) < 10:
        raise ValueError(
            f"An eye is found in {int(usable.sum())} of {len(usable)} pictures of {pair.test.name}, beside the hole. "
            "This metric is for aligned cats' faces: one each, upright, from the front and filling the picture."
        )
    kept = usable.nonzero()[:, 0]
    held = Holed(held.images[kept], held.pictures[kept], masks)
    completed = complete(model, decoder, held, learned)
    radius = IRIS * (head[2] - head[0])
    own = _colours(visible_blocks[kept], visible.places[kept, 0], radius)
    places = visible.places[kept, 0]
    table: dict[str, Any] = {"pictures": len(usable), "with_a_visible_eye": len(kept), "threshold": threshold}
    for row in ROWS:
        blocks = as_images(completed.rows[row], shape, patch)
        reading = read_windows(recogniser, blocks, side)
        table[row] = _compare(reading, places, patch, threshold)
        drawn = _colours(blocks, reading.places[:, 0], radius)
        table[row] |= {
            "colour": bootstrap.correlation(drawn.eye[:, 1:], own.eye[:, 1:]),
            "colour_shuffled": bootstrap.correlation(drawn.eye[:, 1:], own.eye[:, 1:].roll(len(kept) // 2, 0)),
            "fur_colour": bootstrap.correlation(drawn.rest[:, 1:], own.eye[:, 1:]),
            "brightness": bootstrap.correlation(drawn.eye[:, :1], own.eye[:, :1]),
            "height": bootstrap.correlation(reading.places[:, 0, 1:], places[:, 1:]),
        }
    other = read_windows(recogniser, elsewhere(held, shape, patch), side)
    table["real_elsewhere"] = _compare(other, places, patch, threshold)
    panels = {
        "an eye is drawn in its place": {row: table[row]["in_place"] for row in ROWS},
        "correlation of its colour\nwith the visible eye's": {row: table[row]["colour"] for row in ROWS},
    }
    figure = readings_figure(
        {row: completed.pictures(row)[:SHOWN] for row in ROWS},
        panels,
        ROWS,
        masks,
        f"Cats' faces with one eye hidden, completed from predictions and by controls; {len(kept)} pictures.",
    )
    return {**table, "figure": figure}


def eye_threshold(elsewhere: Tensor) -> float:
    """What an eye's probability must exceed: what it exceeds in one of twenty places without an eye, at least 1/2.

    Args:
        elsewhere: (n,), the probabilities in such places of training pictures.
    """
    return max(0.5, float(elsewhere.quantile(0.95)))


def window_side(head: Box, largest: int) -> int:
    """Side in pixels of the windows through which eyes are read: a multiple of 4, at most ``largest``."""
    return max(CELL, min(round(WINDOW * (head[2] - head[0]) / CELL), largest // CELL) * CELL)


def train_eye_recogniser(images: Tensor, head: Box, side: int, epochs: int) -> PartRecogniser:
    """Train a recogniser of eyes on blocks of aligned faces (n, 3, s, s) uint8, by the eyes' usual places alone.

    Args:
        images: (n, 3, s, s) uint8. head: the heads' box in pixels. side: of the blocks. epochs: of training.
    """
    x, y = inside(head, LEFT_EYE_CENTRE)
    other = head[0] + head[2] - x
    points = torch.tensor([[x, y], [other, y]]).expand(len(images), 1, 2, 2)
    width = head[2] - head[0]
    return train_recogniser(images, points, side, epochs, (_INSIDE * width, _OUTSIDE * width))


def hidden_images(held: Holed, mirrored: bool = False) -> Tensor:
    """Pixels of the rectangle that the mask hides, (n, 3, h, w) in [-1, 1]; ``mirrored``, of the mirrored pictures."""
    images = held.images.flip(3) if mirrored else held.images
    hidden = held.masks.hidden_pixels(images.shape[-1] // held.masks.grid[1])[0]
    rows, cols = (hidden.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return images[:, :, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].float() / 127.5 - 1


def elsewhere(held: Holed, shape: tuple[int, int], patch: int) -> Tensor:
    """Blocks of the real pictures in which no eye is, (n, 3, h, w) in [-1, 1]: three places at the bottom, in turn."""
    (rows, cols), (height, width) = held.images.shape[-2:], (patch * side for side in shape)
    top = rows - height
    lefts = [(cols - width) * i // 2 for i in range(3)]
    return torch.stack(
        [
            image[:, top : top + height, lefts[i % 3] : lefts[i % 3] + width].float() / 127.5 - 1
            for i, image in enumerate(held.images)
        ]
    )


def _compare(reading: Reading, places: Tensor, patch: int, threshold: float) -> dict[str, Any]:
    """Shares of blocks with an eye, and with one within a patch of ``places`` (n, 2)."""
    eye = reading.present[:, 0] > threshold
    near = (reading.places[:, 0] - places).norm(dim=1) <= patch
    return {
        "eye": accuracy_with_interval(int(eye.sum()), len(eye)),
        "in_place": accuracy_with_interval(int((eye & near).sum()), len(eye)),
    }


class _Colours:
    """Mean CIELAB colours of blocks: ``eye`` (n, 3) of the disc, ``rest`` (n, 3) of what is well outside of it."""

    def __init__(self, eye: Tensor, rest: Tensor) -> None:
        self.eye, self.rest = eye, rest


def _colours(blocks: Tensor, places: Tensor, radius: float) -> _Colours:
    """Mean colours in a disc around ``places`` (n, 2), and beyond three radii, of blocks (n, 3, h, w) in [-1, 1]."""
    from skimage.color import rgb2lab

    lab = torch.from_numpy(rgb2lab((blocks.clamp(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1).numpy())).float()
    rows, cols = (torch.arange(side) + 0.5 for side in blocks.shape[-2:])
    away = ((cols - places[:, :1])[:, None].square() + (rows - places[:, 1:])[:, :, None].square()).sqrt()  # (n, h, w)

    def mean(inside: Tensor) -> Tensor:
        weight = inside.float()[..., None]
        return (lab * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)

    return _Colours(mean(away <= radius), mean(away > 3 * radius))
