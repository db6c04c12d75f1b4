"""Hidden blocks of drawn scenes with known factors, and classifiers trained on their real pixels."""

from __future__ import annotations

from torch import Tensor

from decoders.blocks import Blocks
from decoders.evaluation.classifier import BlockClassifier, as_images, predict_logits, train_classifier
from decoders.evaluation.metric import encode_blocks
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.data.transforms import normalise
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import FactorScenes, draw_factor_scenes, relabelled
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.probe import Split

SCENE_FACTORS = ("species", "part", "facing", "colour")

# (rows, cols) of patches of the hidden block.
BLOCK_SHAPE = (3, 3)

# Least number of scenes that gets a progress bar: from here on it takes minutes.
MANY_SCENES = 2000


def draw_scenes(model: IJEPA, count: int, seed: int) -> FactorScenes:
    """Draw scenes of the model's image size, each with a hidden block over one part of the nearest thing."""
    return draw_factor_scenes(count, model.config.image_size, model.grid, BLOCK_SHAPE[0], seed)


def train_and_test_scenes(model: IJEPA, split: Split, train: int, test: int) -> tuple[FactorScenes, FactorScenes]:
    """Draw scenes for training and for testing a classifier, of seeds that no bundled model was trained on.

    The data set only says that scenes are wanted; its own ``count=`` and ``seed=`` have no effect, so that numbers of
    different runs are of the same scenes. The metric's table says so: :func:`drawn_test_data`.

    Raises:
        ValueError: a data set other than ``menagerie``.
    """
    if not split("test").name.startswith("menagerie "):
        raise ValueError("Only drawn scenes have a known truth: use --data menagerie.")
    return draw_scenes(model, train, seed=2001), draw_scenes(model, test, seed=2002)


def drawn_test_data(train_scenes: FactorScenes, scenes: FactorScenes) -> str:
    """``test_data`` of a metric's table: what it drew, since no ``count=`` or ``seed=`` of the data changes that.

    Trainings draw from even seeds, twice the one that they name: who names just that one has learned these scenes.
    """
    learned = "" if scenes.seed % 2 else f"; a training on menagerie:seed={scenes.seed // 2} has seen these scenes"
    return (
        f"{len(scenes.scenes)} scenes drawn with seed {scenes.seed}, classifiers fitted on {len(train_scenes.scenes)} "
        f"with seed {train_scenes.seed}, whatever count= and seed= of the data are{learned}"
    )


def scene_blocks(model: IJEPA, scenes: FactorScenes, size: ImageSize | None = None) -> Blocks:
    """Hidden blocks of drawn scenes, on the CPU.

    Args:
        model: computes the tokens.
        size: of the pictures whose pixels are the blocks': the scenes drawn at that size. None is the model's.
    """
    pictures = None if size is None or size == model.config.image_size else scenes.at(size)
    return encode_blocks(model, normalise(scenes.images / 255), scenes.masks, pictures=pictures)


def block_images(model: IJEPA, pixels: Tensor) -> Tensor:
    """Blocks (n, T, 3 p p) of scenes as images for a classifier, (n, 3, h, w), at the model's own resolution."""
    return as_images(pixels, BLOCK_SHAPE, model.config.patch_size)


def train_block_classifier(
    model: IJEPA, scenes: FactorScenes, size: ImageSize | None = None, epochs: int = 12
) -> BlockClassifier:
    """Train a classifier of the scenes' factors on the real pixels of their hidden blocks, of pictures of ``size``."""
    return train_on_pixels(model, scene_blocks(model, scenes, size).clean, scenes, epochs)


def train_on_pixels(model: IJEPA, pixels: Tensor, scenes: FactorScenes, epochs: int) -> BlockClassifier:
    """Train a classifier of the scenes' factors on ``pixels`` (n, T, 3 p p) of their hidden blocks, real or decoded."""
    labels = {name: scenes.labels[name] for name in SCENE_FACTORS}
    classes = {name: len(scenes.classes[name]) for name in SCENE_FACTORS}
    return train_classifier(block_images(model, pixels), labels, classes, epochs)


class SceneReader:
    """Held-out scenes with a hidden block each, and a classifier of real blocks of other scenes that reads drawn ones.

    Args:
        model: computes the tokens. size: of the pictures. split: of ``menagerie``.
        train, test: number of scenes. epochs: of the classifier.

    Attributes:
        train_scenes: the classifier's. blocks, train_blocks: hidden blocks of the scenes held out, and of those.
        test_data: which scenes these are, in words.

    Raises:
        ValueError: a data set other than ``menagerie``.
    """

    def __init__(self, model: IJEPA, size: ImageSize, split: Split, train: int, test: int, epochs: int) -> None:
        train_scenes, scenes = train_and_test_scenes(model, split, train, test)
        self.train_scenes = train_scenes
        self.blocks, self.train_blocks = (scene_blocks(model, s, size) for s in (scenes, train_scenes))
        self.classifier = train_on_pixels(model, self.train_blocks.clean, train_scenes, epochs)
        self.truth = {name: relabelled(scenes, train_scenes, name) for name in SCENE_FACTORS}
        self.test_data = drawn_test_data(train_scenes, scenes)
        self._model = model

    def read(self, pixels: Tensor) -> dict[str, dict[str, float]]:
        """Accuracy by factor, of pixels (n, T, 3 p p) of the held-out scenes' blocks."""
        logits = predict_logits(self.classifier, block_images(self._model, pixels))
        return {name: accuracy(logits[name].argmax(1) == self.truth[name]) for name in SCENE_FACTORS}


def accuracy(right: Tensor) -> dict[str, float]:
    """Accuracy with its 95 % interval, of ``right`` (n,) bool."""
    return accuracy_with_interval(int(right.sum()), len(right))
