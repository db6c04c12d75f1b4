"""Probe ``cat-traits``: fur, eyes and head turn of the hidden part of cats' faces, from the tokens predicted there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ijepa_viz.data.annotations import head_box
from ijepa_viz.data.arrays import arrays
from ijepa_viz.data.batches import evenly
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.data.source import Source
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.bootstrap import correlation, pearson
from ijepa_viz.probes.hole_tokens import ROWS, hole_tokens
from ijepa_viz.probes.landmarks import Template, find_landmark, learn_template
from ijepa_viz.probes.part_holes import EYES_AND_NOSE, LEFT_EYE, LEFT_EYE_CENTRE, Box, face_hole, inside
from ijepa_viz.probes.probe import PROBES, Split
from ijepa_viz.probes.ridge import fit_ridge

# Fur inside of the hole over eyes and nose, as shares of the head's box: between the eyes, and below each.
FOREHEAD: Box = (3 / 8, 1 / 4, 5 / 8, 3 / 8)
LEFT_CHEEK: Box = (1 / 8, 9 / 16, 5 / 16, 3 / 4)
RIGHT_CHEEK: Box = (11 / 16, 9 / 16, 7 / 8, 3 / 4)

# Radii as shares of the head's width: the disc whose colour is an eye's, and the one that is searched for the pupil.
IRIS, EYE = 1 / 18, 1 / 13

# The template of the nose, its usual place and how far it is searched, as shares of the head's width and height.
NOSE, NOSE_SIZE, NOSE_REACH = (1 / 2, 11 / 16), (11 / 32, 9 / 32), (1 / 8, 7 / 64)

FEWEST = 40  # training pictures, and test pictures
_AGREE = 0.5  # least correlation of the nose's places in pictures and in mirrored ones
# Least share of pictures in which these places are this near to each other, in shares of the head's width. Of cats'
# faces and heads it is 0.96; other pictures have edges to find too: 0.80 of scenes and photographs, 0.68 of birds.
_SAME_PLACE, _NEAR = 0.9, 1 / 32


@PROBES.register("cat-traits")
def cat_traits(model: IJEPA, split: Split, train: int = 3000, test: int = 500) -> dict[str, Any]:
    """Traits of the hidden part of aligned cats' faces, by ridge regression from predicted tokens and from baselines.

    Both eyes and the nose are hidden, by the same rectangle in every face; for ``one_eye_hue``, the eye on the left of
    the picture alone. Traits are read from the real pixels of the hidden part, by rules:

    - ``fur_lightness``, ``fur_hue``: mean CIELAB L, and a and b, of the forehead between the eyes and both cheeks.
    - ``fur_contrast``: logarithm of the mean gradient of L there: stripes and speckles, and how sharp the picture is.
    - ``two_tone``: L of the cheeks less that of the forehead. ``left_right``: L of the left cheek less the right one's,
      which is a patch or the light.
    - ``eye_hue``, ``one_eye_hue``: mean a and b of discs where aligned faces have eyes; of ``eye_against_fur``, less
      those of the fur, since the light colours both.
    - ``head_turn``, ``nose_height``: x and y of the nose, found by a template that is learned from the training
      pictures (:mod:`ijepa_viz.probes.landmarks`), the mean of its places in the picture and in the mirrored one. Eyes
      are aligned, so that a nose beside the middle is a turned head.
    - ``gaze``: x of the dark pixels in both eyes, from the eyes' centres.

    Every number is the correlation of the reading with the trait in test pictures, of a and b the mean of their two,
    with its bootstrap interval over pictures. The penalty is chosen for each trait on a fifth of the training pictures.
    ``rule_agreement`` says how far a rule agrees with itself, which no probe can much exceed: places of the nose
    with those in the mirrored picture, mirrored back, and the left eye's gaze with the right eye's. Rows are those of
    :func:`ijepa_viz.probes.hole_tokens.hole_tokens`; ``another_picture`` reads the tokens predicted from another test
    picture, and ``visible_eye`` the colour of the right eye, which is visible beside the hole over the left one.

    Args:
        train, test: most pictures to fit and to test on, evenly spaced over each part.

    Raises:
        ValueError: too few pictures; the nose is found at different places in mirrored pictures, so that these are no
            aligned faces. RuntimeError: a model without a predictor.
    """
    pair = train_and_test(split)
    size = model.config.image_size
    learned, images = _pictures(pair.train, size, train), _pictures(pair.test, size, test)
    head = head_box(pair.train, size)
    nose = _learn_nose(learned, head)
    turn, mirrored = _turns(nose, images, head)
    agreement = pearson(turn[:, 0], mirrored[:, 0])
    if not agreement > _AGREE:
        raise ValueError(
            f"The nose's place in pictures of {pair.test.name} and in the mirrored ones correlates with "
            f"{agreement:.2f}, less than {_AGREE}. This probe is for aligned cats' faces: one each, upright and "
            "filling the picture."
        )
    same = float(((turn - mirrored).norm(dim=1) <= _NEAR).float().mean())
    if same < _SAME_PLACE:
        raise ValueError(
            f"A nose is found at the same place in a picture and in its mirror image in {same:.0%} of the pictures of "
            f"{pair.test.name}, fewer than {_SAME_PLACE:.0%}. This probe is for aligned cats' faces: one each, upright "
            "and filling the picture."
        )
    truths = [traits(some, head, nose) for some in (learned, images)]
    left, right = (_gaze(_lab(images), eye, head) for eye in _eyes(head))
    table: dict[str, Any] = {"train_images": len(learned), "test_images": len(images)}
    table |= {row: {} for row in (*ROWS, "visible_eye")}
    for part, names in ((EYES_AND_NOSE, [n for n in truths[0] if n != "one_eye_hue"]), (LEFT_EYE, ["one_eye_hue"])):
        hole = face_hole(model, head, part)
        x, z = (hole_tokens(model, some, hole.repeat(len(some))) for some in (learned, images))
        if part == LEFT_EYE:
            x["visible_eye"], z["visible_eye"] = (_visible_eye(some, head) for some in (learned, images))
        for row, readings in read_traits(x, z, [truths[0][name] for name in names]).items():
            for name, reading in zip(names, readings, strict=True):
                table[row][name] = correlation(reading, truths[1][name])
    table["rule_agreement"] = {
        "head_turn": correlation(turn[:, :1], mirrored[:, :1]),
        "nose_height": correlation(turn[:, 1:], mirrored[:, 1:]),
        "gaze": correlation(left, right),
    }
    return table


def read_traits(x: dict[str, Tensor], z: dict[str, Tensor], targets: list[Tensor]) -> dict[str, list[Tensor]]:
    """Readings of the test pictures by row of :data:`ijepa_viz.probes.hole_tokens.ROWS`: one (m, F) for each target.

    Args:
        x, z: features of the training and the test pictures, by row. targets: (n, F) each, of the training pictures.
    """
    columns = [target.shape[1] for target in targets]
    wanted = torch.cat(targets, 1)
    wanted = (wanted - wanted.mean(0)) / wanted.std(0).clamp_min(1e-6)
    held_out = torch.zeros(len(wanted), dtype=torch.bool)
    held_out[::5] = True
    found = {}
    for row in x:
        ridge = fit_ridge(x[row], wanted, held_out)
        found[row] = list(ridge(z[row]).split(columns, 1))
        if row == "predicted_tokens":
            found["another_picture"] = list(ridge(z[row].roll(len(z[row]) // 2, 0)).split(columns, 1))
    return found


def traits(images: Tensor, head: Box, nose: Template) -> dict[str, Tensor]:
    """Traits of pictures (n, 3, H, W) uint8 by the rules of :func:`cat_traits`: name -> (n, 1), or (n, 2) of a and b.

    Args:
        images: aligned faces. head: the heads' box in pixels. nose: learned from others.
    """
    lab = _lab(images)
    between, left, right = (_box_mean(lab, head, box) for box in (FOREHEAD, LEFT_CHEEK, RIGHT_CHEEK))
    fur, cheeks = (between + left + right) / 3, (left + right) / 2
    eyes = [_disc_mean(lab, eye, IRIS * (head[2] - head[0])) for eye in _eyes(head)]
    hue = (eyes[0] + eyes[1])[:, 1:] / 2
    down, across = torch.gradient(lab[..., :1], dim=(1, 2))
    slope = (down.square() + across.square()).sqrt()
    contrast = torch.stack([_box_mean(slope, head, box) for box in (FOREHEAD, LEFT_CHEEK, RIGHT_CHEEK)]).mean(0)
    turn = torch.stack(_turns(nose, images, head)).mean(0)
    return {
        "fur_lightness": fur[:, :1],
        "fur_hue": fur[:, 1:],
        "fur_contrast": (contrast + 0.1).log(),
        "two_tone": (cheeks - between)[:, :1],
        "left_right": (left - right)[:, :1],
        "eye_hue": hue,
        "eye_against_fur": hue - fur[:, 1:],
        "one_eye_hue": eyes[0][:, 1:],
        "head_turn": turn[:, :1],
        "nose_height": turn[:, 1:],
        "gaze": torch.stack([_gaze(lab, eye, head) for eye in _eyes(head)]).mean(0),
    }


def _pictures(source: Source, size: ImageSize, limit: int) -> Tensor:
    """At most ``limit`` pictures, evenly spaced, (n, 3, H, W) uint8."""
    chosen = evenly(len(source), limit)
    if len(chosen) < FEWEST:
        raise ValueError(f"The probe cat-traits needs at least {FEWEST} pictures, and {source.name} has {len(chosen)}.")
    return torch.tensor(arrays(source, size)[chosen]).permute(0, 3, 1, 2)


def _lab(images: Tensor) -> Tensor:
    """CIELAB (n, H, W, 3) of pictures (n, 3, H, W) uint8."""
    from skimage.color import rgb2lab

    return torch.from_numpy(rgb2lab(images.permute(0, 2, 3, 1).numpy())).float()


def _visible_eye(images: Tensor, head: Box) -> Tensor:
    """Mean CIELAB colour (n, 3) of the right eye."""
    return _disc_mean(_lab(images), _eyes(head)[1], IRIS * (head[2] - head[0]))


def _eyes(head: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centres (x, y) of the left and the right eye, in pixels."""
    x, y = inside(head, LEFT_EYE_CENTRE)
    return (x, y), (head[0] + head[2] - x, y)


