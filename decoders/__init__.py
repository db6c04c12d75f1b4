"""Decoders from predicted representations back to pixels; train with ``python -m decoders``."""

# ``decoders.networks`` and ``decoders.evaluation`` register their files; diffusers looks up the classes of a saved
# pipeline here.
import decoders.evaluation  # noqa: F401
from decoders.decoder import Decoder, DecoderConfig, Samples
from decoders.loading import load_decoder, save_decoder
from decoders.networks.block_vit import BlockViT, SquaredErrorViT
from decoders.networks.pooled_unet import PooledUNet
from decoders.networks.ridge import Ridge
from decoders.pipeline import BlockPipeline

__all__ = [
    "BlockPipeline",
    "BlockViT",
    "Decoder",
    "DecoderConfig",
    "PooledUNet",
    "Ridge",
    "Samples",
    "SquaredErrorViT",
    "load_decoder",
    "save_decoder",
]
