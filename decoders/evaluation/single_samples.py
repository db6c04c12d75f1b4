"""Single samples of held-out scenes by settings of the sampling: what a classifier reads, and their spread."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from decoders.decoder import Decoder
from decoders.evaluation.calibration import dispersion
from decoders.evaluation.classifier import as_images, classifier_features
from decoders.evaluation.metric import sample_blocks
from decoders.evaluation.realism import two_sample_test
from decoders.evaluation.scenes import BLOCK_SHAPE, SceneReader, block_images
from ijepa_viz.models import IJEPA
from ijepa_viz.probes.probe import Split

_SPREAD_OF = 160  # scenes, at most, of which several samples are drawn


class SingleSamples:
    """Readings of a decoder's samples by settings, all of the same scenes and noise.

    Args:
        model, decoder: a pair. split: of ``menagerie``.
        train, test: number of scenes. samples: of each block, for the spread. epochs: of the classifier.

    Raises:
        ValueError: a data set other than ``menagerie``.
    """

    def __init__(
        self, model: IJEPA, decoder: Decoder, split: Split, train: int, test: int, samples: int, epochs: int
    ) -> None:
        self._model, self._decoder, self._samples, self._test = model, decoder, samples, test
        self.reader = SceneReader(model, decoder.image_size, split, train, test, epochs)
        # Of other scenes than those tested.
        last = block_images(model, self.reader.train_blocks.clean[-test:])
        self._reference = classifier_features(self.reader.classifier, last)

    def row(self, source: str, decoder: Decoder | None = None, **options: Any) -> dict[str, Any]:
        """Accuracy by factor, ``distance_x_1000`` and ``spread_over_error``.

        The kernel distance is to real blocks that the same classifier was trained on, in its features: not comparable
        with ``realism``'s, whose classifier and holes are others. The spread is the calibration metric's.

        Args:
            source: "predicted" or "target".
            decoder: another one of the same model, such as with another solver. options: of the pipeline's call.
        """
        drawing = decoder or self._decoder
        blocks, few = self.reader.blocks, slice(0, min(self._test, _SPREAD_OF))
        tokens, real = getattr(blocks, source), as_images(blocks.clean[few], BLOCK_SHAPE)
        many, indices = (t[few].repeat_interleave(self._samples, 0) for t in (tokens, blocks.patch_indices))
        sampled = sample_blocks(drawing, many, indices, seed=self._test, source=source, **options)
        drawn = as_images(sampled, BLOCK_SHAPE)
        spread = dispersion(drawn.unflatten(0, (len(real), self._samples)), real).ratio
        single = sample_blocks(drawing, tokens, blocks.patch_indices, source=source, **options)
        return {**self._read(single), "spread_over_error": spread}

    def real_row(self) -> dict[str, Any]:
        """The same of the real pixels, which have no spread."""
        return self._read(self.reader.blocks.clean)

    def _read(self, pixels: Tensor) -> dict[str, Any]:
        features = classifier_features(self.reader.classifier, block_images(self._model, pixels))
        distance, _ = two_sample_test(self._reference, features, permutations=1)
        return {**self.reader.read(pixels), "distance_x_1000": 1000 * distance}
