"""Filling of networks from state dicts, strictly: whatever does not fit is named, with the likely cause."""

from __future__ import annotations

from torch import Tensor, nn

_SHOWN = 3

# Parts of parameter names that give another architecture away.
_SIGNS = (
    (
        ("cls_token", "class_token", "class_embedding"),
        "a class token, which I-JEPA has not, but DINO, MAE, CLIP and supervised ViTs have",
    ),
    (("register_tokens", "reg_token", "storage_tokens"), "register tokens, as DINOv2 and DINOv3 have"),
    ((".ls1.", ".ls2.", "layer_scale", ".gamma"), "LayerScale, as DINOv2 has"),
    (("q_norm", "k_norm"), "normalised queries and keys"),
    (("lora_",), "an adapter's weights: merge them into the model first (merge_and_unload() in peft)"),
    (("text_model", "logit_scale", "visual."), "an image-text model such as CLIP or SigLIP"),
    (("norm_pre", "ln_pre", "pre_layrnorm"), "a norm before the layers, as CLIP has"),
    (("decoder_embed", "decoder_pred"), "a pixel decoder, as MAE has"),
    (("layer1.0.conv", "layer4."), "a convolutional network such as a ResNet"),
    (("backbone.",), "a wrapped backbone, as V-JEPA has, a model of video"),
)


def fill(network: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Put ``state``, in float32, in the place of the network's tensors, which may be on the meta device.

    Raises:
        ValueError: a missing, further or misshapen tensor; ``where`` opens the message.
    """
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = [name for name in own if name not in state]
    further = [name for name in state if name not in own]
    misshapen = [
        f"{name} {list(state[name].shape)} instead of {list(shape)}"
        for name, shape in own.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if missing or further or misshapen:
        faults = [
            f"it {verb} {_first(names)}"
            for verb, names in (("lacks", missing), ("also has", further), ("has", misshapen))
            if names
        ]
        raise ValueError(f"{where} does not fit an I-JEPA of its config: {'; '.join(faults)}.{signs(further)}")
    network.load_state_dict({name: value.float() for name, value in state.items()}, strict=True, assign=True)


def signs(names: list[str]) -> str:
    """A sentence on the architecture that parameter names give away, or an empty string."""
    found = [what for marks, what in _SIGNS if any(mark in name for mark in marks for name in names)]
    return f" Its names show {'; and '.join(found)}." if found else ""


def _first(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def mlp_ratio(hidden: int, width: int) -> float:
    """The MLP ratio by which ``int(width * ratio)``, as the layers compute it, is ``hidden`` and not one less."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width
