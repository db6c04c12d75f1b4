"""Models with their decoders on the Hugging Face hub: written there with a model card, and fetched by their name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelCard,
    ModelCardData,
    snapshot_download,
)
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from safetensors import SafetensorError, safe_open

from ijepa_viz.checkpoints.folders import (
    CARD,
    CONFIG,
    OBJECTIVE,
    OBJECTIVE_WEIGHTS,
    WEIGHTS,
    bundled_names,
    folder_of,
    load_folder,
    unknown_model,
)
from ijepa_viz.checkpoints.training_cost import FILE as TRAINING
from ijepa_viz.checkpoints.training_cost import training_of
from ijepa_viz.data.picture_size import in_words
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime.files import not_a_model_folder, read_json, read_text
from ijepa_viz.runtime.tensors import fingerprint

DECODER, DECODER_CARD = "decoder", "decoder.json"

_LIBRARY = "ijepa_viz"
_TAGS = ["i-jepa", "self-supervised-learning", "vision-transformer"]
_FILES = (CONFIG, WEIGHTS, TRAINING, OBJECTIVE, OBJECTIVE_WEIGHTS)
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def push_to_hub(
    folder: str | Path,
    name: str,
    private: bool | None = None,
    license: str | None = None,
    token: str | None = None,
    message: str = "Model, decoder and card by ijepa_viz",
) -> str:
    """Send a model folder, with its decoder and a model card, to the Hugging Face hub in one commit.

    Nothing else in the folder, such as the state of a training, is sent; what an earlier commit had of these files and
    the folder has not is removed there.

    Args:
        folder: of :func:`ijepa_viz.checkpoints.save_folder` or ``ijepa-viz export``, or the name of a bundled model.
        name: ``owner/name`` on the hub; made where it is missing.
        private: of a new one. license: of the weights, in the hub's words such as "cc-by-4.0"; None says nothing of it.
        token: None is that of ``hf auth login`` or of the variable HF_TOKEN. message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        FileNotFoundError: no such folder, or none of a model. NotADirectoryError: a file.
        ValueError: a damaged file, a decoder of another model, or a name that is none.
        OSError: the hub refuses, or cannot be reached.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"A model on the hub is called owner/name, got {name!r}.")
    folder = folder_of(folder)
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file: name the folder of a model, as ijepa-viz export writes it.")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{unknown_model(str(folder), bundled_names())} Nothing was sent: name the folder of a model first, then "
            "OWNER/NAME on the hub."
        )
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(not_a_model_folder(folder / CONFIG))
    if "model_type" in read_json(folder / CONFIG):
        raise ValueError(
            f"{folder} is a model of Hugging Face's own format: push it by transformers, or write it as one of ours "
            f"first, ijepa-viz export {folder} FOLDER."
        )
    model = load_folder(folder)
    _check_decoder(folder, model)
    decoder = sorted(p for p in (folder / DECODER).rglob("*") if p.suffix in (".json", ".safetensors"))
    files = {path.relative_to(folder).as_posix(): path for path in [*(folder / name for name in _FILES), *decoder]}
    sent = {place: path for place, path in files.items() if path.is_file()}
    operations: list[Any] = [CommitOperationAdd(place, str(path)) for place, path in sent.items()]
    operations.append(CommitOperationAdd(CARD, model_card(folder, model, name, license).encode()))
    api = HfApi(token=token, library_name=_LIBRARY)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if private and not api.repo_info(name).private:  # one that exists stays as it is
            raise PermissionError(
                f"{name} exists and is public, and nothing was sent: make it private first, or push it openly."
            )
        there = [place for place in api.list_repo_files(name) if place in _FILES or place.startswith(f"{DECODER}/")]
        operations += [CommitOperationDelete(place) for place in there if place not in sent]
        return str(api.create_commit(name, operations, commit_message=message).commit_url)
    except PermissionError:
        raise
    except Exception as error:  # the hub and its transport raise many kinds
        told = str(error).strip().partition("\n")[0]
        status = getattr(getattr(error, "response", None), "status_code", None)
        mend = (
            "It needs a token that may write: hf auth login, or the variable HF_TOKEN."
            if status in (401, 403) or "token" in told.lower()
            else "Nothing says that the model is at fault: look at the name and the network, and try again."
        )
        raise OSError(f"The Hugging Face hub did not take {name} ({type(error).__name__}: {told}). {mend}") from error


