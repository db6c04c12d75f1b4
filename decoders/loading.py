"""Decoders on disk: ``config.json`` and ``model.safetensors``, like the models they read."""

from __future__ import annotations

from pathlib import Path

import torch

from decoders.block_vit import BlockViT, DecoderConfig
from decoders.sampling import Decoder
from ijepa_viz import strict_config
from ijepa_viz.checkpoints import (
    CONFIG,
    WEIGHTS,
    find_bundled,
    read_into,
    read_json,
    write_config,
    write_tensors,
)


def save_decoder(network: BlockViT, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a decoder's folder; ``dtype`` float16 halves it.

    Raises:
        OSError: the disk refuses; what the folder held before is intact.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder / CONFIG, network.config, write_tensors(folder / WEIGHTS, network.state_dict(), dtype))


def load_decoder(source: str | Path, device: str | torch.device | None = None) -> Decoder:
    """Load a decoder.

    Args:
        source: a bundled model's name (its decoder comes with it), or a folder.
        device: None is the CPU.

    Raises:
        FileNotFoundError: no such name or folder; the message names the nearest bundled one.
        ValueError: a damaged file, or weights that do not fit the config.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = find_bundled(str(source)) / "decoder"
    data = read_json(folder / CONFIG)
    digest = str(data.pop("weights_sha256", ""))
    config = strict_config.build(DecoderConfig, data, str(folder / CONFIG))
    network = BlockViT(config)
    read_into(network, folder / WEIGHTS, digest)
    return Decoder(network.to(device or "cpu").requires_grad_(False))
