"""Metrics of decoders, one file each."""

from decoders.evaluation.metric import DECODER_METRICS
from ijepa_viz.registry import import_files

import_files(__name__)  # a metric's file registers itself

__all__ = ["DECODER_METRICS"]
