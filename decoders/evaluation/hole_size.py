"""Metric ``hole-size``: time against the size of the hole."""

from __future__ import annotations

from typing import Any

from decoders.decoder import Decoder
from decoders.evaluation.few_steps import _median_ms
from decoders.evaluation.metric import INSTRUMENTS, pictures, see
from decoders.networks.network import BlockNetwork
from decoders.pipeline import BlockPipeline
from ijepa_viz.figures import hole_size_figure
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split


def on_larger_grid(network: BlockNetwork, times: int) -> BlockNetwork:
    """An untrained network of the same kind and sizes for an image ``times`` as high and wide."""
    own = {key: value for key, value in network.config.items() if not key.startswith("_")}
    return type(network)(**{**own, "grid": tuple(times * side for side in network.grid)}).to(network.device).eval()


@INSTRUMENTS.register("hole-size")
def hole_size(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Milliseconds of six samples at the default quality, and to the first preview, by the side of a square hole.

    ``ms_wider_image`` is the same hole in an image of twice the height and width, drawn by an untrained network of
    the same sizes: the cost is the hole's, not the image's.
    """
    table: dict[str, Any] = {}
    image = pictures(split("test"), model.config.image_size, 100)[:1]
    wide = BlockPipeline(on_larger_grid(decoder.network, 2), decoder.pipeline.scheduler)
    columns = model.grid[1]
    for side in range(1, min(model.grid)):
        seen = see(model, image, Masks.from_block(model.grid, 0, 0, side, side))
        tokens, places = (t.to(decoder.device).repeat(6, 1, *[1] * (t.ndim - 2)) for t in (seen.predicted, seen.places))
        there = places // columns * 2 * columns + places % columns
        steps = decoder.config.steps
        table[f"{side}x{side} patches"] = {
            "ms": _median_ms(decoder.pipeline, tokens, places, steps),
            "ms_first_preview": _median_ms(decoder.pipeline, tokens, places, 1),
            "ms_wider_image": _median_ms(wide, tokens, there, steps),
        }
    return {**table, "figure": hole_size_figure(table, model.config.image_size)}
