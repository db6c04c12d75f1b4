"""Metric ``photographs``: whether judges that are not ours see a cat's face in completed pictures."""

from __future__ import annotations

from typing import Any

from decoders.decoder import Decoder
from decoders.evaluation import bootstrap
from decoders.evaluation.completions import ROWS, complete, holed
from decoders.evaluation.judges import class_probability, finds_cat_face, require_cat_faces, require_judges
from decoders.evaluation.metric import DECODER_METRICS, drawn_indices
from ijepa_viz.data.annotations import head_box
from ijepa_viz.data.splits import train_and_test
from ijepa_viz.figures import readings_figure
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.intervals import accuracy_with_interval
from ijepa_viz.probes.part_holes import EYES_AND_NOSE, face_hole
from ijepa_viz.probes.probe import Split

SHOWN = 6  # pictures of the figure: the first ones


@DECODER_METRICS.register("photographs")
def photographs(model: IJEPA, decoder: Decoder, split: Split, test: int = 500, train: int = 4000) -> dict[str, Any]:
    """Cats' faces with a hole over eyes and nose: how often OpenCV's cascade finds a face in the completed picture.

    The hole is one rectangle for all, over both eyes and the nose of aligned faces; one sample each. ``face`` is the
    share of pictures in which the cascade finds a face (128 px, a quarter's border, scale 1.05, 2 neighbours),
    ``face_where_real`` the same among those in whose real picture it finds one. ``cat_probability`` is EfficientNet-
    lite0's, of all cats together, their mean. ``nearest_training`` is the root mean square difference of the hole's
    pixels to those of the most similar training picture: samples far below ``real_pixels`` and far above the blur are
    copied. ``expected_picture`` ends sampling at the noise level where half of the steps are left.
    ``nearest_training_block`` decodes nothing: it pastes the training picture whose predicted tokens are nearest. Needs
    the extra ``judge``.

    Args:
        model, decoder: a pair. split: of cats' faces.
        test: number of test pictures. train: of training pictures, for the controls.

    Raises:
        ValueError: the judges are not installed, or see a face in hardly any real picture.
    """
    require_judges()
    pair = train_and_test(split)
    masks = face_hole(model, head_box(pair.train, model.config.image_size), EYES_AND_NOSE)
    held = holed(model, decoder, pair.test, drawn_indices(pair.test, test), masks)
    real = require_cat_faces(held.pictures / 255, pair.test.name)
    completed = complete(
        model, decoder, held, holed(model, decoder, pair.train, drawn_indices(pair.train, train), masks)
    )
    table: dict[str, Any] = {"pictures": len(real), "with_a_face": int(real.sum())}
    for row in ROWS:
        pictures = completed.pictures(row)
        found = finds_cat_face(pictures)
        table[row] = {
            "face": accuracy_with_interval(int(found.sum()), len(found)),
            "face_where_real": accuracy_with_interval(int((found & real).sum()), int(real.sum())),
            "cat_probability": bootstrap.mean(class_probability(pictures, "cat")),
            "nearest_training": bootstrap.mean(completed.nearest_training(row)),
        }
    panels = {
        "a face is found, of those\nwhose real picture has one": {row: table[row]["face_where_real"] for row in ROWS},
        "probability of a cat": {row: table[row]["cat_probability"] for row in ROWS},
    }
    figure = readings_figure(
        {row: completed.pictures(row)[:SHOWN] for row in ROWS},
        panels,
        ROWS,
        held.masks,
        f"{len(real)} cats' faces with a hole over eyes and nose, completed from predictions and by controls.",
    )
    return {**table, "figure": figure}