def _learn_nose(images: Tensor, head: Box) -> Template:
    def pixels(share: tuple[float, float]) -> tuple[int, int]:
        return round(share[0] * (head[2] - head[0])), round(share[1] * (head[3] - head[1]))

    centre, size = inside(head, NOSE), pixels(NOSE_SIZE)
    even = size[0] + size[0] % 2, size[1] + size[1] % 2
    return learn_template(images, (round(centre[0]), round(centre[1])), even, pixels(NOSE_REACH))


def _turns(nose: Template, images: Tensor, head: Box) -> tuple[Tensor, Tensor]:
    """Places (n, 2) of the nose from the head's centre, in shares of its width: in the pictures, and in mirrored ones.

    Those in mirrored pictures are mirrored back.
    """
    middle, width = torch.tensor([(head[0] + head[2]) / 2, (head[1] + head[3]) / 2]), head[2] - head[0]
    own, other = find_landmark(nose, images), find_landmark(nose, images.flip(3))
    other[:, 0] = images.shape[-1] - other[:, 0]
    return (own - middle) / width, (other - middle) / width


def _gaze(lab: Tensor, eye: tuple[float, float], head: Box) -> Tensor:
    """Mean x (n, 1) of the dark pixels around an eye's centre, from it, in shares of the head's width."""
    width = head[2] - head[0]
    away, dx = _from(lab, eye)
    near = away <= EYE * width
    light = lab[..., 0][:, near]
    dark = (light.mean(1, keepdim=True) - light).clamp_min(0).square()
    return ((dark * dx[near]).sum(1) / dark.sum(1).clamp_min(1e-6))[:, None] / width


def _disc_mean(values: Tensor, centre: tuple[float, float], radius: float) -> Tensor:
    """Mean (n, C) of values (n, H, W, C) in a disc, which has a pixel at least."""
    away, _ = _from(values, centre)
    return values[:, away <= max(radius, float(away.min()))].mean(1)


def _from(values: Tensor, point: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Distance of the pixels of (n, H, W, ...) from a point (x, y), and that along x, (H, W) each."""
    rows, cols = (torch.arange(side) + 0.5 for side in values.shape[1:3])
    dx = (cols - point[0]).expand(len(rows), -1)
    return (dx.square() + (rows - point[1])[:, None].square()).sqrt(), dx


def _box_mean(values: Tensor, head: Box, share: Box) -> Tensor:
    """Mean (n, C) of values (n, H, W, C) in a box, given in shares of the head's."""
    (left, top), (right, bottom) = inside(head, share[:2]), inside(head, share[2:])
    return values[:, round(top) : round(bottom), round(left) : round(right)].mean((1, 2))
