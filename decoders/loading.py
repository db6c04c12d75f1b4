"""Saving and loading of decoders: the folder of a diffusers pipeline, with ``decoder.json`` beside its files.

:func:`load_decoder` checks every name, shape and the weights' sha256; ``BlockPipeline.from_pretrained`` reads the
folder as well.
"""

from __future__ import annotations

from pathlib import Path

import torch

from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import NETWORK_WEIGHTS
from decoders.pipeline import read_pipeline
from ijepa_viz.checkpoints import find_bundled, why_no_predictor
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_config, write_file
from ijepa_viz.runtime.tensors import write_tensors

CARD = "decoder.json"
_INDEX = "model_index.json"
_SCHEDULER = "scheduler/scheduler_config.json"


def save_decoder(decoder: Decoder, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Save a decoder to a folder; ``dtype`` float16 halves the weights.

    Raises:
        OSError: the disk refuses; what the folder held before is intact.
    """
    folder = Path(folder)
    for name in ("network", "scheduler"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    digest = write_tensors(folder / "network" / NETWORK_WEIGHTS, decoder.network.state_dict(), dtype)
    # diffusers writes the folder that a network was loaded from; without it the files are the same on every machine.
    decoder.network.register_to_config(_name_or_path="")
    decoder.pipeline.register_to_config(_name_or_path="")
    for name, part in (
        ("network/config.json", decoder.network),
        (_SCHEDULER, decoder.pipeline.scheduler),
        (_INDEX, decoder.pipeline),
    ):
        write_file(folder / name, part.to_json_string().encode())
    write_config(folder / CARD, decoder.config, digest)


def load_decoder(source: str | Path, device: str | torch.device | None = None) -> Decoder:
    """Load a decoder, in evaluation mode and without gradients.

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
        if not folder.is_dir():
            raise FileNotFoundError(f"{source} has no decoder. {why_no_predictor(source) or ''}".rstrip())
    card = read_json(folder / CARD)
    digest = str(card.pop("weights_sha256", ""))
    config = config_files.build(DecoderConfig, card, str(folder / CARD))
    pipeline = read_pipeline(folder, digest)
    return Decoder(pipeline.network.to(device or "cpu").requires_grad_(False), config, pipeline.scheduler)
