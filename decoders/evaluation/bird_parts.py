"""Metric ``bird-parts``: whether the part that a hole hides, such as the legs, is drawn and where it belongs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation import bootstrap
from decoders.evaluation.classifier import as_images
from decoders.evaluation.completions import ROWS, complete, holed
from decoders.evaluation.judges import class_probability, require_judges
from decoders.evaluation.metric import DECODER_METRICS, drawn_indices
from decoders.evaluation.part_recogniser import Reading, read_parts, train_recogniser
from decoders.evaluation.scenes import accuracy
from ijepa_viz.data.annotations import part_points
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.figures import readings_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.part_holes import GROUPS, HOLE, group_points, holes_over_parts, in_holes
from ijepa_viz.probes.probe import Split

SHOWN = 6  # pictures of the figure: the first ones


@DECODER_METRICS.register("bird-parts")
def bird_parts(
    model: IJEPA, decoder: Decoder, split: Split, test: int = 300, train: int = 4000, epochs: int = 20
) -> dict[str, Any]:
    """Birds with a hole over the legs, the beak or the tail: how often the hidden part is drawn, and in its place.

    Each bird gets a hole over its legs, and one over beak and tail in turn. A recogniser of leg, beak, eye and tail
    reads the hole's pixels; it was trained on blocks of real training pictures. ``leg_found`` is the share of holes
    over legs in which it gives more than one half to a leg, ``leg_placed`` of those with a leg within one patch of a
    real one. ``leg``, ``beak``, ``eye`` and ``tail`` are balanced accuracies over all holes, which tell what is hidden
    from what is not: 0.5 for a constant answer, and more for one by the hole's place alone, which ``null`` measures.
    The nearest training block may be one that the recogniser was fitted on, which favours this control.
    ``bird_probability`` is EfficientNet-lite0's of the whole picture, of all birds together, with the legs hidden. The
    data need the column ``parts``, fifteen of [x, y, visible] a picture, and the metric the extra ``judge``. One sample
    a hole.

    Args:
        model, decoder: a pair. split: of birds with their parts.
        test: number of test pictures. train: of training pictures. epochs: of the recogniser.

    Raises:
        ValueError: data without the column or without a visible leg, holes that are no multiple of 4 px, or the judge
            is not installed.
    """
    require_judges()
    pair = train_and_test(split)
    size, patch = model.config.image_size, model.config.patch_size
    side = max(1, round(HOLE * min(model.grid)))
    if side * patch % 4:
        raise ValueError(
            f"The recogniser of bird parts reads holes of a multiple of 4 px, and {side} patches of {patch} px are "
            f"{side * patch} px. Ask a model whose patch size is a multiple of 4."
        )
    chosen, learned = drawn_indices(pair.test, test), drawn_indices(pair.train, train)
    own, theirs = (group_points(part_points(s, size)[i]) for s, i in ((pair.test, chosen), (pair.train, learned)))
    rows, over, masks = holes_over_parts(own, model.grid, patch, side)
    train_rows, train_over, train_masks = holes_over_parts(theirs, model.grid, patch, side)
    held = holed(model, decoder, pair.test, chosen[rows], masks, over)
    others = holed(model, decoder, pair.train, learned[train_rows], train_masks, train_over)
    whole = holed(model, decoder, pair.train, learned, train_masks[:1])
    scale = min(model.config.height_and_width) / 64
    recogniser = train_recogniser(whole.images, theirs, side * patch, epochs, (1.0 * scale, 3.0 * scale))
    completed = complete(model, decoder, held, others)
    places = in_holes(own[rows], masks, patch)
    truth = {name: ~places[:, i].isnan().any(-1).all(-1) for i, name in enumerate(GROUPS)}
    legs = torch.tensor([name == "leg" for name in over])
    table: dict[str, Any] = {"pictures": len(chosen), "holes_over_legs": int(legs.sum()), "holes": len(over)}
    for row in ROWS:
        reading = read_parts(recogniser, as_images(completed.rows[row], (side, side), patch))
        found = reading.present > 0.5
        placed = found[:, 0] & (distance_to(reading, places)[:, 0] <= patch)
        table[row] = {
            "leg_found": accuracy(found[legs, 0]),
            "leg_placed": accuracy(placed[legs]),
            **{
                name: bootstrap.balanced_accuracy(found[:, i], truth[name], torch.from_numpy(rows))
                for i, name in enumerate(GROUPS)
                if truth[name].any() and not truth[name].all()
            },
            "bird_probability": bootstrap.mean(class_probability(completed.pictures(row)[legs], "bird")),
        }
    first = legs.nonzero()[:SHOWN, 0]
    panels = {
        "a leg is drawn under a hole\nover the legs": {row: table[row]["leg_found"] for row in ROWS},
        "within a patch of\nits place": {row: table[row]["leg_placed"] for row in ROWS},
    }
    figure = readings_figure(
        {row: completed.pictures(row)[first] for row in ROWS},
        panels,
        ROWS,
        masks[first],
        f"Birds with a hole over their legs, completed from predictions and by controls; {int(legs.sum())} holes.",
    )
    return {**table, "figure": figure}


def distance_to(reading: Reading, places: Tensor) -> Tensor:
    """Pixels from where each part was read to the nearest real one in the hole, (n, P); infinite where none is."""
    away = (places - reading.places[:, :, None]).norm(dim=-1)
    return away.nan_to_num(nan=torch.inf).amin(-1)
