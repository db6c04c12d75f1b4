"""Saving and loading of decoders: the folder of a diffusers pipeline, with ``decoder.json`` beside its files.

:func:`load_decoder` checks every name, shape and the weights' sha256; ``BlockPipeline.from_pretrained`` reads the
folder as well.
"""

from __future__ import annotations

from pathlib import Path

import torch

from decoders.decoder import Decoder, DecoderConfig
from decoders.networks.network import NETWORK_WEIGHTS, BlockNetwork
from decoders.pipeline import INDEX, SCHEDULER_CONFIG, read_pipeline
from ijepa_viz.checkpoints import CONFIG, find_bundled, hub_folder, is_hub_name, why_no_predictor
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.files import read_json, write_config, write_file
from ijepa_viz.runtime.tensors import write_tensors

CARD = "decoder.json"


def save_decoder(decoder: Decoder, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Save a decoder to a folder; ``dtype`` float16 halves the weights.

    Raises:
        FileExistsError: a decoder of one stage, where one of two is, or without a token scheduler, where one has it.
        ValueError: a token scheduler of one stage. OSError: the disk refuses; what the folder held before is intact.
    """
    folder = Path(folder)
    if decoder.pipeline.token_network is None and (folder / "token_network").exists():
        raise FileExistsError(f"{folder} holds a decoder of two stages, this one has one: name another folder.")
    pipeline = decoder.pipeline
    if pipeline.token_scheduler is None and (folder / "token_scheduler").exists():
        raise FileExistsError(f"{folder} has a token scheduler, this decoder has none: name another folder.")
    if pipeline.token_scheduler is not None and pipeline.token_network is None:
        raise ValueError("This decoder has a token scheduler and one stage: set pipeline.token_scheduler to None.")
    digests: dict[str, str] = {}
    for name, network in networks_of(decoder).items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        digests[name] = write_tensors(folder / name / NETWORK_WEIGHTS, network.state_dict(), dtype)
        # diffusers writes the folder that a network was loaded from; without it the files are the same on every
        # machine.
        network.register_to_config(_name_or_path="")
        write_file(folder / name / "config.json", network.to_json_string().encode())
    pipeline.register_to_config(_name_or_path="")
    for name in ("scheduler", "token_scheduler"):
        scheduler = getattr(pipeline, name)
        if scheduler is not None:
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_file(folder / name / SCHEDULER_CONFIG, scheduler.to_json_string().encode())
    write_file(folder / INDEX, pipeline.to_json_string().encode())
    token_digest = digests.get("token_network")
    more = {} if token_digest is None else {"token_weights_sha256": token_digest}
    write_config(folder / CARD, decoder.config, digests["network"], **more)


def networks_of(decoder: Decoder) -> dict[str, BlockNetwork]:
    """Folder -> network: of one stage ``network``, of two also ``token_network``."""
    found = {"network": decoder.network, "token_network": decoder.pipeline.token_network}
    return {name: network for name, network in found.items() if network is not None}


def load_decoder(source: str | Path, device: str | torch.device | None = None) -> Decoder:
    """Load a decoder, in evaluation mode and without gradients.

    Args:
        source: a bundled model's name (its decoder comes with it), a decoder's folder or that of a model with one in
            it, or ``owner/name``, a model of the Hugging Face hub that was sent there with its decoder.
        device: None is the CPU.

    Raises:
        FileNotFoundError: no such name or folder; the message names the nearest bundled one.
        ValueError: a damaged file, or weights that do not fit the config.
    """
    folder = Path(source)
    if not folder.is_dir() and is_hub_name(str(source)):
        try:
            folder = hub_folder(str(source)) / "decoder"
        except FileNotFoundError as error:
            raise FileNotFoundError(f"There is no folder {source}, and {error}") from error
        if not folder.is_dir():
            raise FileNotFoundError(f"The model {source} of the Hugging Face hub has no decoder.")
    elif not folder.is_dir():
        folder = find_bundled(str(source)) / "decoder"
        if not folder.is_dir():
            raise FileNotFoundError(f"{source} has no decoder. {why_no_predictor(source) or ''}".rstrip())
    elif (folder / "decoder" / CARD).is_file() and not (folder / CARD).exists():
        folder = folder / "decoder"
    if (folder / CONFIG).is_file() and not (folder / CARD).exists():
        raise FileNotFoundError(f"{folder} is a model without a decoder.")
    card = read_json(folder / CARD)
    digest, token_digest = str(card.pop("weights_sha256", "")), str(card.pop("token_weights_sha256", ""))
    if bool(token_digest) != (folder / "token_network").is_dir():
        raise ValueError(f"{folder} is damaged: {CARD} and the folder token_network belong together.")
    config = config_files.build(DecoderConfig, card, str(folder / CARD))
    pipeline = read_pipeline(folder, digest, token_digest)
    network, token_network = pipeline.network, pipeline.token_network
    for part in (network, token_network):
        if part is not None:
            part.to(device or "cpu").requires_grad_(False)
    return Decoder(network, config, pipeline.scheduler, token_network, pipeline.token_scheduler)
