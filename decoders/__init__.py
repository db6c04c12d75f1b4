"""Decoders from predicted representations back to pixels; train with ``python -m decoders``."""

from decoders.loading import load_decoder
from decoders.sampling import Decoder, Samples

__all__ = ["Decoder", "Samples", "load_decoder"]
