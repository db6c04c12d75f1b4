"""Drawing functions of the menagerie's species: dogs, wolves, cats, birds, buildings.

Coordinates are the creature's own frame: x forward, y up, feet at 0, about one unit tall.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ijepa_viz.data.menagerie.drawing import Canvas, Colour, shade

PARTS = (
    "background", "body", "head", "ear", "muzzle", "eye", "leg", "tail", "wing", "beak",
    "wall", "roof", "door", "window",
)  # fmt: skip

PART = {name: i for i, name in enumerate(PARTS)}

# Main colours by species, a factor of the probes.
COLOURS: dict[str, dict[str, Colour]] = {
    "dog": {"brown": (146, 88, 48), "golden": (224, 172, 88), "white": (243, 238, 228), "black": (58, 50, 50)},
    "wolf": {"grey": (132, 138, 148), "black": (66, 68, 78), "white": (226, 230, 234), "brown": (134, 112, 96)},
    "cat": {"orange": (236, 142, 58), "grey": (146, 150, 158), "black": (52, 50, 58), "white": (246, 242, 236)},
    "bird": {"red": (214, 62, 56), "blue": (58, 112, 200), "yellow": (246, 206, 68), "white": (246, 246, 244)},
    "building": {"red": (192, 84, 66), "yellow": (238, 210, 140), "white": (240, 236, 226), "blue": (134, 168, 198)},
}  # fmt: skip

POSES: dict[str, tuple[str, ...]] = {
    "dog": ("stand", "walk", "sit"),
    "wolf": ("stand", "walk", "howl"),
    "cat": ("stand", "walk", "sit"),
    "bird": ("stand", "peck", "fly"),
    "building": ("gable", "flat", "tower"),
}

Draw = Callable[[Canvas, Colour, str, np.random.Generator], None]

SPECIES: dict[str, Draw] = {}

# How far a foot swings to either side of its hip, by species, in units of height. During a cycle of the gait the body
# moves by four times as much, so that a foot on the ground does not slide.
SWING = {"dog": 0.16, "wolf": 0.185, "cat": 0.15, "bird": 0.14}

_DARK: Colour = (34, 28, 30)

_WHITE: Colour = (250, 248, 244)


def register(name: str) -> Callable[[Draw], Draw]:
    """Register ``f(canvas, colour, pose, rng)`` as a species; COLOURS and POSES need its entries."""

    def add(function: Draw) -> Draw:
        SPECIES[name] = function
        return function

    return add


def _step(phase: float) -> tuple[float, float]:
    """Where a foot is at this phase of its cycle: (-1 back to 1 in front, 0 on the ground to 1 lifted)."""
    phase %= 1.0
    if phase < 0.5:  # on the ground, carried backwards by the body's motion
        return 1 - 4 * phase, 0.0
    return -math.cos(2 * math.pi * (phase - 0.5)), math.sin(2 * math.pi * (phase - 0.5))


def _legs(
    canvas: Canvas, colour: Colour, hips: tuple[float, float], height: float, width: float, pose: str,
    foot: Colour, length: float = 0.06,
) -> None:  # fmt: skip
    """Four legs, the far pair darker; walking swings them apart, a gait moves diagonal pairs in turn."""
    swing = 0.13 if pose == "walk" else 0.02
    lift = 0.0
    for far in (True, False):
        tone = shade(colour, 0.68 if far else 1.0)
        for hip, phase in zip(hips, (1, -1) if far else (-1, 1), strict=True):
            hip_x = hip + (0.07 if far else 0.0)
            foot_x = hip_x + swing * phase
            if canvas.gait is not None:
                ahead, raised = _step(canvas.gait + 0.25 * phase)
                foot_x, lift = hip_x + height * 0.44 * ahead, height * 0.3 * raised
            knee = ((hip_x + foot_x) / 2 - 0.02 + lift / 2, height * 0.5 + lift / 2)
            canvas.limb(
                [(hip_x, height), knee, (foot_x, width / 2 + lift)],
                [width * 1.5, width, width * 0.9], tone, PART["leg"],
            )  # fmt: skip
            canvas.ellipse(
                foot_x + length / 2, width * 0.4 + lift, length, width * 0.45,
                shade(foot, 0.75 if far else 1.0), PART["leg"],
            )  # fmt: skip


def _eye(canvas: Canvas, x: float, y: float, radius: float, iris: Colour) -> None:
    canvas.ellipse(x, y, radius * 1.15, radius * 1.25, _WHITE if iris == _DARK else iris, PART["eye"])
    canvas.ellipse(x + radius * 0.25, y, radius * 0.75, radius * 0.9, _DARK, PART["eye"])


@register("dog")
def dog(canvas: Canvas, colour: Colour, pose: str, rng: np.random.Generator) -> None:
    """Floppy ears, blunt muzzle with a big nose, red collar, tail curled up."""
    dark, pale = shade(colour, 0.62), shade(colour, 1.45)
    wag = rng.uniform(-0.05, 0.05)
    if pose == "sit":
        canvas.limb([(-0.3, 0.1), (-0.46, 0.16), (-0.52, 0.34 + wag)], [0.11, 0.09, 0.06], dark, PART["tail"])
        canvas.limb([(0.16, 0.45), (0.18, 0.05)], [0.14, 0.1], shade(colour, 0.68), PART["leg"])
        canvas.blob([(-0.36, 0.1), (-0.3, 0.36), (-0.02, 0.68), (0.22, 0.66), (0.24, 0.36), (0.06, 0.06)],
                    colour, PART["body"])  # fmt: skip
        canvas.ellipse(-0.14, 0.17, 0.2, 0.16, shade(colour, 0.86), PART["leg"])
        canvas.ellipse(-0.02, 0.05, 0.16, 0.055, pale, PART["leg"])
        canvas.limb([(0.1, 0.42), (0.1, 0.06)], [0.15, 0.11], colour, PART["leg"])
        canvas.ellipse(0.14, 0.045, 0.09, 0.05, pale, PART["leg"])
        head = (0.2, 0.84)
    else:
        canvas.blob([(-0.42, 0.58), (-0.58, 0.72), (-0.6, 0.9 + wag), (-0.48, 0.96 + wag), (-0.5, 0.86),
                     (-0.5, 0.74), (-0.36, 0.64)], dark, PART["tail"])  # fmt: skip
        _legs(canvas, colour, (-0.34, 0.22), 0.36, 0.11, pose, pale)
        canvas.blob([(-0.46, 0.46), (-0.42, 0.62), (-0.1, 0.62), (0.26, 0.68), (0.38, 0.54), (0.28, 0.36),
                     (-0.08, 0.34), (-0.38, 0.32)], colour, PART["body"])  # fmt: skip
        canvas.ellipse(-0.12, 0.53, 0.15, 0.08, dark, PART["body"], tilt=8)
        canvas.limb([(0.28, 0.56), (0.36, 0.74)], [0.26, 0.22], colour, PART["body"])
        head = (0.4, 0.84)
    x, y = head
    canvas.limb([(x - 0.12, y - 0.17), (x + 0.06, y - 0.2)], [0.06, 0.06], (206, 44, 52), PART["body"])
    canvas.ellipse(x, y, 0.185, 0.165, colour, PART["head"])
    canvas.blob([(x + 0.06, y + 0.03), (x + 0.26, y - 0.01), (x + 0.31, y - 0.08), (x + 0.22, y - 0.15),
                 (x + 0.04, y - 0.13)], pale, PART["muzzle"])  # fmt: skip
    canvas.ellipse(x + 0.28, y - 0.025, 0.05, 0.042, _DARK, PART["muzzle"])
    canvas.blob([(x - 0.02, y + 0.16), (x - 0.17, y + 0.14), (x - 0.23, y - 0.06), (x - 0.16, y - 0.2),
                 (x - 0.07, y - 0.12), (x - 0.05, y + 0.04)], dark, PART["ear"])  # fmt: skip
    _eye(canvas, x + 0.08, y + 0.055, 0.034, _DARK)


@register("wolf")
def wolf(canvas: Canvas, colour: Colour, pose: str, rng: np.random.Generator) -> None:
    """Upright pointed ears, long pointed snout, pale chest and mask, bushy hanging tail, yellow eye."""
    dark, pale = shade(colour, 0.6), shade(colour, 1.6)
    sway = rng.uniform(-0.03, 0.03)
    canvas.blob([(-0.44, 0.6), (-0.6, 0.52), (-0.7, 0.3), (-0.68 + sway, 0.1), (-0.56, 0.2), (-0.46, 0.42)],
                dark, PART["tail"])  # fmt: skip
    canvas.ellipse(-0.67 + sway, 0.14, 0.045, 0.06, pale, PART["tail"], tilt=-10)
    _legs(canvas, shade(colour, 0.9), (-0.36, 0.22), 0.42, 0.085, pose, pale, length=0.05)
    canvas.blob([(-0.5, 0.52), (-0.44, 0.68), (-0.1, 0.7), (0.22, 0.8), (0.4, 0.66), (0.32, 0.42),
                 (0.0, 0.42), (-0.38, 0.38)], colour, PART["body"])  # fmt: skip
    canvas.polygon([(-0.42, 0.68), (-0.2, 0.6), (0.0, 0.66), (0.16, 0.62), (0.26, 0.8), (-0.06, 0.73)],
                   dark, PART["body"])  # fmt: skip
    canvas.polygon([(0.2, 0.46), (0.3, 0.38), (0.34, 0.46), (0.42, 0.46), (0.44, 0.62), (0.34, 0.72)],
                   pale, PART["body"])  # fmt: skip
    if pose == "howl":
        canvas.limb([(0.26, 0.64), (0.38, 0.86)], [0.3, 0.24], colour, PART["body"])
        canvas.polygon([(0.2, 0.98), (0.1, 1.16), (0.32, 1.06)], dark, PART["ear"])
        canvas.blob([(0.24, 0.98), (0.34, 0.82), (0.5, 0.82), (0.6, 1.0), (0.68, 1.2), (0.62, 1.23),
                     (0.48, 1.1), (0.36, 1.08)], colour, PART["head"])  # fmt: skip
        canvas.blob([(0.46, 0.84), (0.58, 0.96), (0.68, 1.19), (0.61, 1.14), (0.5, 1.0)], pale, PART["muzzle"])
        canvas.ellipse(0.65, 1.215, 0.038, 0.034, _DARK, PART["muzzle"])
        canvas.limb([(0.41, 1.0), (0.46, 1.03)], [0.03, 0.02], _DARK, PART["eye"])
        return
    canvas.limb([(0.28, 0.64), (0.44, 0.84)], [0.32, 0.24], colour, PART["body"])
    canvas.polygon([(0.42, 0.98), (0.46, 1.22), (0.56, 1.0)], shade(dark, 0.8), PART["ear"])
    canvas.blob([(0.3, 0.94), (0.42, 1.04), (0.56, 1.02), (0.7, 0.92), (0.86, 0.86), (0.87, 0.81),
                 (0.66, 0.77), (0.48, 0.72), (0.32, 0.78)], colour, PART["head"])  # fmt: skip
    canvas.blob([(0.46, 0.74), (0.62, 0.85), (0.86, 0.84), (0.84, 0.79), (0.64, 0.75)], pale, PART["muzzle"])
    canvas.polygon([(0.32, 0.96), (0.32, 1.23), (0.48, 1.01)], dark, PART["ear"])
    canvas.polygon([(0.355, 0.99), (0.345, 1.14), (0.43, 1.02)], shade(pale, 0.85), PART["ear"])
    canvas.ellipse(0.86, 0.845, 0.04, 0.034, _DARK, PART["muzzle"])
    _eye(canvas, 0.58, 0.93, 0.03, (244, 200, 52))


@register("cat")
def cat(canvas: Canvas, colour: Colour, pose: str, rng: np.random.Generator) -> None:
    """Round head facing the viewer, two triangle ears, whiskers, stripes, long thin tail in an S."""
    dark, pale = shade(colour, 0.64), shade(colour, 1.5)
    curl = rng.uniform(-0.06, 0.06)
    if pose == "sit":
        canvas.limb([(-0.24, 0.06), (-0.46, 0.08), (-0.58, 0.22), (-0.5 + curl, 0.36)],
                    [0.09, 0.08, 0.07, 0.06], dark, PART["tail"])  # fmt: skip
        canvas.blob([(-0.3, 0.08), (-0.26, 0.36), (-0.06, 0.6), (0.16, 0.6), (0.2, 0.3), (0.12, 0.04)],
                    colour, PART["body"])  # fmt: skip
        for i in range(3):
            canvas.limb([(-0.26 + 0.05 * i, 0.3 + 0.1 * i), (-0.12 + 0.04 * i, 0.26 + 0.1 * i)],
                        [0.03, 0.015], dark, PART["body"])  # fmt: skip
        canvas.ellipse(0.1, 0.4, 0.08, 0.16, pale, PART["body"])
        canvas.limb([(0.12, 0.34), (0.13, 0.05)], [0.1, 0.08], colour, PART["leg"])
        canvas.limb([(0.03, 0.34), (0.03, 0.05)], [0.1, 0.08], shade(colour, 0.85), PART["leg"])
        canvas.ellipse(0.16, 0.04, 0.06, 0.04, pale, PART["leg"])
        canvas.ellipse(-0.1, 0.045, 0.14, 0.05, shade(colour, 0.85), PART["leg"])
        x, y = 0.1, 0.76
    else:
        canvas.limb([(-0.42, 0.5), (-0.58, 0.62), (-0.6, 0.82), (-0.48 + curl, 0.98), (-0.52 + curl, 1.08)],
                    [0.08, 0.075, 0.07, 0.06, 0.05], dark, PART["tail"])  # fmt: skip
        _legs(canvas, colour, (-0.34, 0.16), 0.34, 0.08, pose, pale, length=0.045)
        canvas.blob([(-0.46, 0.44), (-0.4, 0.58), (-0.06, 0.56), (0.22, 0.58), (0.3, 0.46), (0.2, 0.32),
                     (-0.1, 0.33), (-0.4, 0.3)], colour, PART["body"])  # fmt: skip
        for i in range(4):
            canvas.limb([(-0.34 + 0.13 * i, 0.56), (-0.31 + 0.13 * i, 0.44)], [0.035, 0.015], dark, PART["body"])
        x, y = 0.34, 0.68
    for side in (-1, 1):
        canvas.polygon([(x + side * 0.2, y + 0.06), (x + side * 0.17, y + 0.31), (x + side * 0.03, y + 0.16)],
                       dark, PART["ear"])  # fmt: skip
        canvas.polygon([(x + side * 0.17, y + 0.12), (x + side * 0.155, y + 0.24), (x + side * 0.08, y + 0.16)],
                       (236, 164, 160), PART["ear"])  # fmt: skip
    canvas.ellipse(x, y, 0.215, 0.185, colour, PART["head"])
    canvas.polygon([(x - 0.04, y + 0.18), (x + 0.04, y + 0.18), (x, y + 0.08)], dark, PART["head"])
    canvas.ellipse(x - 0.045, y - 0.07, 0.075, 0.055, pale, PART["muzzle"])
    canvas.ellipse(x + 0.045, y - 0.07, 0.075, 0.055, pale, PART["muzzle"])
    for side in (-1, 1):
        canvas.ellipse(x + side * 0.09, y + 0.03, 0.052, 0.048, (150, 214, 92), PART["eye"])
        canvas.ellipse(x + side * 0.09, y + 0.03, 0.02, 0.046, _DARK, PART["eye"])
        for lift in (0.02, -0.03):
            canvas.limb([(x + side * 0.08, y - 0.07), (x + side * 0.28, y - 0.07 + lift)], [0.012, 0.01],
                        _WHITE, PART["muzzle"])  # fmt: skip
    canvas.polygon([(x - 0.035, y - 0.02), (x + 0.035, y - 0.02), (x, y - 0.06)], (222, 110, 116), PART["muzzle"])


def _beat(wing: list[tuple[float, float]], shoulder: float, gait: float) -> list[tuple[float, float]]:
    """The outline of a raised wing, beaten up and down about its shoulder's height."""
    raised = 0.2 + 0.95 * math.cos(2 * math.pi * gait)
    return [(x, shoulder + (y - shoulder) * raised) for x, y in wing]


