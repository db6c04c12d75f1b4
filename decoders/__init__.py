"""Decoders from predicted representations back to pixels; train with ``python -m decoders``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decoders.decoder import Decoder, DecoderConfig, Samples
    from decoders.loading import load_decoder, save_decoder
    from decoders.networks.block_vit import BlockViT, SquaredErrorViT
    from decoders.networks.pooled_unet import PooledUNet
    from decoders.networks.ridge import Ridge
    from decoders.pipeline import BlockPipeline

# Imported on first use, because torch and diffusers take seconds and --help needs neither. diffusers looks up the
# classes of a saved pipeline here, which imports them too.
_HOMES = {
    "BlockPipeline": "pipeline",
    "BlockViT": "networks.block_vit",
    "Decoder": "decoder",
    "DecoderConfig": "decoder",
    "PooledUNet": "networks.pooled_unet",
    "Ridge": "networks.ridge",
    "Samples": "decoder",
    "SquaredErrorViT": "networks.block_vit",
    "load_decoder": "loading",
    "save_decoder": "loading",
}
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


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"decoders.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'decoders' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
