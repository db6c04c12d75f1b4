"""Loading and saving of models: bundled names, folders, reference ``.pth.tar``, Hugging Face, timm.

Unpickling is restricted to plain tensors, and every state dict is loaded with ``strict=True``.
"""

from ijepa_viz.checkpoints.folders import (
    CARD,
    CONFIG,
    OBJECTIVE,
    OBJECTIVE_WEIGHTS,
    WEIGHTS,
    bundled_names,
    copy_objective,
    find_bundled,
    folder_of,
    load_folder,
    save_folder,
    why_no_predictor,
)
from ijepa_viz.checkpoints.hub import hub_folder, is_hub_name, push_to_hub
from ijepa_viz.checkpoints.huggingface import from_huggingface, load_huggingface
from ijepa_viz.checkpoints.loading import load_model
from ijepa_viz.checkpoints.published import PUBLISHED
from ijepa_viz.checkpoints.reference import from_reference, load_reference, save_reference, to_reference
from ijepa_viz.checkpoints.timm_vit import load_timm

__all__ = [
    "CARD",
    "CONFIG",
    "OBJECTIVE",
    "OBJECTIVE_WEIGHTS",
    "PUBLISHED",
    "WEIGHTS",
    "bundled_names",
    "copy_objective",
    "find_bundled",
    "folder_of",
    "from_huggingface",
    "from_reference",
    "hub_folder",
    "is_hub_name",
    "load_folder",
    "load_huggingface",
    "load_model",
    "load_reference",
    "load_timm",
    "push_to_hub",
    "save_folder",
    "save_reference",
    "to_reference",
    "why_no_predictor",
]
