"""Landscapes of the menagerie: sky, sun, clouds, hills, trees and ground, and the texture over the whole image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ijepa_viz.data.menagerie.drawing import Canvas, Colour, Frame, mix, shade

GROUNDS: dict[str, tuple[Colour, Colour]] = {  # far, near
    "grass": ((142, 178, 108), (94, 148, 66)),
    "sand": ((234, 214, 166), (212, 182, 122)),
    "snow": ((244, 248, 252), (218, 228, 240)),
    "shore": ((226, 208, 160), (204, 178, 120)),
}

WATER: tuple[Colour, Colour] = (132, 184, 214), (64, 124, 176)

# Depth of the shore, behind which the water lies.
SHORE_DEPTH = 0.25

SKIES: dict[str, tuple[Colour, Colour]] = {  # horizon, top
    "day": ((206, 230, 246), (104, 168, 226)),
    "dusk": ((252, 198, 142), (148, 112, 178)),
    "overcast": ((226, 228, 230), (166, 174, 184)),
    "morning": ((254, 234, 206), (150, 196, 222)),
}

# Size of a tuft or stone beside its depth below the horizon.
_DETAIL = 0.06


def draw_landscape(
    canvas: Canvas, ground: str, sky: str, rng: np.random.Generator, details: list[tuple[float, float]]
) -> None:
    """Sky, sun, clouds, hills and ground; x and y of the frame run from 0 to 1, y down. Fills ``details``."""
    canvas.owner, canvas.haze = 0, ((0, 0, 0), 0.0)
    low, high = SKIES[sky]
    horizon = float(rng.uniform(0.5, 0.56))
    edge = round(horizon * canvas.pixels)
    fill_strip(canvas, high, low, 0, edge)
    fill_ground(canvas, ground, edge)
    enter_image(canvas)
    if sky != "overcast" and rng.random() < 0.6:
        x, y = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.25)
        draw_sun(canvas, x, y, sky)
    for _ in range(int(rng.integers(0, 4))):
        x, y, s = rng.uniform(0, 1), rng.uniform(0.06, 0.34), rng.uniform(0.05, 0.09)
        draw_cloud(canvas, x, y, s, mix((255, 255, 255), low, 0.25))
    hill = hill_colour(ground, sky)
    for _ in range(int(rng.integers(0, 3))):
        x, w, h = rng.uniform(0, 1), rng.uniform(0.2, 0.4), rng.uniform(0.06, 0.18)
        canvas.polygon([(x - w, horizon), (x, horizon - h), (x + w, horizon)], shade(hill, rng.uniform(0.9, 1.1)))
    if ground != "shore":
        for _ in range(int(rng.integers(0, 4))):
            x, s = rng.uniform(0, 1), rng.uniform(0.05, 0.11)
            draw_tree(canvas, x, horizon, s, rng.uniform(0.85, 1.15))
    for _ in range(int(rng.integers(5, 14))):
        y = rng.uniform(0.69 if ground == "shore" else horizon + 0.03, 1.0)
        x = rng.uniform(0, 1)
        details.append((float(x), float(y)))
        draw_detail(canvas, x, y, horizon, ground, 0.85 if rng.random() < 0.5 else 1.18)


def enter_image(canvas: Canvas) -> None:
    """Enter the frame of the whole image: x and y from 0 to 1, y down."""
    canvas.enter(Frame((0.0, 0.0), -1.0, -1))


def fill_strip(canvas: Canvas, top_colour: Colour, bottom_colour: Colour, top: int, bottom: int) -> None:
    """Fill the rows ``top`` to ``bottom`` of the canvas with a vertical gradient."""
    bands = np.linspace(0, 1, 16)[:, None]
    colours = np.array(top_colour) + (np.array(bottom_colour) - np.array(top_colour)) * bands
    strip = Image.fromarray(colours.astype(np.uint8)[:, None])
    strip = strip.resize((1, bottom - top), Image.Resampling.BILINEAR)
    canvas.image.paste(strip.resize((canvas.pixels, bottom - top), Image.Resampling.NEAREST), (0, top))


def fill_ground(canvas: Canvas, ground: str, edge: int) -> None:
    """Fill the canvas below row ``edge`` with ground; the shore has water first."""
    bank = edge
    if ground == "shore":
        bank = round((0.9 - SHORE_DEPTH) * canvas.pixels)
        fill_strip(canvas, *WATER, edge, bank)
    fill_strip(canvas, *GROUNDS[ground], bank, canvas.pixels)


def draw_sun(canvas: Canvas, x: float, y: float, sky: str) -> None:
    """The sun at (x, y)."""
    canvas.ellipse(x, y, 0.06, 0.06, (255, 240, 190) if sky != "dusk" else (252, 150, 96))


def draw_cloud(canvas: Canvas, x: float, y: float, s: float, colour: Colour) -> None:
    """A cloud of three puffs around (x, y), about ``3.5 s`` wide."""
    for dx, dy, r in ((-1, 0.1, 0.7), (0, -0.15, 1.0), (1, 0.1, 0.75)):
        canvas.ellipse(x + dx * s, y + dy * s, r * s, r * s * 0.6, colour)


def hill_colour(ground: str, sky: str) -> Colour:
    """The ground's far colour, paled by the air."""
    return mix(mix(GROUNDS[ground][0], SKIES[sky][1], 0.45), (70, 96, 110), 0.2)


def draw_tree(canvas: Canvas, x: float, horizon: float, s: float, brightness: float) -> None:
    """A tree on the horizon, ``s`` high to the middle of its crown."""
    canvas.limb([(x, horizon + 0.02), (x, horizon - s)], [0.018, 0.012], (112, 82, 60))
    canvas.ellipse(x, horizon - s, s * 0.5, s * 0.65, shade((74, 118, 74), brightness))


def draw_detail(canvas: Canvas, x: float, y: float, horizon: float, ground: str, brightness: float) -> None:
    """A tuft of grass or a stone at (x, y), larger where it is nearer."""
    far, near = GROUNDS[ground]
    s = _DETAIL * (y - horizon + 0.1)
    tone = shade(mix(far, near, (y - horizon) / (1 - horizon)), brightness)
    if ground == "grass":
        canvas.polygon([(x - s, y), (x - s * 0.6, y - 1.6 * s), (x, y), (x + s * 0.6, y - 1.6 * s), (x + s, y)], tone)
    else:
        canvas.ellipse(x, y, 2.5 * s, 0.35 * s, tone)


def add_texture(pixels: np.ndarray, phase: float, speckle: float, rng: np.random.Generator) -> np.ndarray:
    """Add the nuisance factors: a faint wave and fine speckle over the whole image."""
    size = pixels.shape[0]
    steps = np.arange(size, dtype=np.float32) / size
    wave = 3.0 * np.sin(2 * np.pi * (7 * steps + 5 * steps[:, None]) + phase)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * (255 * speckle)
    return np.clip(pixels + wave[..., None] + noise, 0, 255).astype(np.uint8)
