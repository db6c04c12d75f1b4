"""Metric ``hole-size``: sampling time against the size of the hole."""

from __future__ import annotations

from typing import Any

from decoders.decoder import Decoder
from decoders.evaluation.metric import DECODER_METRICS, encode_blocks, evaluation_images, median_ms
from decoders.networks.network import BlockNetwork
from decoders.pipeline import BlockPipeline
from ijepa_viz.data.transforms import normalise
from ijepa_viz.figures import hole_size_figure
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split
from ijepa_viz.runtime.progress import track


def on_larger_grid(network: BlockNetwork, times: int) -> BlockNetwork:
    """Build an untrained network of the same class and sizes for an image ``times`` as high and wide."""
    own = {key: value for key, value in network.config.items() if not key.startswith("_")}
    return type(network)(**{**own, "grid": tuple(times * side for side in network.grid)}).to(network.device).eval()


@DECODER_METRICS.register("hole-size")
def hole_size(model: IJEPA, decoder: Decoder, split: Split) -> dict[str, Any]:
    """Measure milliseconds of six samples with the default steps, and until the first preview, by a hole's side.

    The first preview is of the first step, or the sketch of two stages. ``ms_wider_image`` is for the same hole in an
    image of twice the height and width, with untrained networks of the same sizes: the cost depends on the hole, not on
    the image.
    """
    table: dict[str, Any] = {}
    image = normalise(evaluation_images(split("test"), model.config.image_size, 100)[:1] / 255)
    pipeline = decoder.pipeline
    own = pipeline.token_network
    second = None if own is None else on_larger_grid(own, 2)
    wide = BlockPipeline(on_larger_grid(decoder.network, 2), pipeline.scheduler, second, pipeline.token_scheduler)
    columns = model.grid[1]
    for side in track(range(1, min(model.grid)), "timing hole sizes", "size"):
        blocks = encode_blocks(model, image, Masks.from_block(model.grid, 0, 0, side, side))
        tokens, patch_indices = (
            t.to(decoder.device).repeat(6, 1, *[1] * (t.ndim - 2)) for t in (blocks.predicted, blocks.patch_indices)
        )
        on_wide = patch_indices // columns * 2 * columns + patch_indices % columns
        steps, token_steps = decoder.config.steps, {"token_steps": decoder.config.token_steps}
        first = 1 if own is not None else len(tokens)  # a sketch is one picture for all samples
        table[f"{side}x{side} patches"] = {
            "ms": median_ms(decoder.pipeline, tokens, patch_indices, steps, **token_steps),
            "ms_first_preview": median_ms(decoder.pipeline, tokens[:first], patch_indices[:first], 1, token_steps=0),
            "ms_wider_image": median_ms(wide, tokens, on_wide, steps, **token_steps),
        }
    return {**table, "figure": hole_size_figure(table, decoder.image_size)}