@register("bird")
def bird(canvas: Canvas, colour: Colour, pose: str, rng: np.random.Generator) -> None:
    """Round body, folded or spread wings, orange beak; thin orange legs with three toes."""
    dark, pale = shade(colour, 0.6), shade(colour, 1.5)
    orange: Colour = (238, 134, 36)
    if pose == "fly":
        lift = rng.uniform(-0.1, 0.25)
        far_wing = [(0.0, 0.5), (-0.1, 0.9 + lift), (-0.38, 1.02 + lift), (-0.2, 0.5)]
        near_wing = [(0.16, 0.54), (0.04, 0.98 + lift), (-0.26, 1.18 + lift), (-0.2, 0.94 + lift),
                     (-0.3, 0.9 + lift), (-0.16, 0.74), (-0.14, 0.52)]  # fmt: skip
        if canvas.gait is not None:
            far_wing, near_wing = _beat(far_wing, 0.5, canvas.gait), _beat(near_wing, 0.53, canvas.gait)
        canvas.polygon(far_wing, shade(dark, 0.8), PART["wing"])
        canvas.polygon([(-0.3, 0.5), (-0.66, 0.62), (-0.6, 0.5), (-0.66, 0.4), (-0.3, 0.4)], dark, PART["tail"])
        canvas.blob(
            [(-0.36, 0.46), (-0.1, 0.6), (0.24, 0.6), (0.32, 0.44), (0.1, 0.32), (-0.2, 0.34)],
            colour,
            PART["body"],
        )
        canvas.blob([(-0.1, 0.36), (0.14, 0.34), (0.26, 0.44), (0.06, 0.46)], pale, PART["body"])
        canvas.polygon(near_wing, dark, PART["wing"])
        canvas.polygon([(0.46, 0.62), (0.66, 0.55), (0.46, 0.5)], orange, PART["beak"])
        canvas.ellipse(0.36, 0.58, 0.15, 0.14, colour, PART["head"])
        _eye(canvas, 0.41, 0.62, 0.032, _DARK)
        return
    for x, tone in ((-0.02, 0.75), (0.1, 1.0)):
        leg = shade(orange, tone)
        foot, lift = x, 0.0
        if canvas.gait is not None:
            ahead, raised = _step(canvas.gait + (0.5 if tone < 1 else 0.0))
            foot, lift = x + SWING["bird"] * ahead, 0.1 * raised
        knee = ((x + foot) / 2 - 0.03, 0.24 + lift / 2)
        canvas.limb([(x, 0.46), knee, (foot + 0.02, 0.03 + lift)], [0.055, 0.045, 0.045], leg, PART["leg"])
        for toe in ((0.14, 0.015), (0.09, 0.05), (-0.07, 0.015)):
            canvas.limb([(foot + 0.02, 0.035 + lift), (foot + toe[0], toe[1] + lift)], [0.04, 0.025], leg, PART["leg"])
    canvas.polygon([(-0.22, 0.62), (-0.62, 0.56), (-0.6, 0.46), (-0.2, 0.46)], dark, PART["tail"])
    canvas.blob(
        [(-0.34, 0.56), (-0.16, 0.74), (0.16, 0.8), (0.34, 0.62), (0.22, 0.42), (-0.1, 0.38)],
        colour,
        PART["body"],
    )
    canvas.ellipse(0.18, 0.53, 0.13, 0.12, pale, PART["body"], tilt=20)
    canvas.blob([(0.12, 0.7), (-0.14, 0.68), (-0.44, 0.5), (-0.14, 0.47), (0.08, 0.54)], dark, PART["wing"])
    x, y = (0.42, 0.62) if pose == "peck" else (0.26, 0.92)
    if pose == "peck":
        canvas.limb([(0.2, 0.66), (x, y)], [0.26, 0.22], colour, PART["body"])
        canvas.polygon([(x + 0.04, y - 0.12), (x + 0.17, y - 0.04), (x + 0.24, y - 0.26)], orange, PART["beak"])
    else:
        canvas.limb([(0.18, 0.7), (x, y)], [0.28, 0.22], colour, PART["body"])
        canvas.polygon([(x + 0.12, y + 0.07), (x + 0.38, y - 0.02), (x + 0.12, y - 0.06)], orange, PART["beak"])
    canvas.ellipse(x, y, 0.175, 0.16, colour, PART["head"])
    _eye(canvas, x + 0.07, y + 0.04, 0.036, _DARK)


