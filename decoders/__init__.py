"""Decoders from predicted representations back to pixels; train with ``python -m decoders``."""

# Importing a file of the family registers it; diffusers finds the classes of a saved pipeline here.
from decoders.block_vit import BlockViT, SquaredErrorViT
from decoders.loading import load_decoder, save_decoder
from decoders.pipeline import BlockPipeline
from decoders.pooled_unet import PooledUNet
from decoders.ridge import Ridge
from decoders.sampling import Decoder, DecoderConfig, Samples

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
