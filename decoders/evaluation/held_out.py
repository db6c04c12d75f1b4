"""Held-out blocks whose samples are compared with each other: of drawn scenes, or of photographs."""

from __future__ import annotations

from dataclasses import dataclass

from decoders.blocks import Blocks
from decoders.decoder import Decoder
from decoders.evaluation.metric import box_of, centre_hole, source_blocks
from decoders.evaluation.scenes import BLOCK_SHAPE, draw_scenes, drawn_test_data, scene_blocks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.factors import FactorScenes
from ijepa_viz.probes.probe import Split


@dataclass(frozen=True)
class HeldOutBlocks:
    """Blocks of held-out images.

    Attributes:
        blocks: pixels and tokens. shape: (rows, cols) of patches of a block.
        train_scenes, scenes: of drawn scenes only: those for training a classifier, and those of the blocks.
    """

    blocks: Blocks
    shape: tuple[int, int]
    train_scenes: FactorScenes | None = None
    scenes: FactorScenes | None = None

    @property
    def test_data(self) -> dict[str, str]:
        """``test_data`` of the metric's table, of drawn scenes; empty where the blocks are of the data's own images."""
        if self.train_scenes is None or self.scenes is None:
            return {}
        return {"test_data": drawn_test_data(self.train_scenes, self.scenes)}


def held_out_blocks(
    model: IJEPA, decoder: Decoder, split: Split, images: int, seed: int, train_scenes: int
) -> HeldOutBlocks:
    """Hide one part in each of ``images`` drawn scenes, or the centre of each of ``images`` photographs.

    Args:
        model, decoder: a pair. split: of the data set.
        images: number of blocks. seed: of the scenes of the blocks.
        train_scenes: number of scenes for training a classifier.
    """
    if split("test").name.startswith("menagerie "):
        training, scenes = draw_scenes(model, train_scenes, seed=2001), draw_scenes(model, images, seed=seed)
        return HeldOutBlocks(scene_blocks(model, scenes, decoder.image_size), BLOCK_SHAPE, training, scenes)
    hole = centre_hole(model)
    blocks = source_blocks(model, split("test"), decoder.image_size, hole, max(images, 100))
    return HeldOutBlocks(blocks[:images], box_of(hole))