@register("building")
def building(canvas: Canvas, colour: Colour, pose: str, rng: np.random.Generator) -> None:
    """A house front with a side wall; facing determines the side of the door and of the shaded wall."""
    side, glass = shade(colour, 0.68), (120, 176, 214)
    roof: Colour = (128, 60, 50) if pose == "gable" else (92, 92, 106)
    lit = rng.random() < 0.25
    if lit:
        glass = (252, 226, 130)
    width, height = {"gable": (0.46, 0.66), "flat": (0.5, 0.8), "tower": (0.27, 1.1)}[pose]
    deep = 0.3 if pose != "tower" else 0.18
    canvas.polygon([(-width, 0), (-width, height), (-width - deep, height), (-width - deep, 0)], side, PART["wall"])
    canvas.polygon([(-width, 0), (-width, height), (width, height), (width, 0)], colour, PART["wall"])
    if pose == "gable":
        canvas.polygon([(0.14, height + 0.1), (0.14, height + 0.46), (0.28, height + 0.46), (0.28, height)],
                       (150, 92, 78), PART["roof"])  # fmt: skip
        peak = height + 0.4
        canvas.polygon([(-width - deep - 0.05, height - 0.02), (-deep, peak), (0, peak), (-width, height)],
                       shade(roof, 0.7), PART["roof"])  # fmt: skip
        canvas.polygon([(-width - 0.07, height - 0.03), (0, peak), (width + 0.07, height - 0.03)], roof, PART["roof"])
        canvas.ellipse(0, height + 0.12, 0.08, 0.08, glass, PART["window"])
    elif pose == "flat":
        canvas.polygon([(-width - deep, height), (-width - deep, height + 0.08), (width + 0.04, height + 0.08),
                        (width + 0.04, height)], roof, PART["roof"])  # fmt: skip
    else:
        canvas.polygon(
            [(-width - deep - 0.04, height), (-0.05, height + 0.42), (width + 0.06, height)],
            roof,
            PART["roof"],
        )
    floors = {"gable": 1, "flat": 2, "tower": 3}[pose]
    columns = (-0.24, 0.24) if pose != "tower" else (0.0,)
    for floor in range(floors):
        for x in columns:
            y = height - 0.24 - 0.3 * floor
            if floor == floors - 1 and x == columns[-1]:
                continue  # the door is here
            canvas.polygon([(x - 0.11, y - 0.09), (x - 0.11, y + 0.1), (x + 0.11, y + 0.1), (x + 0.11, y - 0.09)],
                           _WHITE, PART["window"])  # fmt: skip
            canvas.polygon([(x - 0.085, y - 0.065), (x - 0.085, y + 0.075), (x + 0.085, y + 0.075),
                            (x + 0.085, y - 0.065)], glass, PART["window"])  # fmt: skip
            canvas.limb([(x, y - 0.07), (x, y + 0.08)], [0.018, 0.018], _WHITE, PART["window"])
    x = columns[-1]
    canvas.polygon([(x - 0.1, 0), (x - 0.1, 0.36), (x + 0.1, 0.36), (x + 0.1, 0)], (96, 58, 40), PART["door"])
    canvas.ellipse(x, 0.36, 0.1, 0.06, (96, 58, 40), PART["door"])
    canvas.ellipse(x + 0.06, 0.17, 0.02, 0.02, (240, 206, 90), PART["door"])


def width_of(species: str, pose: str) -> float:
    """Approximate half width in units of height, for spacing and margins."""
    widest = {"dog": 0.66, "wolf": 0.9, "cat": 0.62, "bird": 0.62, "building": 0.8}[species]
    return widest * (0.8 if pose == "sit" else 1.0) * (0.6 if pose == "tower" else 1.0)


def height_of(species: str, pose: str) -> float:
    """Height of the top, in units of height."""
    tall = {"dog": 1.05, "wolf": 1.25, "cat": 1.1, "bird": 1.1, "building": 1.15}[species]
    return {"tower": 1.52, "fly": 1.4}.get(pose, tall)