def model_card(folder: Path, model: IJEPA, name: str, license: str | None = None) -> str:
    """The folder's own card, or one of what the folder tells, with what the hub looks for in its head.

    Args:
        folder: of the model. model: as loaded from there. name: on the hub. license: as of :func:`push_to_hub`.
    """
    path = folder / CARD
    text = read_text(path) if path.is_file() else _card(folder, model, name)
    if not REGEX_YAML_BLOCK.search(text):  # huggingface_hub warns of a card without a head, which is written here
        text = f"---\n{{}}\n---\n\n{text}"
    card = ModelCard(text)
    known = card.data.to_dict()
    head: dict[str, Any] = {"library_name": _LIBRARY, "pipeline_tag": "image-feature-extraction", **known}
    head["tags"] = list(dict.fromkeys([*(known.get("tags") or []), *_TAGS]))
    if license is not None:
        head["license"] = license
    card.data = ModelCardData(**head)
    return str(card)


def is_hub_name(text: str) -> bool:
    """Whether ``text`` may be the name of a model on the hub, ``owner/name``; what lies there on the disk is none."""
    path = Path(text).expanduser()
    return text.count("/") == 1 and not path.suffix and not text.startswith((".", "/", "~")) and not path.exists()


_PATTERNS = ("*.json", "*.safetensors")


def hub_folder(name: str) -> Path:
    """The folder of a model of the hub, from its cache or downloaded; safetensors where there are any.

    Raises:
        FileNotFoundError: the hub has no such model, or cannot be reached.
    """
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(_PATTERNS)))
        if not list(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.bin"]))
    except Exception as error:  # no network, no such model, no access: the hub and its transport raise many kinds
        told = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"the Hugging Face hub did not give a model of that name ({type(error).__name__}: {told})."
        ) from error
    return folder


def _check_decoder(folder: Path, model: IJEPA) -> None:
    card = folder / DECODER / DECODER_CARD
    if not card.is_file():
        if (folder / DECODER).exists():
            raise ValueError(
                f"{folder / DECODER} holds no {DECODER_CARD}, so it is no decoder: nothing was sent. Remove the "
                "folder, or write it anew with ijepa-viz export MODEL FOLDER --decoder DECODER."
            )
        return
    weights = sorted(card.parent.rglob("*.safetensors"))
    if not weights:
        raise ValueError(f"{folder / DECODER} holds no weights (.safetensors): nothing was sent.")
    for path in weights:
        try:
            with safe_open(path, "pt") as file:
                file.keys()
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}): nothing was sent. Write the decoder anew.") from error
    trained_on = read_json(card).get("ijepa_sha256")
    if trained_on != fingerprint(model):
        raise ValueError(
            f"{folder / DECODER} was trained on other weights than {folder}'s: its samples would be meaningless. "
            "ijepa-viz export MODEL FOLDER --decoder DECODER writes folders that belong together."
        )


def _card(folder: Path, model: IJEPA, name: str) -> str:
    """A card of what the folder tells: sizes, training, decoder, how to load it, and what nobody measured."""
    config, (rows, cols) = model.config, model.grid
    million = sum(p.numel() for p in model.encoder.parameters()) / 1e6
    parts = ["context encoder", *(["predictor"] if model.predictor is not None else []), "target encoder"]
    lines = [
        "# An I-JEPA for ijepa_viz",
        "",
        f"Holds {', '.join(parts)}{' and a decoder of predictions' if (folder / DECODER).is_dir() else ''}.",
        "",
        "| | |",
        "|---|---|",
        f"| images | {in_words(config.image_size)} px, patches of {config.patch_size} px, a {rows}x{cols} grid |",
        f"| encoder | width {config.width}, depth {config.depth}, {config.heads} heads, {million:.2f} M parameters |",
    ]
    if model.predictor is not None:
        lines.append(
            f"| predictor | width {config.predictor_width}, depth {config.predictor_depth}, "
            f"{config.predictor_heads} heads |"
        )
    cost = training_of(folder)
    if cost:
        hours = f", {cost.hours:.2f} hours of {cost.hardware}" if cost.hours else ""
        lines.append(f"| training | objective {cost.objective}, {cost.images:,} images{hours} |")
    lines += ["", "```python", "import ijepa_viz", "", f'model = ijepa_viz.load_model("{name}")', "```"]
    if (folder / DECODER).is_dir():
        lines[-1:] = ["", "from decoders import load_decoder", "", f'decoder = load_decoder("{name}")', "```"]
    lines += [
        "",
        f"No scores are recorded here: `ijepa-viz evaluate {name} --data DATA --probe linear` measures the features "
        "beside their baselines. Pixels are normalised by ImageNet's mean and standard deviation.",
        "",
        "Which pictures it was trained on, under which licence, and what it cannot do is for its author to add.",
        "",
    ]
    return "\n".join(lines)
