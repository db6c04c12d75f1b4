"""The figure of each lesson's handout, from drawn scenes: something to draw into, to fill in or to guess.

Each function returns (figure, what to do with it, a key for those who have finished or ""); :data:`FIGURES` names them
by their notebook.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

import ijepa_viz
from ijepa_viz import examples
from ijepa_viz.data import menagerie
from ijepa_viz.data.menagerie.film_clip import film
from ijepa_viz.data.menagerie.film_plan import plan
from ijepa_viz.figures import Figure
from ijepa_viz.figures.completion import show
from ijepa_viz.masks import Masks

SHARP = 256  # pixels a side of a scene that is printed; the models see 64
WIDTH = 9.0  # inches
Drawn = tuple[Figure, str, str]
FIGURES: dict[str, Callable[[], Drawn]] = {}


def of_lesson(name: str) -> Callable[[Callable[[], Drawn]], Callable[[], Drawn]]:
    """Register the figure of a notebook's handout."""

    def add(draw: Callable[[], Drawn]) -> Callable[[], Drawn]:
        FIGURES[name] = draw
        return draw

    return add


def row_of(pictures: list[np.ndarray], titles: list[str], about: str, rows: int = 1) -> Figure:
    """Pictures (H, W, 3) side by side, each with a title; several rows are printed smaller, so titles are larger."""
    columns = -(-len(pictures) // rows)
    side = WIDTH / columns
    figure = Figure(about, figsize=(WIDTH, (side + 0.28 + 0.07 * (rows - 1) ** 2) * rows), layout="constrained")
    for axis, picture, title in zip(
        figure.subplots(rows, columns, squeeze=False).ravel(), pictures, titles, strict=True
    ):
        show(axis, picture)
        axis.set_title(title, fontsize=(12, 15, 24)[rows - 1])
    return figure


def with_hole(image: np.ndarray, masks: Masks, grey: int = 235) -> np.ndarray:
    """A picture (H, W, 3) uint8 with its hidden patches light grey, light enough to sketch on."""
    found = image.copy()
    found[masks.hidden_pixels(len(image) // masks.grid[0])[0].numpy()] = grey
    return found


def grid_lines(axis, cells: int, side: int) -> None:
    """White lines between patches."""
    for i in range(1, cells):
        axis.axhline(i * side / cells - 0.5, color="white", linewidth=0.8)
        axis.axvline(i * side / cells - 0.5, color="white", linewidth=0.8)


@of_lesson("00_start_here")
def sketch() -> Drawn:
    """Three scenes with a hole to sketch into."""
    scenes = [s for s in examples.drawn_scenes(SHARP) if s.name in ("dog-head", "wolf-leg", "building-roof")]
    pictures = [with_hole(np.array(s.image), s.masks((8, 8))) for s in scenes]
    figure = row_of(pictures, ["A", "B", "C"], "Three drawn scenes with a hole to sketch into.")
    return (
        figure,
        "Before the lesson: sketch into each grey frame what you expect there. Circle what you are sure of.",
        "",
    )


@of_lesson("01_masks")
def masks_to_draw() -> Drawn:
    """One mask of pretraining over a scene, and two empty grids."""
    image = np.array(examples.drawn_scenes(SHARP)[0].image)
    found = ijepa_viz.masks.sample(batch=1, grid=(8, 8), generator=torch.Generator().manual_seed(2))
    seen = np.full((64, 3), 232, np.uint8)
    seen[found.context[0][found.valid[0]].numpy()] = (86, 180, 233)
    seen[found.targets[0].unique().numpy()] = (230, 159, 0)
    scale = np.ones((SHARP // 8, SHARP // 8, 1), np.uint8)
    empty = np.full_like(image, 255)
    pictures = [image, np.kron(seen.reshape(8, 8, 3), scale), empty, empty]
    titles = ["the picture", "C context, T targets", "yours: multi-block", "yours: random patches"]
    figure = row_of(pictures, titles, "A scene, one of its masks, and two empty grids.")
    cell = SHARP // 8
    letters = {"C": found.context[0][found.valid[0]], "T": found.targets[0].unique()}
    for letter, patches in letters.items():  # printed without colours, the two are one grey
        for patch in patches.tolist():
            place = ((patch % 8 + 0.5) * cell, (patch // 8 + 0.5) * cell)
            figure.axes[1].text(*place, letter, ha="center", va="center", fontsize=9)
    for axis in figure.axes:
        grid_lines(axis, 8, SHARP)
    for axis in figure.axes[2:]:
        for line in axis.lines:
            line.set_color("0.6")
        for spine in axis.spines.values():
            spine.set_visible(True)
    return figure, "Hide as many patches in the third grid as in the fourth. In which could you guess more of them?", ""


@of_lesson("02_three_architectures")
def candidates() -> Drawn:
    """The candidates of one scene."""
    from ijepa_viz.probes.factors import draw_factor_scenes
    from train.reports.energies import distractors

    scenes = draw_factor_scenes(40, 64, (8, 8), block=3, seed=1004)
    found = {name: pictures[1].permute(1, 2, 0).numpy() for name, pictures in distractors(scenes).items()}
    figure = row_of(list(found.values()), list(found), "One scene with eight candidates for its hidden block.", rows=2)
    words = (
        "Beside each candidate write J, G or P if you expect that the joint-embedding, the generative or the "
        "predictive architecture minds it."
    )
    return figure, words, ""


@of_lesson("03_pretrain")
def runs() -> Drawn:
    """What a run reads, and an empty table."""
    pictures = [menagerie.scene(i, SHARP, seed=1).image for i in (0, 1, 2, 3, 4)]
    figure = row_of(pictures, ["1", "2", "3", "4", "5"], "Five drawn scenes of the kind that a run learns from.")
    words = (
        "From scenes like these a run learns, and kNN asks for the species. Guess, then fill in from the notebook:\n\n"
        "| | loss of the prediction | effective rank | kNN | verdict |\n|---|---|---|---|---|\n"
        "| with the term | | | | |\n| without | | | | |\n| random init | - | - | | - |"
    )
    return figure, words, ""


@of_lesson("04_what_the_predictor_knows")
def neighbours() -> Drawn:
    """A hole, and blocks that might be retrieved for it."""
    example = examples.drawn_scenes(SHARP)[0]
    row, col, height, width = (v * SHARP // 8 for v in example.hole)
    pictures = [with_hole(np.array(example.image), example.masks((8, 8)))]
    kinds = {"same species": ("dog",), "another species": ("cat", "wolf"), "no creature": ("building",)}
    for species in kinds.values():
        pictures += [_scene_of(species, nth)[row : row + height, col : col + width] for nth in (0, 1)]
    order = [0, 3, 1, 5, 2, 6, 4]
    titles = ["hole", *"ABCDEF"]
    figure = row_of([pictures[i] for i in order], titles, "A scene with a hole, and six blocks of other scenes.")
    words = "Which block would a good prediction retrieve for the hole? Which would colour alone? Write down why."
    return figure, words, "B and D are of the same species as what is hidden; A and F of another; C and E of buildings."


def _scene_of(species: tuple[str, ...], nth: int) -> np.ndarray:
    """The nth scene of the test seed that is filled by one large thing of these species."""
    for index in range(100_000):
        things = menagerie.things(index, 1)
        if len(things) == 1 and things[0].species in species and things[0].size > 0.4:
            if not nth:
                return menagerie.scene(index, SHARP, 1).image
            nth -= 1
    raise ValueError(f"No scene has one large thing of {species}.")


def _models():
    from decoders import load_decoder

    return ijepa_viz.load_model("menagerie-tiny"), load_decoder("menagerie-tiny")


@of_lesson("05_decoder")
def which_is_the_control() -> Drawn:
    """Samples from three sources, without their names."""
    model, decoder = _models()
    scenes = examples.drawn_scenes(model.config.image_size)
    mine, other = (ijepa_viz.predict(model, s.image, scenes[0].masks(model.grid)) for s in (scenes[0], scenes[2]))
    drawn = [
        decoder.sample(mine.replaced(other.predicted), 2, seed=0),
        decoder.sample(mine, 2, seed=0),
        decoder.sample(mine, 2, seed=0, conditioning="null"),
    ]
    hole = with_hole(np.array(scenes[0].image), mine.masks)
    found = [[p.permute(1, 2, 0).clamp(0, 1).numpy() for p in samples.on(mine.image)] for samples in drawn]
    pictures = [hole, *(source[0] for source in found), np.full_like(hole, 255), *(source[1] for source in found)]
    titles = ["hole", "A 1", "B 1", "C 1", "", "A 2", "B 2", "C 2"]
    figure = row_of(pictures, titles, "A hole, and two samples each of three sources, one below the other.", rows=2)
    words = (
        "A, B and C are two samples each: of the prediction, of another image's prediction, of nothing. Which is "
        "which, and how sure are you?"
    )
    return figure, words, "A another image's prediction, B the prediction, C nothing."


@of_lesson("06_jepa_vs_generative")
def whose_answer() -> Drawn:
    """One hole, answered by a masked autoencoder and by an I-JEPA, without names."""
    from ijepa_viz.data.transforms import denormalise, normalise, to_tensor
    from ijepa_viz.models import patchify, unpatchify
    from train.objectives.objective import load_objective

    model, decoder = _models()
    generative = load_objective("menagerie-tiny-mae")
    scene = examples.drawn_scenes(model.config.image_size)[2]
    image, masks = to_tensor(scene.image, model.config.image_size), scene.masks(model.grid)
    patch = model.config.patch_size
    batch = normalise(image)[None]
    patches = patchify(batch, patch)
    patches[0, masks.targets[0, 0]] = generative.reconstruct(batch, masks)[0, 0]
    pixels = torch.where(masks.hidden_pixels(patch)[0], denormalise(unpatchify(patches, model.grid, patch))[0], image)
    prediction = ijepa_viz.predict(model, scene.image, masks)
    answers = [
        decoder.sample(prediction, 1, steps=1, seed=0).on(image)[0],
        *decoder.sample(prediction, 2, seed=0).on(image),
        pixels,
    ]
    pictures = [with_hole(np.array(scene.image), masks)]
    pictures += [answers[i].permute(1, 2, 0).clamp(0, 1).numpy() for i in (1, 3, 0, 2)]
    figure = row_of(pictures, ["hole", *"ABCD"], "One hole, and four answers of two models.")
    words = (
        "Two models answered: one in pixels, one in a representation that was then drawn. Whose are A to D? Two of "
        "them differ by the noise only: which?"
    )
    return (
        figure,
        words,
        "A and D samples of the I-JEPA, B the masked autoencoder's pixels, C the I-JEPA's mean.",
    )


@of_lesson("07_evaluate")
def thumbnails() -> Drawn:
    """Scenes, and their 8x8 colour thumbnails."""
    scenes = [menagerie.scene(i, SHARP, 1).image for i in (3, 5, 7, 9, 12)]
    small = [np.array(Image.fromarray(s).resize((8, 8), Image.Resampling.BOX)) for s in scenes]
    titles = [f"{i}" for i in (1, 2, 3, 4, 5)]
    figure = row_of(
        [*small, *scenes], [*titles, *titles], "Five scenes below their colour thumbnails of 8x8 pixels.", rows=2
    )
    words = (
        "Cover the lower row. From the thumbnails alone: how many things are there, and which species? Then compare. "
        "What does a classifier on thumbnails know?"
    )
    return figure, words, ""


@of_lesson("08_full_scale")
def patches() -> Drawn:
    """One scene under the grids of three models."""
    image = np.array(examples.drawn_scenes(SHARP)[0].image)
    models = {"menagerie-tiny: 64 px, patches of 8": 8, "ViT-H/14: 224 px": 16, "ViT-H/16-448: 448 px": 28}
    figure = row_of([image] * 3, list(models), "One scene under the patch grids of three models.")
    for axis, cells in zip(figure.axes, models.values(), strict=True):
        grid_lines(axis, cells, SHARP)
    words = (
        "How many tokens has each? Attention compares each with each: by what factor does its cost grow from left to "
        "right?"
    )
    return figure, words, "64, 256 and 784 tokens; attention costs 16 times, and then about 9 times, as much."


@of_lesson("09_your_own_data")
def crops() -> Drawn:
    """A scene, and what random crops leave of it."""
    image = np.array(examples.drawn_scenes(SHARP)[4].image)
    rng = np.random.default_rng(2)
    pictures, titles = [image], ["whole"]
    for share in (0.8, 0.6, 0.4, 0.3):
        side = int(SHARP * share**0.5)
        top, left = (int(v) for v in rng.integers(0, SHARP - side + 1, 2))
        cut = Image.fromarray(image[top : top + side, left : left + side]).resize((SHARP, SHARP))
        pictures.append(np.array(cut))
        titles.append(f"{round(100 * share)} % of it")
    figure = row_of(pictures, titles, "A scene, and four random crops of it.")
    return (
        figure,
        "Training sees random crops. From which would you still know what it is? What would a mirror image change?",
        "",
    )


@of_lesson("10_film_and_cues")
def futures() -> Drawn:
    """The first half of three films, and empty frames for the last one."""
    follows, left, stops = (film(index, SHARP, 1).frames for index in _film_of("meets_wall", "signpost", "flower"))
    pictures, titles = [], []
    for name, frames in zip("ABC", (follows, left, stops), strict=True):
        pictures += [frames[3], frames[len(frames) // 2 - 1], np.full_like(frames[0], 235)]
        titles += [f"{name}: frame 4", f"frame {len(frames) // 2}", f"frame {len(frames)}?"]
    order = [0, 3, 6, 1, 4, 7, 2, 5, 8]
    figure = row_of(
        [pictures[i] for i in order], [titles[i] for i in order], "Three films, seen up to the middle.", rows=3
    )
    words = (
        "Sketch the last frame of each film. Of which film could another sketch be as right? Write a sentence that "
        "would settle it."
    )
    return figure, words, "A turns round at the wall: its future follows. B and C are open: left or right; stay or go."


def _film_of(*stories: str) -> list[int]:
    """The first film of each story whose event lies in the second half."""
    found = []
    for story in stories:
        index = 0
        while True:
            planned = plan(index, 1)
            event = planned.main_event
            if planned.story == story and event is not None and planned.frames // 2 <= event.frame < 12:
                found.append(index)
                break
            index += 1
    return found
